"""How training uses a device: precision, memory format, and algorithms chosen by rule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer


def best_precision(device: torch.device) -> torch.dtype:
    """What a device trains fastest in without harm: bfloat16 or float16 on CUDA, float32 elsewhere."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def memory_format(device: torch.device) -> torch.memory_format:
    """The layout in which a device convolves fastest in training."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def placed(batch: Any, device: torch.device) -> Any:
    """A tensor, or a list or named tuple of tensors, on the device; (N, C, H, W) in its layout."""
    if isinstance(batch, list):
        return [placed(part, device) for part in batch]
    if isinstance(batch, tuple):
        return type(batch)(*(placed(part, device) for part in batch))
    if batch.dim() != 4:
        return batch.to(device, non_blocking=True)
    return batch.to(device, non_blocking=True, memory_format=memory_format(device))


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Mixed precision, unless `precision` is float32."""
    enabled = precision != torch.float32
    return torch.autocast(device.type, dtype=precision if enabled else None, enabled=enabled)


def step(optimizer: Optimizer, scaler: GradScaler, clip: float | None) -> None:
    """One step of an optimiser, its gradient shortened to the norm `clip` where there is one."""
    if clip is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    scaler.step(optimizer)


@contextmanager
def reproducible() -> Iterator[None]:
    """Let cuDNN choose its algorithms by rule and not by timing; CPU kernels are deterministic as they are."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield

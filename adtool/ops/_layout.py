"""The memory format of results."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_format(x: Tensor) -> torch.memory_format:
    """Channels last for (N, C, H, W) tensors that lie so and not also contiguously, else contiguous."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format

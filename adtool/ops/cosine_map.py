"""Anomaly map of a teacher and a student: the cosine distances of all scales, resized and reduced to one map.

    M_i = 1 - <t, s> / (|t| |s|)                at every pixel of scale i, masked_rd Eq. 12
    map = reduce_i resize(M_i, size)            reduce: sum, mean or mul(tiply) over the scales

teacher and student are lists of (N, C_i, H_i, W_i), the map is (N, 1, H, W). Resizing is bilinear with corners aligned
(align_corners=True), as reverse distillation does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce as fold
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from adtool.ops import _native  # noqa: F401
from adtool.ops import cosine_distance as distance
from adtool.ops.cosine_distance import cosine_distance, paired

__all__ = ["cosine_distance", "cosine_map", "inputs", "reference"]

REDUCTIONS = ("sum", "mean", "mul")

torch.library.define("adtool::cosine_map", "(Tensor[] teacher, Tensor[] student, int[2] size, str reduce) -> Tensor")


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return interpolate(x, tuple(size), mode="bilinear", align_corners=True)


def reference(teacher: list[Tensor], student: list[Tensor], size: Sequence[int], reduce: str) -> Tensor:
    """The formula above."""
    maps = torch.stack([_resize(d, size) for d in map(distance.reference, teacher, student)])
    if reduce == "mul":
        return maps.prod(0)
    return maps.mean(0) if reduce == "mean" else maps.sum(0)


def _shape(teacher: list[Tensor], student: list[Tensor], size: Sequence[int], reduce: str) -> Tensor:
    dtype = torch.promote_types(teacher[0].dtype, torch.float32)
    return teacher[0].new_empty((teacher[0].shape[0], 1, *size), dtype=dtype)


def _save(ctx: Any, inputs: tuple[list[Tensor], list[Tensor], Sequence[int], str], output: Tensor) -> None:
    teacher, student, ctx.size, ctx.reduce = inputs
    ctx.save_for_backward(*teacher, *student)


def _unresize(grad: Tensor, shape: Sequence[int]) -> Tensor:
    """The transpose of `_resize` from `shape` = (h, w): (N, 1, H, W) -> (N, 1, h, w). Resizing is R_y x R_x^T."""
    h, w = shape
    eye_h, eye_w = (torch.eye(n, dtype=grad.dtype, device=grad.device)[None, None] for n in (h, w))
    rows, columns = _resize(eye_h, (grad.shape[2], h)), _resize(eye_w, (grad.shape[3], w))  # (1, 1, H, h), (1, 1, W, w)
    return rows.mT @ grad @ columns


def _gradient(ctx: Any, grad: Tensor) -> tuple[list[Tensor], list[Tensor], None, None]:
    """Back through reduction and resizing to each scale's distances, then through those to the features."""
    scales = len(ctx.saved_tensors) // 2
    teacher, student = ctx.saved_tensors[:scales], ctx.saved_tensors[scales:]
    grads = [grad / scales if ctx.reduce == "mean" else grad] * scales
    if ctx.reduce == "mul":
        maps = [_resize(d, ctx.size) for d in map(torch.ops.adtool.cosine_distance, teacher, student)]
        grads = [fold(torch.mul, maps[:i] + maps[i + 1 :], grad) for i in range(scales)]
    pairs = []
    for t, s, g in zip(teacher, student, grads, strict=True):
        small = _unresize(g, t.shape[2:])
        pairs.append(torch.ops.adtool.cosine_distance_backward(small, t, s, True, True))
    return [t for t, _ in pairs], [s for _, s in pairs], None, None


torch.library.impl("adtool::cosine_map", "default", reference)
torch.library.register_fake("adtool::cosine_map", _shape)
torch.library.register_autograd("adtool::cosine_map", _gradient, setup_context=_save)


def cosine_map(
    teacher: Sequence[Tensor], student: Sequence[Tensor], size: tuple[int, int], reduce: str = "sum"
) -> Tensor:
    """Anomaly map (N, 1, H, W) at `size` = (H, W), float32 or float64, of features (N, C_i, H_i, W_i) at each scale."""
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size: expected (height, width) of at least 1 pixel, got {tuple(size)}")
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce: expected one of {', '.join(REDUCTIONS)}, got {reduce!r}")
    t, s = paired(teacher, student)
    if any(x.shape[0] != t[0].shape[0] or math.prod(x.shape[2:]) == 0 for x in t):
        raise ValueError(f"teacher: expected one N and at least one pixel, got {[tuple(x.shape) for x in t]}")
    result: Tensor = torch.ops.adtool.cosine_map(t, s, list(size), reduce)
    return result


def flops(teacher: list[Tensor], student: list[Tensor], size: Sequence[int], reduce: str) -> tuple[int, int]:
    """Operations forward and backward: the distances of all scales, and four weighted pixels of each per output."""
    each = [distance.flops(t, s) for t, s in zip(teacher, student, strict=True)]
    resizing = 8 * len(each) * teacher[0].shape[0] * math.prod(size)
    return sum(forward for forward, _ in each) + resizing, sum(backward for _, backward in each) + resizing


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, the `paper`'s shapes (256 px, batch 8) for benchmarks."""
    if size == "paper":
        teacher, student = zip(*distance.inputs(device, dtype, size), strict=True)
        return [(list(teacher), list(student), [256, 256], "sum")]
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 5, 7), (2, 9, 2, 3), (2, 4, 1, 1)]
    pairs = [torch.randn((2, *shape), generator=generator).to(device, dtype).unbind() for shape in shapes]
    return [([t for t, _ in pairs], [s for _, s in pairs], [9, 11], reduce) for reduce in REDUCTIONS]

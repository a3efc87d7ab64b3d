"""Cosine distance of two feature maps at every pixel.

    d = 1 - <t, s> / (|t| |s|)                              masked_rd Eq. 12
    dd/ds = <t, s> / (|t| |s|^3) s - t / (|t| |s|)          and the same with t and s exchanged

t and s are the C features of teacher (N, C, H, W) and student at one pixel, d is (N, 1, H, W). A zero vector has
distance 1 and gradient 0. Sums are kept in float64, since 1 - cos of nearly equal vectors is what cancelling leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401
from adtool.ops._layout import dense_format

torch.library.define("adtool::cosine_distance", "(Tensor teacher, Tensor student) -> Tensor")
torch.library.define(
    "adtool::cosine_distance_backward",
    "(Tensor grad, Tensor teacher, Tensor student, bool to_teacher, bool to_student) -> (Tensor, Tensor)",
)


def _products(t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """<t, t>, <s, s> and <t, s>, each (N, 1, H, W)."""
    tt, ss, ts = ((a * b).sum(1, keepdim=True) for a, b in ((t, t), (s, s), (t, s)))
    return tt, ss, ts


def _map_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def reference(teacher: Tensor, student: Tensor) -> Tensor:
    """The formula above."""
    tt, ss, ts = _products(teacher.double(), student.double())
    d = (1 - ts / (tt * ss).sqrt()).clamp_min(0)
    return torch.where(tt * ss == 0, 1.0, d).to(_map_dtype(teacher), memory_format=torch.contiguous_format)


def reference_backward(
    grad: Tensor, teacher: Tensor, student: Tensor, to_teacher: bool, to_student: bool
) -> tuple[Tensor, Tensor]:
    """The gradient above to either side; an empty tensor for the one not asked for."""
    t, s, g = teacher.double(), student.double(), grad.double()
    tt, ss, ts = _products(t, s)
    norm = (tt * ss).sqrt()

    def side(own: Tensor, other: Tensor, square: Tensor, like: Tensor) -> Tensor:
        d = torch.where(norm == 0, 0.0, g * (ts / (norm * square) * own - other / norm))
        return d.to(like.dtype).contiguous(memory_format=dense_format(like))

    return (
        side(t, s, tt, teacher) if to_teacher else teacher.new_empty(0),
        side(s, t, ss, student) if to_student else student.new_empty(0),
    )


def _shape(teacher: Tensor, student: Tensor) -> Tensor:
    n, _, h, w = teacher.shape
    return teacher.new_empty((n, 1, h, w), dtype=_map_dtype(teacher))


def _shape_backward(
    grad: Tensor, teacher: Tensor, student: Tensor, to_teacher: bool, to_student: bool
) -> tuple[Tensor, Tensor]:
    t, s = (torch.empty_like(x, memory_format=dense_format(x)) for x in (teacher, student))
    return t if to_teacher else teacher.new_empty(0), s if to_student else student.new_empty(0)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    to_teacher, to_student = ctx.needs_input_grad
    t, s = torch.ops.adtool.cosine_distance_backward(grad, *ctx.saved_tensors, to_teacher, to_student)
    return t if to_teacher else None, s if to_student else None


torch.library.impl("adtool::cosine_distance", "default", reference)
torch.library.impl("adtool::cosine_distance_backward", "default", reference_backward)
torch.library.register_fake("adtool::cosine_distance", _shape)
torch.library.register_fake("adtool::cosine_distance_backward", _shape_backward)
torch.library.register_autograd("adtool::cosine_distance", _gradient, setup_context=_save)


def paired(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Features of all scales as the operators want them: equal shapes, one dtype; ValueError where they do not fit."""
    if not teacher:
        raise ValueError("teacher: expected features of at least one scale, got none")
    if len(teacher) != len(student):
        raise ValueError(f"student: expected as many scales as teacher, {len(teacher)}, got {len(student)}")
    for i, (t, s) in enumerate(zip(teacher, student, strict=True)):
        if t.dim() != 4 or not t.is_floating_point():
            raise ValueError(f"teacher[{i}]: expected floating-point (N, C, H, W), got {t.dtype} {tuple(t.shape)}")
        if t.shape != s.shape or not s.is_floating_point():
            raise ValueError(f"student[{i}]: expected teacher's {tuple(t.shape)}, got {s.dtype} {tuple(s.shape)}")
    dtype = teacher[0].dtype
    for x in (*teacher, *student):
        dtype = torch.promote_types(dtype, x.dtype)
    return [t.to(dtype) for t in teacher], [s.to(dtype) for s in student]


def cosine_distance(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Mean distance at each of S scales, (S,) float32 or float64: masked_rd Eq. 13 is its sum.

    `teacher` and `student` are S feature maps (N, C_i, H_i, W_i); the gradient reaches whichever side requires one.
    """
    pairs = zip(*paired(teacher, student), strict=True)
    return torch.stack([torch.ops.adtool.cosine_distance(t, s).mean() for t, s in pairs])


def flops(teacher: Tensor, student: Tensor) -> tuple[int, int]:
    """Operations forward (three products and sums) and backward (those again, and two products to either side)."""
    return 6 * teacher.numel(), 12 * teacher.numel()


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, the `paper`'s shapes (256 px, batch 8) for benchmarks."""
    shapes = {
        "small": [(2, 3, 5, 7), (1, 9, 1, 1), (3, 40, 2, 8)],
        "paper": [(8, 256, 64, 64), (8, 512, 32, 32), (8, 1024, 16, 16)],
    }[size]
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randn((2, *s), generator=generator) for s in shapes]
    if size == "small" and dtype in (torch.float32, torch.bfloat16):
        pairs[-1][0, 1, :, 1, 3] *= 2.0**-80  # a short vector, whose squares float32 does not hold
    return [tuple(pair.to(device, dtype).unbind()) for pair in pairs]

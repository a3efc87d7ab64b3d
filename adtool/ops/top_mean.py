"""Mean of the n largest pixels of each map: the image score of slsg.

    score = 1/n sum of the n largest elements of an image's map

Maps are (N, C, H, W), scores (N,). The gradient is 1/n at those pixels, at the first ones where several are equal; a
NaN is larger than any number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401

torch.library.define("adtool::top_mean", "(Tensor maps, int n) -> Tensor")
torch.library.define("adtool::top_mean_backward", "(Tensor grad, Tensor maps, int n) -> Tensor")


def reference(maps: Tensor, n: int) -> Tensor:
    """The formula above, summed in float64."""
    scores = maps.flatten(1).topk(n).values.double().mean(1)
    return scores.to(torch.promote_types(maps.dtype, torch.float32))


def reference_backward(grad: Tensor, maps: Tensor, n: int) -> Tensor:
    """The gradient above: to what is above the n-th largest element, and to the first of those equal to it."""
    pixels = maps.flatten(1)
    bar = pixels.topk(n).values[:, -1:]
    above = (pixels > bar) | (pixels.isnan() & ~bar.isnan())
    tied = (pixels == bar) | (pixels.isnan() & bar.isnan())
    first = tied & (tied.cumsum(1) <= n - above.sum(1, keepdim=True))
    share = (grad / n).to(maps.dtype)[:, None]
    return torch.where(above | first, share, 0).view(maps.shape)


def _shape(maps: Tensor, n: int) -> Tensor:
    return maps.new_empty(maps.shape[0], dtype=torch.promote_types(maps.dtype, torch.float32))


def _shape_backward(grad: Tensor, maps: Tensor, n: int) -> Tensor:
    return torch.empty_like(maps, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    maps, ctx.n = inputs
    ctx.save_for_backward(maps)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (maps,) = ctx.saved_tensors
    return torch.ops.adtool.top_mean_backward(grad, maps, ctx.n), None


torch.library.impl("adtool::top_mean", "default", reference)
torch.library.impl("adtool::top_mean_backward", "default", reference_backward)
torch.library.register_fake("adtool::top_mean", _shape)
torch.library.register_fake("adtool::top_mean_backward", _shape_backward)
torch.library.register_autograd("adtool::top_mean", _gradient, setup_context=_save)


def top_mean(maps: Tensor, n: int) -> Tensor:
    """Mean of the `n` largest elements of each of (N, C, H, W) maps: (N,) float32, or float64 for float64 maps."""
    if maps.dim() != 4 or not maps.is_floating_point():
        raise ValueError(f"maps: expected floating-point (N, C, H, W), got {maps.dtype} {tuple(maps.shape)}")
    if not 1 <= n <= maps.shape[1] * maps.shape[2] * maps.shape[3]:
        raise ValueError(f"n: expected 1 to the number of pixels of a map {tuple(maps.shape)}, got {n}")
    scores: Tensor = torch.ops.adtool.top_mean(maps, n)
    return scores


def flops(maps: Tensor, n: int) -> tuple[int, int]:
    """Operations forward (a comparison a pixel, n sums a map) and backward (two comparisons, a division a map)."""
    return maps.numel() + n * maps.shape[0], 2 * maps.numel() + maps.shape[0]


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, `paper` ones (8 maps of 256 px) for benchmarks."""
    small = [((2, 1, 9, 7), 5), ((1, 2, 1, 1), 1), ((2, 3, 8, 8), 40)]  # no dtype rounds the n-th to its neighbours
    cases = {"small": small, "paper": [((8, 1, 256, 256), 100)]}[size]
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(shape, generator=generator).to(device, dtype), n) for shape, n in cases]

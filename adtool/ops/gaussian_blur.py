"""Gaussian blur of maps, as `scipy.ndimage.gaussian_filter(map, sigma)` computes it.

    w_k = exp(-k^2 / (2 sigma^2)) / sum_j exp(-j^2 / (2 sigma^2))      |k|, |j| <= r = floor(4 sigma + 1/2)
    y_i = sum_k w_k x_(i + k)                                          along the rows, then along the columns

Beyond the border the map is mirrored with its edge repeated (d c b a | a b c d | d c b a), as often as it takes. The
filter is then a symmetric matrix, so the gradient of a blur is the blur of the gradient. Maps are (N, C, H, W).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401

torch.library.define("adtool::gaussian_blur", "(Tensor maps, float sigma) -> Tensor")


def _taps(sigma: float) -> list[float]:
    """w_0 ... w_r."""
    radius = int(4 * sigma + 0.5)
    halves = [math.exp(-0.5 * (k / sigma) ** 2) if k else 1.0 for k in range(radius + 1)]
    total = 2 * sum(halves) - 1
    return [half / total for half in halves]


def _along(x: Tensor, dim: int, taps: list[float]) -> Tensor:
    length, radius = x.shape[dim], len(taps) - 1
    position = torch.arange(-radius, length + radius, device=x.device) % (2 * length)
    mirrored = x.index_select(dim, torch.where(position < length, position, 2 * length - 1 - position))
    shifted = [mirrored.narrow(dim, k, length) for k in range(2 * radius + 1)]
    y = taps[0] * shifted[radius]
    for k, tap in enumerate(taps[1:], start=1):
        y = y + tap * (shifted[radius - k] + shifted[radius + k])
    return y


def reference(maps: Tensor, sigma: float) -> Tensor:
    """The formula above."""
    if maps.numel() == 0:
        return torch.empty_like(maps, memory_format=torch.contiguous_format)
    wide, taps = maps.to(torch.promote_types(maps.dtype, torch.float32)), _taps(sigma)
    return _along(_along(wide, 2, taps), 3, taps).to(maps.dtype, memory_format=torch.contiguous_format, copy=True)


def _shape(maps: Tensor, sigma: float) -> Tensor:
    return torch.empty_like(maps, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
    _, ctx.sigma = inputs


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return torch.ops.adtool.gaussian_blur(grad, ctx.sigma), None


torch.library.impl("adtool::gaussian_blur", "default", reference)
torch.library.register_fake("adtool::gaussian_blur", _shape)
torch.library.register_autograd("adtool::gaussian_blur", _gradient, setup_context=_save)


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur (N, C, H, W) maps with a standard deviation of `sigma` pixels; same shape and dtype, 0 changes nothing."""
    if maps.dim() != 4 or not maps.is_floating_point():
        raise ValueError(f"maps: expected floating-point (N, C, H, W), got {maps.dtype} {tuple(maps.shape)}")
    if not 0 <= sigma < 1e6:
        raise ValueError(f"sigma: expected a number of pixels from 0 on, got {sigma}")
    result: Tensor = torch.ops.adtool.gaussian_blur(maps, sigma)
    return result


def flops(maps: Tensor, sigma: float) -> tuple[int, int]:
    """Operations forward and backward: along each axis r + 1 products and 2 r sums a pixel."""
    each = 2 * (3 * (len(_taps(sigma)) - 1) + 1) * maps.numel()
    return each, each


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, `paper` ones (8 maps of 256 px, sigma 4) for benchmarks."""
    small = [((2, 1, 9, 7), 0.8), ((1, 2, 1, 3), 4.0), ((1, 2, 4, 72), 1.1), ((1, 2, 19, 35), 1.5)]
    cases = {"small": small, "paper": [((8, 1, 256, 256), 4.0)]}[size]
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(shape, generator=generator).to(device, dtype), sigma) for shape, sigma in cases]

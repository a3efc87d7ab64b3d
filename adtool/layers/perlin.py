"""Perlin noise (Perlin 1985, with the quintic fade of 2002) of many samples at once, and random masks from it.

With d the offset in a cell and g the gradient at a lattice point, its share is fade(dy) fade(dx) (gx dx + gy dy). In a
row of pixels that is A dx + B, with A and B blended from gx and gy dy of the lattice's rows above and below: this is
done for the lattice's columns alone, and only the rest for every pixel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adtool.layers.draws import uniform, whole
from adtool.layers.rotation import direction, rotate


def perlin_noise(lattice: Tensor, frequencies: Tensor, size: tuple[int, int]) -> Tensor:
    """Noise (N, H, W) from the directions of its gradients, `lattice` (N, L, L) in turns.

    `frequencies` (N, 2) int64 are each sample's cells along height and width, below L. The noise is zero at lattice
    points (pixel k H / frequency) and scaled by sqrt(2), which lets it fill [-1, 1].
    """
    height, width = size
    gx, gy = direction(lattice)
    cell, dy = _cells(frequencies[:, 0], height)
    above, below, fade = cell[..., None].expand(-1, -1, gx.shape[2]), dy[..., None], _fade(dy)[..., None]
    a = _mixed(gx.gather(1, above), gx.gather(1, above + 1), fade)  # (N, H, L)
    b = _mixed(gy.gather(1, above) * below, gy.gather(1, above + 1) * (below - 1), fade)
    cell, dx = _cells(frequencies[:, 1], width)
    left, dx, fade = cell[:, None].expand(-1, height, -1), dx[:, None], _fade(dx)[:, None]
    right = left + 1
    near = a.gather(2, left) * dx + b.gather(2, left)  # (N, H, W)
    far = a.gather(2, right) * (dx - 1) + b.gather(2, right)
    return _mixed(near, far, fade) * math.sqrt(2)


def perlin_masks(
    seeds: Tensor, stream: int, lowest: Tensor, highest: Tensor, thresholds: Tensor, size: tuple[int, int], most: int
) -> Tensor:
    """Boolean masks (N, 1, H, W) of noise above `thresholds` (N,), turned by up to a right angle either way.

    The frequency along each axis is 2^e with e drawn from `lowest` ... `highest` (N,), none above `most`.
    """
    side = (1 << most) + 1
    drawn = uniform(seeds, stream, 3 + side * side)
    exponents = lowest[:, None] + whole(drawn[:, :2], (1 + highest - lowest)[:, None])
    noise = perlin_noise(drawn[:, 3:].reshape(-1, side, side), 1 << exponents, size)
    turned = rotate(noise[:, None], drawn[:, 2] * 0.5 - 0.25, "zeros")
    return turned > thresholds[:, None, None, None]


def _cells(frequencies: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Which cell each pixel of an axis is in and how far, in [0, 1): (N, pixels) int64 and float32."""
    scaled = torch.arange(pixels, device=frequencies.device) * frequencies[:, None]
    return scaled // pixels, (scaled % pixels).float() / pixels


def _fade(offset: Tensor) -> Tensor:
    """6 t^5 - 15 t^4 + 10 t^3."""
    return offset * offset * offset * ((offset * 6 - 15) * offset + 10)


def _mixed(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return (second - first) * share + first

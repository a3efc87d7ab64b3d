"""Local binary patterns (Ojala, Pietikainen & Maenpaa 2002) and how far two images differ in them around each pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CODES = 10
"""Uniform patterns by their number of brighter neighbours, 0 to 8, and one code for all others."""
AROUND = (0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)
"""The eight neighbours as (row, column) of a 3x3 window, in a circle."""
LUMA = (0.299, 0.587, 0.114)


def grey(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB -> (N, 1, H, W)."""
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def patterns(planes: Tensor) -> Tensor:
    """Codes 0 to 9 of (N, 1, H, W): how many of the eight pixels around are at least as bright, 9 if not uniform.

    Uniform are patterns that change at most twice around the circle. The border is repeated; nothing is interpolated.
    """
    height, width = planes.shape[-2:]
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    shifted = [padded[..., row : row + height, column : column + width] for row, column in AROUND]
    brighter = torch.cat(shifted, 1) >= planes
    changes = (brighter != brighter.roll(1, 1)).sum(1, keepdim=True)
    return torch.where(changes <= 2, brighter.sum(1, keepdim=True), CODES - 1)


def pattern_distance(images: Tensor, others: Tensor, window: int = 7) -> Tensor:
    """Half the L1 distance of the two images' pattern histograms in a window around each pixel: (N, 1, H, W) in [0, 1].

    Images are (N, 3, H, W) RGB. Beyond the border nothing is counted.
    """
    codes = torch.arange(CODES, device=images.device).view(1, -1, 1, 1)
    ours, theirs = ((patterns(grey(rgb)) == codes).float() for rgb in (images, others))
    histograms = F.avg_pool2d(ours - theirs, window, 1, window // 2, count_include_pad=False)
    return 0.5 * histograms.abs().sum(1, keepdim=True)

"""Random changes of colour and light: curves from old to new levels, and factors of brightness and contrast."""

from __future__ import annotations

import torch
from torch import Tensor

from adtool.layers.draws import between, uniform, whole
from adtool.layers.rotation import rotate

LEVELS = 256
TOGETHER = 3
"""How many changes are made to a picture, as in DRAEM's code."""
CURVES = 7
"""Gamma, brightness, contrast, solarise, posterise, invert, colour; the change after them is a turn."""
TURN = 45 / 360


def augment(images: Tensor, seeds: Tensor, stream: int) -> Tensor:
    """Three different random changes of each image (N, 3, H, W) in [0, 1]: of its curve, or a turn by up to 45 degrees.

    Images are taken at 256 levels.
    """
    drawn = uniform(seeds, stream, CURVES + 1 + 11 + 1)
    chosen = drawn[:, : CURVES + 1].argsort(dim=1, stable=True)[:, :TOGETHER]
    settings, turns = drawn[:, CURVES + 1 : -1], drawn[:, -1]
    levels = torch.arange(LEVELS, device=images.device) / (LEVELS - 1)
    curves = levels.expand(len(images), 3, LEVELS)
    for place in range(TOGETHER):
        curves = _changed(curves, chosen[:, place], settings)
    changed = apply_curves(images, curves)
    spun = (chosen == CURVES).any(1).nonzero().flatten()
    if len(spun):
        changed[spun] = rotate(changed[spun], between(turns[spun], -TURN, TURN), "border")
    return changed


def apply_curves(images: Tensor, curves: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] with each of 256 levels replaced by what `curves` (N, 3, 256) has for it."""
    levels = (images * (LEVELS - 1)).round().long().flatten(2)
    return curves.gather(2, levels).view(images.shape)


def jitter(images: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Images times (N,) brightness, then (N,) contrast as the factor of what differs from their mean; within [0, 1]."""
    lit = images * brightness[:, None, None, None]
    levels = (lit * (LEVELS - 1)).round().int()  # integers add up to the same in any order
    mean = levels.sum((1, 2, 3), keepdim=True).float() / (images[0].numel() * (LEVELS - 1))
    return ((lit - mean) * contrast[:, None, None, None] + mean).clamp_(0, 1)


def _changed(curves: Tensor, kinds: Tensor, drawn: Tensor) -> Tensor:
    """Curves (N, 3, 256) after one change each, of `kinds` (N,); settings are `drawn` (N, 11) in [0, 1)."""
    own = drawn[:, :, None, None]
    gamma = curves ** between(drawn[:, :3, None], 0.5, 2.0)
    brightness = curves * between(own[:, 3], 0.8, 1.2) + between(own[:, 4], -0.12, 0.12)
    contrast = (curves - 0.5) * between(own[:, 5], 0.5, 1.8) + 0.5
    solarised = torch.where(curves >= between(own[:, 6], 0.12, 0.5), 1 - curves, curves)
    steps = 4 << whole(own[:, 7], 3)
    posterised = (curves * steps).floor() / (steps - 1)
    coloured = curves + between(drawn[:, 8:11, None], -0.2, 0.2)
    kinds_of = [gamma, brightness, contrast, solarised, posterised, 1 - curves, coloured, curves]
    changed = torch.stack(kinds_of, dim=1)[torch.arange(len(curves), device=curves.device), kinds]
    return changed.clamp(0, 1)

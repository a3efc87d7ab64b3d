"""Simulated defects for training on good images alone: a random mask, filled from textures, the image or another image.

    I_A = (1 - M) I + M (delta I_N + (1 - delta) I)

M is a random shape on the object. Structural defects fill it with a texture or with the image itself, changed and
shuffled; logical ones with another good image, turned. The scheme is that of SLSG (Yang et al. 2023, eq. 1,
https://arxiv.org/abs/2305.00398), after MemSeg and DRAEM, whose own choices are switches here. Ours are defects without
an edge to tell them by: fillings that fade in, that lie where they belong or are the image's own, and shades.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from adtool.layers import foreground as objects
from adtool.layers.draws import between, uniform, whole
from adtool.layers.fillings import Kinds, filling
from adtool.layers.perlin import perlin_masks
from adtool.layers.simulation import Simulation
from adtool.ops.gaussian_blur import gaussian_blur

CHOICES, SHAPES = 0, 16
"""Streams of random numbers, beside those of fillings; SHAPES takes one for every attempt."""
RECTANGLES, SIDES = 3, (20, 100)
"""At most so many, with sides of so many pixels at 256 px."""
SHARPEST, FAINTEST = 8.0, 0.1
"""How much more steeply than the least steep a filling may fade in, and the least share of it that is a defect."""


class Simulated(NamedTuple):
    """Images as a model is shown them, and where they are defective."""

    images: Tensor
    """(N, 3, H, W) in [0, 1]."""
    masks: Tensor
    """(N, 1, H, W), 0 or 1; empty for an image that was left as it is."""


@torch.no_grad()
def simulate(
    images: Tensor, others: Tensor, seeds: Tensor, simulation: Simulation, textures: Tensor | None = None
) -> Simulated:
    """Defects in (N, 3, H, W) images in [0, 1], with `others` of the same shape as logical filling.

    All that is random about a sample follows from its seed (N,) int64. `textures` are (T, 3, h, w) uint8; without them
    textures are drawn. Outside its mask an image keeps its bits. Differing shapes are a ValueError.
    """
    if images.dim() != 4 or others.shape != images.shape or seeds.shape != images.shape[:1]:
        shapes = [tuple(part.shape) for part in (images, others, seeds)]
        raise ValueError(f"expected images and others (N, 3, H, W) and seeds (N,), got {shapes}")
    drawn = uniform(seeds, CHOICES, 17)
    painted, masks = images.clone(), torch.zeros_like(images[:, :1])
    at = (drawn[:, 0] >= simulation.intact).nonzero().flatten()
    if len(at):
        own, drawn = images[at], drawn[at]
        kinds = _kinds(drawn, simulation)
        found = _masks(own, seeds[at], kinds.logical, drawn[:, 14] < simulation.rectangular, simulation)
        filled = filling(own, others[at], found, seeds[at], drawn, kinds, simulation, textures)
        delta = _delta(drawn[:, 2], kinds.logical, simulation)
        if simulation.feather > 0:
            share = _faded(found, drawn[:, 12], kinds.logical | kinds.shaded, simulation.feather)
            found, delta = found & (share >= FAINTEST), delta * share
        painted[at] = torch.where(found, filled * delta + own * (1 - delta), own)
        if simulation.least_change > 0:
            found &= _changed(own, painted[at], simulation.least_change)
            painted[at] = torch.where(found, painted[at], own)
        masks[at] = found.to(masks.dtype)
    return Simulated(painted, masks)


def _kinds(drawn: Tensor, simulation: Simulation) -> Kinds:
    """Of which kind the samples' defects are."""
    logical = drawn[:, 1] < (0.5 if simulation.structural else 1.0) * simulation.logical
    return Kinds(logical, ~logical & (drawn[:, 13] < simulation.shaded))


def _delta(numbers: Tensor, logical: Tensor, simulation: Simulation) -> Tensor:
    """The share of the filling in each defect, (N, 1, 1, 1)."""
    structural = between(numbers, *simulation.delta)
    concentrated = between(numbers, *(simulation.logical_delta or simulation.delta))
    return torch.where(logical, concentrated, structural)[:, None, None, None]


def _faded(masks: Tensor, numbers: Tensor, soft: Tensor, feather: float) -> Tensor:
    """(N, 1, H, W) from 0 at the edge of `masks` to 1 inside, more or less steeply; 1 for samples not `soft`."""
    inside = 2 * gaussian_blur(masks.float(), feather * masks.shape[2] / 256) - 1
    share = (inside * (SHARPEST**numbers)[:, None, None, None]).clamp(0, 1)
    return torch.where(soft[:, None, None, None], share, 1.0)


def _masks(images: Tensor, seeds: Tensor, logical: Tensor, boxed: Tensor, simulation: Simulation) -> Tensor:
    """Where the defects are, (N, 1, H, W): drawn again where too little of a shape is on the object."""
    allowed = objects.foreground(images, simulation.foreground, simulation.category)
    masks = torch.zeros_like(allowed)
    left = torch.arange(len(images), device=images.device)
    for attempt in range(simulation.redraws + 1):
        shapes = _shapes(seeds[left], SHAPES + attempt, logical[left], boxed[left], images.shape[2:], simulation)
        masks[left] = shapes & allowed[left]
        small = masks[left].sum((1, 2, 3)) < simulation.least_area
        if attempt == simulation.redraws:
            masks[left[small]] = shapes[small]
        left = left[small]
        if not len(left):
            break
    return masks


def _shapes(
    seeds: Tensor, stream: int, logical: Tensor, boxed: Tensor, size: torch.Size, simulation: Simulation
) -> Tensor:
    """Random shapes (N, 1, H, W)."""
    height, width = size
    if simulation.shape == "rectangles":
        return _rectangles(seeds, stream, (height, width))
    structural, concentrated = simulation.structural_exponents, simulation.logical_exponents
    lowest = torch.where(logical, concentrated[0], structural[0])
    highest = torch.where(logical, concentrated[1], structural[1])
    thresholds = torch.where(logical, simulation.logical_threshold, simulation.structural_threshold)
    most = max(structural[1], concentrated[1])
    shapes = perlin_masks(seeds, stream, lowest, highest, thresholds, (height, width), most)
    if simulation.rectangular > 0:
        boxes = _rectangles(seeds, stream, (height, width))
        shapes = torch.where((logical & boxed)[:, None, None, None], boxes, shapes)
    return shapes


def _rectangles(seeds: Tensor, stream: int, size: tuple[int, int]) -> Tensor:
    """One to three rectangles inside the picture, (N, 1, H, W)."""
    drawn = uniform(seeds, stream, 1 + 4 * RECTANGLES)
    inside = torch.arange(RECTANGLES, device=seeds.device) <= whole(drawn[:, :1], RECTANGLES)
    spans = []
    for axis, pixels in enumerate(size):
        place, length = drawn[:, 1 + axis :: 4], drawn[:, 3 + axis :: 4]
        sides = (between(length, *SIDES) * (pixels / 256)).round().clamp(1, pixels)
        start = (place * (pixels - sides + 1)).floor()[..., None]
        at = torch.arange(pixels, device=seeds.device)
        spans.append((at >= start) & (at < start + sides[..., None]))  # (N, RECTANGLES, pixels)
    covered = spans[0][..., None] & spans[1][:, :, None] & inside[..., None, None]
    return covered.any(dim=1, keepdim=True)


def _changed(images: Tensor, painted: Tensor, least: float) -> Tensor:
    """Where a pixel nearby changed by more than `least`, (N, 1, H, W)."""
    return F.max_pool2d((painted - images).abs().amax(1, keepdim=True), 5, 1, 2) > least

"""Patches pasted on good images, which a model learns to undo: CopyPaste, and what it was compared with.

A patch is a square with a share of the image's area. CopyPaste (Dai et al. 2023, section III-C) takes it from a random
place of the clean image to another one, its colours jittered on textures; Cutout (DeVries & Taylor 2017) is black or of
one colour for the whole image; confetti (Liznerski et al. 2021) have a colour each. The later of two patches covers
the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adtool.errors import AdtoolError
from adtool.layers.defects import Simulated
from adtool.layers.draws import between, uniform, whole

FILLS = ("copy", "black", "color", "confetti")
PLACES, COLOURS = 0x70617374, 0x70617375
"""Streams of random numbers, none of the simulated defects'."""
GREY = (0.299, 0.587, 0.114)
"""Luma of ITU-R BT.601."""
TO_YIQ = (GREY, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
"""Luma and the two axes of colour (FCC NTSC)."""


@dataclass(frozen=True)
class Pasting:
    """Every switch of the patches; AdtoolError for one that means nothing."""

    patches: int = 30
    area: float = 0.01
    """Of a patch, as a share of the image's."""
    fill: str = "copy"
    """"copy" of another place, "black", one random "color" for an image, or "confetti": one for each patch."""
    jitter: float = 0.0
    """How far brightness, contrast and saturation of a copy may change, and its hue as a share of the circle."""

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise AdtoolError(f"fill {self.fill!r} of patches: expected one of {', '.join(FILLS)}")
        if self.patches < 0 or not 0 < self.area <= 1 or not 0 <= self.jitter <= 0.5:
            raise AdtoolError(
                f"{self.patches} patches of {self.area} of the area, jitter {self.jitter}: expected at least 0 patches "
                "of a share above 0 and at most 1, and a jitter from 0 to 0.5"
            )


def side_of(size: tuple[int, int], area: float) -> int:
    """Pixels along a side of a square with that share of an image's (height, width) area."""
    return max(1, min(round(math.sqrt(area * size[0] * size[1])), *size))


@torch.no_grad()
def paste(images: Tensor, seeds: Tensor, pasting: Pasting) -> Simulated:
    """(N, 3, H, W) images in [0, 1] with patches, and where these are.

    All that is random about an image follows from its seed (N,) int64. Outside its patches an image keeps its bits.
    """
    number, height, width = len(images), images.shape[2], images.shape[3]
    if pasting.patches == 0:
        return Simulated(images.clone(), torch.zeros_like(images[:, :1]))
    side = side_of((height, width), pasting.area)
    corners = uniform(seeds, PLACES, 4 * pasting.patches).view(number, 4, pasting.patches)
    sources, targets = (_pixels(corners[:, two], side, (height, width)) for two in (slice(0, 2), slice(2, 4)))
    filling = _filling(images.flatten(2), sources, seeds, pasting)  # (N, 3, patches x side^2)
    order = torch.arange(targets[0].numel(), device=images.device).expand(number, -1)
    last = order.new_full((number, height * width), -1).scatter_reduce(1, targets.flatten(1), order, "amax")
    covered = (last >= 0)[:, None]
    pasted = filling.gather(2, last.clamp(min=0)[:, None].expand(-1, 3, -1))
    shown = torch.where(covered, pasted, images.flatten(2)).view(images.shape)
    return Simulated(shown, covered.view(number, 1, height, width).to(images.dtype))


def _pixels(corners: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Indices (N, patches, side^2) of a patch's pixels in an image, from (N, 2, patches) numbers in [0, 1)."""
    height, width = size
    top, left = whole(corners[:, 0], height - side + 1), whole(corners[:, 1], width - side + 1)
    steps = torch.arange(side, device=corners.device)
    inside = steps[:, None] * width + steps
    return (top * width + left)[..., None] + inside.flatten()


def _filling(pixels: Tensor, sources: Tensor, seeds: Tensor, pasting: Pasting) -> Tensor:
    """What patches hold, (N, 3, patches x side^2); `pixels` are the images, (N, 3, H x W)."""
    number, patches, area = sources.shape
    if pasting.fill == "black":
        return pixels.new_zeros(number, 3, patches * area)
    if pasting.fill in ("color", "confetti"):
        colours = uniform(seeds, COLOURS, 3 * patches).view(number, 3, patches)
        colours = colours[:, :, :1].expand_as(colours) if pasting.fill == "color" else colours
        return colours.repeat_interleave(area, dim=2).to(pixels.dtype)
    copied = pixels.gather(2, sources.view(number, 1, -1).expand(-1, 3, -1)).view(number, 3, patches, area)
    if pasting.jitter:
        copied = _jittered(copied, uniform(seeds, COLOURS, 4 * patches).view(number, 4, patches), pasting.jitter)
    return copied.flatten(2)


def _jittered(patches: Tensor, drawn: Tensor, strength: float) -> Tensor:
    """Patches (N, 3, patches, pixels) with other brightness, contrast, saturation and hue, within [0, 1].

    `drawn` are (N, 4, patches) numbers in [0, 1). Hue is turned about the grey axis (YIQ).
    """
    drawn = between(drawn, -strength, strength)
    brightness, contrast, saturation = (1 + drawn[:, :3]).unbind(1)  # (N, patches)
    shades = torch.einsum("c,ncpa->npa", patches.new_tensor(GREY), patches)
    mean = (brightness * shades.mean(2))[:, None, :, None]
    lit = (patches * brightness[:, None, :, None] - mean) * contrast[:, None, :, None] + mean
    return torch.einsum("npij,njpa->nipa", _recolouring(saturation, drawn[:, 3]), lit).clamp_(0, 1)


def _recolouring(saturation: Tensor, turn: Tensor) -> Tensor:
    """Colour matrices (N, patches, 3, 3) that scale the saturation and turn the hue by a share of the circle."""
    to_yiq = torch.tensor(TO_YIQ, device=turn.device)
    angle = 2 * math.pi * turn
    cosine, sine, zero = saturation * angle.cos(), saturation * angle.sin(), torch.zeros_like(turn)
    rows = (torch.ones_like(turn), zero, zero), (zero, cosine, -sine), (zero, sine, cosine)
    turned = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    matrices: Tensor = torch.linalg.inv(to_yiq) @ turned @ to_yiq
    return matrices

"""What simulated defects are filled with: textures, the image itself, or another good image."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from adtool.layers.draws import between, uniform, whole
from adtool.layers.patterns import draw_textures
from adtool.layers.photometry import augment, jitter
from adtool.layers.rotation import direction, rotate
from adtool.layers.simulation import Simulation

CHANGES, TEXTURES, TILES = 1, 2, 4
"""Streams of random numbers; TEXTURES takes two."""
DARKER, LIGHTER = (0.6, 0.9), (1.1, 1.5)
"""Factors of a shade's brightness, each range as likely."""
ORDERS = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""Of the channels of what is recoloured: all but their own."""
BENDS = (4.0, 25.0)
"""Degrees, either way, by which a part of an image is turned in its place."""


class Kinds(NamedTuple):
    """Of which kind a defect is, (N,) bool each; one of neither is a texture or the image in pieces."""

    logical: Tensor
    shaded: Tensor


def filling(
    images: Tensor,
    others: Tensor,
    masks: Tensor,
    seeds: Tensor,
    drawn: Tensor,
    kinds: Kinds,
    simulation: Simulation,
    textures: Tensor | None,
) -> Tensor:
    """What the defects of `kinds` are filled with, I_N (N, 3, H, W) in [0, 1]; `drawn` are numbers of each sample."""
    share = {"mixed": 0.5, "texture": 1.0, "self": 0.0}[simulation.source]
    logical = kinds.logical
    textured = ~logical & (drawn[:, 3] < share)
    found = torch.empty_like(images)
    if len(at := logical.nonzero().flatten()):
        found[at] = _placed(images[at], others[at], masks[at], drawn[at], simulation)
    if len(at := textured.nonzero().flatten()):
        found[at] = _textures(seeds[at], drawn[at, 5], images, simulation, textures)
    if len(at := (~logical & ~textured).nonzero().flatten()):
        found[at] = _shuffled(augment(images[at], seeds[at], CHANGES), seeds[at], simulation.tiles)
    if simulation.jitter > 0:
        strength = torch.where(logical, simulation.logical_jitter, 1.0) * simulation.jitter
        found = jitter(found, *(between(drawn[:, at], 1 - strength, 1 + strength) for at in (6, 7)))
    if len(at := kinds.shaded.nonzero().flatten()):
        found[at] = _shaded(images[at], drawn[at, 15])
    return found


def _placed(images: Tensor, others: Tensor, masks: Tensor, drawn: Tensor, simulation: Simulation) -> Tensor:
    """Other images, turned freely, moved, or as they lie; or the images, turned, moved, bent or recoloured."""
    kind, own, change = drawn[:, 8], drawn[:, 11] < simulation.own, drawn[:, 16]
    turned = kind < simulation.turned
    bent = ~turned & own & (change < simulation.bent)
    recoloured = ~turned & own & ~bent & (change < simulation.bent + simulation.recoloured)
    moved = ~turned & ~bent & ~recoloured & (own | (kind >= (1 + simulation.turned) / 2))
    angle = 2 * drawn[:, 4] - 1
    bend = (angle.sign() * between(angle.abs(), *BENDS)) / 360
    turns = torch.where(turned, angle / 2, torch.where(bent, bend, 0.0))
    shift = (2 * drawn[:, 9:11] - 1) * simulation.moved * moved[:, None]
    if simulation.bent > 0:
        shift = torch.where(bent[:, None], _pivot(masks, turns), shift)
    found = rotate(torch.where(own[:, None, None, None], images, others), turns, "border", shift)
    if simulation.recoloured > 0:
        order = torch.tensor(ORDERS, device=images.device)[whole(drawn[:, 9], len(ORDERS))]
        other_colours = found.gather(1, order[:, :, None, None].expand_as(found))
        found = torch.where(recoloured[:, None, None, None], other_colours, found)
    return found


def _pivot(masks: Tensor, turns: Tensor) -> Tensor:
    """The shift (N, 2) with which a turn leaves the middle of its mask where it is."""
    height, width = masks.shape[2:]
    across, along = masks.sum(2).flatten(1).float(), masks.sum(3).flatten(1).float()
    x, y = (_middle(sums, side) for sums, side in ((across, width), (along, height)))
    cos, sin = direction(turns)
    return torch.stack(((x - (cos * x - sin * y)) / width, (y - (sin * x + cos * y)) / height), dim=1)


def _middle(sums: Tensor, side: int) -> Tensor:
    """Where the middle of (N, side) is, in pixels from the centre."""
    places = torch.arange(side, device=sums.device) + (0.5 - side / 2)
    return (sums * places).sum(1) / sums.sum(1).clamp(min=1)


def _textures(
    seeds: Tensor, numbers: Tensor, images: Tensor, simulation: Simulation, textures: Tensor | None
) -> Tensor:
    """One texture for each seed, at the images' size: one of those given, or drawn."""
    size = (images.shape[2], images.shape[3])
    if textures is None:
        found = draw_textures(seeds, TEXTURES, size)
    else:
        at = whole(numbers, len(textures)).to(textures.device)
        found = textures[at].to(images.device, images.dtype) / 255
        if found.shape[2:] != size:
            found = F.interpolate(found, size, mode="bilinear", align_corners=False)
    return augment(found, seeds, CHANGES) if simulation.augmented else found


def _shuffled(images: Tensor, seeds: Tensor, tiles: int) -> Tensor:
    """The images' tiles, so many each way, in random places; pixels beyond the last whole tile stay."""
    number, channels = images.shape[:2]
    height, width = images.shape[2] // tiles, images.shape[3] // tiles
    places = uniform(seeds, TILES, tiles * tiles).argsort(dim=1, stable=True)
    part = images[..., : tiles * height, : tiles * width].reshape(number, channels, tiles, height, tiles, width)
    each = part.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (N, tiles^2, C, height, width)
    moved = each[torch.arange(number, device=images.device)[:, None], places]
    back = moved.view(number, tiles, tiles, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    result = images.clone()
    result[..., : tiles * height, : tiles * width] = back.reshape(part.shape).flatten(4, 5).flatten(2, 3)
    return result


def _shaded(images: Tensor, numbers: Tensor) -> Tensor:
    """The images, darker or lighter."""
    place = 2 * numbers % 1
    factors = torch.where(numbers < 0.5, between(place, *DARKER), between(place, *LIGHTER))
    return (images * factors[:, None, None, None]).clamp(0, 1)

"""Simulated defects for training on good images alone: a random mask, filled from textures, the image or another image.

    I_A = (1 - M) I + M (delta I_N + (1 - delta) I)

M is a random shape on the object. Structural defects fill it with a texture or with the image itself, changed and
shuffled; logical ones with another good image, turned. The scheme is that of SLSG (Yang et al. 2023, eq. 1,
https://arxiv.org/abs/2305.00398), after MemSeg and DRAEM, whose own choices are switches here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from adtool.errors import AdtoolError
from adtool.layers import foreground as objects
from adtool.layers.draws import between, uniform, whole
from adtool.layers.patterns import draw_textures
from adtool.layers.perlin import perlin_masks
from adtool.layers.photometry import augment, jitter
from adtool.layers.rotation import rotate

CHOICES, CHANGES, TEXTURES, TILES, SHAPES = 0, 1, 2, 4, 16
"""Streams of random numbers; TEXTURES takes two, and SHAPES one for every attempt."""
RECTANGLES, SIDES = 3, (20, 100)
"""At most so many, with sides of so many pixels at 256 px."""


class Simulated(NamedTuple):
    """Images as a model is shown them, and where they are defective."""

    images: Tensor
    """(N, 3, H, W) in [0, 1]."""
    masks: Tensor
    """(N, 1, H, W), 0 or 1; empty for an image that was left as it is."""


@dataclass(frozen=True)
class Simulation:
    """Every switch of the simulation; AdtoolError for one that means nothing."""

    structural: bool = True
    logical: bool = True
    """With both, each is as likely."""
    shape: str = "perlin"
    """"perlin" or "rectangles"."""
    structural_exponents: tuple[int, int] = (0, 5)
    """Perlin noise has 2^e cells along each axis, e drawn from these and what is between them."""
    structural_threshold: float = 0.5
    logical_exponents: tuple[int, int] = (1, 2)
    logical_threshold: float = 0.3
    foreground: str = "auto"
    """Where defects may be: see `adtool.layers.foreground`."""
    category: str = ""
    """What the object is, for the foreground's known thresholds."""
    least_area: int = 16
    """A mask of fewer pixels is drawn again, `redraws` times, and then not confined to the foreground."""
    redraws: int = 10
    turned: float = 1.0
    """Share of logical fillings that are turned freely; of the others half are moved, and half lie as they are."""
    moved: float = 0.3
    """By how much of the height a moved one is at most, and by half of that share of the width, either way."""
    least_change: float = 0.0
    """A pixel counts as defective if one within 2 pixels, in some channel, changed by more."""
    source: str = "mixed"
    """What structural defects are filled with: "texture", "self" or, each as likely, "mixed"."""
    augmented: bool = False
    """Whether textures are changed at random as the image itself always is."""
    tiles: int = 8
    """The image itself is shuffled in so many tiles each way."""
    jitter: float = 0.2
    """Brightness and contrast of the filling change by factors of up to so much more or less."""
    delta: tuple[float, float] = (0.15, 1.0)
    """Range of the share of the filling in a defect."""
    intact: float = 0.0
    """Share of images that are left as they are."""

    def __post_init__(self) -> None:
        objects.check(self.foreground)
        for name, allowed in (("shape", ("perlin", "rectangles")), ("source", ("mixed", "texture", "self"))):
            if (value := getattr(self, name)) not in allowed:
                raise AdtoolError(f"{name} {value!r} of simulated defects: expected one of {', '.join(allowed)}")
        if not self.structural and not self.logical:
            raise AdtoolError("simulated defects: neither structural nor logical ones are asked for; allow one kind")


SLSG = Simulation()
"""slsg: structural and logical defects on the object, in every image."""
WADS = Simulation(
    logical=False,
    foreground="none",
    redraws=0,
    source="texture",
    augmented=True,
    jitter=0.0,
    delta=(0.2, 1.0),
    intact=0.5,
)
"""wads: textures anywhere, in every second image, as DRAEM has it."""


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
    drawn = uniform(seeds, CHOICES, 12)
    painted, masks = images.clone(), torch.zeros_like(images[:, :1])
    at = (drawn[:, 0] >= simulation.intact).nonzero().flatten()
    if len(at):
        own, drawn = images[at], drawn[at]
        logical = _logical(drawn[:, 1], simulation)
        found = _masks(own, seeds[at], logical, simulation)
        filling = _filling(own, others[at], seeds[at], drawn, logical, simulation, textures)
        delta = between(drawn[:, 2, None, None, None], *simulation.delta)
        painted[at] = torch.where(found, filling * delta + own * (1 - delta), own)
        if simulation.least_change > 0:
            found &= _changed(own, painted[at], simulation.least_change)
            painted[at] = torch.where(found, painted[at], own)
        masks[at] = found.to(masks.dtype)
    return Simulated(painted, masks)


def _logical(numbers: Tensor, simulation: Simulation) -> Tensor:
    """Which samples (N,) get a logical defect."""
    if simulation.structural and simulation.logical:
        return numbers < 0.5
    return torch.full_like(numbers, simulation.logical, dtype=torch.bool)


def _masks(images: Tensor, seeds: Tensor, logical: Tensor, simulation: Simulation) -> Tensor:
    """Where the defects are, (N, 1, H, W): drawn again where too little of a shape is on the object."""
    allowed = objects.foreground(images, simulation.foreground, simulation.category)
    masks = torch.zeros_like(allowed)
    left = torch.arange(len(images), device=images.device)
    for attempt in range(simulation.redraws + 1):
        shapes = _shapes(seeds[left], SHAPES + attempt, logical[left], images.shape[2:], simulation)
        masks[left] = shapes & allowed[left]
        small = masks[left].sum((1, 2, 3)) < simulation.least_area
        if attempt == simulation.redraws:
            masks[left[small]] = shapes[small]
        left = left[small]
        if not len(left):
            break
    return masks


def _shapes(seeds: Tensor, stream: int, logical: Tensor, size: torch.Size, simulation: Simulation) -> Tensor:
    """Random shapes (N, 1, H, W)."""
    height, width = size
    if simulation.shape == "rectangles":
        return _rectangles(seeds, stream, (height, width))
    structural, concentrated = simulation.structural_exponents, simulation.logical_exponents
    lowest = torch.where(logical, concentrated[0], structural[0])
    highest = torch.where(logical, concentrated[1], structural[1])
    thresholds = torch.where(logical, simulation.logical_threshold, simulation.structural_threshold)
    most = max(structural[1], concentrated[1])
    return perlin_masks(seeds, stream, lowest, highest, thresholds, (height, width), most)


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


def _filling(
    images: Tensor,
    others: Tensor,
    seeds: Tensor,
    drawn: Tensor,
    logical: Tensor,
    simulation: Simulation,
    textures: Tensor | None,
) -> Tensor:
    """What the defects are filled with, I_N (N, 3, H, W) in [0, 1]."""
    share = {"mixed": 0.5, "texture": 1.0, "self": 0.0}[simulation.source]
    textured = ~logical & (drawn[:, 3] < share)
    filling = torch.empty_like(images)
    if len(at := logical.nonzero().flatten()):
        filling[at] = _placed(others[at], drawn[at], simulation)
    if len(at := textured.nonzero().flatten()):
        filling[at] = _textures(seeds[at], drawn[at, 5], images, simulation, textures)
    if len(at := (~logical & ~textured).nonzero().flatten()):
        filling[at] = _shuffled(augment(images[at], seeds[at], CHANGES), seeds[at], simulation.tiles)
    if simulation.jitter == 0:
        return filling
    low, high = 1 - simulation.jitter, 1 + simulation.jitter
    return jitter(filling, between(drawn[:, 6], low, high), between(drawn[:, 7], low, high))


def _placed(others: Tensor, drawn: Tensor, simulation: Simulation) -> Tensor:
    """Other images, turned freely, moved, or as they lie."""
    kind = drawn[:, 8]
    turned, moved = kind < simulation.turned, kind >= (1 + simulation.turned) / 2
    reach = simulation.moved * torch.tensor([0.5, 1.0], device=others.device)
    shift = (2 * drawn[:, 9:11] - 1) * reach * moved[:, None]
    return rotate(others, torch.where(turned, drawn[:, 4] - 0.5, 0.0), "border", shift)


def _changed(images: Tensor, painted: Tensor, least: float) -> Tensor:
    """Where a pixel nearby changed by more than `least`, (N, 1, H, W)."""
    return F.max_pool2d((painted - images).abs().amax(1, keepdim=True), 5, 1, 2) > least


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

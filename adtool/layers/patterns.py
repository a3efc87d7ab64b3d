"""Textures out of nothing, for defects where no pictures of textures are given: patterns in two random colours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adtool.layers.draws import between, uniform, whole
from adtool.layers.perlin import perlin_noise
from adtool.layers.rotation import turned_grid

Size = tuple[int, int]
Pattern = Callable[[Tensor, Tensor, int, Size], Tensor]
"""(numbers (N, NUMBERS), seeds, a stream to draw more from, size) -> shares of the second colour (N, H, W)."""
NUMBERS = 6
"""Random numbers of a pattern, beside its kind and colours."""
OCTAVES = (2, 3, 4, 5)


def draw_textures(seeds: Tensor, stream: int, size: Size) -> Tensor:
    """One texture (N, 3, H, W) in [0, 1] for each of (N,) seeds; draws from `stream` and the one after it.

    Lengths are those of 256 px and scale with the height.
    """
    drawn = uniform(seeds, stream, 7 + NUMBERS)
    kinds, colours, numbers = whole(drawn[:, 0], len(PATTERNS)), drawn[:, 1:7, None, None], drawn[:, 7:]
    shares = drawn.new_empty((len(seeds), *size))
    for kind, pattern in enumerate(PATTERNS):
        chosen = (kinds == kind).nonzero().flatten()
        if len(chosen):
            shares[chosen] = pattern(numbers[chosen], seeds[chosen], stream + 1, size)
    return (colours[:, 3:] - colours[:, :3]) * shares[:, None] + colours[:, :3]


def _octaves(numbers: Tensor, seeds: Tensor, stream: int, size: Size) -> Tensor:
    """Perlin noise of several frequencies, each of half the strength of the one before."""
    side = (1 << OCTAVES[-1]) + 1
    lattice = uniform(seeds, stream, side * side).view(-1, side, side)
    total = lattice.new_full((len(seeds), *size), 0.5)
    for number, octave in enumerate(OCTAVES):
        frequencies = torch.full((len(seeds), 2), 1 << octave, device=seeds.device)
        total += perlin_noise(lattice.flip(1) if number % 2 else lattice, frequencies, size) * 0.5 ** (number + 1)
    return total.clamp_(0, 1)


def _checker(numbers: Tensor, seeds: Tensor, stream: int, size: Size) -> Tensor:
    """Squares of 4 to 32 px."""
    x, y = _waves(numbers, size, 4, 32)
    return ((x.floor() + y.floor()) % 2 == 1).float()


def _stripes(numbers: Tensor, seeds: Tensor, stream: int, size: Size) -> Tensor:
    """Stripes every 4 to 32 px, sharp or soft."""
    x, _ = _waves(numbers, size, 4, 32)
    slope = between(numbers[:, 4], 1, 16)[:, None, None]
    return (((x - x.floor() - 0.5).abs() - 0.25) * slope + 0.5).clamp_(0, 1)


def _speckle(numbers: Tensor, seeds: Tensor, stream: int, size: Size) -> Tensor:
    """A number of its own for every pixel."""
    return uniform(seeds, stream, size[0] * size[1]).view(-1, *size)


def _dots(numbers: Tensor, seeds: Tensor, stream: int, size: Size) -> Tensor:
    """Discs every 6 to 32 px."""
    x, y = (wave - wave.floor() - 0.5 for wave in _waves(numbers, size, 6, 32))
    radius = between(numbers[:, 4], 0.15, 0.45)[:, None, None]
    return (x * x + y * y < radius * radius).float()


def _gradient(numbers: Tensor, seeds: Tensor, stream: int, size: Size) -> Tensor:
    """From one colour to the other along a line."""
    x, _ = turned_grid(numbers[:, 0], size)
    return (x / max(size) + 0.5).clamp_(0, 1)


def _waves(numbers: Tensor, size: Size, shortest: float, longest: float) -> tuple[Tensor, Tensor]:
    """Turned coordinates (N, H, W) in periods of `shortest` to `longest` px, at a random phase."""
    frequency = (256 / (between(numbers[:, 1], shortest, longest) * size[0]))[:, None, None]
    x, y = turned_grid(numbers[:, 0], size)
    return x * frequency + numbers[:, 2, None, None], y * frequency + numbers[:, 3, None, None]


PATTERNS: tuple[Pattern, ...] = (
    _octaves,
    _checker,
    _stripes,
    _speckle,
    _dots,
    _gradient,
)

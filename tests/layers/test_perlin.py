"""Perlin noise by hand and by a slow definition, and the masks' size against what the papers' simulators give."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from adtool.layers.perlin import perlin_masks, perlin_noise


def slow_noise(lattice: Tensor, frequencies: list[int], size: tuple[int, int]) -> Tensor:
    """The definition, pixel by pixel: gradients times offsets, blended between the four corners."""

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    noise = torch.zeros(size, dtype=torch.float64)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row * frequencies[0] / size[0], column * frequencies[1] / size[1]
            for i in (math.floor(y), math.floor(y) + 1):
                for j in (math.floor(x), math.floor(x) + 1):
                    angle = math.tau * round(float(lattice[i, j]) * 4096) / 4096
                    dot = math.sin(angle) * (y - i) + math.cos(angle) * (x - j)
                    noise[row, column] += fade(1 - abs(y - i)) * fade(1 - abs(x - j)) * dot
    return noise * math.sqrt(2)


def lattices(number: int, side: int) -> Tensor:
    return torch.rand(number, side, side, generator=torch.Generator().manual_seed(1))


def test_one_cell_of_gradients_along_x_by_hand() -> None:
    # every corner's dot product is dx or dx - 1, so the noise is dx - fade(dx): at 1/4, 0.25 - 0.103515625
    noise = perlin_noise(torch.zeros(1, 2, 2), torch.tensor([[1, 1]]), (8, 8))
    expected = math.sqrt(2) * 0.146484375
    assert noise[0, :, 2].tolist() == pytest.approx([expected] * 8, abs=1e-6)
    assert noise[0, :, 6].tolist() == pytest.approx([-expected] * 8, abs=1e-6)
    assert noise[0, :, 4].tolist() == pytest.approx([0] * 8, abs=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (15, 9)])
def test_noise_is_that_of_the_definition(size: tuple[int, int]) -> None:
    lattice, frequencies = lattices(3, 9), torch.tensor([[8, 2], [1, 4], [4, 4]])
    noise = perlin_noise(lattice, frequencies, size)
    for number in range(3):
        expected = slow_noise(lattice[number], frequencies[number].tolist(), size)
        torch.testing.assert_close(noise[number].double(), expected, rtol=0, atol=2e-6)


def test_noise_is_zero_at_lattice_points_and_fills_the_range() -> None:
    noise = perlin_noise(lattices(200, 9), torch.tensor([[4, 8]]).expand(200, -1), (64, 64))
    assert (noise[:, ::16, ::8] == 0).all()
    assert noise.abs().max() <= 1 and noise.max() > 0.8 and noise.min() < -0.8


def masks(seeds: Tensor, low: int, high: int, threshold: float, size: tuple[int, int] = (256, 256)) -> Tensor:
    each = torch.ones(len(seeds), dtype=torch.int64)
    return perlin_masks(seeds, 16, low * each, high * each, threshold * each.float(), size, 5)


@pytest.mark.parametrize(
    ("low", "high", "threshold", "area", "spread"),
    [(0, 5, 0.5, 0.049, 0.006), (1, 2, 0.3, 0.15, 0.012)],  # four times the spread of the mean of 300
)
def test_mean_area_is_that_of_the_papers_masks(
    low: int, high: int, threshold: float, area: float, spread: float
) -> None:
    drawn = [masks(seeds, low, high, threshold, (128, 128)) for seeds in torch.arange(300).split(50)]
    assert torch.cat(drawn).float().mean().item() == pytest.approx(area, abs=spread)


def test_frequencies_are_drawn_along_each_axis_from_all_that_are_allowed() -> None:
    # turned noise cannot be told apart, so the number of separate areas in rows stands for the frequency
    changes = (masks(torch.arange(64), 0, 5, 0.2).int().diff(dim=2) != 0).sum((1, 2, 3))
    few = (masks(torch.arange(64), 0, 1, 0.2).int().diff(dim=2) != 0).sum((1, 2, 3))
    many = (masks(torch.arange(64), 5, 5, 0.2).int().diff(dim=2) != 0).sum((1, 2, 3))
    assert many.min() > few.max()
    assert changes.min() < few.max() and changes.max() > many.min()


def test_a_mask_depends_on_its_seed_alone() -> None:
    seeds = torch.tensor([5, 9, 2**50, 7, 1])
    together = masks(seeds, 0, 5, 0.5, (50, 70))
    assert together.shape == (5, 1, 50, 70) and together.dtype == torch.bool
    assert torch.equal(masks(seeds[[3, 0]], 0, 5, 0.5, (50, 70)), together[[3, 0]])
    assert not torch.equal(together[0], together[1])

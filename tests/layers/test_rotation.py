"""Turns: right angles exactly, others by hand, and what lies beyond the picture."""

from __future__ import annotations

import math

import pytest
import torch

from adtool.layers.rotation import direction, rotate, turned_grid


def test_directions_are_on_the_circle() -> None:
    cos, sin = direction(torch.tensor([0.0, 0.25, -0.25, 0.125, 1.5]))
    assert cos.tolist() == pytest.approx([1, 0, 0, math.sqrt(0.5), -1], abs=1e-7)
    assert sin.tolist() == pytest.approx([0, 1, -1, math.sqrt(0.5), 0], abs=1e-7)


def test_the_grid_is_centred_and_keeps_distances() -> None:
    x, y = turned_grid(torch.tensor([0.0, 0.3]), (3, 4))
    assert x[0, 0].tolist() == [-1.5, -0.5, 0.5, 1.5] and y[0, :, 0].tolist() == [-1, 0, 1]
    torch.testing.assert_close(x[1] ** 2 + y[1] ** 2, x[0] ** 2 + y[0] ** 2)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_quarter_turns_move_pixels(quarters: int) -> None:
    images = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    turned = rotate(images, torch.tensor([quarters / 4]), "border")
    torch.testing.assert_close(turned, torch.rot90(images, quarters, (2, 3)), rtol=0, atol=1e-5)


def test_beyond_the_picture_is_zero_or_its_border() -> None:
    images = torch.ones(1, 1, 8, 16)
    assert rotate(images, torch.tensor([0.25]), "zeros")[0, 0, :, 0].tolist() == [0] * 8
    assert rotate(images, torch.tensor([0.25]), "border").min() > 0.999


def test_each_picture_turns_by_its_own_angle_whatever_its_batch() -> None:
    images = torch.rand(5, 3, 19, 23, generator=torch.Generator().manual_seed(0))
    turns = torch.tensor([0.0, 0.1, -0.2, 0.45, 0.7])
    together = rotate(images, turns, "border")
    alone = torch.cat([rotate(images[i : i + 1], turns[i : i + 1], "border") for i in range(5)])
    assert torch.equal(together, alone)
    assert len({tuple(image.flatten().tolist()) for image in together}) == 5

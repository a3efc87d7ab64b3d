"""What defects are filled with: pieces of an image, the image moved, and its shades."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from adtool.layers import fillings
from adtool.layers.defects import simulate
from adtool.layers.simulation import Simulation


def kinds(number: int, *, logical: bool = False, shaded: bool = False) -> fillings.Kinds:
    return fillings.Kinds(*(torch.full((number,), each) for each in (logical, shaded)))


def test_pixels_beyond_the_last_tile_stay() -> None:
    images = torch.rand(1, 3, 19, 25)
    shuffled = fillings._shuffled(images, torch.tensor([1]), 8)
    assert torch.equal(shuffled[..., 16:, :], images[..., 16:, :])
    assert torch.equal(shuffled[..., 24:], images[..., 24:])
    assert torch.equal(shuffled.flatten().sort().values, images.flatten().sort().values)


def logical_fillings(simulation: Simulation) -> tuple[Tensor, Tensor]:
    """Of images that are a ramp across from 0 to 1/2 and others that are one from 1/2 to 1; and the ramps."""
    ramp = (torch.arange(80) / 160).expand(400, 3, 8, 80)
    numbers = torch.rand(400, 17, generator=torch.Generator().manual_seed(0))
    masks, seeds = torch.ones(400, 1, 8, 80, dtype=torch.bool), torch.arange(400)
    return fillings.filling(ramp, ramp + 0.5, masks, seeds, numbers, kinds(400, logical=True), simulation, None), ramp


def test_another_image_is_neither_bent_nor_recoloured() -> None:
    found, ramp = logical_fillings(Simulation(structural=False, jitter=0.0, turned=0.0, bent=0.5, recoloured=0.5))
    as_it_is = torch.isclose(found, ramp + 0.5).flatten(1).all(1)
    assert 0.4 < as_it_is.float().mean() < 0.6


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_logical_fillings_are_the_image_itself_at_another_place(share: float) -> None:
    found, ramp = logical_fillings(Simulation(structural=False, jitter=0.0, turned=0.0, own=share))
    mine = found.amax((1, 2, 3)) < 0.5
    assert mine.float().mean().item() == pytest.approx(share, abs=0.08)
    assert (found[mine] != ramp[mine]).flatten(1).any(1).all()  # none lies as it is
    if share < 1:
        as_it_is = torch.isclose(found[~mine], ramp[~mine] + 0.5).flatten(1).all(1)
        assert 0.4 < as_it_is.float().mean() < 0.6


def test_a_bent_part_is_turned_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """By 4 to 25 degrees, either way, about the middle of its mask: what is there stays there."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    places = torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    middle = (torch.tensor([20, 20]) + places * torch.tensor([8, 24])).round()[:, :, None, None]
    far = (y - middle[:, 0]) ** 2 + (x - middle[:, 1]) ** 2  # (N, H, W)
    cone = (-far / 30).exp()[:, None].expand(-1, 3, -1, -1)
    drawn: list[Tensor] = []
    rotate = fillings.rotate
    monkeypatch.setattr(fillings, "rotate", lambda *given: drawn.append(given[1]) or rotate(*given))
    simulation = Simulation(structural=False, turned=0.3, own=1.0, bent=1.0, jitter=0.0)
    numbers = torch.rand(200, 17, generator=torch.Generator().manual_seed(0))
    rest = (far <= 36)[:, None], torch.arange(200), numbers, kinds(200, logical=True), simulation
    found = fillings.filling(cone, torch.ones_like(cone), *rest, None)
    turned = numbers[:, 8] < 0.3
    degrees = drawn[0][~turned] * 360
    assert 4 - 0.1 < degrees.abs().min() < 5 and 24 < degrees.abs().max() < 25 + 0.1
    assert 0.4 < (degrees > 0).float().mean() < 0.6
    torch.testing.assert_close(found[~turned], cone[~turned], rtol=0, atol=0.02)  # as a bilinear resampling allows


def test_a_bent_part_is_the_image_itself_and_not_moved() -> None:
    found, ramp = logical_fillings(Simulation(structural=False, jitter=0.0, turned=0.0, own=0.6, bent=0.5))
    mine = found.amax((1, 2, 3)) < 0.5
    centre = (found - ramp)[:, 0, 3:5, 39:41].mean((1, 2)).abs()
    in_place = mine & (centre < 1e-3)
    assert 0.2 < in_place.float().mean() < 0.4
    assert (found[in_place] != ramp[in_place]).flatten(1).any(1).all()


def test_a_recoloured_part_has_its_channels_in_another_order() -> None:
    """Where it is; grey stays grey, and every other order is as frequent."""
    images = torch.tensor([0.2, 0.5, 0.9])[None, :, None, None].expand(600, 3, 8, 8).clone()
    images[..., 0, 0] = 0.4
    numbers = torch.rand(600, 17, generator=torch.Generator().manual_seed(0))
    simulation = Simulation(structural=False, turned=0.0, own=1.0, bent=0.2, recoloured=0.5, jitter=0.0)
    rest = torch.ones(600, 1, 8, 8, dtype=torch.bool), torch.arange(600), numbers, kinds(600, logical=True), simulation
    found = fillings.filling(images, torch.zeros_like(images), *rest, None)[:, :, 4, 4]
    changed = (found - images[:, :, 4, 4]).abs().amax(1) > 0.1
    assert changed.float().mean().item() == pytest.approx(0.5, abs=0.06)
    orders, counts = found[changed].round(decimals=2).unique(dim=0, return_counts=True)
    assert len(orders) == 5 and counts.min() > 40
    torch.testing.assert_close(orders.sort(1).values, torch.tensor([[0.2, 0.5, 0.9]]).expand(5, 3))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_light_of_logical_fillings_changes_less(share: float) -> None:
    still = Simulation(structural=False, turned=0.0, moved=0.0)
    found, ramp = logical_fillings(replace(still, jitter=0.4, logical_jitter=share))
    factor = (found - ramp - 0.5).abs().amax((1, 2, 3))
    if share == 0:
        assert factor.max() < 1e-3  # nothing but the levels of an image
    else:
        half, _ = logical_fillings(replace(still, jitter=0.2))
        assert torch.equal(found, half) and factor.max() > 0.1


def test_shades_are_the_image_darker_or_lighter() -> None:
    """By factors of 0.6-0.9 or 1.1-1.5, each range as often; no jitter changes them, and white stays white."""
    images = torch.rand(400, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6
    images[:, :, 0, 0] = 1.0
    numbers = torch.rand(400, 17, generator=torch.Generator().manual_seed(1))
    simulation = Simulation(logical=False, shaded=1.0, source="self", jitter=0.2)
    rest = torch.ones(400, 1, 8, 8, dtype=torch.bool), torch.arange(400), numbers, kinds(400, shaded=True), simulation
    found = fillings.filling(images, images, *rest, None)
    factors = found[:, 0, 1, 1] / images[:, 0, 1, 1]
    torch.testing.assert_close(found, (images * factors[:, None, None, None]).clamp(0, 1))
    darker, lighter = factors[factors < 1], factors[factors > 1]
    assert 0.6 <= darker.min() < 0.63 and 0.87 < darker.max() <= 0.9 + 1e-6
    assert 1.1 - 1e-6 <= lighter.min() < 1.14 and 1.46 < lighter.max() <= 1.5
    assert 0.4 < len(darker) / 400 < 0.6


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_structural_defects_are_shades(share: float) -> None:
    grey = torch.full((300, 3, 16, 16), 0.5)
    white = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    simulation = Simulation(
        logical=False, foreground="none", source="texture", jitter=0.0, delta=(1.0, 1.0), shaded=share
    )
    painted, masks = simulate(grey, grey, torch.arange(300), simulation, white)
    inside = torch.where(masks == 1, painted, 0).amax((1, 2, 3))
    textured = inside[inside > 0] == 1
    assert textured.float().mean().item() == pytest.approx(1 - share, abs=0.08)


def test_logical_defects_are_no_shades() -> None:
    grey = torch.full((300, 3, 16, 16), 0.5)
    simulation = Simulation(foreground="none", jitter=0.0, delta=(1.0, 1.0), shaded=1.0)
    painted, masks = simulate(grey, torch.ones_like(grey), torch.arange(300), simulation)
    inside = torch.where(masks == 1, painted, 0).amax((1, 2, 3))
    assert 0.4 < (inside[inside > 0] > 0.99).float().mean() < 0.6

"""Simulated defects: nothing changes outside the mask, what is inside has its formula, and a seed decides it all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from adtool.errors import AdtoolError
from adtool.layers import defects, fillings
from adtool.layers.defects import simulate
from adtool.layers.simulation import SLSG, WADS, Simulation

SIZE = (64, 80)
EVERY = [
    SLSG,
    WADS,
    replace(SLSG, shape="rectangles", logical=False),
    replace(SLSG, structural=False),
    replace(SLSG, source="self", logical=False, foreground="none", intact=0.3),
    replace(WADS, intact=0.0, foreground="otsu", logical=True),
    replace(SLSG, turned=0.3, least_change=0.05),
    replace(SLSG, turned=0.3, own=0.5, feather=24.0, rectangular=0.5, logical_delta=(0.6, 1.0)),
    replace(WADS, intact=0.0, shaded=0.5, feather=24.0, logical=True),
]


def pictures(number: int, start: int = 0) -> Tensor:
    """A bright disc with a hole on a dark ground, each with noise of its own, at 256 levels."""
    generator = torch.Generator().manual_seed(start)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in SIZE), indexing="ij")
    disc = ((x * x + y * y < 0.7) & (x * x + y * y > 0.05)).float() * 0.5 + 0.2
    return ((disc + 0.2 * torch.rand(number, 3, *SIZE, generator=generator)) * 255).round() / 255


def textures(number: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randint(0, 256, (number, 3, *SIZE), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("simulation", EVERY)
@pytest.mark.parametrize("given", [True, False])
def test_outside_the_mask_every_bit_is_the_images(simulation: Simulation, given: bool) -> None:
    images = pictures(12)
    painted, masks = simulate(images, pictures(12, 1), torch.arange(12), simulation, textures() if given else None)
    assert masks.shape == (12, 1, *SIZE) and set(masks.unique().tolist()) == {0, 1}
    assert painted.dtype == masks.dtype == images.dtype
    assert torch.equal(torch.where(masks == 0, painted, images), images)
    assert painted.min() >= 0 and painted.max() <= 1
    changed = (painted != images).any(1, keepdim=True) & (masks == 1)
    assert changed.sum() > 0.9 * masks.sum()  # what a defect is filled with is seldom what was there
    assert torch.equal(images, pictures(12))


@pytest.mark.parametrize("simulation", EVERY)
def test_a_sample_has_the_same_bits_whatever_its_batch(simulation: Simulation) -> None:
    images, others = (part[..., :61, :77].contiguous() for part in (pictures(11), pictures(11, 1)))
    seeds = torch.arange(11) * 2**55 + 3
    together = simulate(images, others, seeds, simulation)
    for order in ([4], [10, 2, 7], list(reversed(range(11)))):
        part = simulate(images[order], others[order], seeds[order], simulation)
        assert torch.equal(part.images, together.images[order]) and torch.equal(part.masks, together.masks[order])
    again = simulate(images, others, seeds + 1, simulation)
    assert not torch.equal(again.images, together.images)


@pytest.mark.parametrize("simulation", EVERY)
def test_the_layout_in_memory_changes_nothing(simulation: Simulation) -> None:
    images, others, seeds = pictures(9), pictures(9, 1), torch.arange(9)
    plain = simulate(images, others, seeds, simulation, textures())
    last = [part.to(memory_format=torch.channels_last) for part in (images, others, textures())]
    other = simulate(last[0], last[1], seeds, simulation, last[2])
    assert torch.equal(plain.images, other.images) and torch.equal(plain.masks, other.masks)


def test_the_number_of_threads_changes_nothing() -> None:
    threads = torch.get_num_threads()
    images, others = (part.repeat(1, 1, 4, 4) for part in (pictures(2), pictures(2, 1)))
    seeds = torch.tensor([1, 2])
    try:
        torch.set_num_threads(1)
        one = simulate(images, others, seeds, SLSG)
        torch.set_num_threads(2)
        two = simulate(images, others, seeds, SLSG)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one.images, two.images) and torch.equal(one.masks, two.masks)


@pytest.mark.parametrize(("low", "high"), [(0.15, 1.0), (0.6, 0.7), (1.0, 1.0)])
def test_delta_is_the_share_of_the_filling(low: float, high: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # white filling in black images: the value inside is delta itself
    monkeypatch.setattr(defects, "filling", lambda images, *rest: torch.ones_like(images))
    black = torch.zeros(200, 3, 16, 16)
    simulation = Simulation(foreground="none", delta=(low, high))
    painted, masks = simulate(black, black, torch.arange(200), simulation)
    delta = [image[mask.expand(3, -1, -1) == 1].unique() for image, mask in zip(painted, masks, strict=True)]
    assert all(len(values) <= 1 for values in delta)
    found = torch.cat(delta)
    assert len(found) > 100 and found.min() >= low - 1e-6 and found.max() <= high + 1e-6
    if high > low:
        assert found.min() < low + 0.1 * (high - low) and found.max() > high - 0.1 * (high - low)
        assert found.mean().item() == pytest.approx((low + high) / 2, abs=0.1 * (high - low))


def test_a_defect_mixes_its_filling_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defects, "filling", lambda images, *rest: torch.full_like(images, 0.2))
    image = torch.full((1, 3, 32, 32), 0.6)
    simulation = Simulation(foreground="none", delta=(0.25, 0.25))
    painted, masks = simulate(image, image, torch.tensor([3]), simulation)
    inside = painted[masks.expand_as(painted) == 1]
    assert len(inside) and inside.tolist() == pytest.approx([0.25 * 0.2 + 0.75 * 0.6] * len(inside))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_images_stays_intact(share: float) -> None:
    images = pictures(1).expand(400, -1, -1, -1)
    simulation = Simulation(logical=False, shape="rectangles", source="texture", intact=share)
    painted, masks = simulate(images, images, torch.arange(400), simulation, textures())
    left = masks.flatten(1).sum(1) == 0
    assert torch.equal(painted[left], images[left])
    assert left.float().mean().item() == pytest.approx(share, abs=0.1)


def test_a_logical_defect_shows_another_image_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(structural=False, foreground="none", jitter=0.0, delta=(1.0, 1.0))
    black, white = torch.zeros(8, 3, *SIZE), torch.ones(8, 3, *SIZE)
    painted, masks = simulate(black, white, torch.arange(8), simulation)
    torch.testing.assert_close(painted, masks.expand_as(painted), rtol=0, atol=1e-5)
    turns: list[Tensor] = []
    monkeypatch.setattr(fillings, "rotate", lambda images, t, padding, shift: turns.append(t) or images)
    simulate(black.repeat(50, 1, 1, 1), white.repeat(50, 1, 1, 1), torch.arange(400), simulation)
    assert -0.5 <= turns[0].min() < -0.45 and 0.45 < turns[0].max() < 0.5


def test_logical_fillings_are_turned_moved_or_lie_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share `turned` is turned and nothing else; of the others half are moved by at most what `moved` says."""
    drawn: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(fillings, "rotate", lambda images, t, padding, shift: drawn.append((t, shift)) or images)
    images = torch.zeros(1, 3, 8, 8).expand(1000, -1, -1, -1)
    simulation = Simulation(structural=False, foreground="none", turned=0.4, moved=0.2)
    simulate(images, images, torch.arange(1000), simulation)
    turned, moved = drawn[0][0] != 0, (drawn[0][1] != 0).any(1)
    assert not (turned & moved).any()
    assert turned.float().mean().item() == pytest.approx(0.4, abs=0.05)
    assert moved.float().mean().item() == pytest.approx(0.3, abs=0.05)
    across, along = drawn[0][1].abs().amax(0).tolist()
    assert 0.19 < across <= 0.2 and 0.19 < along <= 0.2


def test_a_moved_filling_is_the_other_image_at_another_place() -> None:
    simulation = Simulation(structural=False, foreground="none", jitter=0.0, delta=(1.0, 1.0), turned=0.0)
    columns = (torch.arange(80) / 80).expand(40, 3, 64, 80)
    painted, masks = simulate(torch.zeros_like(columns), columns, torch.arange(40), simulation)
    shifts = []
    for image, mask in zip(painted[:, 0], masks[:, 0] == 1, strict=True):
        inner = mask & (image > 0) & (image < 79 / 80)
        offset = (image - columns[0, 0])[inner]
        assert offset.numel() == 0 or offset.max() - offset.min() < 1e-4
        shifts += [offset.mean().item()] if offset.numel() else []
    assert 0.3 < sum(abs(shift) < 1e-6 for shift in shifts) / len(shifts) < 0.7
    assert 0.2 < max(map(abs, shifts)) <= 0.3


def test_what_hardly_changes_is_no_defect() -> None:
    """A filling 0.02 brighter is none where 0.03 is asked for; one 0.2 brighter is, up to 2 pixels beyond its edge."""
    images = torch.full((20, 3, *SIZE), 0.5)
    others = images + 0.02
    others[..., 40:] += 0.18
    simulation = Simulation(structural=False, foreground="none", jitter=0.0, delta=(1.0, 1.0), turned=0.0, moved=0.0)
    every = simulate(images, others, torch.arange(20), simulation)
    painted, masks = simulate(images, others, torch.arange(20), replace(simulation, least_change=0.03))
    assert torch.equal(masks[..., 42:], every.masks[..., 42:]) and masks.any()
    assert not masks[..., :38].any() and every.masks[..., :38].any()
    assert masks[..., 38].any() and masks[..., 39].any()
    assert torch.equal(painted[..., :38], images[..., :38])


def edges(softness: float) -> tuple[Tensor, Tensor]:
    """White defects in black images of 128 pixels, fading in."""
    simulation = Simulation(structural=False, foreground="none", jitter=0.0, delta=(1.0, 1.0), feather=softness)
    black = torch.zeros(30, 3, 128, 128)
    painted, masks = simulate(black, torch.ones_like(black), torch.arange(30), simulation)
    return painted[:, 0], masks[:, 0]


def test_a_defect_fades_in_from_its_edge() -> None:
    """From a tenth at the edge to all of it inside, some less steeply than others; a defect keeps most of its area."""
    sharp, soft = edges(0.0), edges(12.0)
    torch.testing.assert_close(sharp[0], sharp[1])
    assert soft[0][soft[1] == 1].min() >= defects.FAINTEST - 1e-6
    assert ((soft[1] == 1) <= (sharp[1] == 1)).all() and soft[1].sum() > 0.7 * sharp[1].sum()
    partial = ((soft[0] > 0) & (soft[0] < 0.99)).float().sum((1, 2)) / soft[1].sum((1, 2))
    assert partial.min() < 0.15 and partial.max() > 0.4
    assert (soft[0].amax((1, 2)) > 0.99).float().mean() > 0.8
    step = torch.stack([soft[0].diff(dim=1).abs().amax((1, 2)), soft[0].diff(dim=2).abs().amax((1, 2))]).amax(0)
    assert step.min() < 0.35 and step.max() > 0.7


def test_structural_defects_but_shades_do_not_fade_in() -> None:
    images = pictures(20)
    plain = Simulation(logical=False, shaded=0.5, delta=(1.0, 1.0))
    before, after = (simulate(images, images, torch.arange(20), replace(plain, feather=each)) for each in (0.0, 24.0))
    same = (before.images == after.images).flatten(1).all(1)
    assert 5 <= same.sum() <= 15 and torch.equal(before.masks[same], after.masks[same])
    ratio = (before.images / images.clamp(min=0.1))[~same]
    shades = torch.where(before.masks[~same] == 1, ratio, torch.nan)
    assert all(each[~each.isnan()].std() < 0.2 for each in shades)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_the_logical_defects_are_rectangles(share: float) -> None:
    images = torch.zeros(300, 3, 64, 64)
    simulation = Simulation(structural=False, foreground="none", rectangular=share)
    masks = simulate(images, images, torch.arange(300), simulation).masks
    boxes = simulate(images, images, torch.arange(300), replace(simulation, shape="rectangles")).masks
    assert (masks == boxes).all(3).all(2).float().mean().item() == pytest.approx(share, abs=0.08)
    structural = Simulation(logical=False, foreground="none", rectangular=share)
    found = simulate(images, images, torch.arange(300), structural).masks
    assert torch.equal(found, simulate(images, images, torch.arange(300), replace(structural, rectangular=0.0)).masks)


def test_logical_defects_may_have_a_delta_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defects, "filling", lambda images, *rest: torch.ones_like(images))
    black = torch.zeros(300, 3, 16, 16)
    simulation = Simulation(foreground="none", delta=(0.2, 0.4), logical_delta=(0.6, 0.8))
    found = simulate(black, black, torch.arange(300), simulation).images.amax((1, 2, 3))
    found = found[found > 0]
    assert found.min() >= 0.2 and found.max() <= 0.8 and not ((found > 0.4) & (found < 0.6)).any()
    assert 0.4 < (found > 0.5).float().mean() < 0.6


def test_structural_and_logical_defects_are_as_frequent() -> None:
    black, grey = torch.zeros(300, 3, 16, 16), torch.full((300, 3, 16, 16), 0.6)
    simulation = Simulation(shape="rectangles", foreground="none", source="texture", jitter=0.0, delta=(1.0, 1.0))
    white = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    painted, masks = simulate(black, grey, torch.arange(300), simulation, white)
    brightest = painted.amax((1, 2, 3))
    logical = (brightest - 0.6).abs() < 1e-5
    assert torch.equal(logical, brightest < 1)
    assert 0.4 < logical.float().mean() < 0.6


def filled(simulation: Simulation, **changes: object) -> tuple[Tensor, Tensor]:
    """Images whose whole area is a defect of nothing but its filling, and the images themselves."""
    images = pictures(60)
    whole = replace(simulation, jitter=0.0, delta=(1.0, 1.0), intact=0.0, **changes)
    return simulate(images, pictures(60, 1), torch.arange(60), whole, textures()).images, images


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defects, "_masks", lambda images, *rest: torch.ones_like(images[:, :1], dtype=torch.bool))


def test_textures_given_are_used_as_they_are_each_about_as_often(everywhere: None) -> None:
    painted, _ = filled(Simulation(logical=False, source="texture"))
    same = (painted[:, None] == textures()[None] / 255).flatten(2).all(2)
    assert (same.sum(1) == 1).all() and (same.sum(0) >= 4).all()
    changed, _ = filled(Simulation(logical=False, source="texture", augmented=True))
    assert not (changed[:, None] == textures()[None] / 255).flatten(2).all(2).all()


def test_a_mixed_source_is_a_texture_or_the_image(everywhere: None) -> None:
    painted, _ = filled(Simulation(logical=False))
    textured = (painted[:, None] == textures()[None] / 255).flatten(2).all(2).any(1)
    assert 0.3 < textured.float().mean() < 0.7


def test_the_image_itself_comes_in_shuffled_tiles(everywhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fillings, "augment", lambda images, *rest: images)
    painted, images = filled(Simulation(logical=False, source="self"))

    def tiles(image: Tensor) -> list[tuple[float, ...]]:
        cut = image.unfold(1, 8, 8).unfold(2, 10, 10).permute(1, 2, 0, 3, 4).reshape(64, -1)
        return [tuple(tile.tolist()) for tile in cut]

    for one, other in zip(painted[:10], images, strict=False):
        assert sorted(tiles(one)) == sorted(tiles(other))
        assert sum(a == b for a, b in zip(tiles(one), tiles(other), strict=True)) < 10
    assert tiles(painted[0]).index(tiles(images[0])[0]) != tiles(painted[1]).index(tiles(images[1])[0])


@pytest.mark.parametrize("strength", [0.0, 0.2])
def test_the_fillings_brightness_is_jittered(everywhere: None, strength: float) -> None:
    grey = torch.full((1, 3, *SIZE), 51, dtype=torch.uint8)  # contrast changes nothing in an even picture
    simulation = Simulation(logical=False, source="texture", jitter=strength, delta=(1.0, 1.0))
    images = pictures(60)
    painted = simulate(images, images, torch.arange(60), simulation, grey).images
    factors = painted[:, 0, 0, 0] / 0.2
    torch.testing.assert_close(painted, (0.2 * factors)[:, None, None, None].expand_as(painted), rtol=0, atol=2e-3)
    assert factors.min().item() == pytest.approx(1 - strength, abs=0.03)
    assert factors.max().item() == pytest.approx(1 + strength, abs=0.03)


def test_textures_of_another_size_are_resized(everywhere: None) -> None:
    images = pictures(3)
    flat = torch.full((1, 3, 7, 9), 51, dtype=torch.uint8)
    simulation = Simulation(logical=False, source="texture", jitter=0.0, delta=(1.0, 1.0))
    painted = simulate(images, images, torch.arange(3), simulation, flat).images
    torch.testing.assert_close(painted, torch.full_like(images, 0.2))


def test_rectangles_are_one_to_three_of_20_to_100_pixels_at_256() -> None:
    masks = defects._rectangles(torch.arange(500), 7, (256, 256))[:, 0]
    area = masks.sum((1, 2))
    assert area.min() >= 20 * 20 and 90 * 90 < area.max() <= 3 * 100 * 100
    for mask in masks[area <= 100 * 100][:100]:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        if box.all():  # a single one
            assert 20 <= box.shape[0] <= 100 and 20 <= box.shape[1] <= 100
    edges = torch.stack([masks[:, 0].any(1), masks[:, -1].any(1), masks[:, :, 0].any(1), masks[:, :, -1].any(1)])
    assert edges.any(1).all()  # every border is reached
    half = defects._rectangles(torch.arange(500), 7, (128, 256))[:, 0]
    assert half.float().mean().item() == pytest.approx(masks.float().mean().item(), rel=0.03)
    single = [bool(mask.any(1).int().diff().abs().sum() <= 2) for mask in masks]
    assert 1 / 3 < sum(single) / 500 < 0.95


def test_defects_are_on_the_object() -> None:
    images = pictures(40)
    bright = images[:, :1] > 0.45
    masks = simulate(images, images, torch.arange(40), SLSG).masks
    assert (masks.sum((1, 2, 3)) >= SLSG.least_area).all()
    assert (masks * ~bright).sum() < 0.01 * masks.sum()
    everywhere = simulate(images, images, torch.arange(40), replace(SLSG, foreground="none")).masks
    assert (everywhere * ~bright).sum() > 0.3 * everywhere.sum()


def test_a_mask_that_misses_the_object_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.full((3, 3, 32, 32), 0.1)
    images[1:, :, 4:12, 4:12] = 0.9
    attempts: list[list[int]] = []

    def shapes(seeds: Tensor, stream: int, *rest: object) -> Tensor:
        """Left half; from the third attempt the upper half."""
        attempts.append(seeds.tolist())
        drawn = torch.zeros(len(seeds), 1, 32, 32, dtype=torch.bool)
        drawn[..., 16:] = True
        if stream >= defects.SHAPES + 2:
            drawn[..., :16, :16] = True
        return drawn

    monkeypatch.setattr(defects, "_shapes", shapes)
    simulation = Simulation(foreground="128 bright", redraws=3)
    masks = simulate(images, images, torch.tensor([10, 11, 12]), simulation).masks
    assert attempts == [[10, 11, 12], [10, 11, 12], [10, 11, 12], [10]]
    assert torch.equal(masks[1:] == 1, images[1:, :1] > 0.5)  # 64 pixels of the object
    assert masks[0].sum() == 16 * 32 + 16 * 16  # no object at all: the last shape, unconfined


def test_wads_draws_once_and_may_leave_an_empty_mask() -> None:
    assert (WADS.redraws, WADS.foreground) == (0, "none")
    images = pictures(300)
    masks = simulate(images, images, torch.arange(300), WADS).masks
    assert 0.3 < (masks.sum((1, 2, 3)) == 0).float().mean() < 0.7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": "stars"}, "shape 'stars' .*expected one of perlin, rectangles"),
        ({"source": "water"}, "source 'water' .*mixed, texture, self"),
        ({"foreground": "dark"}, "foreground 'dark': expected auto"),
        ({"structural": False, "logical": False}, "neither structural nor logical"),
    ],
)
def test_a_switch_that_means_nothing_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(AdtoolError, match=words):
        Simulation(**changes)  # type: ignore[arg-type]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected images and others \(N, 3, H, W\) and seeds"):
        simulate(pictures(2), pictures(3), torch.arange(2), SLSG)
    with pytest.raises(ValueError, match="seeds"):
        simulate(pictures(2), pictures(2), torch.arange(3), SLSG)


def test_no_images_are_simulated_to_none() -> None:
    painted, masks = simulate(pictures(0), pictures(0), torch.arange(0), SLSG)
    assert painted.shape == (0, 3, *SIZE) and masks.shape == (0, 1, *SIZE)

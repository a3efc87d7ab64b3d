"""Otsu by hand and by brute force; thresholds, sides and what is not believed on images made by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adtool.errors import AdtoolError
from adtool.layers.foreground import KNOWN, foreground, grey_levels, otsu


def grey(level: int, side: int = 20) -> Tensor:
    return torch.full((1, 3, side, side), level / 255)


def with_square(back: int, front: int, side: int = 20, square: int = 10) -> Tensor:
    """A square of one grey in the middle of another."""
    image = grey(back, side)
    start = (side - square) // 2
    image[..., start : start + square, start : start + square] = front / 255
    return image


def inside(side: int = 20, square: int = 10) -> Tensor:
    return with_square(0, 255, side, square)[:, :1] > 0.5


def test_greys_are_integers_by_the_weights_of_luma() -> None:
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [100 / 255, 50 / 255, 200 / 255]])
    # (255 * 19595 + 32768) >> 16 = 76; 150; 29; 255; 29.9 + 29.35 + 22.8 = 82.05
    assert grey_levels(colours.T.view(1, 3, 1, 5)).flatten().tolist() == [76, 150, 29, 255, 82]
    every = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(grey_levels(every / 255)[0, 0], every[0, 0].int())


@pytest.mark.parametrize(
    ("levels", "best"),
    [
        ([10, 10, 10, 200, 200, 200], 10),  # every split from 10 to 199 is the same
        ([0, 0, 1, 1, 5, 5], 1),  # at 0: 2 4 (3 - 0)^2 = 72; at 1: 4 2 (5 - 0.5)^2 = 162
        ([0, 4, 4, 5, 5, 5], 0),  # at 0: 1 5 (4.6)^2 = 105.8; at 4: 3 3 (5 - 8/3)^2 = 49
        ([7, 7, 7, 7, 7, 7], 0),
    ],
)
def test_otsu_by_hand(levels: list[int], best: int) -> None:
    assert otsu(torch.tensor(levels).view(1, 1, 2, 3)).tolist() == [best]


def test_otsu_is_the_best_split_of_each_sample() -> None:
    levels = torch.randint(0, 256, (4, 1, 9, 11), generator=torch.Generator().manual_seed(0)).clamp(20, 180)
    levels[1] //= 16
    for sample, found in zip(levels, otsu(levels), strict=True):
        values = sample.flatten().double()

        def between(level: int, values: Tensor = values) -> float:
            below, above = values[values <= level], values[values > level]
            return (
                0.0
                if not len(above) or not len(below)
                else len(below) * len(above) * float(below.mean() - above.mean()) ** 2
            )

        assert between(int(found)) == pytest.approx(max(map(between, range(256))), rel=1e-12)


@pytest.mark.parametrize(("back", "front"), [(200, 60), (60, 200)])
def test_otsu_takes_the_side_that_is_rarer_on_the_border(back: int, front: int) -> None:
    assert torch.equal(foreground(with_square(back, front)), inside())


def test_each_sample_has_its_own_threshold_and_side() -> None:
    images = torch.cat([with_square(200, 150), with_square(20, 90), grey(100)])
    found = foreground(images, "otsu")
    assert torch.equal(found[:2], inside().expand(2, -1, -1, -1)) and found[2].all()


@pytest.mark.parametrize(
    ("side", "square", "believed"),
    [(20, 4, False), (20, 5, True), (20, 18, True), (100, 97, True), (100, 98, False)],  # 4, 6, 81, 94 and 96 %
)
def test_next_to_nothing_and_nearly_all_are_not_believed(side: int, square: int, believed: bool) -> None:
    found = foreground(with_square(200, 60, side, square), "otsu")
    assert torch.equal(found, inside(side, square)) if believed else found.all()


@pytest.mark.parametrize(("length", "believed"), [(7, True), (8, False)])
def test_what_is_on_the_border_too_is_not_believed(length: int, believed: bool) -> None:
    image = with_square(200, 60)
    image[..., 0, 5 : 5 + length] = 60 / 255  # of 76 pixels
    found = foreground(image, "otsu")
    assert bool(found.all()) is not believed


def test_a_texture_is_object_everywhere() -> None:
    noise = torch.rand(8, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    assert foreground(noise, "otsu").all()


def test_a_grey_and_its_side() -> None:
    image = torch.cat([grey(level, 2) for level in (109, 110, 111)], dim=3)
    assert foreground(image, "110 dark")[0, 0, 0].tolist() == [True, True, True, True, False, False]
    assert foreground(image, "110 bright")[0, 0, 0].tolist() == [False, False, False, False, True, True]
    assert foreground(grey(255), "110 dark").sum() == 0  # what was asked for is believed


def test_known_categories_have_their_threshold_and_unknown_ones_otsus() -> None:
    image = with_square(251, 250)
    assert torch.equal(foreground(image, "auto", "bottle"), inside())
    assert foreground(image, "auto", "carpet").all() and foreground(image, "none", "bottle").all()
    assert torch.equal(foreground(with_square(40, 50), "auto", "bolts"), inside())
    assert not foreground(with_square(40, 50), "auto", "hazelnut").any()
    assert len(KNOWN) == 15


@pytest.mark.parametrize("text", ["", "dark", "110", "110 grey", "dark 110", "-1 dark", "auto "])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(AdtoolError, match="expected auto, otsu, none, or .* such as '110 dark'"):
        foreground(grey(10), text)

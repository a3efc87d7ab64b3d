"""Drawn textures: of two colours, of every kind, and each from its seed alone."""

from __future__ import annotations

import pytest
import torch

from adtool.layers import patterns
from adtool.layers.patterns import PATTERNS, draw_textures


def test_a_texture_depends_on_its_seed_alone() -> None:
    seeds = torch.arange(40)
    together = draw_textures(seeds, 5, (24, 33))
    assert together.shape == (40, 3, 24, 33) and together.dtype == torch.float32
    assert together.min() >= 0 and together.max() <= 1
    for order in ([31, 2, 17], list(reversed(range(40)))):
        assert torch.equal(draw_textures(seeds[order], 5, (24, 33)), together[order])
    assert len({tuple(texture.flatten().tolist()) for texture in together}) == 40
    assert not torch.equal(draw_textures(seeds, 6, (24, 33)), together)


def test_every_kind_is_drawn_about_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {pattern: 0 for pattern in PATTERNS}

    def counting(pattern: patterns.Pattern) -> patterns.Pattern:
        def counted(numbers, seeds, stream, size):
            drawn[pattern] += len(seeds)
            return pattern(numbers, seeds, stream, size)

        return counted

    monkeypatch.setattr(patterns, "PATTERNS", tuple(map(counting, PATTERNS)))
    draw_textures(torch.arange(600), 5, (4, 4))
    assert sum(drawn.values()) == 600 and min(drawn.values()) > 60


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_a_pattern_has_both_colours(pattern: patterns.Pattern) -> None:
    seeds = torch.arange(30)
    numbers = torch.rand(30, patterns.NUMBERS, generator=torch.Generator().manual_seed(0))
    shares = pattern(numbers, seeds, 5, (64, 96))
    assert shares.shape == (30, 64, 96) and shares.min() >= 0 and shares.max() <= 1
    spread = shares.flatten(1).amax(1) - shares.flatten(1).amin(1)
    assert spread.min() > 0.4
    if pattern.__name__ in ("_checker", "_dots"):
        assert set(shares.unique().tolist()) == {0, 1}
        assert 0.05 < shares.mean() < 0.6


def test_checkers_and_stripes_by_hand() -> None:
    # no turn, period 4 + 28 / 7 = 8 px of 256, no phase; columns are counted from the centre, at -128 + 0.5
    numbers = torch.tensor([[0, 1 / 7, 0, 0, 1, 0]])
    checker = patterns._checker(numbers, torch.tensor([0]), 0, (256, 256))[0]
    assert checker[0, :16].tolist() == [0] * 8 + [1] * 8 and checker[8, :16].tolist() == [1] * 8 + [0] * 8
    stripes = patterns._stripes(numbers, torch.tensor([0]), 0, (256, 256))[0]
    assert (stripes == stripes[:1]).all()
    assert stripes[0, :8].tolist() == [1, 1, 0, 0, 0, 0, 1, 1]


def test_lengths_scale_with_the_height() -> None:
    numbers = torch.tensor([[0, 1 / 7, 0, 0, 1, 0]])
    large = patterns._checker(numbers, torch.tensor([0]), 0, (256, 256))
    small = patterns._checker(numbers, torch.tensor([0]), 0, (128, 128))
    assert torch.equal(small, large[:, ::2, ::2])

"""How much of what good images show lies at the same place in all of them."""

from __future__ import annotations

import pytest
import torch

from adtool.layers.layout import shared_layout


def noise(number: int) -> torch.Tensor:
    """Pictures whose 64 x 64 squares are independent."""
    small = torch.rand(number, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return small.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_the_same_image_again_and_again_is_all_layout() -> None:
    assert shared_layout([noise(1).expand(3, -1, -1, -1), noise(1)]) == pytest.approx(1)
    assert shared_layout([torch.full((4, 3, 8, 8), 0.3)]) == 1


@pytest.mark.parametrize("number", [1, 4, 50])
def test_independent_images_share_one_part_in_their_number(number: int) -> None:
    assert shared_layout([noise(number)]) == pytest.approx(1 / number, rel=0.05)


def test_layout_and_noise_of_the_same_variance_are_half_of_the_whole_whatever_the_batches() -> None:
    images = noise(401)
    mixed = (images[1:] + images[:1]) / 2
    assert shared_layout([mixed]) == pytest.approx(0.5, abs=0.02)
    assert shared_layout(mixed.split(7)) == pytest.approx(shared_layout([mixed]), rel=1e-12)


def test_without_images_there_is_nothing_to_say() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        shared_layout([])

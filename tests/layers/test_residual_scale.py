"""Residuals in units of those of good images."""

import pytest
import torch

from adtool.layers.residual_scale import LEAST, SPREAD, ResidualScale
from adtool.ops.gaussian_blur import gaussian_blur


def fitted(*batches, size=(32, 32)):
    scale = ResidualScale(size)
    scale.fit(batches, lambda batch: batch)
    return scale


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_progress_is_reported_and_differences_are_what_counts():
    scale, told = ResidualScale((16, 16)), []
    scale.fit(
        [torch.ones(2, 1, 16, 16), torch.ones(3, 1, 16, 16)], lambda batch: -4 * batch, lambda *it: told.append(it)
    )
    assert told == [("residuals", 2, 0), ("residuals", 5, 0)]
    torch.testing.assert_close(scale.usual, torch.full((1, 1, 16, 16), 4.0))


def test_before_it_is_fitted_residuals_stay_as_they_are():
    residuals = torch.rand(2, 3, 32, 32)
    assert torch.equal(ResidualScale((32, 32))(residuals), residuals)


def test_the_unit_is_the_smoothed_mean_over_images_and_channels():
    first, second = torch.rand(3, 3, 32, 32) + 1, torch.rand(1, 3, 32, 32) + 3
    mean = torch.cat([first, second]).mean((0, 1))[None, None]
    wanted = gaussian_blur(mean, SPREAD * 32 / 256)
    torch.testing.assert_close(fitted(first, -second).usual, wanted)


def test_batches_of_any_size_give_the_same_unit():
    residuals = torch.rand(5, 1, 32, 32)
    torch.testing.assert_close(fitted(residuals).usual, fitted(residuals[:1], residuals[1:]).usual, rtol=1e-6, atol=0)


def test_what_good_images_leave_counts_as_one():
    scale = fitted(torch.full((2, 1, 32, 32), 0.2))
    torch.testing.assert_close(scale(torch.full((1, 1, 32, 32), 0.2)), torch.ones(1, 1, 32, 32))
    torch.testing.assert_close(scale(torch.full((1, 1, 32, 32), 0.6)), torch.full((1, 1, 32, 32), 3.0))


def test_where_good_images_leave_nothing_the_unit_is_a_share_of_the_mean():
    residuals = torch.zeros(1, 1, 64, 64)
    residuals[..., :32] = 0.4
    usual = fitted(residuals, size=(64, 64)).usual
    torch.testing.assert_close(usual[..., -8:], torch.full((1, 1, 64, 8), LEAST * 0.2))
    torch.testing.assert_close(usual[..., :8], torch.full((1, 1, 64, 8), 0.4))


@pytest.mark.parametrize("value", [0.0, 1e-42])
def test_perfect_restorations_leave_a_unit_that_can_be_divided_by(value):
    scale = fitted(torch.full((1, 1, 16, 16), value), size=(16, 16))
    assert torch.isfinite(scale(torch.zeros(1, 1, 16, 16))).all()


def test_the_unit_is_part_of_the_state():
    scale = fitted(torch.rand(2, 1, 16, 16), size=(16, 16))
    other = ResidualScale((16, 16))
    other.load_state_dict(scale.state_dict())
    assert torch.equal(other.usual, scale.usual)

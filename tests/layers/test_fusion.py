"""Two restorations as one."""

import pytest
import torch

from adtool.layers.fusion import Fusion
from adtool.layers.residual_scale import ResidualScale

SIZE = (16, 16)


def row(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


def plain(value, number=2):
    return torch.full((number, 3, *SIZE), value)


def fitted(first, second, *batches):
    """A fusion of restorations that miss good images by `first` and `second`."""
    fusion = Fusion("weighed", SIZE)
    fusion.fit(batches or [plain(0.0)], lambda batch: (batch, batch + first, batch - second))
    return fusion


def test_ways_by_hand():
    x, first, second = row(0.5, -0.8), row(0.9, 0.0), row(0.4, -0.9)
    torch.testing.assert_close(Fusion("mean", SIZE)(x, first, second), row(0.65, -0.45))
    torch.testing.assert_close(Fusion("sum", SIZE)(x, first, second), row(1.0, -0.9))
    torch.testing.assert_close(Fusion("max_res", SIZE)(x, first, second), row(0.9, 0.0))
    with pytest.raises(ValueError, match="how.*mean"):
        Fusion("least", SIZE)


def test_before_it_is_fitted_both_count_alike():
    x, first, second = plain(0.0), plain(0.6), plain(-0.2)
    fusion = Fusion("weighed", SIZE)
    torch.testing.assert_close(fusion(x, first, second), plain(0.2))
    torch.testing.assert_close(fusion.residual(x, first, second), plain(0.4))


def test_a_restoration_counts_as_it_does_for_good_images():
    """Misses of 0.3 and 0.1: shares of a quarter and three quarters; 1/4 * 0.6 / 0.3 + 3/4 * 0.2 / 0.1 = 2."""
    fusion, x = fitted(0.3, 0.1), plain(0.5)
    torch.testing.assert_close(fusion(x, x + 0.4, x - 0.4), x - 0.2)
    torch.testing.assert_close(fusion.residual(x, x - 0.6, x + 0.2), plain(2.0))
    torch.testing.assert_close(fusion.residual(x, x + 0.3, x - 0.1), plain(1.0))
    torch.testing.assert_close(fusion.residual(x, x + 0.6, x - 0.1), plain(1.25))
    torch.testing.assert_close(fusion.residual(x, x + 0.3, x - 0.2), plain(1.75))


def test_shares_are_those_of_the_place_over_all_batches():
    torch.manual_seed(0)
    x, a, b = torch.randn(3, 5, 3, *SIZE)
    told, fusion = [], Fusion("weighed", SIZE)
    batches = [torch.arange(2), torch.arange(2, 5)]
    fusion.fit(batches, lambda at: (x[at], (x + a)[at], (x + b)[at], None), lambda *it: told.append(it))
    scales = [ResidualScale(SIZE), ResidualScale(SIZE)]
    for scale, missed in zip(scales, (a, b), strict=True):
        scale.fit([missed], lambda batch: batch)
    first, second = (1 / scale.usual for scale in scales)
    wanted = ((x + a) * first + (x + b) * second) / (first + second)
    torch.testing.assert_close(fusion(x, x + a, x + b), wanted)
    wanted = (a.abs() * first**2 + b.abs() * second**2) / (first + second)
    torch.testing.assert_close(fusion.residual(x, x + a, x + b), wanted)
    assert told == [("residuals", 2, 0), ("residuals", 5, 0)], "good images are restored once for both"
    assert {name.rpartition(".")[2] for name in fusion.state_dict()} == {"usual"}


def test_other_ways_have_nothing_to_fit():
    fusion = Fusion("mean", SIZE)
    fusion.fit([torch.zeros(1)], lambda batch: pytest.fail("asked"))
    assert not fusion.state_dict()

"""Two restorations as one."""

import pytest
import torch

from adtool.layers.fusion import Fusion


def row(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


def test_ways_by_hand():
    x, first, second = row(0.5, -0.8), row(0.9, 0.0), row(0.4, -0.9)
    torch.testing.assert_close(Fusion("mean")(x, first, second), row(0.65, -0.45))
    torch.testing.assert_close(Fusion("sum")(x, first, second), row(1.0, -0.9))
    torch.testing.assert_close(Fusion("max_res")(x, first, second), row(0.9, 0.0))
    torch.testing.assert_close(Fusion("fitted")(x, first, second), row(0.65, -0.45))
    with pytest.raises(ValueError, match="how.*mean"):
        Fusion("least")


def test_the_fitted_share_has_the_least_squares():
    """(x - b) . (a - b) = 2 * 6 + 1 * (-2) and |a - b|^2 = 36 + 4: a quarter of the first."""
    images, first, second = row(2.0, 1.0), row(6.0, -2.0), row(0.0, 0.0)
    fusion = Fusion("fitted")
    fusion.fit([images], lambda batch: (batch, first, second))
    torch.testing.assert_close(fusion.share, torch.tensor(0.25))
    torch.testing.assert_close(fusion(images, first, second), row(1.5, -0.5))
    assert "share" in fusion.state_dict()


def test_the_share_is_that_of_all_batches_and_is_reported():
    torch.manual_seed(0)
    x, a, b = torch.randn(3, 5, 3, 8, 8)
    told, whole, parts = [], Fusion("fitted"), Fusion("fitted")
    whole.fit([x], lambda batch: (batch, x + a, x + b))
    parts.fit(
        [torch.arange(2), torch.arange(2, 5)],
        lambda places: (x[places], (x + a)[places], (x + b)[places]),
        lambda *it: told.append(it),
    )
    torch.testing.assert_close(parts.share, whole.share)
    assert told == [("mixture", 2, 0), ("mixture", 5, 0)]
    less, best, more = ((b + share * (a - b)).square().sum() for share in whole.share + torch.tensor([-0.01, 0, 0.01]))
    assert best < less and best < more


@pytest.mark.parametrize(("first", "second", "share"), [(3.0, 2.0, 0.0), (-1.0, -2.0, 1.0), (4.0, 4.0, 0.5)])
def test_the_share_is_one_between_nothing_and_all(first, second, share):
    """Of 0, 2 and -1 are the nearest there are; equal restorations say nothing."""
    fusion = Fusion("fitted")
    fusion.fit([torch.zeros(1, 1, 4, 4)], lambda batch: (batch, batch + first, batch + second))
    assert fusion.share == share


def test_other_ways_have_nothing_to_fit():
    fusion = Fusion("mean")
    fusion.fit([torch.zeros(1)], lambda batch: pytest.fail("asked"))
    assert not fusion.state_dict()

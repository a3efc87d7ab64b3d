"""The linear Gaussian model of features given others: by hand, against least squares, and at the border."""

import pytest
import torch

from adtool.layers.conditional_gaussian import SHRINKAGE, ConditionalGaussian, SecondMoments


def fitted(features, given, side=1):
    model, moments = ConditionalGaussian(features.shape[1], given.shape[1], side), SecondMoments()
    for pair in zip(features.split(3), given.split(3), strict=True):
        moments.add(model.joint(*pair))
    model.fit(moments)
    return model


def normal(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_one_channel_by_hand():
    # e = 2 g + 1 + noise of +-0.5 beside every g of -1 and 1: residual +-0.5, variance 0.25. Its correlation is 1, so a
    # residual r has the distance |r| / 0.5 / sqrt(1.1), in units of sqrt(1 / 1.1): 2 |r|.
    given = torch.tensor([-1.0, -1.0, 1.0, 1.0]).view(1, 1, 2, 2)
    noise = torch.tensor([0.5, -0.5, 0.5, -0.5]).view(1, 1, 2, 2)
    model = fitted(2 * given + 1 + noise, given)
    distance = model(2 * given + 1 + torch.tensor([0.0, 0.5, 1.0, -2.0]).view(1, 1, 2, 2), given)
    torch.testing.assert_close(distance.flatten(), torch.tensor([0.0, 1.0, 2.0, 4.0]), rtol=1e-2, atol=1e-2)


def test_distance_is_that_of_least_squares_and_its_residual_covariance():
    given, mixing = normal(40, 3, 6, 5, seed=0), normal(4, 3, seed=1)
    noise = torch.einsum("dc,nchw->ndhw", normal(4, 4, seed=2), normal(40, 4, 6, 5, seed=3))
    features = torch.einsum("dc,nchw->ndhw", mixing, given) + 5 + noise
    model = fitted(features, given)
    e, g = (x.permute(0, 2, 3, 1).flatten(0, 2).double() for x in (features, given))
    design = torch.cat([g, torch.ones(len(g), 1, dtype=torch.float64)], dim=1)
    residual = e - design @ torch.linalg.lstsq(design, e).solution
    covariance = residual.T @ residual / len(residual)
    scale = covariance.diagonal().sqrt()
    regular = covariance + SHRINKAGE * torch.diag(scale.square())  # the correlation's shrinkage, unscaled
    expected = (residual @ torch.linalg.inv(regular) * residual).sum(1)
    expected = (expected / expected.mean()).sqrt()
    torch.testing.assert_close(model(features, given).flatten().double(), expected, rtol=5e-3, atol=5e-3)


def test_unit_is_the_root_mean_square_on_the_good_images():
    features, given = normal(12, 5, 8, 8, seed=0), normal(12, 2, 8, 8, seed=1)
    model = fitted(features, given, side=3)
    assert model(features, given).square().mean().item() == pytest.approx(1, abs=1e-3)


def test_the_offset_holds_at_the_border_too():
    # Without the averaged ones an offset of 100 would leave residuals of 33 to 56 wherever the padding takes part.
    given = normal(6, 2, 8, 8, seed=0)
    features = given.sum(1, keepdim=True) + 100 + 0.1 * normal(6, 1, 8, 8, seed=1)
    distance = fitted(features, given, side=3)(features, given)
    border = torch.cat([distance[:, :, 0], distance[:, :, -1]]).mean()
    assert border < 1.2 * distance[:, :, 2:-2].mean()


def test_what_the_given_explains_is_not_anomalous():
    given = normal(20, 3, 8, 8, seed=0)
    features = given * 4 + 0.1 * normal(20, 3, 8, 8, seed=1)
    model = fitted(features, given)
    assert model(40 * given[:1], 10 * given[:1]).mean() < 4 < model(4 * given[:1] + 1, given[:1]).mean()


def test_channels_that_never_vary_stay_finite():
    features, given = torch.full((2, 3, 4, 4), 7.0), torch.zeros(2, 2, 4, 4)
    features[:, 0] += normal(2, 4, 4, seed=0)
    assert fitted(features, given)(features + 1, given).isfinite().all()
    assert fitted(torch.zeros(1, 2, 4, 4), given[:1])(torch.zeros(1, 2, 4, 4), given[:1]).isfinite().all()


def test_fitting_needs_features():
    with pytest.raises(ValueError, match="no features"):
        ConditionalGaussian(2, 2).fit(SecondMoments())


def test_before_fitting_it_is_the_length_of_the_features():
    features = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    assert ConditionalGaussian(2, 1)(features, torch.ones(1, 1, 1, 1)).item() == pytest.approx(5)

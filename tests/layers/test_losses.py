import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from adtool.layers.losses import flat_error, focal_loss, l1_loss, sparsity_loss, ssim_loss, ssim_map
from adtool.ops.gaussian_blur import reference


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def maps(*probabilities: float) -> torch.Tensor:
    """A map of one row whose sigmoid is `probabilities`."""
    return torch.tensor([logit(p) for p in probabilities], dtype=torch.float64).view(1, 1, 1, -1)


def masks(*labels: float) -> torch.Tensor:
    return torch.tensor(labels, dtype=torch.float64).view(1, 1, 1, -1)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_flat_error_by_hand():
    """Of two pictures with two pixels: red is 0, 1, 1, 2 about its mean of 1, and green 4, 4, 4, 8 about 5."""
    images = torch.tensor([[[0.0, 1.0], [4.0, 4.0]], [[1.0, 2.0], [4.0, 8.0]]], dtype=torch.float64)[:, :, None]
    assert flat_error(images).item() == pytest.approx((2 / 4 + 6 / 4) / 2)
    assert flat_error(images.half()).dtype == torch.float32


def test_focal_loss_by_hand():
    """p = 0.25 on an anomaly: 0.75^2 ln 4; p = 0.5 on a good pixel: 0.5^2 ln 2; their mean."""
    loss = focal_loss(maps(0.25, 0.5), masks(1, 0))
    assert loss.item() == pytest.approx((0.5625 * math.log(4) + 0.25 * math.log(2)) / 2)


def test_focal_loss_without_gamma_is_the_cross_entropy():
    logits, labels = 4 * drawn(2, 1, 5, 5) - 2, (drawn(2, 1, 5, 5, seed=1) > 0.6).double()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(focal_loss(logits, labels, 0.0), expected)


@pytest.mark.parametrize("gamma", [0.1, 2.0, 4.0])
def test_focal_gradient_is_the_closed_form(gamma):
    """dFL/dz = s (1 - p_t)^g (g p_t log p_t - (1 - p_t)) with s = 2 mask - 1, over the number of pixels."""
    logits, labels = (6 * drawn(2, 1, 4, 4) - 3).requires_grad_(), (drawn(2, 1, 4, 4, seed=1) > 0.5).double()
    (gradient,) = torch.autograd.grad(focal_loss(logits, labels, gamma), logits)
    sign = 2 * labels - 1
    p = (sign * logits.detach()).sigmoid()
    expected = sign * (1 - p) ** gamma * (gamma * p * p.log() - (1 - p)) / logits.numel()
    torch.testing.assert_close(gradient, expected)
    assert torch.autograd.gradcheck(lambda z: focal_loss(z, labels, gamma), [logits])


@pytest.mark.parametrize("gamma", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_focal_loss_is_finite_where_a_pixel_is_certain(gamma, dtype):
    logits = torch.tensor([200.0, -200.0], dtype=dtype).view(1, 1, 1, 2).requires_grad_()
    for labels in (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])):
        loss = focal_loss(logits, labels.view(1, 1, 1, 2), gamma)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.dtype == torch.float32 and loss.isfinite() and gradient.isfinite().all()
    assert loss.item() == pytest.approx(200)


def test_l1_loss_by_hand_and_its_gradient():
    """Distances 0.75 and 0.5; the gradient is sign(p - mask) p (1 - p) over the number of pixels."""
    logits = maps(0.25, 0.5).requires_grad_()
    loss = l1_loss(logits, masks(1, 0))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0.625)
    assert gradient.flatten().tolist() == pytest.approx([-0.1875 / 2, 0.25 / 2])


def test_sparsity_loss_by_hand():
    """Shares 0.3 and 0.5 against 0.1: 0.3 ln 3 + 0.7 ln(7/9) and 0.5 ln 5 + 0.5 ln(5/9); their mean."""
    logits = torch.cat([maps(0.2, 0.4), maps(0.5, 0.5)])
    expected = (0.3 * math.log(3) + 0.7 * math.log(7 / 9) + 0.5 * math.log(5) + 0.5 * math.log(5 / 9)) / 2
    assert sparsity_loss(logits, torch.tensor([False, True])).item() == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["area", "pixel"])
def test_sparsity_loss_is_zero_at_the_prior_and_draws_towards_it(mode):
    none_good = torch.tensor([False])
    assert sparsity_loss(maps(0.1, 0.1), none_good, 0.1, mode).item() == pytest.approx(0, abs=1e-12)
    for share, sign in ((0.05, -1), (0.2, 1)):
        logits = maps(share, share).requires_grad_()
        (gradient,) = torch.autograd.grad(sparsity_loss(logits, none_good, 0.1, mode), logits)
        assert (gradient.sign() == sign).all()


def test_sparsity_of_the_area_lets_pixels_differ_and_that_of_pixels_does_not():
    """A tenth of the pixels being anomalous fits the prior of the area: 0.9999 and 0.0001 nine times."""
    sparse, none_good = maps(0.9999, *[0.0001] * 9), torch.tensor([False])
    assert sparsity_loss(sparse, none_good, 0.1, "area").item() < 1e-6
    assert sparsity_loss(sparse, none_good, 0.1, "pixel").item() > 0.3


@pytest.mark.parametrize("mode", ["area", "pixel"])
def test_good_images_are_not_drawn_up_to_the_prior(mode):
    logits = torch.cat([maps(0.01, 0.03), maps(0.01, 0.03), maps(0.2, 0.4)]).requires_grad_()
    loss = sparsity_loss(logits, torch.tensor([True, False, True]), 0.1, mode)
    (gradient,) = torch.autograd.grad(loss, logits)
    good, bad, full = gradient
    assert (good == 0).all() and (bad < 0).all() and (full > 0).all()


def test_sparsity_gradient_is_the_closed_form():
    """(logit m - logit rho) / (N H W) p (1 - p)."""
    logits = (4 * drawn(3, 1, 4, 4) - 2).requires_grad_()
    good = torch.tensor([False, True, False])
    (gradient,) = torch.autograd.grad(sparsity_loss(logits, good, 0.1), logits)
    p = logits.detach().sigmoid()
    weight = (p.mean((1, 2, 3), keepdim=True).logit() - logit(0.1)) / logits.numel()
    torch.testing.assert_close(gradient, weight * p * (1 - p))
    for mode in ("area", "pixel"):
        assert torch.autograd.gradcheck(lambda z: sparsity_loss(z, good, 0.1, mode), [logits])  # noqa: B023


def test_sparsity_loss_is_finite_where_nothing_or_everything_is_anomalous():
    for value in (-300.0, 300.0):
        logits = torch.full((1, 1, 2, 2), value, requires_grad=True)
        loss = sparsity_loss(logits, torch.tensor([False]))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite() and gradient.isfinite().all()


def test_ssim_of_an_image_with_itself_is_one_and_falls_as_noise_grows():
    images = 2 * drawn(2, 3, 20, 17) - 1
    torch.testing.assert_close(ssim_map(images, images), torch.ones_like(images))
    losses = [ssim_loss(images, images + level * drawn(2, 3, 20, 17, seed=1)).item() for level in (0.0, 0.02, 0.1, 0.5)]
    assert losses[0] == pytest.approx(0, abs=1e-12) and losses == sorted(losses)


def test_ssim_of_flat_images_by_hand():
    """Variances are 0 up to the border, so S = (2 a b + c1) / (a^2 + b^2 + c1), c1 = (0.01 * 2)^2."""
    x, y = (torch.full((1, 1, 9, 8), grey, dtype=torch.float64) for grey in (0.5, 0.25))
    expected = (0.25 + 4e-4) / (0.3125 + 4e-4)
    torch.testing.assert_close(ssim_map(x, y), torch.full_like(x, expected))


@pytest.mark.parametrize("span", [1.0, 2.0])
def test_ssim_agrees_with_scipy(span):
    """The definition written anew: means, variances and covariance in scipy's Gaussian window, image by image."""
    mean = partial(gaussian_filter, sigma=1.5)
    x, y = drawn(2, 3, 19, 23).numpy() * 2 - 1, drawn(2, 3, 19, 23, seed=1).numpy() * 2 - 1
    y = 0.6 * x + 0.4 * y
    expected = np.empty_like(x)
    for place in np.ndindex(2, 3):
        a, b = x[place], y[place]
        variance_a, variance_b = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
        covariance = mean(a * b) - mean(a) * mean(b)
        c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
        expected[place] = (2 * mean(a) * mean(b) + c1) / (mean(a) ** 2 + mean(b) ** 2 + c1)
        expected[place] *= (2 * covariance + c2) / (variance_a + variance_b + c2)
    torch.testing.assert_close(ssim_map(torch.tensor(x), torch.tensor(y), span), torch.tensor(expected))
    assert ssim_loss(torch.tensor(x), torch.tensor(y), span).item() == pytest.approx(1 - expected.mean())


def test_ssim_has_its_gradient():
    x, y = 2 * drawn(1, 2, 7, 6) - 1, (2 * drawn(1, 2, 7, 6, seed=1) - 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda other: ssim_loss(x, other), [y])
    assert torch.autograd.gradcheck(lambda other: ssim_loss(other, x), [y])


def test_ssim_gradient_is_the_closed_form():
    """G being the window, dL/dy = G[R] + 2 y G[Q] + x G[P] for the P, Q, R of the derivation."""
    x, y = 2 * drawn(1, 2, 9, 8) - 1, (2 * drawn(1, 2, 9, 8, seed=1) - 1).requires_grad_()
    (gradient,) = torch.autograd.grad(ssim_loss(x, y), y)
    windowed = partial(reference, sigma=1.5)
    with torch.no_grad():
        mx, my = windowed(x), windowed(y)
        a1, a2 = 2 * mx * my + 4e-4, 2 * (windowed(x * y) - mx * my) + 36e-4
        b1 = mx * mx + my * my + 4e-4
        b2 = windowed(x * x) + windowed(y * y) - mx * mx - my * my + 36e-4
        s, g = a1 * a2 / (b1 * b2), -1 / x.numel()
        by_covariance, by_variance = 2 * a1 / (b1 * b2), -s / b2
        by_mean = 2 * mx * a2 / (b1 * b2) - 2 * my * s / b1
        r = g * (by_mean - by_covariance * mx - 2 * by_variance * my)
        expected = windowed(r) + 2 * y * windowed(g * by_variance) + x * windowed(g * by_covariance)
    torch.testing.assert_close(gradient, expected)


def test_losses_keep_float32_under_autocast():
    x, y = drawn(1, 3, 12, 12).float(), drawn(1, 3, 12, 12, seed=1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ssim_loss(x, y)
    assert inside.dtype == torch.float32 and torch.equal(inside, ssim_loss(x, y))
    assert ssim_loss(x.bfloat16(), y.bfloat16()).dtype == torch.float32

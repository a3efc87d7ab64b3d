from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from adtool.ops.gaussian_blur import gaussian_blur, reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(2, 1, 9, 7), (1, 2, 1, 3), (1, 1, 1, 1), (1, 1, 40, 133), (3, 1, 65, 16)]


def maps(shape, dtype=torch.float32):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def test_blur_of_a_point_by_hand():
    # sigma 0.3 reaches one pixel: weights w, 1, w over 1 + 2 w, with w = exp(-1 / 0.18); the edge pixel is repeated
    w = math.exp(-1 / 0.18)
    total = 1 + 2 * w
    x = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(1, 1, 1, 3)
    expected = torch.tensor([(1 + w) / total, w / total, 0.0], dtype=torch.float64).view(1, 1, 1, 3)
    torch.testing.assert_close(gaussian_blur(x, 0.3), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.8, 4.0, 30.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_blur_is_that_of_scipy(shape, sigma):
    x = maps(shape, torch.float64)
    planes = [gaussian_filter(plane, sigma) for plane in x.flatten(0, 1).numpy()]
    expected = torch.from_numpy(np.stack(planes)).view(shape)
    torch.testing.assert_close(gaussian_blur(x, sigma), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_blur_matches_its_reference(shape, dtype, layout):
    x = layout(maps(shape, dtype))
    ours = gaussian_blur(x, 1.7)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, reference(x, 1.7))


def test_blur_keeps_the_mean_and_the_input():
    x = maps((1, 1, 30, 41), torch.float64)
    before = x.clone()
    torch.testing.assert_close(gaussian_blur(x, 5.0).mean(), x.mean())
    assert gaussian_blur(x, 0.0).data_ptr() != x.data_ptr()
    assert torch.equal(x, before)


@pytest.mark.parametrize(("shape", "sigma"), [((1, 2, 4, 5), 0.7), ((1, 1, 2, 3), 3.0)])
def test_blur_gradient_is_the_derivative_twice_over(shape, sigma):
    x = maps(shape, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(gaussian_blur, (x, sigma))
    assert torch.autograd.gradgradcheck(gaussian_blur, (x, sigma))


def test_blur_of_a_map_ignores_its_batch_and_the_threads(set_threads):
    x = maps((5, 1, 70, 77))
    set_threads(1)
    whole = gaussian_blur(x, 4.0)
    set_threads(3)
    assert torch.equal(whole, torch.cat([gaussian_blur(x[i : i + 1], 4.0) for i in range(5)]))
    assert torch.equal(whole, gaussian_blur(x, 4.0))


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (2, 1, 0, 4), (2, 1, 4, 0)])
def test_blur_of_nothing_is_nothing(shape):
    assert gaussian_blur(torch.empty(shape), 2.0).shape == shape


def test_blur_spreads_what_is_not_finite_as_far_as_the_filter_reaches():
    x = maps((1, 1, 9, 9))
    x[0, 0, 4, 4] = float("nan")
    isnan = gaussian_blur(x, 0.5)[0, 0].isnan()  # radius 2
    assert isnan[2:7, 2:7].all() and isnan.sum() == 25


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_blur_names_a_bad_sigma(sigma):
    with pytest.raises(ValueError, match="^sigma: expected a number of pixels from 0 on, got"):
        gaussian_blur(torch.zeros(1, 1, 3, 3), sigma)


def test_blur_refuses_what_are_no_maps():
    with pytest.raises(ValueError, match=r"^maps: expected floating-point \(N, C, H, W\), got torch.float32 \(3, 3\)"):
        gaussian_blur(torch.zeros(3, 3), 1.0)

from __future__ import annotations

import math

import pytest
import torch

from adtool.ops._native import kernel_of
from adtool.ops.top_mean import reference, reference_backward, top_mean

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ORDERS = {
    "random": lambda x: x,
    "rising": lambda x: x.sort().values,
    "falling": lambda x: x.sort(descending=True).values,
    "tied": lambda x: (2 * x).round(),
    "constant": torch.zeros_like,
}


def maps(shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def test_mean_of_the_largest_by_hand():
    x = torch.tensor([[3.0, 1.0, 6.0, 5.0], [-4.0, -1.0, -2.0, -2.0]]).view(2, 1, 2, 2)
    torch.testing.assert_close(top_mean(x, 2), torch.tensor([5.5, -1.5]))
    torch.testing.assert_close(top_mean(x, 4), x.mean((1, 2, 3)))
    torch.testing.assert_close(top_mean(x, 1), x.amax((1, 2, 3)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [1, 7, 100, 2000, 5001])
def test_mean_matches_sorting(order, n):
    x = ORDERS[order](maps((3, 5001)))
    expected = x.double().sort(dim=1, descending=True).values[:, :n].mean(1).float()
    torch.testing.assert_close(top_mean(x.view(3, 1, 3, 1667), n), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 50])
def test_mean_matches_its_reference(dtype, n, layout):
    x = layout(maps((2, 2, 5, 7), dtype))
    ours = top_mean(x, n)
    assert ours.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(ours, reference(x, n))


def test_gradient_is_the_derivative():
    x = maps((2, 1, 4, 5), torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: top_mean(x, 6), (x,))


def test_gradient_of_ties_goes_to_the_first():
    x = torch.tensor([1.0, 2.0, 2.0, 2.0]).view(1, 1, 2, 2).requires_grad_()
    top_mean(x, 2).sum().backward()
    assert x.grad.flatten().tolist() == [0.0, 0.5, 0.5, 0.0]


def sorted_shares(x, n):
    """1/n at the n elements that come first in a stable sort, largest first, NaN before all."""
    first = x.flatten(1).sort(dim=1, descending=True, stable=True).indices[:, :n]
    share = torch.full(first.shape, 1 / n, dtype=torch.promote_types(x.dtype, torch.float32)).to(x.dtype)
    return torch.zeros_like(x.flatten(1)).scatter(1, first, share).view(x.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [1, 7, 100, 2000, 5001])
def test_gradient_matches_sorting(order, n, dtype):
    x = ORDERS[order](maps((3, 5001), dtype)).view(3, 1, 3, 1667)
    ones = torch.ones(3, dtype=torch.promote_types(dtype, torch.float32))
    for backward in (torch.ops.adtool.top_mean_backward, reference_backward):
        assert torch.equal(backward(ones, x, n), sorted_shares(x, n))


def test_gradient_counts_the_channels_one_after_another_in_any_layout(layout):
    x = (2 * maps((2, 3, 5, 7))).round()
    laid_out = layout(x).requires_grad_()
    top_mean(laid_out, 20).sum().backward()
    assert torch.equal(laid_out.grad, sorted_shares(x, 20))


@pytest.mark.parametrize("pixels", [250, 2500])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 250])
def test_gradient_of_what_is_not_finite_goes_to_the_first_of_the_largest(n, pixels):
    x = maps((4, 1, pixels // 10, 10))
    for row, values in enumerate([[math.nan] * 3, [math.inf, math.nan, -math.inf], [math.inf] * 5, [-math.inf]]):
        x.view(4, -1)[row, 100 : 100 + len(values)] = torch.tensor(values)
    x[3, 0, :24] = -math.inf
    for backward in (torch.ops.adtool.top_mean_backward, reference_backward):
        assert torch.equal(backward(torch.ones(4), x, n), sorted_shares(x, n))


def test_gradient_of_a_map_ignores_its_batch_and_the_threads(set_threads):
    x, grad = maps((5, 1, 100, 101)), torch.arange(5.0)
    set_threads(1)
    whole = torch.ops.adtool.top_mean_backward(grad, x, 300)
    set_threads(3)
    assert torch.equal(whole, torch.ops.adtool.top_mean_backward(grad, x, 300))
    for i in range(5):
        assert torch.equal(whole[i : i + 1], torch.ops.adtool.top_mean_backward(grad[i : i + 1], x[i : i + 1], 300))


def test_score_of_a_map_ignores_its_batch_and_the_threads(set_threads):
    x = maps((5, 1, 100, 101))
    set_threads(1)
    whole = top_mean(x, 300)
    set_threads(3)
    assert torch.equal(whole, torch.cat([top_mean(x[i : i + 1], 300) for i in range(5)]))
    assert torch.equal(whole, top_mean(x, 300))


def test_score_of_an_empty_batch_is_empty():
    x = torch.empty(0, 1, 4, 4, requires_grad=True)
    scores = top_mean(x, 3)
    scores.sum().backward()
    assert scores.shape == (0,) and x.grad.shape == x.shape


@pytest.mark.parametrize("n", [1, 10, 3000])
@pytest.mark.parametrize("place", [0, 777, 4999])
def test_what_is_not_finite_shows_in_its_own_score_only(place, n):
    x = maps((3, 1, 50, 100))
    x.view(3, -1)[0, place] = math.nan
    x.view(3, -1)[1, place] = math.inf
    x.view(3, -1)[2, place] = -math.inf
    scores = top_mean(x, n)
    assert scores[0].isnan() and scores[1] == math.inf and scores[2].isfinite()
    assert top_mean(torch.full((1, 1, 2, 2), -math.inf), 2).item() == -math.inf
    assert top_mean(torch.tensor([-math.inf, math.inf, -math.inf, -math.inf]).view(1, 1, 2, 2), 2).isnan().all()


@pytest.mark.parametrize("n", [0, 13])
def test_a_count_the_map_does_not_have_is_named(n):
    with pytest.raises(ValueError, match=rf"^n: expected 1 to the number of pixels .*\(1, 1, 3, 4\), got {n}"):
        top_mean(torch.zeros(1, 1, 3, 4), n)


def test_what_are_no_maps_is_refused():
    with pytest.raises(ValueError, match=r"^maps: expected floating-point \(N, C, H, W\), got torch.int64"):
        top_mean(torch.zeros(1, 1, 3, 4, dtype=torch.int64), 1)


@pytest.mark.skipif(kernel_of("top_mean", "cpu") != "native", reason="the native library is not built")
def test_the_native_gradient_checks_what_it_is_given():
    x, backward = torch.zeros(2, 1, 3, 4), torch.ops.adtool.top_mean_backward
    with pytest.raises(RuntimeError, match=r"grad: expected \(2,\), one for each map, got \(3\)"):
        backward(torch.zeros(3), x, 2)
    with pytest.raises(RuntimeError, match="grad: expected float64 for float64 maps, float32 for all others"):
        backward(torch.zeros(2).double(), x, 2)
    with pytest.raises(RuntimeError, match="n: expected 1 to 12 pixels, got 13"):
        backward(torch.zeros(2), x, 13)

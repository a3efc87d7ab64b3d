from __future__ import annotations

import math

import pytest
import torch

from adtool.ops.top_mean import reference, top_mean

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


def test_score_of_a_map_ignores_its_batch_and_the_threads(set_threads):
    x = maps((5, 1, 100, 101))
    set_threads(1)
    whole = top_mean(x, 300)
    set_threads(3)
    assert torch.equal(whole, torch.cat([top_mean(x[i : i + 1], 300) for i in range(5)]))
    assert torch.equal(whole, top_mean(x, 300))


def test_score_of_an_empty_batch_is_empty():
    assert top_mean(torch.empty(0, 1, 4, 4), 3).shape == (0,)


@pytest.mark.parametrize("place", [0, 777, 4999])
def test_what_is_not_finite_shows_in_its_own_score_only(place):
    x = maps((3, 1, 50, 100))
    x.view(3, -1)[0, place] = math.nan
    x.view(3, -1)[1, place] = math.inf
    x.view(3, -1)[2, place] = -math.inf
    scores = top_mean(x, 10)
    assert scores[0].isnan() and scores[1] == math.inf and scores[2].isfinite()
    assert top_mean(torch.full((1, 1, 2, 2), -math.inf), 2).item() == -math.inf


@pytest.mark.parametrize("n", [0, 13])
def test_a_count_the_map_does_not_have_is_named(n):
    with pytest.raises(ValueError, match=rf"^n: expected 1 to the number of pixels .*\(1, 1, 3, 4\), got {n}"):
        top_mean(torch.zeros(1, 1, 3, 4), n)


def test_what_are_no_maps_is_refused():
    with pytest.raises(ValueError, match=r"^maps: expected floating-point \(N, C, H, W\), got torch.int64"):
        top_mean(torch.zeros(1, 1, 3, 4, dtype=torch.int64), 1)

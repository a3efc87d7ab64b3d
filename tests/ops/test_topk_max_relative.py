from __future__ import annotations

import pytest
import torch

from adtool.ops import max_relative, topk_neighbors
from adtool.ops.topk_max_relative import reference, topk_max_relative

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def rows(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def block(b=2, n=21, d=7, p=5, c=10, dtype=torch.float32):
    """query, key, position and x."""
    return (
        rows(b, n, d, dtype=dtype),
        rows(b, n, d, dtype=dtype, seed=1),
        rows(n, p, seed=2),
        rows(b, n, c, dtype=dtype, seed=3),
    )


def test_a_hand_worked_case():
    query = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    key = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]])
    x = torch.tensor([[[1.0], [20.0], [300.0]]])  # neighbours 1 and 2, 0 and 1, 0 and 1
    assert topk_max_relative(query, key, None, x, 2).flatten().tolist() == [299, 0, -280]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_op_is_its_two_steps_one_after_the_other(dtype):
    query, key, position, x = block(dtype=dtype)
    index = topk_neighbors.reference(query, key, position, 4)
    expected = max_relative.reference(x, index)
    assert torch.equal(topk_max_relative(query, key, position, x, 4), expected)
    assert all(map(torch.equal, reference(query, key, position, x, 4), (expected, index)))


def test_feature_maps_are_read_as_they_lie():
    query, key, position, x = block()
    flat = [t.mT.contiguous().mT for t in (query, key, x)]  # as (B, C, H, W) features are, flattened
    y = topk_max_relative(flat[0], flat[1], position, flat[2], 4)
    assert torch.equal(y, topk_max_relative(query, key, position, x, 4))
    assert y.mT.is_contiguous()


def test_gradient_is_the_derivative_and_reaches_x_alone():
    query, key, position, x = (t.double().requires_grad_() for t in block(n=6, c=3))
    assert torch.autograd.gradcheck(lambda t: topk_max_relative(query, key, position, t, 3), (x,))
    topk_max_relative(query, key, position, x, 3).sum().backward()
    assert (x.grad is not None, query.grad, key.grad, position.grad) == (True, None, None, None)


def test_op_compiles_without_graph_breaks():
    query, key, position, x = block()
    x.requires_grad_()
    compiled = torch.compile(topk_max_relative, backend="aot_eager", fullgraph=True)
    ours = torch.autograd.grad(compiled(query, key, position, x, 4).square().sum(), x)
    torch.testing.assert_close(
        ours, torch.autograd.grad(topk_max_relative(query, key, position, x, 4).square().sum(), x)
    )


def test_result_depends_on_neither_threads_nor_batch(set_threads):
    query, key, position, x = block(b=5, n=120, d=70, c=90)
    set_threads(1)
    y = topk_max_relative(query, key, position, x, 9)
    set_threads(3)
    assert torch.equal(topk_max_relative(query, key, position, x, 9), y)
    assert torch.equal(topk_max_relative(query[3:4], key[3:4], position, x[3:4], 9), y[3:4])


def test_no_graphs():
    assert topk_max_relative(*block(b=0), 4).shape == (0, 21, 10)


@pytest.mark.parametrize(
    ("change", "k", "message"),
    [
        ({"x": rows(2, 20, 3)}, 4, r"x: expected floating-point \(2, 21, C\), got torch.float32 \(2, 20, 3\)"),
        ({"x": rows(2, 21)}, 4, "x: expected floating-point"),
        ({"x": rows(2, 21, 3).int()}, 4, "x: expected floating-point"),
        ({"key": rows(2, 21, 3)}, 4, "query and key: expected"),
        ({"position": rows(20, 3)}, 4, "position: expected"),
        ({}, 22, "k: expected 1 to 21, the nodes, got 22"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, k, message):
    arguments = dict(zip(("query", "key", "position", "x"), block(), strict=True)) | change
    with pytest.raises(ValueError, match=message):
        topk_max_relative(**arguments, k=k)

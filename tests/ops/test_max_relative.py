from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from adtool.ops._native import kernel_of
from adtool.ops.max_relative import max_relative, reference, reference_backward

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(2, 7, 5, 3), (1, 1, 1, 1), (3, 40, 70, 9), (1, 17, 16, 1), (2, 5, 131, 20), (1, 300, 65, 4)]  # B, N, C, k
KERNELS = [pytest.param(max_relative, id="op"), pytest.param(reference, id="reference")]
both_kernels = pytest.mark.parametrize("aggregate", KERNELS)
native_only = pytest.mark.skipif(kernel_of("max_relative", "cpu") != "native", reason="the native library is not built")
LAYOUTS = {
    "nodes": lambda x: x.contiguous(),
    "channels": lambda x: x.mT.contiguous().mT,
    "sliced": lambda x: torch.stack([x, x], dim=3).flatten(2)[..., ::2],
    "one_batch_of_two": lambda x: torch.cat([x, x], dim=2)[..., : x.shape[2]],
}


@pytest.fixture(params=LAYOUTS)
def laid_out(request):
    return LAYOUTS[request.param]


def numbers(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def neighbors(b, n, k, seed=0):
    return torch.randint(n, (b, n, k), generator=torch.Generator().manual_seed(seed))


def by_loops(x, index, grad):
    """y and dL/dx one number at a time."""
    y, dx = torch.empty_like(x), torch.zeros_like(x)
    for b, i, c in torch.cartesian_prod(*(torch.arange(size) for size in x.shape)).tolist():
        near = index[b, i].tolist()
        best = max(near, key=lambda j: x[b, j, c].item())  # the first of equals
        y[b, i, c] = x[b, best, c] - x[b, i, c]
        dx[b, best, c] += grad[b, i, c]
        dx[b, i, c] -= grad[b, i, c]
    return y, dx


@both_kernels
def test_a_hand_worked_case(aggregate):
    x = torch.tensor([[[0.0, 5.0], [2.0, 1.0], [4.0, 3.0]]])
    index = torch.tensor([[[1, 2], [0, 2], [2, 1]]])
    assert aggregate(x, index).tolist() == [[[4, -2], [2, 4], [0, 0]]]


def test_a_hand_worked_gradient():
    x = torch.tensor([[[0.0, 5.0], [2.0, 1.0], [4.0, 3.0]]], requires_grad=True)
    index = torch.tensor([[[1, 2], [0, 2], [2, 1]]])
    max_relative(x, index).backward(torch.tensor([[[1.0, 10.0], [100.0, 1000.0], [3.0, 7.0]]]))
    # channel 0: nodes 0, 1 and 2 take node 2; channel 1: node 0 takes 2, 1 takes 0, 2 takes itself
    assert x.grad.tolist() == [[[-1, -10 + 1000], [-100, -1000], [1 + 100, 10]]]


@pytest.mark.parametrize(
    "function", [torch.ops.adtool.max_relative_backward, reference_backward], ids=["op", "reference"]
)
def test_gradient_of_equal_neighbours_goes_to_the_first(function):
    x = torch.tensor([0.0, -0.0, 0.0]).view(1, 3, 1)  # both zeros are one number
    index = torch.tensor([[[1, 2, 1], [2, 1, 0], [2, 2, 0]]])
    assert function(torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1), x, index).flatten().tolist() == [-1, 1 - 10, 10]


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_op_and_gradient_match_loops(shape):
    b, n, c, k = shape
    x, index, grad = numbers(b, n, c, dtype=torch.float64), neighbors(b, n, k), numbers(b, n, c, seed=1).double()
    y, dx = by_loops(x, index, grad)
    assert torch.equal(max_relative(x, index), y)
    torch.testing.assert_close(torch.ops.adtool.max_relative_backward(grad, x, index), dx, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_op_matches_its_reference(shape, dtype, laid_out):
    b, n, c, k = shape
    x, grad = laid_out(numbers(b, n, c, dtype=dtype)), laid_out(numbers(b, n, c, dtype=dtype, seed=1))
    index = neighbors(b, n, k)
    y = max_relative(x, index)
    assert torch.equal(y, reference(x, index)) and y.dtype == dtype
    dx = torch.ops.adtool.max_relative_backward(grad, x, index)
    torch.testing.assert_close(dx, reference_backward(grad, x, index))
    assert y.stride() == reference(x, index).stride() == dx.stride()


def test_result_lies_in_memory_as_its_input_does():
    x, index = numbers(2, 6, 5), neighbors(2, 6, 3)
    assert max_relative(x, index).is_contiguous()
    assert max_relative(x.mT.contiguous().mT, index).mT.is_contiguous()


def test_gradient_may_lie_in_memory_as_it_likes(laid_out):
    x, index, grad = numbers(2, 6, 5), neighbors(2, 6, 3), numbers(2, 6, 5, seed=1)
    expected = reference_backward(grad, x, index)
    torch.testing.assert_close(torch.ops.adtool.max_relative_backward(laid_out(grad), x, index), expected)
    torch.ops.adtool.max_relative_backward(torch.ones(()).expand(2, 6, 5), x, index)


@pytest.mark.parametrize("shape", [(2, 5, 3, 2), (1, 4, 1, 4)])
def test_gradient_is_the_derivative(shape, laid_out):
    b, n, c, k = shape
    x = laid_out(numbers(b, n, c, dtype=torch.float64)).detach().requires_grad_()
    assert torch.autograd.gradcheck(max_relative, (x, neighbors(b, n, k)))


@both_kernels
@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_nothing_gives_nothing(aggregate, shape):
    x = torch.empty(shape, requires_grad=True)
    index = torch.zeros(*shape[:2], 2, dtype=torch.int64)
    assert aggregate(x, index).shape == shape
    max_relative(x, index).sum().backward()
    assert x.grad.shape == shape


@both_kernels
def test_a_nan_is_the_largest_and_infinity_counts(aggregate):
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[0.0, 1.0], [-nan, 2.0], [inf, -inf]])[None]
    index = torch.tensor([[[0, 1], [0, 2], [2, 0]]])
    expected = torch.tensor([[nan, 1.0], [nan, -1.0], [nan, inf]])[None]
    torch.testing.assert_close(aggregate(x, index), expected, equal_nan=True)


@pytest.mark.parametrize(
    "function", [torch.ops.adtool.max_relative_backward, reference_backward], ids=["op", "reference"]
)
def test_gradient_of_a_nan_goes_to_the_first_of_them(function):
    x = torch.tensor([5.0, float("nan"), -float("nan")]).view(1, 3, 1)
    index = torch.tensor([[[0, 2, 1], [0, 0, 0], [0, 0, 0]]])
    assert function(torch.tensor([1.0, 0, 0]).view(1, 3, 1), x, index).flatten().tolist() == [-1, 0, 1]


@native_only
def test_result_depends_on_neither_batch_nor_threads(laid_out, set_threads):
    x, grad, index = laid_out(numbers(5, 90, 150)), laid_out(numbers(5, 90, 150, seed=1)), neighbors(5, 90, 9)
    backward = torch.ops.adtool.max_relative_backward
    set_threads(1)
    y, dx = max_relative(x, index), backward(grad, x, index)
    set_threads(3)
    assert torch.equal(max_relative(x, index), y) and torch.equal(backward(grad, x, index), dx)
    for i in range(5):
        one = slice(i, i + 1)
        assert torch.equal(max_relative(x[one], index[one]), y[one])
        assert torch.equal(backward(grad[one], x[one], index[one]), dx[one])


def test_op_compiles_without_graph_breaks():
    x, index = numbers(2, 6, 5).requires_grad_(), neighbors(2, 6, 3)
    compiled = torch.compile(lambda t: (2 * max_relative(t, index)).sum(), backend="aot_eager", fullgraph=True)
    ours = torch.autograd.grad(compiled(x), x)
    torch.testing.assert_close(ours, torch.autograd.grad(2 * max_relative(x, index).sum(), x))


def test_result_has_a_shape_without_data():
    with FakeTensorMode():
        y = max_relative(torch.empty(2, 5, 6).half().mT, torch.zeros(2, 6, 3, dtype=torch.int64))
    assert (y.shape, y.dtype, y.stride()) == ((2, 6, 5), torch.float16, (30, 1, 6))


@pytest.mark.parametrize(
    ("x", "index", "message"),
    [
        (
            numbers(3, 4),
            neighbors(1, 3, 2),
            r"x: expected floating-point \(B, N, C\) features, got torch.float32 \(3, 4\)",
        ),
        (numbers(1, 3, 4).long(), neighbors(1, 3, 2), "x: expected floating-point"),
        (
            numbers(1, 3, 4),
            neighbors(1, 4, 2),
            r"index: expected int64 \(1, 3, k\), k > 0, got torch.int64 \(1, 4, 2\)",
        ),
        (numbers(1, 3, 4), neighbors(1, 3, 0), "index: expected int64"),
        (numbers(1, 3, 4), neighbors(1, 3, 2).int(), "index: expected int64 .* got torch.int32"),
    ],
)
def test_arguments_that_do_not_fit_are_named(x, index, message):
    with pytest.raises(ValueError, match=message):
        max_relative(x, index)


@native_only
@pytest.mark.parametrize("bad", [-1, 4, 2**40, -(2**63)])
def test_an_index_that_is_no_node_is_refused(bad):
    index = neighbors(2, 4, 3)
    index[1, 2, 0] = bad
    with pytest.raises(RuntimeError, match=f"index: expected nodes from 0 to 3, got {bad}"):
        max_relative(numbers(2, 4, 5), index)


@native_only
def test_kernels_check_what_they_are_given():
    x, index = numbers(1, 3, 4), neighbors(1, 3, 2)
    with pytest.raises(RuntimeError, match=r"grad: expected the shape of x \(1, 3, 4\), got \(1, 3, 5\)"):
        torch.ops.adtool.max_relative_backward(numbers(1, 3, 5), x, index)
    with pytest.raises(RuntimeError, match="grad: expected the element type of x"):
        torch.ops.adtool.max_relative_backward(x.double(), x, index)
    with pytest.raises(RuntimeError, match="index: expected int64 elements"):
        torch.ops.adtool.max_relative(x, index.int())
    with pytest.raises(RuntimeError, match="x: expected float32, float64, float16 or bfloat16 elements"):
        torch.ops.adtool.max_relative(x.int(), index)

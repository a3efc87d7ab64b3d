from __future__ import annotations

import math

import pytest
import torch

from adtool.ops._native import kernel_of
from adtool.ops.simam import reference, reference_backward, simam, simam_energy

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(2, 3, 5, 7), (1, 5, 1, 1), (2, 131, 3, 3), (1, 2, 1, 300), (3, 70, 8, 8), (1, 67, 40, 41), (1, 2, 96, 97)]
native_only = pytest.mark.skipif(kernel_of("simam", "cpu") != "native", reason="the native library is not built")
EMPTY = [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4)]


def features(shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_loops(x, lambda_):
    """The published formula, one plane and one number at a time."""
    y = torch.empty_like(x)
    for plane, out in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        values = plane.flatten().tolist()
        mean = math.fsum(values) / len(values)
        variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
        energies = [4 * (variance + lambda_) / ((v - mean) ** 2 + 2 * variance + 2 * lambda_) for v in values]
        attended = [v / (1 + math.exp(-1 / e)) for v, e in zip(values, energies, strict=True)]
        out.copy_(torch.tensor(attended, dtype=x.dtype).view_as(out))
    return y


def test_simam_of_two_pixels_by_hand():
    # mu = 1, v = 2, k = 1/8, u = 1/8 + 1/2 for both pixels
    x = torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)
    expected = torch.tensor([0.0, 2 / (1 + math.exp(-0.625))]).view(1, 1, 1, 2)
    torch.testing.assert_close(simam(x, 0.0), expected)
    torch.testing.assert_close(simam_energy(x, 0.0), torch.full((1, 1, 1, 2), 1 / 0.625))


def test_simam_of_one_pixel_has_no_variance():
    x = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)  # u = 1/2
    torch.testing.assert_close(simam(x), x / (1 + math.exp(-0.5)))


def test_simam_matches_the_published_formula():
    x = features((2, 3, 4, 5), torch.float64)
    torch.testing.assert_close(simam(x, 1e-4), by_loops(x, 1e-4), rtol=1e-12, atol=1e-12)


def test_simam_is_right_to_a_few_units_in_the_last_place(layout):
    x = layout(features((2, 64, 16, 16)))
    torch.testing.assert_close(simam(x).double(), reference(x.double()), rtol=4e-7, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_simam_matches_its_reference(shape, dtype, layout):
    x, grad = layout(3 * features(shape, dtype)), layout(features(shape, dtype, seed=1))
    torch.testing.assert_close(simam(x), reference(x))
    ours, theirs = torch.ops.adtool.simam_backward(grad, x, 1e-4), reference_backward(grad, x, 1e-4)
    torch.testing.assert_close(ours, theirs)


def test_simam_keeps_the_memory_format():
    x = features((2, 6, 4, 5)).contiguous(memory_format=torch.channels_last)
    assert simam(x).is_contiguous(memory_format=torch.channels_last)
    assert simam(x.contiguous()).is_contiguous()


def test_simam_accepts_a_gradient_of_another_memory_format():
    x = features((2, 6, 4, 5), torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    grad = features((2, 6, 4, 5), torch.float64, seed=1)
    (ours,) = torch.autograd.grad(simam(x), x, grad)
    torch.testing.assert_close(ours, reference_backward(grad, x.detach(), 1e-4))


@pytest.mark.parametrize("shape", EMPTY)
def test_simam_of_nothing_is_nothing(shape):
    x = torch.empty(shape, requires_grad=True)
    assert simam(x).shape == shape
    simam(x).sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("shape", [(1, 2, 3, 4), (2, 3, 1, 1), (1, 1, 1, 9)])
def test_simam_gradient_is_the_derivative(shape, layout):
    x = layout(features(shape, torch.float64)).detach().requires_grad_()
    assert torch.autograd.gradcheck(simam, (x,))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_simam_spreads_what_is_not_finite_over_its_plane_only(bad):
    x = features((2, 2, 4, 5))
    x[1, 0, 2, 2] = bad
    y = simam(x)
    assert y[1, 0].isnan().all()
    assert y.isnan().sum() == 20


def test_simam_survives_a_constant_plane_and_large_numbers():
    x = torch.cat([torch.full((1, 1, 8, 8), 5.0), features((1, 1, 8, 8)) * 1e15], dim=1)
    torch.testing.assert_close(simam(x)[0, 0], x[0, 0] / (1 + math.exp(-0.5)))
    torch.testing.assert_close(simam(x)[0, 1], reference(x)[0, 1])


@native_only  # PyTorch's own sigmoid rounds by an element's place in memory
def test_simam_of_an_image_ignores_its_batch_and_the_threads(layout, set_threads):
    x, grad = layout(features((5, 70, 9, 9))), layout(features((5, 70, 9, 9), seed=1))
    set_threads(1)
    whole, whole_grad = simam(x), torch.ops.adtool.simam_backward(grad, x, 1e-4)
    set_threads(3)
    for i in range(5):
        assert torch.equal(whole[i : i + 1], simam(x[i : i + 1]))
    assert torch.equal(whole, simam(x))
    assert torch.equal(whole_grad, torch.ops.adtool.simam_backward(grad, x, 1e-4))


def test_simam_compiles_without_graph_breaks():
    x = features((2, 3, 4, 5)).requires_grad_()
    compiled = torch.compile(lambda t: (2 * simam(t)).sum(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(x), x), torch.autograd.grad(2 * simam(x).sum(), x))


@pytest.mark.parametrize("x", [torch.zeros(3, 4), torch.zeros(1, 2, 3, 4, dtype=torch.int64)])
def test_simam_refuses_what_are_no_features(x):
    with pytest.raises(ValueError, match=r"^x: expected floating-point \(N, C, H, W\) features, got"):
        simam(x)


@pytest.mark.parametrize("bad", [-1e-4, math.nan])
def test_simam_refuses_a_negative_regulariser(bad):
    with pytest.raises(ValueError, match="^lambda_: expected a regulariser from 0 on, got"):
        simam(torch.zeros(1, 2, 3, 4), bad)


@native_only
def test_simam_native_kernels_check_what_they_are_given():
    with pytest.raises(RuntimeError, match=r"grad: expected the shape of x \(1, 2, 3, 4\), got \(1, 2, 3, 3\)"):
        torch.ops.adtool.simam_backward(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4), 1e-4)
    with pytest.raises(RuntimeError, match="x: expected float32, float64, float16 or bfloat16 elements"):
        torch.ops.adtool.simam(torch.zeros(1, 2, 3, 4, dtype=torch.int32))

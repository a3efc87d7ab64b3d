from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from adtool.ops._native import kernel_of
from adtool.ops.cosine_distance import cosine_distance, reference, reference_backward

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(2, 3, 5, 7), (1, 5, 1, 1), (2, 131, 3, 3), (1, 2, 1, 300), (2, 9, 16, 33)]


def pair(shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((2, *shape), generator=generator, dtype=torch.float64).to(dtype).unbind()


def distances(teacher, student):
    return torch.ops.adtool.cosine_distance(teacher, student)


def pixel(*vectors):
    """Each vector as the features of a one-pixel image: (1, C, 1, 1)."""
    return [torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in vectors]


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        ([3.0, 4.0], [4.0, 3.0], 1 - 24 / 25),
        ([1.0, 0.0], [0.0, 5.0], 1.0),
        ([1.0, 2.0], [-2.0, -4.0], 2.0),
        ([0.1, 0.7, -0.3], [0.1, 0.7, -0.3], 0.0),
        ([0.0, 0.0], [1.0, 2.0], 1.0),
        ([0.0, 0.0], [0.0, 0.0], 1.0),
    ],
)
def test_distance_by_hand(teacher, student, expected):
    t, s = pixel(teacher, student)
    assert distances(t, s).item() == pytest.approx(expected, rel=1e-14, abs=1e-300)
    assert distances(s, t).item() == distances(t, s).item()


def test_gradient_by_hand():
    t, s = pixel([1.0, 0.0], [0.0, 2.0])  # <t, s> = 0, so dd/ds = -t / (|t| |s|)
    s.requires_grad_()
    cosine_distance([t], [s]).sum().backward()
    torch.testing.assert_close(s.grad.flatten(), torch.tensor([-0.5, 0.0], dtype=torch.float64))


def test_gradient_of_a_zero_vector_is_zero():
    t, s = pixel([1.0, 2.0], [0.0, 0.0])
    t.requires_grad_()
    s.requires_grad_()
    cosine_distance([t], [s]).sum().backward()
    assert t.grad.abs().sum() == 0 and s.grad.abs().sum() == 0


def test_mean_is_taken_at_each_scale():
    near, far = pixel([3.0, 4.0], [4.0, 3.0])
    teacher = [torch.cat([near, near], dim=3), near]
    student = [torch.cat([near, far], dim=3), far]
    expected = torch.tensor([0.02, 0.04], dtype=torch.float64)
    torch.testing.assert_close(cosine_distance(teacher, student), expected)


@pytest.mark.parametrize("gap", [1e-2, 1e-3, 1e-4])
def test_distance_of_nearly_equal_vectors_keeps_five_digits(gap, layout):
    t, noise = pair((2, 384, 4, 4))
    t, s = layout(t), layout(t + gap * noise)
    wide_t, wide_s = t.numpy().astype(np.longdouble), s.numpy().astype(np.longdouble)
    norms = np.sqrt((wide_t**2).sum(1) * (wide_s**2).sum(1))
    exact = torch.from_numpy((1 - (wide_t * wide_s).sum(1) / norms).astype(np.float64))
    assert exact.max() < gap**2
    torch.testing.assert_close(distances(t, s)[:, 0].double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_distance_matches_its_reference(shape, dtype, layout):
    t, s = map(layout, pair(shape, dtype))
    ours = distances(t, s)
    assert ours.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(ours, reference(t, s), rtol=1e-6, atol=1e-12)
    grad = torch.rand(ours.shape, dtype=ours.dtype)
    ours = torch.ops.adtool.cosine_distance_backward(grad, t, s, True, True)
    torch.testing.assert_close(ours, reference_backward(grad, t, s, True, True))


def test_teacher_and_student_may_differ_in_memory_format():
    t, s = pair((2, 6, 4, 5), torch.float64)
    t = t.contiguous(memory_format=torch.channels_last).requires_grad_()
    s = s.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t, s: cosine_distance([t], [s]), (t, s))
    cosine_distance([t], [s]).sum().backward()
    assert t.grad.is_contiguous(memory_format=torch.channels_last) and s.grad.is_contiguous()


@pytest.mark.parametrize("sides", [(True, False), (False, True)])
def test_gradient_reaches_only_the_side_that_asks(sides):
    pairs = [pair((2, 3, 4, 4)), pair((2, 5, 2, 2), seed=1)]
    teacher, student = ([p[i].clone().requires_grad_(sides[i]) for p in pairs] for i in (0, 1))
    cosine_distance(teacher, student).sum().backward()
    assert all((t.grad is not None) == sides[0] for t in teacher)
    assert all((s.grad is not None) == sides[1] for s in student)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 0, 2, 2)])
def test_distance_of_empty_features(shape):
    t, s = torch.empty(shape), torch.empty(shape)
    assert distances(t, s).shape == (shape[0], 1, *shape[2:])
    assert (distances(t, s) == 1).all()  # no channels: zero vectors


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_at_its_pixel(bad):
    t, s = pair((1, 3, 2, 4))
    s = s.clone()
    s[0, 1, 1, 2] = bad
    isnan = distances(t, s).isnan()
    assert isnan[0, 0, 1, 2] and isnan.sum() == 1


def test_distance_of_an_image_ignores_its_batch_and_the_threads(layout, set_threads):
    t, s = map(layout, pair((5, 70, 9, 31)))
    grad = torch.rand(5, 1, 9, 31)
    set_threads(1)
    whole, grads = distances(t, s), torch.ops.adtool.cosine_distance_backward(grad, t, s, True, True)
    set_threads(3)
    assert torch.equal(whole, torch.cat([distances(t[i : i + 1], s[i : i + 1]) for i in range(5)]))
    again = torch.ops.adtool.cosine_distance_backward(grad, t, s, True, True)
    assert torch.equal(grads[0], again[0]) and torch.equal(grads[1], again[1])


def test_mixed_precision_is_promoted():
    t, s = pair((1, 4, 3, 3))
    torch.testing.assert_close(cosine_distance([t], [s.bfloat16()]), cosine_distance([t], [s.bfloat16().float()]))


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        ([], [], "teacher: expected features of at least one scale"),
        ([(1, 2, 3, 3)], [], "student: expected as many scales as teacher, 1, got 0"),
        ([(2, 3, 3)], [(2, 3, 3)], r"teacher\[0\]: expected floating-point \(N, C, H, W\), got .* \(2, 3, 3\)"),
        ([(1, 2, 3, 3)], [(1, 2, 3, 4)], r"student\[0\]: expected teacher's \(1, 2, 3, 3\), got .* \(1, 2, 3, 4\)"),
    ],
)
def test_features_that_do_not_fit_are_named(teacher, student, message):
    with pytest.raises(ValueError, match=message):
        cosine_distance([torch.zeros(t) for t in teacher], [torch.zeros(s) for s in student])


@pytest.mark.skipif(kernel_of("cosine_distance", "cpu") != "native", reason="the native library is not built")
def test_native_kernels_check_what_they_are_given():
    with pytest.raises(RuntimeError, match=r"student: expected the shape of teacher \(1, 2, 3, 4\), got"):
        distances(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 3))
    with pytest.raises(RuntimeError, match="student: expected the element type of teacher"):
        distances(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4, dtype=torch.float64))

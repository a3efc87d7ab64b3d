"""The emulated kernels of cosine_distance and cosine_map: what the example inputs of the operators are too few for."""

from __future__ import annotations

import pytest
import torch
from emulated import emulated
from op_cases import LAYOUTS

from adtool.ops import cosine_map
from adtool.ops.cosine_distance import reference, reference_backward

SHAPES = [(2, 131, 3, 3), (1, 2, 1, 300), (2, 72, 8, 9), (5, 33, 1, 1), (3, 0, 2, 2), (0, 3, 4, 4)]
HALVES = [torch.float16, torch.bfloat16]
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def pair(shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((2, *shape), generator=generator, dtype=torch.float64).to(dtype).unbind()


def ours(teacher, student, grad=None, sides=(True, True), order="forward"):
    """Distances, and the gradients to either side."""
    with emulated(order):
        d = torch.ops.adtool.cosine_distance(teacher, student)
        grad = torch.ones_like(d) if grad is None else grad
        return d, *torch.ops.adtool.cosine_distance_backward(grad, teacher, student, *sides)


def exact(teacher, student, grad=None, sides=(True, True)):
    d = reference(teacher, student)
    grad = torch.ones_like(d) if grad is None else grad
    return d, *reference_backward(grad, teacher, student, *sides)


@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape(shape, dtype, layout):
    t, s = map(layout, pair(shape, dtype))
    like = reference(t, s)
    grad = torch.linspace(-1, 1, like.numel(), dtype=like.dtype).view(like.shape)
    (d, *grads), (expected, *expected_grads) = ours(t, s, grad), exact(t, s, grad)
    torch.testing.assert_close(d, expected, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(grads, expected_grads)


@layouts
@pytest.mark.parametrize("gap", [1e-2, 1e-3, 1e-4])
def test_nearly_equal_vectors_keep_their_digits(gap, layout):
    """1 - cos is right to 2^-45, as twice float32's precision leaves it, the gradient to all of float32's digits."""
    t, noise = pair((2, 384, 4, 4))
    t, s = layout(t), layout(3 * t + gap * noise)
    (d, *grads), (expected, *expected_grads) = ours(t, s), exact(t, s)
    torch.testing.assert_close(d, expected, rtol=1e-6, atol=2.0**-45)
    for mine, theirs in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6 * float(theirs.abs().max()))


@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ratio", [1, 1.1])
def test_parallel_vectors_are_no_less_than_nothing_apart(ratio, dtype, layout):
    """What rounding leaves of the cosine is above 1 for some pixels."""
    t = layout(pair((2, 72, 8, 8), dtype)[0])
    d, dt, ds = ours(t, layout(ratio * t))
    assert d.min() == 0 and d.max() <= 2.0**-45
    assert max(dt.abs().max(), ds.abs().max()) <= 2.0**-24


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES])
@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (8, 8, 1, 1)])
@pytest.mark.parametrize("side", [0, 1])
def test_only_one_side_lies_on_a_boundary_of_packs(side, shape, dtype):
    features = list(pair(shape, dtype))
    features[side] = LAYOUTS["shifted"](features[side])
    torch.testing.assert_close(ours(*features), exact(*features))


@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [2.0**-100, 2.0**-64, 2.0**-32, 2.0**32, 2.0**64, 2.0**100])
def test_vectors_of_any_length(length, dtype, layout):
    """Squares of the outer ones are zero or infinite in float32; their neighbours have ordinary ones."""
    t, s = (x.clone() for x in pair((2, 40, 2, 8), dtype))
    t[1, :, 1, 3] *= length
    s[0, :, 0, 6] *= length
    t, s = layout(t), layout(s)
    rtol = 1e-6 if dtype == torch.float32 else 2.0**-7
    for mine, expected in zip(ours(t, s), exact(t, s), strict=True):
        torch.testing.assert_close(mine, expected, rtol=rtol, atol=0)


@layouts
@pytest.mark.parametrize("size", [2.0**-120, 2.0**-60, 0.0, 2.0**60, 2.0**120])
def test_gradients_of_any_size(size, layout):
    t, s = map(layout, pair((2, 40, 2, 8)))
    grad = torch.ones(2, 1, 2, 8)
    grad[1, 0, 1, 3] = size
    torch.testing.assert_close(ours(t, s, grad), exact(t, s, grad), rtol=1e-6, atol=0)


@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES])
def test_a_zero_vector_has_distance_one_and_no_gradient(dtype, layout):
    t, s = (x.clone() for x in pair((2, 40, 2, 8), dtype))
    t[0, :, 1, 2] = s[1, :, 0, 7] = s[1, :, 0, 6] = t[1, :, 0, 6] = 0
    t, s = layout(t), layout(s)
    d, dt, ds = ours(t, s)
    for n, y, x in [(0, 1, 2), (1, 0, 7), (1, 0, 6)]:
        assert d[n, 0, y, x] == 1 and dt[n, :, y, x].eq(0).all() and ds[n, :, y, x].eq(0).all()
    torch.testing.assert_close((d, dt, ds), exact(t, s))


@layouts
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_at_its_pixel(bad, layout):
    t, s = pair((2, 40, 2, 8))
    s = s.clone()
    s[1, 20, 1, 2] = bad
    for x in ours(layout(t), layout(s)):
        here = x[1, :, 1, 2].isnan()
        assert here.any() and x.isnan().sum() == here.sum()


@pytest.mark.parametrize("sides", [(True, False), (False, True)])
def test_only_the_side_that_asks_gets_a_gradient(sides):
    t, s = pair((2, 40, 2, 8))
    results = ours(t, s, sides=sides)
    torch.testing.assert_close(results, exact(t, s, sides=sides))
    assert [x.numel() > 0 for x in results[1:]] == list(sides)


def test_teacher_and_student_may_differ_in_memory_format():
    t, s = pair((2, 6, 4, 5))
    t = t.contiguous(memory_format=torch.channels_last)
    results = ours(t, s)
    torch.testing.assert_close(results, exact(t, s))
    assert results[1].stride() == t.stride() and results[2].stride() == s.stride()


@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(5, 70, 3, 7), (5, 72, 4, 4), (5, 33, 1, 1)])
def test_an_image_ignores_its_batch(shape, dtype, layout):
    t, s = (layout(x) for x in pair(shape, dtype))
    whole = ours(t, s, order="random:3")
    for i in range(len(t)):
        for mine, one in zip(whole, ours(t[i : i + 1], s[i : i + 1]), strict=True):
            assert torch.equal(mine[i : i + 1], one)


@pytest.mark.parametrize("reduce", cosine_map.REDUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (5, 40), (17, 9)])
def test_a_map_of_any_size_and_of_many_scales(size, dtype, reduce):
    """More scales than a launch takes."""
    shapes = [(2, 3 + i, 1 + i % 7, 1 + 3 * i) for i in range(11)]
    teacher, student = zip(*(pair(shape, dtype, seed) for seed, shape in enumerate(shapes)), strict=True)
    with emulated("reverse"):
        mine = torch.ops.adtool.cosine_map(teacher, student, size, reduce)
    torch.testing.assert_close(mine, cosine_map.reference(teacher, student, size, reduce), rtol=3e-6, atol=1e-6)


def test_a_map_is_larger_than_float32_counts_places():
    """Places are found by whole numbers: far out, neither rows nor columns slip."""
    t, s = pair((1, 3, 1, 4999))
    with emulated("forward"):
        mine = torch.ops.adtool.cosine_map([t], [s], (1, 7001), "sum")
    expected = cosine_map.reference([t.double()], [s.double()], (1, 7001), "sum").float()
    torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-6)


def test_a_map_spreads_what_is_not_finite_as_the_cpu_does():
    t, s = pair((1, 3, 3, 4))
    s = s.clone()
    s[0, 1, 1, 2] = float("nan")
    on_cpu = torch.ops.adtool.cosine_map([t], [s], (5, 7), "sum")
    with emulated("forward"):
        mine = torch.ops.adtool.cosine_map([t], [s], (5, 7), "sum")
    torch.testing.assert_close(mine, on_cpu, equal_nan=True)
    assert 0 < mine.isnan().sum() < mine.numel()


def test_what_a_map_cannot_take_is_named():
    t = torch.zeros(1, 2, 3, 3)
    wide = torch.zeros(1, 1, 1, 65536)
    with emulated("forward"):
        for arguments, message in [
            (([wide], [wide], (1, 1), "sum"), "size: expected at most 65535 pixels along either axis, got 65536"),
            (([t], [t], (4, 65536), "sum"), "size: expected at most 65535 pixels along either axis, got 65536"),
            (([t], [t], (0, 4), "sum"), "size: expected"),
            (([t], [t], (4, 4), "max"), "reduce: expected sum, mean or mul, got max"),
            (([t], [t, t], (4, 4), "sum"), "student: expected as many scales as teacher, 1, got 2"),
            (([t, t.double()], [t, t.double()], (4, 4), "sum"), "teacher: expected one element type at every scale"),
            (([t, t[:0]], [t, t[:0]], (4, 4), "sum"), "teacher: expected 1 images at every scale, got 0"),
            (([t[:, :, :0]], [t[:, :, :0]], (4, 4), "sum"), "teacher: expected features of at least one pixel"),
        ]:
            with pytest.raises(RuntimeError, match=message):
                torch.ops.adtool.cosine_map(*arguments)

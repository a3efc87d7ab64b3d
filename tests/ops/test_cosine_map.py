from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity, interpolate

from adtool.ops.cosine_map import cosine_map, reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SCALES = [(2, 8, 13, 11), (2, 16, 7, 6), (2, 70, 1, 1)]


def features(shapes=SCALES, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def column(*distances):
    """Teacher and student (1, 2, H, 1) whose cosine distances are the given ones of 0, 1 and 2."""
    student = {0: (1.0, 0.0), 1: (0.0, 1.0), 2: (-1.0, 0.0)}
    t = torch.tensor([[1.0, 0.0]] * len(distances)).T.reshape(1, 2, -1, 1)
    return t, torch.tensor([student[d] for d in distances]).T.reshape(1, 2, -1, 1)


def test_resizing_aligns_the_corners():
    t, s = column(0, 2)
    expected = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]).view(1, 1, 5, 1).expand(1, 1, 5, 3)
    torch.testing.assert_close(cosine_map([t], [s], (5, 3)), expected)


@pytest.mark.parametrize(("reduce", "expected"), [("sum", [1.0, 3.0]), ("mean", [0.5, 1.5]), ("mul", [0.0, 2.0])])
def test_scales_are_reduced(reduce, expected):
    teacher, student = zip(column(0, 1), column(1, 2), strict=True)
    result = cosine_map(teacher, student, (2, 1), reduce)
    torch.testing.assert_close(result, torch.tensor(expected).view(1, 1, 2, 1))


def test_map_is_the_sum_of_resized_distances():
    teacher, student = features(), features(seed=1)
    maps = [1 - cosine_similarity(t, s).unsqueeze(1) for t, s in zip(teacher, student, strict=True)]
    expected = sum(interpolate(m, (17, 19), mode="bilinear", align_corners=True) for m in maps)
    torch.testing.assert_close(cosine_map(teacher, student, (17, 19)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduce", ["sum", "mean", "mul"])
@pytest.mark.parametrize("size", [(17, 19), (1, 1), (5, 40)])
def test_map_matches_its_reference(dtype, reduce, size):
    teacher, student = features(dtype=dtype), features(dtype=dtype, seed=1)
    ours = cosine_map(teacher, student, size, reduce)
    assert ours.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(ours, reference(teacher, student, size, reduce), rtol=3e-6, atol=1e-6)


def test_map_reads_any_memory_layout(layout):
    teacher, student = features(), features(seed=1)
    ours = cosine_map([layout(t) for t in teacher], [layout(s) for s in student], (17, 19))
    torch.testing.assert_close(ours, reference(teacher, student, (17, 19), "sum"))


@pytest.mark.parametrize("reduce", ["sum", "mean", "mul"])
def test_map_gradient_is_the_derivative(reduce):
    shapes = [(1, 3, 2, 3), (1, 2, 1, 1), (1, 4, 3, 2)]
    inputs = [x.requires_grad_() for x in features(shapes, torch.float64) + features(shapes, torch.float64, seed=1)]
    assert torch.autograd.gradcheck(lambda *x: cosine_map(x[:3], x[3:], (4, 5), reduce), inputs)


def test_map_of_an_image_ignores_its_batch_and_the_threads(set_threads):
    shapes = [(5, 8, 33, 40), (5, 16, 7, 6)]
    teacher, student = features(shapes), features(shapes, seed=1)
    set_threads(1)
    whole = cosine_map(teacher, student, (60, 61))
    set_threads(3)
    for i in range(5):
        one = cosine_map([t[i : i + 1] for t in teacher], [s[i : i + 1] for s in student], (60, 61))
        assert torch.equal(whole[i : i + 1], one)
    assert torch.equal(whole, cosine_map(teacher, student, (60, 61)))


def test_map_of_an_empty_batch_is_empty():
    assert cosine_map([torch.empty(0, 3, 4, 4)], [torch.empty(0, 3, 4, 4)], (8, 9)).shape == (0, 1, 8, 9)


def test_map_spreads_what_is_not_finite_no_further_than_resizing_does():
    t, s = column(0, 1, 0, 2)
    s = s.clone()
    s[0, 0, 0, 0] = float("nan")
    isnan = cosine_map([t], [s], (4, 1)).isnan().flatten().tolist()
    assert isnan == [True, False, False, False]


def test_map_compiles_without_graph_breaks():
    teacher, student = features(), features(seed=1)
    compiled = torch.compile(lambda t, s: cosine_map(t, s, (9, 9)) + 1, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(teacher, student), cosine_map(teacher, student, (9, 9)) + 1)


@pytest.mark.parametrize(
    ("size", "reduce", "shapes", "message"),
    [
        ((0, 4), "sum", [(1, 2, 3, 3)], r"size: expected \(height, width\) of at least 1 pixel, got \(0, 4\)"),
        ((4, 4), "max", [(1, 2, 3, 3)], "reduce: expected one of sum, mean, mul, got 'max'"),
        ((4, 4), "sum", [(1, 2, 3, 3), (2, 2, 3, 3)], "teacher: expected one N and at least one pixel"),
        ((4, 4), "sum", [(1, 2, 0, 3)], "teacher: expected one N and at least one pixel"),
    ],
)
def test_map_names_the_argument_that_does_not_fit(size, reduce, shapes, message):
    teacher = [torch.zeros(shape) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        cosine_map(teacher, teacher, size, reduce)

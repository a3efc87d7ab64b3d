from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from adtool.ops._native import kernel_of
from adtool.ops.topk_neighbors import reference, topk_neighbors

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
KERNELS = [pytest.param(topk_neighbors, id="op"), pytest.param(reference, id="reference")]
both_kernels = pytest.mark.parametrize("search", KERNELS)
native_only = pytest.mark.skipif(
    kernel_of("topk_neighbors", "cpu") != "native", reason="the native library is not built"
)


def rows(*shape, dtype=torch.float32, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def graph(b, n, d, p=0, dtype=torch.float32):
    return rows(b, n, d, dtype=dtype), rows(b, n, d, dtype=dtype, seed=1), rows(n, p, seed=2) if p else None


def cosines(a, b):
    """Of all rows of one matrix with all of another, one at a time in float64."""
    a, b = a.double().numpy(), b.double().numpy()
    lengths = [[max(np.sqrt(x @ x), 1e-300) for x in matrix] for matrix in (a, b)]
    return np.array(
        [[x @ y / p / q for y, q in zip(b, lengths[1], strict=True)] for x, p in zip(a, lengths[0], strict=True)]
    )


def exhaustive(query, key, position, k):
    with np.errstate(invalid="ignore"):  # infinity by infinity
        where = 0 if position is None else cosines(position, position)
        scores = [cosines(q, keys) - where for q, keys in zip(query, key, strict=True)]
    return torch.from_numpy(
        np.stack([np.argsort(np.round(-score * 2**40), axis=1, kind="stable")[:, :k] for score in scores])
    )


@both_kernels
def test_neighbours_of_a_hand_worked_case(search):
    query = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    key = torch.tensor([[[3.0, 4.0], [-1.0, 0.0], [5.0, 0.0]]])
    # cosines (0.6, -1, 1), (0.8, 0, 0), (0, 0, 0)
    assert search(query, key, None, 2).tolist() == [[[2, 0], [0, 1], [0, 1]]]
    position = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    # less (1, 0, 1), (0, 1, 0), (1, 0, 1): (-0.4, -1, 0), (0.8, -1, 0), (-1, 0, -1)
    assert search(query, key, position, 3).tolist() == [[[2, 0, 1], [0, 2, 1], [1, 0, 2]]]


@both_kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("b", "n", "d", "p", "k"),
    [
        (1, 1, 1, 0, 1),
        (2, 43, 5, 3, 9),
        (3, 65, 33, 0, 1),
        (1, 130, 129, 70, 20),
        (2, 97, 64, 512, 97),
        (9, 14, 17, 1, 3),
    ],
)
def test_result_is_that_of_an_exhaustive_search(search, dtype, b, n, d, p, k):
    arguments = graph(b, n, d, p, dtype)
    index = search(*arguments, k)
    assert index.dtype == torch.int64
    assert torch.equal(index, exhaustive(*arguments, k))


@both_kernels
def test_nodes_or_numbers_may_lie_side_by_side(search):
    query, key, position = graph(2, 75, 37, 20)
    expected = search(query, key, position, 5)
    for result in (
        search(query.mT.contiguous().mT, key.mT.contiguous().mT, position.mT.contiguous().mT, 5),
        search(torch.cat([query, key], dim=2)[..., :37], key.mT.contiguous().mT, position, 5),
        search(torch.stack([query, key], dim=3).flatten(2)[..., ::2], key.flip(0).flip(0), position.double(), 5),
    ):
        assert torch.equal(result, expected)


@both_kernels
def test_near_ties_are_ordered_exactly(search):
    query, key, position = graph(2, 300, 20, 6)
    key = query[:, :1] + 1e-4 * key
    assert torch.equal(search(query, key, position * 1e-3 + 1, 7), exhaustive(query, key, position * 1e-3 + 1, 7))


@both_kernels
def test_ties_go_to_the_lower_index(search):
    query, key, _ = graph(2, 90, 8)
    key = key[:, :3].repeat(1, 30, 1)  # 30 copies are more than the candidates kept
    index = search(query, key, None, 5)
    assert torch.equal(index, exhaustive(query, key, None, 5))
    assert torch.equal(index, index[..., :1] + 3 * torch.arange(5))
    zeros = torch.zeros_like(query)
    assert torch.equal(search(zeros, key, None, 4), torch.arange(4).expand(2, 90, 4))


@both_kernels
def test_scores_that_ought_to_be_equal_are(search):
    angle = 2 * torch.pi * torch.arange(36, dtype=torch.float64) / 36  # neighbours on either side are equally near
    circle = torch.stack([angle.cos(), angle.sin(), 3 * (2 * angle).cos(), 3 * (2 * angle).sin()], dim=1)
    index = search(circle[None], circle[None], None, 5)
    sides = (torch.arange(36)[:, None] + torch.tensor([-1, 1])) % 36
    assert torch.equal(index[0, :, 0], torch.arange(36))
    assert torch.equal(index[0, :, 1:3], sides.sort(dim=1).values)


@both_kernels
@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-10, 1e15, 1e37], ids=str)
def test_scale_of_the_features_does_not_matter(search, scale):
    arguments = rows(2, 50, 12, scale=scale), rows(2, 50, 12, seed=1, scale=scale), rows(50, 4, seed=2, scale=scale)
    assert torch.equal(search(*arguments, 6), exhaustive(*arguments, 6))
    query, key, position = (x.double() * (1e-100 if scale < 1 else 1e100) for x in arguments)
    assert torch.equal(search(query, key, position, 6), exhaustive(query, key, position, 6))


@both_kernels
@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=str)
def test_what_is_no_number_comes_last(search, bad):
    query, key, position = graph(2, 40, 6, 3)
    query[0, 5, 2] = bad  # no score of node 5 is a number: all are equal
    key[1, 7, 0] = bad
    index = search(query, key, position, 40)
    assert index[0, 5].tolist() == list(range(40))
    assert (index[1, :, -1] == 7).all()
    others = torch.arange(40) != 5
    assert torch.equal(index[0, others], exhaustive(query[:1], key[:1], position, 40)[0, others])
    position[3, 1] = bad
    assert search(query, key, position, 3)[:, 3].tolist() == [[0, 1, 2]] * 2
    assert (search(query, key, position, 3)[:, 8] != 3).all()


@both_kernels
def test_no_graphs_and_no_numbers(search):
    assert search(*graph(0, 5, 4), 2).shape == (0, 5, 2)
    assert search(*graph(1, 5, 0), 2).tolist() == [[[0, 1]] * 5]
    position = rows(5, 3)
    assert torch.equal(search(*graph(1, 5, 0)[:2], position, 2), exhaustive(*graph(1, 5, 0)[:2], position, 2))


def test_many_nodes_and_graphs_are_handled_in_parts():
    arguments = rows(9, 1300, 230), rows(9, 1300, 230, seed=1), rows(1300, 40, seed=2)  # keys in two parts, two groups
    assert torch.equal(topk_neighbors(*arguments, 9), reference(*arguments, 9))
    arguments = rows(1, 3000, 3), rows(1, 3000, 3, seed=1), rows(3000, 2, seed=2)  # similarities in several chunks
    assert torch.equal(topk_neighbors(*arguments, 4), reference(*arguments, 4))


@both_kernels
def test_result_depends_on_neither_threads_nor_batch(search, set_threads):
    query, key, position = graph(11, 150, 90, 10)
    set_threads(1)
    index = search(query, key, position, 9)
    set_threads(3)
    assert torch.equal(search(query, key, position, 9), index)
    for i in (0, 7, 8, 10):
        assert torch.equal(search(query[i : i + 1], key[i : i + 1], position, 9), index[i : i + 1])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's record of peak memory")
@native_only
def test_memory_stays_far_below_a_matrix_of_scores():
    arguments = graph(8, 4096, 16, 8)
    topk_neighbors(*graph(8, 100, 16, 8), 9)
    before = peak_memory(reset=True)
    topk_neighbors(*arguments, 9)
    grown = peak_memory() - before
    assert grown < 8 * 4096 * 4096 * 4 / 20, f"{grown / 2**20:.0f} MiB"


def peak_memory(reset=False):
    """The process's largest resident memory in bytes, since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_op_can_be_compiled_and_traced_without_data():
    arguments = graph(2, 30, 8, 4)
    compiled = torch.compile(topk_neighbors, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(*arguments, 3), topk_neighbors(*arguments, 3))
    with FakeTensorMode():
        index = topk_neighbors(torch.empty(2, 7, 3).half(), torch.empty(2, 7, 3).half(), None, 2)
    assert (index.shape, index.dtype) == ((2, 7, 2), torch.int64)


@pytest.mark.parametrize(
    ("query", "key", "position", "k", "message"),
    [
        (rows(3, 4), rows(3, 4), None, 1, r"query and key: expected \(B, N, D\) each, got \(3, 4\) and \(3, 4\)"),
        (rows(1, 3, 4), rows(1, 3, 5), None, 1, r"query and key: expected \(B, N, D\) each"),
        (rows(1, 3, 4), rows(1, 3, 4).double(), None, 1, "one type, got torch.float32, torch.float64"),
        (rows(1, 3, 4).long(), rows(1, 3, 4).long(), None, 1, "query and key: expected floating-point"),
        (
            rows(1, 3, 4),
            rows(1, 3, 4),
            rows(4, 2),
            1,
            r"position: expected floating-point \(3, P\), got torch.float32 \(4, 2\)",
        ),
        (rows(1, 3, 4), rows(1, 3, 4), rows(1, 3, 2), 1, "position: expected"),
        (rows(1, 3, 4), rows(1, 3, 4), rows(3, 2).int(), 1, "position: expected floating-point"),
        (rows(1, 3, 4), rows(1, 3, 4), None, 4, "k: expected 1 to 3, the nodes, got 4"),
        (rows(1, 3, 4), rows(1, 3, 4), None, 0, "k: expected 1 to 3"),
        (rows(1, 0, 4), rows(1, 0, 4), None, 1, "k: expected 1 to 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(query, key, position, k, message):
    with pytest.raises(ValueError, match=message):
        topk_neighbors(query, key, position, k)


@native_only
def test_kernel_itself_refuses_what_would_leave_its_memory():
    query = rows(1, 3, 4)
    for arguments in (
        (query, rows(1, 3, 5), None, 1),
        (query, query.double(), None, 1),
        (query, query, rows(4, 2), 1),
        (query, query, None, 4),
        (query.int(), query.int(), None, 1),
        (query, query, rows(3, 2).int(), 1),
    ):
        with pytest.raises(RuntimeError, match="expected"):
            torch.ops.adtool.topk_neighbors(*arguments)

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from adtool.ops._native import CAPABILITIES, native_info
from adtool.ops.nearest_patch import eager, nearest_patch, reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
KERNELS = [pytest.param(nearest_patch, id="op"), pytest.param(reference, id="reference")]
both_kernels = pytest.mark.parametrize("search", KERNELS)


def rows(count, depth, dtype=torch.float32, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(count, depth, generator=generator, dtype=torch.float64)).to(dtype)


def exhaustive(patches, bank, k):
    """Every distance by differences in float64, and a stable sort."""
    x, b = patches.double().numpy(), bank.double().numpy()
    distance = np.stack([np.sqrt(((row - b) ** 2).sum(1)) for row in x]) if len(x) else np.empty((0, len(b)))
    index = np.argsort(distance, axis=1, kind="stable")[:, :k]  # NaN last
    return torch.from_numpy(np.take_along_axis(distance, index, 1)), torch.from_numpy(index)


def assert_exact(result, patches, bank, k):
    distance, index = exhaustive(patches, bank, k)
    assert torch.equal(result[1], index)
    torch.testing.assert_close(result[0], distance.to(result[0].dtype), rtol=1e-6, atol=0, equal_nan=True)


@both_kernels
def test_distances_of_a_hand_worked_case(search):
    bank = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [0.0, 1.0]])
    distance, index = search(torch.tensor([[0.0, 0.0], [6.0, 8.0], [3.0, 0.0]]), bank, 3)
    assert index.tolist() == [[0, 3, 1], [2, 1, 3], [0, 3, 1]]
    expected = [[0, 1, 5], [0, 5, 85**0.5], [3, 10**0.5, 4]]
    torch.testing.assert_close(distance, torch.tensor(expected), rtol=1e-6, atol=0)


@both_kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("p", "m", "d", "k"),
    [(1, 1, 1, 1), (3, 2, 5, 2), (43, 95, 1, 9), (85, 33, 17, 1), (29, 300, 152, 9), (127, 65, 129, 5), (2, 7, 999, 3)],
)
def test_result_is_that_of_an_exhaustive_search(search, dtype, p, m, d, k):
    patches, bank = rows(p, d, dtype), rows(m, d, dtype, seed=1)
    result = search(patches, bank, k)
    assert result[0].dtype == torch.promote_types(dtype, torch.float32) and result[1].dtype == torch.int64
    assert_exact(result, patches, bank, k)


@both_kernels
def test_all_rows_of_the_bank_come_in_order(search):
    patches, bank = rows(10, 6), rows(50, 6, seed=1)
    assert_exact(search(patches, bank, 50), patches, bank, 50)


@both_kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_distance_to_itself_is_zero(search, dtype):
    bank = (1000 + rows(60, 40, torch.float64)).to(dtype)  # far from the origin, where inner products lose their digits
    distance, index = search(bank[5:35], bank, 1)
    assert (distance == 0).all()
    assert (bank[index[:, 0]] == bank[5:35]).all()


@both_kernels
@pytest.mark.parametrize("spread", [1e-6, 1e-3, 1e-2, 1e-1])
def test_near_ties_are_ordered_exactly(search, spread):
    patches, bank = 1 + rows(100, 60, scale=spread), 1 + rows(1500, 60, seed=1, scale=spread)
    assert_exact(search(patches, bank, 3), patches, bank, 3)


@both_kernels
def test_rows_that_inner_products_cannot_tell_apart_are_ordered_exactly(search):
    apart = 1 + rows(300, 60, seed=1)
    bank = torch.cat([apart, torch.nextafter(apart, apart.flip(0)), torch.nextafter(apart, apart.roll(1, 1))])
    patches = 1 + rows(200, 60)
    assert_exact(search(patches, bank, 1), patches, bank, 1)


@both_kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ties_go_to_the_lower_index(search, dtype):
    bank = torch.cat([rows(3, 8, dtype, seed=2)] * 40 + [rows(30, 8, dtype)])  # more copies than candidates kept
    before = bank.clone()
    distance, index = search(bank[:3], bank, 4)
    assert torch.equal(bank, before)
    assert index.tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    assert (distance == 0).all()
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))
    assert_exact(search(grid, grid, 7), grid, grid, 7)


@both_kernels
@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e25], ids=str)
def test_scale_of_the_features_does_not_matter(search, scale):
    patches, bank = rows(20, 12, scale=scale), rows(70, 12, seed=1, scale=scale)
    assert_exact(search(patches, bank, 3), patches, bank, 3)


@both_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_rows_too_long_for_float32_to_square_are_found(search, dtype):
    bank = torch.tensor([[0.0, 0.0], [1e20, 1.0], [1e20, 3.0], [2e19, 1e19]], dtype=dtype)
    for patches in (bank, bank.flip(0) * 0.75, torch.tensor([[1e30, 1e30], [1e-30, 0.0]], dtype=dtype)):
        assert_exact(search(patches, bank, 2), patches, bank, 2)


@both_kernels
def test_what_is_not_finite_propagates(search):
    patches, bank = rows(6, 4), rows(40, 4, seed=1)
    patches[1, 2], patches[4, 0] = float("nan"), float("inf")
    bank[0, 1], bank[7, 3] = float("nan"), float("-inf")
    distance, index = search(patches, bank, 40)
    assert_exact((distance, index), patches, bank, 40)
    assert distance[1].isnan().all() and index[1].tolist() == list(range(40))
    assert distance[4, 0].isinf() and distance[0, -1].isnan() and index[0, -1] == 0
    assert search(patches, bank[:1], 1)[0].isnan().all()


@both_kernels
def test_no_patches_give_an_empty_result(search):
    distance, index = search(torch.empty(0, 5), rows(4, 5), 2)
    assert distance.shape == index.shape == (0, 2)


@both_kernels
def test_strided_rows_are_read_as_they_lie(search):
    patches, bank = rows(30, 24), rows(50, 24, seed=1)
    expected = search(patches[:, 4:15].contiguous(), bank[:, 4:15].contiguous(), 2)
    for result in (
        search(patches[:, 4:15], bank[:, 4:15], 2),
        search(patches[:, 4:15].mT.contiguous().mT, bank[:, 4:15].mT.contiguous().mT, 2),
    ):
        assert all(map(torch.equal, result, expected))
    one = patches[:1].expand(5, -1)
    assert search(one, bank, 1)[1].unique().numel() == 1


def test_op_and_reference_give_the_same_bits():
    patches, bank = rows(200, 77), rows(5000, 77, seed=1)
    assert all(map(torch.equal, nearest_patch(patches, bank, 9), reference(patches, bank, 9)))


@both_kernels
def test_result_depends_on_neither_threads_nor_the_other_patches(search, set_threads):
    patches, bank = rows(700, 45), rows(900, 45, seed=1)
    set_threads(1)
    distance, index = search(patches, bank, 3)
    for threads in (2, 3):
        set_threads(threads)
        assert all(map(torch.equal, search(patches, bank, 3), (distance, index)))
    order = torch.randperm(700, generator=torch.Generator().manual_seed(0))
    assert all(map(torch.equal, search(patches[order], bank, 3), (distance[order], index[order])))
    for i in (0, 41, 42, 699):
        assert all(map(torch.equal, search(patches[i : i + 1], bank, 3), (distance[i : i + 1], index[i : i + 1])))


def test_more_bank_rows_and_patches_than_are_handled_at_a_time():
    bank = rows(1_100_000, 3)  # packed in two parts
    patches = bank[-7:] + 1e-3
    assert_exact(nearest_patch(patches, bank, 2), patches, bank, 2)
    bank, patches = rows(9, 2), rows(120_000, 2, seed=1)  # candidates listed in two chunks
    distance, index = nearest_patch(patches, bank, 1)
    expected = torch.cdist(patches.double(), bank.double(), compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    assert torch.equal(index[:, 0], expected.indices)
    torch.testing.assert_close(distance[:, 0], expected.values.float(), rtol=1e-6, atol=0)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's record of peak memory")
@both_kernels
def test_memory_stays_within_a_budget(search):
    p, m, d = (4_000, 24_000, 256) if search is nearest_patch else (1_000, 25_000, 8)
    patches, bank = rows(p, d), rows(m, d, seed=1)
    search(patches[:100], bank, 1)
    before = peak_memory(reset=True)
    search(patches, bank, 1)
    grown = peak_memory() - before
    assert grown < 64 << 20, f"{grown / 2**20:.0f} MiB; a matrix of all distances has {p * m * 4 / 2**20:.0f} MiB"


def peak_memory(reset=False):
    """The process's largest resident memory in bytes, since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


INSTRUCTION_SETS = """
import sys, torch
from adtool.ops.nearest_patch import nearest_patch
patches, bank, distance, index = torch.load(sys.argv[1])
assert all(map(torch.equal, nearest_patch(patches, bank, 5), (distance, index)))
"""


@pytest.mark.skipif(native_info()["cpu"] in (None, "baseline"), reason="one instruction set")
def test_instruction_sets_give_the_same_bits(tmp_path):
    patches, bank = rows(101, 83), rows(777, 83, seed=1)
    torch.save((patches, bank, *nearest_patch(patches, bank, 5)), tmp_path / "case.pt")
    for capability in CAPABILITIES[: CAPABILITIES.index(native_info()["cpu"])]:
        environment = os.environ | {"ADTOOL_CPU_CAPABILITY": capability}
        command = [sys.executable, "-c", INSTRUCTION_SETS, str(tmp_path / "case.pt")]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("patches", "bank", "k", "message"),
    [
        (rows(3, 4), rows(5, 4), 6, "k: expected 1 to 5, the rows of the bank, got 6"),
        (rows(3, 4), rows(5, 4), 0, "k: expected 1 to 5"),
        (rows(3, 4), rows(0, 4), 1, "k: expected 1 to 0"),
        (rows(3, 4), rows(5, 6), 1, r"patches and bank: expected \(P, D\) and \(M, D\), got \(3, 4\)"),
        (rows(3, 4)[0], rows(5, 4), 1, r"patches and bank: expected \(P, D\) and \(M, D\), got \(4,\)"),
        (rows(3, 4), rows(5, 4).double(), 1, "one type, got .* torch.float32 and .* torch.float64"),
        (rows(3, 4).long(), rows(5, 4).long(), 1, "floating-point elements"),
    ],
)
def test_arguments_that_do_not_fit_are_named(patches, bank, k, message):
    with pytest.raises(ValueError, match=message):
        nearest_patch(patches, bank, k)


@pytest.mark.skipif(not native_info()["built"], reason="the native library is not built")
def test_kernel_itself_refuses_what_would_leave_its_memory():
    for arguments in ((rows(3, 4), rows(5, 6), 1), (rows(3, 4), rows(5, 4), 6), (rows(3, 4), rows(5, 4).double(), 1)):
        with pytest.raises(RuntimeError, match="expected"):
            torch.ops.adtool.nearest_patch(*arguments)


def test_op_can_be_compiled_and_traced_without_data():
    patches, bank = rows(30, 8), rows(40, 8, seed=1)
    compiled = torch.compile(nearest_patch, backend="aot_eager", fullgraph=True)
    assert all(map(torch.equal, compiled(patches, bank, 2), nearest_patch(patches, bank, 2)))
    with FakeTensorMode():
        distance, index = nearest_patch(torch.empty(7, 3).half(), torch.empty(9, 3).half(), 2)
    assert (distance.shape, distance.dtype, index.shape, index.dtype) == ((7, 2), torch.float32, (7, 2), torch.int64)


def test_what_one_writes_without_it_finds_the_same():
    patches, bank = rows(30, 16), rows(50, 16, seed=1)
    distance, index = eager(patches, bank, 3)
    assert torch.equal(index, reference(patches, bank, 3)[1])
    torch.testing.assert_close(distance, reference(patches, bank, 3)[0], rtol=1e-4, atol=1e-4)

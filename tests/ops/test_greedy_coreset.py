from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from adtool.ops import greedy_coreset as module
from adtool.ops._native import native_info
from adtool.ops.greedy_coreset import eager, greedy_coreset, reference, reference_step

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
op = torch.ops.adtool.greedy_coreset
op_step = torch.ops.adtool.greedy_coreset_step
both_kernels = pytest.mark.parametrize("pick", [pytest.param(op, id="op"), pytest.param(reference, id="reference")])
both_steps = pytest.mark.parametrize(
    "step", [pytest.param(op_step, id="op"), pytest.param(reference_step, id="reference")]
)
native_only = pytest.mark.skipif(not native_info()["built"], reason="the native library is not built")


def rows(count, depth, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, depth, generator=generator, dtype=torch.float64).to(dtype)


def plain(patches, first, n):
    """Algorithm 1 as it stands: at every pick, the distances of all rows to all picks."""
    x = patches.double().numpy()
    picks = [first]
    while len(picks) < n:
        to_picks = np.stack([((x - x[pick]) ** 2).sum(1) for pick in picks])
        nearest = to_picks.min(0).astype(np.float64 if patches.dtype == torch.float64 else np.float32)
        nearest[picks] = -1
        picks.append(int(nearest.argmax()))
    return picks


@both_kernels
def test_picks_of_a_hand_worked_case(pick):
    line = torch.tensor([[0.0], [1.0], [2.0], [7.0], [10.0]])
    assert pick(line, 0, 5).tolist() == [0, 4, 3, 2, 1]  # 10; 7 is 3 from 10; 2 is 2 from 0; 1 is left
    assert pick(line, 3, 3).tolist() == [3, 0, 4]
    assert pick(line, 2, 1).tolist() == [2]


@both_kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("p", "d", "n"), [(1, 1, 1), (2, 3, 2), (70, 1, 40), (130, 17, 60), (99, 152, 25), (90, 67, 90)]
)
def test_picks_are_those_of_the_plain_algorithm(pick, dtype, p, d, n):
    patches = rows(p, d, dtype)
    assert pick(patches, p // 2, n).tolist() == plain(patches, p // 2, n)


@both_kernels
def test_ties_go_to_the_lower_index(pick):
    grid = torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0))
    assert pick(grid, 14, 36).tolist() == plain(grid, 14, 36)
    corners = torch.tensor([[1.0, 1.0], [1, -1], [-1, 1], [-1, -1]])
    assert pick(corners, 0, 4).tolist() == [0, 3, 1, 2]  # the other two are equally far from both


@both_kernels
def test_equal_rows_are_picked_once_each(pick):
    assert pick(torch.ones(6, 3), 4, 6).tolist() == [4, 0, 1, 2, 3, 5]


@both_kernels
def test_clusters_are_all_found_first(pick):
    centres = 100 * rows(12, 20, seed=1)
    member = torch.randint(12, (600,), generator=torch.Generator().manual_seed(2))
    picks = pick(centres[member] + rows(600, 20), 0, 12)
    assert member[picks].sort().values.tolist() == list(range(12))


def test_lazy_picks_are_the_same_in_many_shapes_of_data():
    low_rank = (rows(1000, 4) @ rows(4, 50, seed=1)).relu()
    spread = rows(1000, 50) * torch.linspace(0.01, 3, 1000)[:, None]
    rounded = (rows(1000, 3) * 4).round()
    for patches in (low_rank, spread, rounded, rows(1000, 50), low_rank[:, ::2], low_rank.mT.contiguous().mT):
        assert torch.equal(op(patches, 5, 150), reference(patches, 5, 150))


def test_threads_do_not_change_picks(set_threads):
    patches = rows(70_000, 6)  # five blocks
    set_threads(1)
    expected = op(patches, 3, 60)
    assert torch.equal(expected, reference(patches, 3, 60))
    for threads in (2, 3, 8):
        set_threads(threads)
        assert torch.equal(op(patches, 3, 60), expected)
    projected = greedy_coreset(rows(500, 40), 50, 0, projection=8)
    set_threads(1)
    assert torch.equal(greedy_coreset(rows(500, 40), 50, 0, projection=8), projected)


@both_steps
def test_steps_of_any_length_make_the_same_picks(step):
    patches = rows(400, 9)
    expected = reference(patches, 7, 100)
    for lengths in ([99], [1] * 99, [0, 10, 39, 50]):
        picked, distance, seen = module._start(patches, 7)
        for length in lengths:
            picked = step(patches, picked, distance, seen, length)
        assert torch.equal(picked, expected)


@both_steps
def test_state_is_an_upper_bound_that_either_kernel_can_go_on_from(step):
    patches = rows(500, 5)
    picked, distance, seen = module._start(patches, 0)
    picked = step(patches, picked, distance, seen, 40)
    to_picks = (patches[:, None].double() - patches[picked].double()).square().sum(2)
    for row in set(range(500)) - set(picked.tolist()):
        known = to_picks[row, : seen[row]]
        assert distance[row] == (known.min().float() if len(known) else math.inf)
    assert (distance[picked] == -1).all()
    rest = [other(patches, picked, distance.clone(), seen.clone(), 60) for other in (op_step, reference_step)]
    assert all(torch.equal(picks, reference(patches, 0, 101)) for picks in rest)


@both_kernels
def test_what_is_not_finite_is_picked_first_and_ends(pick):
    patches = rows(50, 4)
    patches[7, 1], patches[9, 2], patches[30, 0] = float("nan"), float("inf"), float("nan")
    picks = pick(patches, 3, 20).tolist()
    assert set(picks[1:4]) == {7, 9, 30} and len(set(picks)) == 20
    finite = [row for row in range(50) if row not in (7, 9, 30)]
    assert picks[:1] + picks[4:] == [finite[row] for row in plain(patches[finite], 3, 17)]
    assert sorted(pick(torch.full((9, 2), float("nan")), 2, 9).tolist()) == list(range(9))


def test_seed_chooses_the_start():
    patches = rows(200, 6)
    assert torch.equal(greedy_coreset(patches, 30, 1), greedy_coreset(patches, 30, 1))
    starts = {greedy_coreset(patches, 1, seed).item() for seed in range(20)}
    assert len(starts) > 10
    picks = greedy_coreset(patches, 30, 4)
    assert picks.dtype == torch.int64
    assert torch.equal(picks, reference(patches, picks[0].item(), 30))


def test_projection_keeps_distances_on_average_and_so_the_cover():
    patches = rows(400, 300)
    projected = module._project(patches, 64, torch.Generator().manual_seed(0))
    assert projected.shape == (400, 64) and projected.dtype == torch.float32
    ratio = torch.pdist(projected) / torch.pdist(patches)
    assert ratio.mean() == pytest.approx(1, abs=0.02) and ratio.std() == pytest.approx(1 / math.sqrt(2 * 64), rel=0.2)

    def radius(picks):
        return torch.cdist(patches, patches[picks]).min(dim=1).values.max()

    picks = greedy_coreset(patches, 40, 0, projection=64)
    assert picks.unique().numel() == 40
    assert radius(picks) < 1.1 * radius(greedy_coreset(patches, 40, 0))


def test_projection_to_as_many_dimensions_leaves_patches_as_they_are():
    patches = rows(100, 8)
    for projection in (8, 128):
        assert torch.equal(greedy_coreset(patches, 20, 0, projection=projection), greedy_coreset(patches, 20, 0))


def test_progress_is_reported_and_can_stop_the_selection(monkeypatch):
    monkeypatch.setattr(module, "BETWEEN_REPORTS", 0)  # after every pick
    calls = []
    picks = greedy_coreset(rows(60, 4), 30, 0, report=lambda *call: calls.append(call))
    assert calls == [("coreset", done, 30) for done in range(2, 31)] and len(picks) == 30

    def interrupt(what, done, total):
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        greedy_coreset(rows(60, 4), 30, 0, report=interrupt)


def test_none_and_all_rows():
    patches = rows(40, 3)
    assert greedy_coreset(patches, 0, 0).tolist() == []
    assert greedy_coreset(torch.empty(0, 3), 0, 0).dtype == torch.int64
    assert greedy_coreset(patches, 40, 0).sort().values.tolist() == list(range(40))


@pytest.mark.parametrize(
    ("patches", "n", "projection", "message"),
    [
        (rows(5, 2), 6, None, "n: expected 0 to 5, the rows of patches, got 6"),
        (rows(5, 2), -1, None, "n: expected 0 to 5"),
        (rows(5, 2), 3, 0, "projection: expected at least 1, got 0"),
        (rows(5, 2)[0], 1, None, r"patches: expected \(P, D\) floating point, got \(2,\)"),
        (rows(5, 2).int(), 1, None, r"got \(5, 2\) torch.int32"),
    ],
)
def test_arguments_that_do_not_fit_are_named(patches, n, projection, message):
    with pytest.raises(ValueError, match=message):
        greedy_coreset(patches, n, 0, projection=projection)


@native_only
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("patches", rows(4, 2)[0]),
        ("picked", torch.tensor([9])),
        ("picked", torch.tensor([-1])),
        ("picked", torch.empty(0, dtype=torch.int64)),
        ("distance", torch.zeros(3)),
        ("distance", torch.zeros(4, dtype=torch.float64)),
        ("distance", torch.full((4,), -1.0)),
        ("seen", torch.zeros(4, dtype=torch.int64)),
        ("seen", torch.full((4,), -1, dtype=torch.int32)),
        ("count", 4),
    ],
)
def test_kernel_itself_refuses_what_would_leave_its_memory(argument, value):
    patches = rows(4, 2)
    picked, distance, seen = module._start(patches, 0)
    arguments = {"patches": patches, "picked": picked, "distance": distance, "seen": seen, "count": 2}
    with pytest.raises(RuntimeError, match="picked" if argument == "count" else argument):
        op_step(**arguments | {argument: value})


def test_step_passes_opcheck():
    patches = rows(20, 3)
    torch.library.opcheck(op_step.default, (patches, *module._start(patches, 1), 5))
    native = torch._C._dispatch_has_kernel_for_dispatch_key("adtool::greedy_coreset_step", "CPU")
    assert native == native_info()["built"]


INSTRUCTION_SETS = """
import sys, torch
from adtool.ops.greedy_coreset import greedy_coreset
patches, picks = torch.load(sys.argv[1])
assert torch.equal(greedy_coreset(patches, 400, 0), picks)
"""


@pytest.mark.skipif(native_info()["cpu"] in (None, "baseline"), reason="one instruction set")
def test_instruction_sets_make_the_same_picks(tmp_path):
    patches = rows(3000, 83)
    torch.save((patches, greedy_coreset(patches, 400, 0)), tmp_path / "case.pt")
    environment = os.environ | {"ADTOOL_CPU_CAPABILITY": "baseline"}
    command = [sys.executable, "-c", INSTRUCTION_SETS, str(tmp_path / "case.pt")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_what_one_writes_without_it_picks_the_same():
    patches = rows(60, 7)
    assert eager(patches, 3, 20).tolist() == plain(patches, 3, 20)

"""Clocks and percentiles by hand, memory to the byte."""

from __future__ import annotations

import gc
import time

import pytest
import torch

from adtool import timing
from adtool.ops.simam import simam
from adtool.timing import Timing

CPU = torch.device("cpu")
gpu_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_percentiles_are_runs_by_nearest_rank() -> None:
    hundred = Timing(tuple(float(k) for k in (*range(51, 101), *range(1, 51))))
    assert (hundred.median, hundred.percentile(95), hundred.percentile(99)) == (50.5, 95, 99)
    assert Timing((3.0, 1.0, 2.0)).percentile(95) == 3 and Timing((3.0, 1.0, 2.0)).median == 2


def test_a_ratio_is_the_median_over_rounds() -> None:
    """The machine was three times slower in the second round; the ratio does not see it, that of medians would."""
    ours, theirs = Timing((2.0, 6.0, 2.0, 7.0)), Timing((1.0, 3.0, 1.0, 1.0))
    assert ours.over(theirs) == 2
    with pytest.raises(ValueError):
        ours.over(Timing((1.0,)))


def test_variants_take_turns_and_every_round_begins_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(timing, "_cpu_clock", lambda call: call() or 1.0)
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    times = timing.interleaved(calls, device=CPU, repeats=4)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert {name: taken.seconds for name, taken in times.items()} == {name: (1.0,) * 4 for name in "abc"}


def test_rounds_go_on_for_the_time_given_and_are_at_least_three() -> None:
    def nap() -> None:
        time.sleep(0.02)

    assert len(timing.measure(nap, device=CPU, seconds=0).seconds) == 3
    assert 4 <= len(timing.measure(nap, device=CPU, seconds=0.5).seconds) <= 25
    assert len(timing.measure(nap, device=CPU, seconds=0.2, repeats=1).seconds) == 1


def test_a_clock_reads_seconds() -> None:
    assert 0.02 <= timing.measure(lambda: time.sleep(0.02), device=CPU, repeats=3).median < 0.2


@pytest.mark.parametrize(("seconds", "calls"), [(0, 1 + 2 * 3), (timing.WARM_SECONDS, 1 + 3)])
def test_a_short_call_follows_an_untimed_one(seconds: float, calls: int) -> None:
    made: list[None] = []

    def call() -> None:
        made.append(None)
        time.sleep(seconds)

    timing.measure(call, device=CPU, repeats=3)
    assert len(made) == calls


def test_the_result_is_freed_after_the_clock_stops() -> None:
    class Slow:
        def __del__(self) -> None:
            time.sleep(0.05)

    assert timing.measure(Slow, device=CPU, repeats=1).median < 0.04


def test_the_collector_rests_meanwhile_and_works_afterwards() -> None:
    seen: list[bool] = []
    timing.measure(lambda: seen.append(gc.isenabled()), device=CPU, repeats=1)
    assert seen == [True, False, False] and gc.isenabled()


def test_a_caller_may_have_warmed_up() -> None:
    made: list[None] = []
    timing.interleaved({"": lambda: made.append(None)}, device=CPU, repeats=1, warm_up=False)
    assert len(made) == 2  # one to warm the caches, one timed


def test_what_a_variant_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        timing.measure(lambda: 1 / 0, device=CPU)
    assert gc.isenabled()


def test_highest_level_of_gains_and_losses() -> None:
    assert timing._highest(iter([4, 8, -4, 2, -10, 3])) == 12
    assert timing._highest(iter([])) == 0


def test_peak_memory_counts_what_lives_at_one_time() -> None:
    def one_after_the_other() -> torch.Tensor:
        first = torch.ones(1000)
        del first
        return torch.ones(2000)

    assert timing.peak_bytes(lambda: torch.ones(1000).exp(), CPU) == 8000
    assert timing.peak_bytes(one_after_the_other, CPU) == 8000
    assert timing.peak_bytes(lambda: None, CPU) == 0


def test_peak_memory_sees_into_operators() -> None:
    x = torch.rand(2, 3, 8, 8)
    assert timing.peak_bytes(lambda: simam(x), CPU) >= x.nbytes
    assert timing.peak_bytes(lambda: torch.cdist(x.view(48, 8), x.view(48, 8)).topk(1), CPU) >= 4 * 48 * 48


def test_peak_memory_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    timing.peak_bytes(lambda: torch.ones(10), CPU)
    assert capfd.readouterr() == ("", "")


def test_a_copy_moves_the_bytes_asked_for() -> None:
    """Half of them are written; no more of them than asked for into new memory."""
    for moved, fresh, new in ((4096, 0, 0), (4096, 500, 500), (4096, 2048, 2048), (4096, 9999, 2048), (0, 9, 0)):
        call = timing.copy(moved, CPU, fresh)
        result = call()
        assert (0 if result is None else result.nbytes) == new
        assert timing.peak_bytes(call, CPU) == new
        assert sum(cell.cell_contents.nbytes for cell in call.__closure__) == 2 * (moved // 2) - new


def test_a_copy_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(torch, "empty_like", lambda x: made.append(torch.zeros(len(x), dtype=x.dtype)) or made[0])
    result = timing.copy(400, CPU, 50)()
    assert result.tolist() == [1] * 50 and made[0].tolist() == [1] * 150


def test_a_product_is_one() -> None:
    result = timing.product(CPU)()
    side = timing.PRODUCT["cpu"]
    assert timing.product_flops(CPU) == 2 * result.shape[0] * result.shape[1] * side
    left, right = torch.rand(2, side, side, generator=torch.Generator().manual_seed(0))
    expected = (left[:3].double() @ right.double()).float()
    torch.testing.assert_close(result[:3], expected, rtol=1e-5, atol=0)


@pytest.mark.cuda
@gpu_only
def test_clock_and_memory_of_a_gpu() -> None:
    device = torch.device("cuda")
    small, large = torch.rand(2**10, device=device), torch.rand(2**26, device=device)
    times = timing.interleaved({"small": small.exp, "large": large.exp}, device=device, repeats=10)
    assert times["large"].over(times["small"]) > 5
    assert timing.peak_bytes(lambda: large.exp(), device) == large.nbytes

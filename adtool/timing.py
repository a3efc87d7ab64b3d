"""Timing: variants interleaved in one process, percentiles over their runs, peak memory, and copies and products to
hold them against.

A round calls every variant once, each round beginning with the next one, so that a machine that slows down slows all
of them. On the CPU a call shorter than `WARM_SECONDS` follows an untimed one of its own and so finds the caches as it
leaves them; a longer call fills them itself. On a CUDA device a call is timed by events after the second-level cache
was overwritten. A result is freed after the clock has stopped.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler import profile

Call = Callable[[], Any]
Clock = Callable[[Call], float]
"""Seconds that one call takes."""

WARM_SECONDS = 0.01
FEWEST_ROUNDS = 3
PRODUCT = {"cpu": 1024, "cuda": 4096}
"""Rows and columns of the matrices in `product`: enough for every processor of a device."""


@dataclass(frozen=True)
class Timing:
    """The runs of one variant."""

    seconds: tuple[float, ...]
    """In the order of the rounds."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def percentile(self, percent: float) -> float:
        """The smallest run that `percent` of all runs do not exceed (nearest rank)."""
        return sorted(self.seconds)[math.ceil(percent / 100 * len(self.seconds)) - 1]

    def over(self, other: Timing) -> float:
        """How many times as long as `other` a run takes: the median over the rounds that both ran in."""
        return statistics.median(ours / theirs for ours, theirs in zip(self.seconds, other.seconds, strict=True))


def interleaved(
    variants: Mapping[str, Call],
    *,
    device: torch.device,
    seconds: float = 3.0,
    repeats: int | None = None,
    warm_up: bool = True,
) -> dict[str, Timing]:
    """Time variants by turns: `repeats` rounds, or as many as start within `seconds`, but no fewer than three.

    Each is called once before, untimed, unless the caller did that.
    """
    clock = _cuda_clock(device) if device.type == "cuda" else _cpu_clock
    names = list(variants)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for call in variants.values() if warm_up else ():
        call()
    rounds, start = 0, time.perf_counter()
    with _without_collector():
        while rounds < (repeats or FEWEST_ROUNDS) or (repeats is None and time.perf_counter() - start < seconds):
            first = rounds % len(names) if names else 0
            for name in names[first:] + names[:first]:
                taken[name].append(clock(variants[name]))
            rounds += 1
    return {name: Timing(tuple(runs)) for name, runs in taken.items()}


def measure(call: Call, *, device: torch.device, seconds: float = 3.0, repeats: int | None = None) -> Timing:
    """Time one call as `interleaved` does."""
    return interleaved({"": call}, device=device, seconds=seconds, repeats=repeats)[""]


def _cpu_clock(call: Call) -> float:
    taken = _once(call)
    return _once(call) if taken < WARM_SECONDS else taken


def _once(call: Call) -> float:
    start = time.perf_counter()
    result = call()
    taken = time.perf_counter() - start
    del result
    return taken


def _cuda_clock(device: torch.device) -> Clock:
    """A clock of events; before each call twice the second-level cache is written, so that no input lies in it."""
    cache = 2 * torch.cuda.get_device_properties(device).L2_cache_size
    flush = torch.empty(cache, dtype=torch.uint8, device=device)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def clock(call: Call) -> float:
        with torch.cuda.device(device):
            flush.zero_()
            begin.record()
            result = call()
            end.record()
            end.synchronize()
        del result
        return float(begin.elapsed_time(end)) / 1000  # from milliseconds

    return clock


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Python's cyclic garbage waits."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def peak_bytes(call: Call, device: torch.device) -> int:
    """The most bytes that tensors made by one call, its result among them, hold at one time.

    On the CPU these are the allocations of torch's allocator in the calling thread, as the profiler records them:
    tensors inside operators and compiled graphs too, but not what C++ code or a library takes from the system itself.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # the profiler tells stderr that it starts and stops
    with profile(profile_memory=True) as recorded:
        call()
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    return _highest(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))


def _highest(changes: Iterator[int]) -> int:
    """The highest level that a sequence of gains and losses reaches from 0."""
    level = highest = 0
    for change in changes:
        level += change
        highest = max(highest, level)
    return highest


def copy(moved: int, device: torch.device, fresh: int = 0) -> Call:
    """A copy that reads and writes `moved` bytes in all; of those written, `fresh` go to memory that each call takes.

    Memory fresh from the system has to be mapped and cleared, which an operator pays for its results as well.
    """
    into_new = torch.ones(min(fresh, moved // 2), dtype=torch.uint8, device=device)
    source = torch.ones(moved // 2 - len(into_new), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def call() -> Tensor | None:
        result = into_new.clone() if len(into_new) else None
        if len(source):
            target.copy_(source)
        return result

    return call


def product_flops(device: torch.device) -> int:
    """Operations of `product`."""
    return 2 * PRODUCT[device.type] ** 3


def product(device: torch.device) -> Call:
    """A float32 matrix product of `product_flops` operations, without TF32 unless torch is told to use it."""
    side = PRODUCT[device.type]
    left, right = torch.rand(2, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    result = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=result)

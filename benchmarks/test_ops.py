"""The cases of `adtool bench ops` under pytest-benchmark, a group for each case.

    python -m pytest benchmarks --benchmark-only [-k "simam and native"] [--benchmark-json FILE]

`adtool bench ops` times variants by turns and is the one to quote; this is for looking at one operator while working
on it, with what pytest-benchmark stores and compares.
"""

from __future__ import annotations

import os
from functools import lru_cache

from adtool.runtime import wait_briefly

wait_briefly()

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from adtool.bench.op_case import Case
from adtool.bench.ops import VARIANTS, cases, names
from adtool.errors import AdtoolError

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZE = os.environ.get("ADTOOL_BENCH_SIZE", "paper")
"""`small` is for a trial."""
CASES = [
    pytest.param(name, number, id=f"{case.op}-{case.shape.replace(' ', '-')}-{case.passes}")
    for name in names()
    for number, case in enumerate(cases(name, torch.device("meta"), SIZE))
]


@lru_cache(maxsize=1)
def of(name: str) -> list[Case]:
    return list(cases(name, DEVICE, SIZE))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "number"), CASES)
def test_op(benchmark: BenchmarkFixture, name: str, number: int, variant: str) -> None:
    case = of(name)[number]
    try:
        call = case.call(variant)
    except AdtoolError as error:
        pytest.skip(str(error))
    benchmark.group = f"{case.op} {case.shape} {case.passes}"
    benchmark.extra_info |= {"min_bytes": case.min_bytes, "flops": case.flops}
    if DEVICE.type == "cpu":
        benchmark(call)
    else:
        benchmark(lambda: (call(), torch.cuda.synchronize()))

"""Bytes that CUDA kernels load and store, counted by the emulation, which runs them instrumented on the CPU.

python -m benchmarks.cuda_traffic OPERATOR [small|paper]     float32, as JSON lines
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1] / "tests/emulation"))

import emulated
import op_cases

from adtool.bench import ops
from adtool.bench.op_case import Case
from benchmarks.cuda_binary import short

OPERATORS = emulated.NAMES
"""Those with CUDA kernels."""
SECTOR = 32
"""Bytes: the least that a device moves."""
LIMIT = 3e10
"""Operations of a case beyond which emulation takes too long."""


@dataclass
class Traffic:
    """One kernel: launches, threads of a block, dynamic shared memory; bytes that its threads ask for, and bytes of the
    different sectors among them, each counted once a launch, as if nothing that a cache held were lost."""

    kernel: str
    launches: int
    threads: int
    dynamic_shared: int
    loaded: int
    stored: int
    distinct_loaded: int
    distinct_stored: int

    @property
    def asked(self) -> int:
        return self.loaded + self.stored

    @property
    def distinct(self) -> int:
        return self.distinct_loaded + self.distinct_stored


def counted(call: Callable[[], Any]) -> list[Traffic]:
    """What the emulated kernels of a call moved."""
    library = emulated.library("counted.so")
    library.adtool_emulation_traffic.restype = ctypes.c_char_p
    library.adtool_emulation_traffic()
    with emulated.Emulated():
        call()
    return list(parsed(library.adtool_emulation_traffic().decode()))


def parsed(report: str) -> Iterator[Traffic]:
    """The lines of tests/emulation/traffic.cpp."""
    for line in report.splitlines():
        name, *numbers = line.split("\t")
        launches, threads, dynamic, loaded, stored, read, written = map(int, numbers)
        yield Traffic(short(name), launches, threads, dynamic, loaded, stored, read * SECTOR, written * SECTOR)


def cases(name: str, size: str = "paper") -> Iterator[tuple[Case, list[Traffic] | None]]:
    """Each case of `adtool bench ops` and what its kernels moved; None where there is too much to do.

    A backward pass is left out where PyTorch does it.
    """
    emulated.library("counted.so")
    for case in ops.cases(name, torch.device("cpu"), size):
        if case.backward and not has_backward(name):
            continue
        assert case.min_bytes  # it keeps the shapes, which emulated operators do not tell
        yield case, counted(partial(case.call, "native")) if (case.flops or 0) <= LIMIT else None


def has_backward(name: str) -> bool:
    """Whether the gradient has a CUDA kernel."""
    op = f"adtool_emulated::{name}_backward"
    return op in torch._C._dispatch_get_all_op_names() and bool(emulated.has_kernel(op, "CPU"))


def launched(name: str) -> list[Traffic]:
    """Every kernel of an operator, by the small inputs in all element types and layouts."""

    def call() -> None:
        for dtype in op_cases.dtypes(name):
            for layout in op_cases.LAYOUTS:
                for arguments in op_cases.cases(name, dtype, layout):
                    op_cases.results(name, op_cases.operator(name), arguments)

    return counted(call)


if __name__ == "__main__":
    for case, moved in cases(*sys.argv[1:]):
        kernels = [asdict(kernel) for kernel in moved or []]
        print(json.dumps({"shape": case.shape, "pass": case.passes, "min_bytes": case.min_bytes, "kernels": kernels}))

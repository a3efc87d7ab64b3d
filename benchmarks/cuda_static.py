"""Writes benchmarks/cuda_static.md: what is known of the CUDA kernels where there is no GPU.

make cuda-static        or, with what it installs and a library built with CUDA: python -m benchmarks.cuda_static
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

import adtool
from adtool.bench.op_case import Case
from adtool.ops._native import native_info
from benchmarks import cuda_binary, cuda_traffic
from benchmarks.cuda_binary import Kernel
from benchmarks.cuda_traffic import Traffic

HERE = Path(__file__).parent
PAGE = HERE / "cuda_static.md"
GPUS = {"A100 SXM 80 GB": (2.039e12, 19.5e12), "H100 SXM": (3.35e12, 66.9e12), "RTX 4090": (1.008e12, 82.6e12)}
"""Bytes a second of the memory, float32 operations a second outside the tensor cores: NVIDIA's data sheets of A100 and
H100, and the Ada architecture whitepaper."""

INTRODUCTION = """\
# CUDA kernels without a GPU

Written by `make cuda-static`; not by hand. These kernels are compiled for real, emulated on the CPU and statically
checked; they are **not timed on a GPU**. Nothing below is a measurement of time.

## What the operators move, and what they cannot be faster than

Float32, the shapes of `adtool bench ops`. *Minimal* is what has to be read or written if everything is moved once:
arguments and results, in the backward pass also what forward kept and the gradients. What the kernels move is counted
by the emulation, which runs them on the CPU with every load and store of global memory reported. *Asked* is what all
threads ask for, wherever it is answered; *distinct* counts each 32-byte sector once a launch, reads and writes apart:
what memory moves where caches keep everything within a launch and nothing from one launch to the next. Both are divided
by the minimal bytes. Not modelled: how much the caches keep, how accesses of a warp coalesce, copies and fills that are
no kernels, backward passes that PyTorch does. Below 1 is what could be left unread, such as the noise predicted for a
sample at t = 0. Cases of more than {limit:.0f} GFLOP are not counted, since emulating them takes too long.

*Bound* is the roofline: no kernel that reads its arguments from memory and computes in float32 outside the tensor cores
can take less time, since it has to move the minimal bytes and do the operations that the formulas need. It says nothing
of how near a kernel comes. {gpus}.

| operator | arguments | pass | minimal MB | asked | distinct | {bounds} |
|---|---|---|--:|--:|--:|{dashes}
"""
SHARES = """
Of these, by kernel, forward and, where it has kernels, backward together:

| operator | kernel | arguments | launches | asked | distinct |
|---|---|---|--:|--:|--:|
"""
KERNELS = """
## The kernels

Registers of a thread on each architecture, bytes of static (and dynamic) shared memory of a block, threads of a block,
and occupancy: the share of a multiprocessor's threads that run at a time, lowest of all architectures, by the toolkit's
`cuda_occupancy.h`. The last two columns are the 128-bit loads and stores of global memory in the machine code, fewest
of all architectures. No kernel has a byte of local memory or a spilled register on any architecture, or computes in
double precision unless `double` is among its template arguments: the build fails otherwise.
"""


def bound(case: Case, bandwidth: float, rate: float) -> float:
    """Seconds below which the case cannot be done."""
    return max(case.min_bytes / bandwidth, (case.flops or 0) / rate)


def introduction() -> str:
    """The text above the first table."""
    figures = (f"{name} {bytes_ / 1e9:.0f} GB/s, {rate / 1e12:.1f} TFLOP/s" for name, (bytes_, rate) in GPUS.items())
    sources = "; ".join(figures) + " (NVIDIA's data sheets of A100 and H100, Ada architecture whitepaper)"
    bounds = " | ".join(f"bound {name}, us" for name in GPUS)
    return INTRODUCTION.format(limit=cuda_traffic.LIMIT / 1e9, gpus=sources, bounds=bounds, dashes="--:|" * len(GPUS))


def case_row(case: Case, moved: list[Traffic] | None) -> str:
    """A row of the first table."""
    cells = [f"`{case.op}`", case.shape, case.passes.replace("_", " + "), f"{case.min_bytes / 1e6:.2f}"]
    if moved is None:
        cells += ["not counted"] * 2
    else:
        asked, distinct = sum(kernel.asked for kernel in moved), sum(kernel.distinct for kernel in moved)
        cells += [f"{total / case.min_bytes:.2f}" for total in (asked, distinct)]
    cells += [f"{1e6 * bound(case, *figures):.1f}" for figures in GPUS.values()]
    return "| " + " | ".join(cells) + " |"


def kernel_shares(moved: Iterable[Traffic], case: Case) -> Iterator[str]:
    """Which kernel moves what, over the minimal bytes of the case."""
    for kernel in moved:
        asked, distinct = kernel.asked / case.min_bytes, kernel.distinct / case.min_bytes
        yield f"| `{case.op}` | `{kernel.kernel}` | {case.shape} | {kernel.launches} | {asked:.2f} | {distinct:.2f} |"


def lowest_occupancies(
    built: dict[str, dict[str, Kernel]], launches: dict[str, Traffic]
) -> dict[str, tuple[float, str]]:
    """Short name of each kernel that is launched: its lowest occupancy, and on which architecture."""
    pairs = [(name, architecture) for name in launches for architecture in built[name]]
    shares = cuda_binary.occupancies(
        (architecture, kernel.registers, kernel.shared, launches[name].dynamic_shared, launches[name].threads)
        for name, architecture in pairs
        for kernel in [built[name][architecture]]
    )
    found: dict[str, tuple[float, str]] = {}
    for (name, architecture), share in zip(pairs, shares, strict=True):
        found[name] = min(found.get(name, (share, architecture)), (share, architecture), key=lambda each: each[0])
    return found


def kernel_row(name: str, kernels: dict[str, Kernel], launch: Traffic, occupancy: tuple[float, str]) -> str:
    """A row of an operator's table of kernels."""
    assert not any(kernel.local for kernel in kernels.values()), f"{name} has local memory"
    shared = str(max(kernel.shared for kernel in kernels.values()))
    shared += f" + {launch.dynamic_shared}" if launch.dynamic_shared else ""
    wide = [str(min(getattr(kernel, kind) for kernel in kernels.values())) for kind in ("loads", "stores")]
    registers = [str(kernel.registers) for kernel in kernels.values()]
    share, where = occupancy
    return (
        "| " + " | ".join([f"`{name}`", *registers, shared, str(launch.threads), f"{share:.0%} {where}", *wide]) + " |"
    )


def kernel_tables(built: dict[str, dict[str, Kernel]]) -> Iterator[str]:
    """The kernels of every operator, those that its small inputs launch."""
    launches = {name: {each.kernel: each for each in cuda_traffic.launched(name)} for name in cuda_traffic.OPERATORS}
    every = {kernel: launch for each in launches.values() for kernel, launch in each.items()}
    assert every.keys() == built.keys(), sorted(every.keys() ^ built.keys())
    occupancies = lowest_occupancies(built, every)
    architectures = " | ".join(next(iter(built.values())))
    for name, kernels in launches.items():
        yield f"\n### {name}\n"
        yield f"| kernel | {architectures} | shared | threads | occupancy | LDG.128 | STG.128 |"
        yield "|---|" + "--:|" * (architectures.count("|") + 6)
        yield from (
            kernel_row(kernel, built[kernel], kernels[kernel], occupancies[kernel]) for kernel in sorted(kernels)
        )


def case_tables() -> Iterator[str]:
    """What operators move, a row a case, and which of their kernels moves it."""
    shares = []
    for name in cuda_traffic.OPERATORS:
        for case, moved in cuda_traffic.cases(name):
            print(case.op, case.shape, case.passes, file=sys.stderr)
            yield case_row(case, moved)
            if case.backward == cuda_traffic.has_backward(name):
                shares += kernel_shares(moved or [], case)
    yield SHARES.rstrip()
    yield from shares


def main() -> None:
    """Write the page."""
    if not native_info()["cuda"]:
        raise SystemExit("adtool._C was built without CUDA kernels: ADTOOL_CUDA=1 make cuda-static")
    torch.set_num_threads(1)
    built = cuda_binary.kernels(Path(adtool.__file__).parent / "_C.abi3.so")
    lines = [introduction().rstrip(), *case_tables(), KERNELS.rstrip(), *kernel_tables(built)]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

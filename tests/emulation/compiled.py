"""Compiles csrc/cuda and csrc/kernels with the host's compiler, on csrc/emulation, into build/emulation.

emulated.so           every csrc/cuda/<op>.cpp and .cu: operators adtool_emulated::<op> for CPU tensors
counted.so            the same, with traffic.cpp, which counts what the kernels load and store
cases_<sanitizer>     the same operators in a program that runs recorded calls; only the kernels are instrumented
device_<variant>      the kernels of device.cu, right ones and wrong ones, in a program without torch
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "build/emulation"
BINDINGS = sorted((ROOT / "csrc/cuda").glob("*.cpp"))
KERNELS = sorted((ROOT / "csrc/cuda").glob("*.cu"))
TORCH = Path(torch.__file__).parent

CXX = os.environ.get("CXX", "c++")
FLAGS = "-std=c++20 -g1 -fPIC -fvisibility=hidden -fno-math-errno -ffp-contract=off -Wall -Wno-unknown-pragmas"
FLAGS += f" -DADTOOL_EMULATED -ffile-prefix-map={ROOT}/= -I{ROOT}/csrc -I{ROOT}/csrc/emulation"
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020d000000000000ULL -DTORCH_STABLE_ONLY"
STABLE_ABI += f" -isystem {TORCH}/include -isystem {TORCH}/include/torch/csrc/api/include"
LINK_TORCH = f"-L{TORCH}/lib -Wl,-rpath,{TORCH}/lib -ltorch_cpu -lc10"

# variant: (how kernels are compiled, what csrc/emulation is told of it)
VARIANTS = {
    "plain": ("-O2", ""),
    "ucontext": ("-O2", "-DADTOOL_UCONTEXT"),
    "address": ("-O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all", "-DADTOOL_ASAN"),
    "thread": ("-O1 -fno-omit-frame-pointer -fsanitize=thread", "-DADTOOL_TSAN"),
}
COUNTED = ("-O3 -fsanitize=thread --param tsan-instrument-func-entry-exit=0", "")  # traffic.cpp is the sanitizer
SANITIZERS = ("address", "thread")

# Colours and what is never freed are of no interest; a report ends the program; torch starts no threads.
QUIET = {
    "ASAN_OPTIONS": "detect_leaks=0:color=never",
    "UBSAN_OPTIONS": "print_stacktrace=1:color=never",
    "TSAN_OPTIONS": "color=never:halt_on_error=1",
    "OMP_NUM_THREADS": "1",
}

RULES = f"""\
cxx = {CXX}
rule compile
  command = $cxx {FLAGS} $flags -MMD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = $cxx $in $flags -o $out
"""


@cache
def built(target: str) -> Path:
    """The library or program, compiled if a source of it has changed."""
    if shutil.which(CXX) is None:
        pytest.skip(f"no C++ compiler: {CXX} is not on PATH")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (FOLDER / "build.ninja").write_text(RULES + "\n".join(_edges()) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "ninja", "-C", str(FOLDER), target]
        run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return FOLDER / target


def output_of(program: str, *arguments: str, order: str = "forward", without: str = "") -> tuple[int, str]:
    """Exit status, and what it said; run in a thread order, and as if the barrier in line `without` were missing."""
    environment = os.environ | {"ADTOOL_EMULATION_ORDER": order, "ADTOOL_EMULATION_WITHOUT": without, **QUIET}
    command = [str(built(program)), *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return run.returncode, (run.stdout + run.stderr).strip()


def _edges() -> Iterator[str]:
    """The edges of the build: each source once for every variant that needs it."""
    torch_side = []
    for source in [*BINDINGS, *map(HERE.joinpath, ("recorded_calls.cpp", "planted_operators.cpp"))]:
        torch_side.append(f"torch/{source.stem}.o")
        yield _edge(torch_side[-1], "compile", [source], f"-O1 {STABLE_ABI}")
    *binding_objects, recorded_calls, planted_operators = torch_side
    yield _edge("counted/traffic.o", "compile", [HERE / "traffic.cpp"], "-O2")
    for variant, (kernel_flags, machine_flags) in {**VARIANTS, "counted": COUNTED}.items():
        machine = []
        for source in sorted((ROOT / "csrc/emulation").glob("*.cpp")):
            machine.append(f"{variant}/{source.stem}.o")
            yield _edge(machine[-1], "compile", [source], f"-O2 {machine_flags}")
        kernels = [f"{variant}/{source.stem}_kernels.o" for source in KERNELS]
        for source, out in zip(KERNELS, kernels, strict=True):
            yield _edge(out, "compile", [source], f"{kernel_flags} -x c++")
        if variant == "counted":
            objects = [*binding_objects, *kernels, *machine, "counted/traffic.o"]
            yield _edge("counted.so", "link", objects, f"-shared {LINK_TORCH}")
            continue
        for program in ("device", "planted_bugs"):
            source, out = HERE / f"{program}.cu", f"{variant}/{program}.o"
            yield _edge(out, "compile", [source], f"{kernel_flags} -x c++")
            yield _edge(f"{program}_{variant}", "link", [out, *machine], kernel_flags)
        if variant == "plain":
            yield _edge("planted_operators.so", "link", [planted_operators, *machine], f"-shared {LINK_TORCH}")
            yield _edge("emulated.so", "link", [*binding_objects, *kernels, *machine], f"-shared {LINK_TORCH}")
        if variant in SANITIZERS:
            objects = [recorded_calls, *binding_objects, *kernels, *machine]
            yield _edge(f"recorded_calls_{variant}", "link", objects, f"{kernel_flags} {LINK_TORCH}")


def _edge(out: str, rule: str, sources: list[Path] | list[str], flags: str) -> str:
    return f"build {out}: {rule} {' '.join(map(str, sources))}\n  flags = {flags}"

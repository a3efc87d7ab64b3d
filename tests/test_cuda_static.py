"""benchmarks/cuda_static.md names every kernel, and what writes it reads and counts rightly."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adtool.ops._native import native_info
from benchmarks.cuda_binary import Kernel, demangled, occupancies, resources, short, wide_accesses

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "benchmarks/cuda_static.md").read_text(encoding="utf-8")
LISTED = set(re.findall(r"^\| `([^`]+)` \| \d+ \|", PAGE, re.MULTILINE))
STALE = "benchmarks/cuda_static.md is stale: make cuda-static"

RESOURCES = """
Fatbin elf code:
arch = sm_80
Resource usage:
 Common:
  GLOBAL:0
 Function _Z4waitPf:
  REG:40 STACK:8 SHARED:1024 LOCAL:4 CONSTANT[0]:404 TEXTURE:0 SURFACE:0 SAMPLER:0
Fatbin elf code:
arch = sm_100
 Function _Z4waitPf:
  REG:64 STACK:0 SHARED:2048 LOCAL:0 CONSTANT[0]:1004 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Z3runv:
  REG:12 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:1004 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
SASS = """
	code for sm_80
		Function : _Z4waitPf
        /*0010*/                   LDG.E.128.CONSTANT R4, [R2.64] ;   /* 0x000 */
        /*0020*/               @P0 LDG.E.128 R4, desc[UR6][R2.64+0x6] ;
        /*0030*/                   LDG.E.64 R26, desc[UR6][R26.64] ;
        /*0040*/                   LDCU.128 UR8, c[0x0][0x3a0] ;
        /*0050*/                   STS.128 [R2], R4 ;
		Function : _Z3runv
        /*0010*/                   STG.E.128 desc[UR4][R2.64], R8 ;
"""


def kernels_of_sources() -> set[str]:
    """Names of all __global__ functions."""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "csrc/kernels").glob("*.cuh"))
    return set(re.findall(r"__global__ void(?: __launch_bounds__\((?:[^()]|\([^()]*\))*\))?\s+(\w+)\(", text))


def test_the_page_lists_the_kernels_of_the_sources():
    assert kernels_of_sources(), "the pattern finds none"
    assert {name.partition("<")[0] for name in LISTED} == kernels_of_sources(), STALE


@pytest.mark.skipif(not native_info()["cuda"], reason="the native library is built without CUDA")
def test_the_page_lists_the_kernels_of_the_library():
    from adtool import _C

    names = set(re.findall(rb"_ZN6adtool4cuda\w+", Path(_C.__file__).read_bytes()))
    found = set(demangled(name.decode() for name in names).values())
    assert {name for name in found if name.partition("<")[0] in kernels_of_sources()} == LISTED, STALE


def test_the_page_has_every_architecture_and_operator():
    assert "| kernel | sm_75 | sm_80 | sm_86 | sm_89 | sm_90 | sm_100 | sm_120 |" in PAGE
    for source in (ROOT / "csrc/cuda").glob("*.cu"):
        assert f"| `{source.stem}` | " in PAGE and f"### {source.stem}\n" in PAGE, STALE


@pytest.mark.parametrize("pack", ["<float, 4", "<double, 2", "<Float16, 8", "<BFloat16, 8"])
def test_streaming_kernels_load_and_store_128_bits_at_a_time(pack):
    rows = [line.split(" | ") for line in PAGE.splitlines() if re.match(rf"\| `(simam|denoise|noise)_\w+{pack}", line)]
    assert len(rows) >= 4
    for row in rows:
        assert int(row[-2]) > 0 and int(row[-1].strip(" |")) > 0, row


def test_names_are_shortened():
    name = "void adtool::cuda::f<adtool::Float16, 8, adtool::cuda::Team<float, 32> >(adtool::Float16 const*, long)"
    assert short(name) == "f<Float16, 8, Team<float, 32>>"
    assert short("adtool::cuda::f(adtool::Planes)") == "f"


def test_resources_are_read():
    assert list(resources(RESOURCES.splitlines())) == [
        ("_Z4waitPf", "sm_80", Kernel(40, 1024, 12)),
        ("_Z4waitPf", "sm_100", Kernel(64, 1024, 0)),  # 1024 more are the driver's
        ("_Z3runv", "sm_100", Kernel(12, 0, 0)),
    ]


def test_wide_accesses_are_read():
    wait, run = ("_Z4waitPf", "sm_80"), ("_Z3runv", "sm_80")
    assert list(wide_accesses(SASS.splitlines())) == [(*wait, "LDG"), (*wait, "LDG"), (*run, "STG")]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_occupancy():
    """By hand: sm_80 has 65,536 registers and 2,048 threads, sm_86 1,536 threads and 100 KiB, sm_75 1,024 threads."""
    questions = [
        ("sm_80", 32, 0, 0, 256),  # 8 blocks
        ("sm_80", 64, 0, 0, 256),  # 4 blocks of 16,384 registers
        ("sm_86", 32, 32 << 10, 0, 256),  # 3 blocks of 33 KiB, with the driver's
        ("sm_75", 128, 0, 0, 256),  # 2 blocks
        ("sm_90", 32, 0, 100 << 10, 256),  # 2 blocks of 101 KiB
    ]
    assert occupancies(questions) == [1, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "c++")) is None, reason="there is no C++ compiler")
def test_traffic_is_counted():
    """SimAM reads a plane three times and writes it once; its gradient reads x four times and the plane's own twice."""
    command = [sys.executable, "-m", "benchmarks.cuda_traffic", "simam", "small"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    (row,) = [row for row in rows if row["shape"].startswith("(1,1,32,36)") and row["pass"] == "forward_backward"]
    plane = 4 * 32 * 36
    counted = {kernel["kernel"]: kernel for kernel in row["kernels"]}
    forward, backward = (counted[f"simam_{name}<float, 4, RowTeam<float, 256>>"] for name in ("forward", "backward"))
    assert (forward["loaded"], forward["stored"], forward["launches"], forward["threads"]) == (3 * plane, plane, 1, 256)
    assert (forward["distinct_loaded"], forward["distinct_stored"]) == (plane, plane)
    assert (backward["loaded"], backward["stored"]) == (6 * plane, plane)
    assert (backward["distinct_loaded"], backward["distinct_stored"]) == (2 * plane, plane)


def test_traffic_is_parsed():
    from benchmarks.cuda_traffic import parsed

    (traffic,) = parsed("adtool::cuda::f<float, adtool::Team<float> >\t2\t256\t512\t1000\t100\t10\t1\n")
    assert (traffic.kernel, traffic.launches, traffic.threads) == ("f<float, Team<float>>", 2, 256)
    assert (traffic.dynamic_shared, traffic.asked, traffic.distinct) == (512, 1100, 352)


def test_bounds():
    """1 GB in 0.5 ms at 2 TB/s; 1 TFLOP in 50 ms at 20 TFLOP/s."""
    from benchmarks.cuda_static import bound

    class Stub:
        min_bytes, flops = 10**9, 10**12

    assert bound(Stub(), 2e12, 20e12) == pytest.approx(0.05)
    Stub.flops = None
    assert bound(Stub(), 2e12, 20e12) == pytest.approx(0.0005)

"""The gate of _nvcc.py: what a CUDA kernel may not do fails the build, and what is meant passes."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GATE = runpy.run_path(str(ROOT / "_nvcc.py"))
NVCC = shutil.which("nvcc")

CLEAN = "__global__ void clean(float* y) { y[threadIdx.x] *= 2; }"
LOCAL_ARRAY = """
__global__ void local_array(float* y, int n) {
  float kept[8] = {};
  for (int i = 0; i < n; ++i) kept[i * 3 % 8] += y[i];
  y[0] = kept[n % 8];
}"""
SPILL = """
__global__ void __launch_bounds__(1024, 1) spill(float* y) {
  float kept[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) kept[i] = y[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 96; ++i) y[(95 - i) * 1024 + threadIdx.x] = kept[i] * kept[i];
}"""
ACCIDENTAL_DOUBLE = "__global__ void accidental_double(float* y) { y[threadIdx.x] *= 1.1; }"
CALLED_DOUBLE = """
__device__ __noinline__ float scaled(float x) { return x * 1.1; }
__global__ void called_double(float* y) { y[threadIdx.x] = scaled(y[threadIdx.x]); }"""
MEANT_DOUBLE = """
template <class S, class Exact>
__global__ void meant_double(S* y) { y[threadIdx.x] = S(sqrt(Exact(y[threadIdx.x]) / 3)); }
template __global__ void meant_double<float, double>(float*);"""
REFUSED = {
    "local_array": (LOCAL_ARRAY, r"Local memory used for function '_Z11local_array"),
    "spill": (SPILL, r"Registers are spilled to local memory in function '_Z5spill"),
    "accidental_double": (ACCIDENTAL_DOUBLE, r"double precision in accidental_double\(float\*\)"),
    "called_double": (CALLED_DOUBLE, r"double precision in called_double\(float\*\)"),
}


def compiled(folder, source):
    """The gate's run on a source, for the oldest and the newest architecture, and the object it leaves or not."""
    if NVCC is None:
        pytest.skip("nvcc is not on PATH")
    path, out = folder / "kernel.cu", folder / "kernel.o"
    path.write_text(source, encoding="utf-8")
    out.write_bytes(b"of a build before")
    targets = ["arch=compute_75,code=sm_75", "arch=compute_120,code=sm_120", "arch=compute_120,code=compute_120"]
    flags = ["-std=c++20", "-O3", *(part for target in targets for part in ("-gencode", target))]
    command = [sys.executable, ROOT / "_nvcc.py", NVCC, *flags, "-c", path, "-o", out]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True), out


@pytest.mark.parametrize("name", REFUSED)
def test_kernel_is_refused(tmp_path, name):
    source, complaint = REFUSED[name]
    run, out = compiled(tmp_path, source)
    assert run.returncode == 1, run.stderr
    assert re.search(f"^adtool: refused: .*{complaint}", run.stdout, re.MULTILINE), run.stdout
    assert not out.exists(), "the next build would take it for compiled"


@pytest.mark.parametrize("source", [CLEAN, MEANT_DOUBLE], ids=["clean", "meant_double"])
def test_kernel_passes(tmp_path, source):
    run, out = compiled(tmp_path, source)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert out.stat().st_size > 1000


def test_what_nvcc_itself_refuses_stays_an_error(tmp_path):
    run, _ = compiled(tmp_path, "__global__ int no_void() {}")
    assert run.returncode > 0
    assert "no_void" not in run.stdout.partition("refused")[2] and "return type" in run.stdout


def test_any_other_warning_of_ptxas_is_refused():
    warning = "ptxas warning : Value of threads per SM is out of range"
    assert list(GATE["refusals"](f"kernel.cu\n{warning}\n{warning}\nptxas info : 0 bytes gmem\n", [])) == [warning]
    double = "ptxas <macro util>, line 7; warning : Program is doing double precision computations."
    single = ".visible .entry _Z1fv(\n)\n{\n\tret;\n}\n"
    assert list(GATE["refusals"](double, [single])) == [double], "no kernel is to blame"


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        ("void ns::f<float, 2, ns::Team<double, 32> >(float const*, double)", "float, 2, ns::Team<double, 32>"),
        ("void f<float>(double)", "float"),
        ("f(double)", ""),
    ],
)
def test_template_arguments_of_a_kernel(kernel, arguments):
    assert GATE["template_arguments"](kernel).strip() == arguments

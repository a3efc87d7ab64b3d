"""Loading the native library, and the instruction set it runs with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import adtool
from adtool.ops._native import CAPABILITIES, kernel_of, native_info

INFO = native_info()
OPS = sorted(file.stem for file in (Path(adtool.__file__).parent / "ops").glob("[!_]*.py"))

AGREEMENT = """
import importlib, sys
import torch
from adtool.ops._native import native_info
assert native_info()["cpu"] == sys.argv[1], native_info()
for name in sys.argv[2:]:
    module = importlib.import_module(f"adtool.ops.{name}")
    op = getattr(torch.ops.adtool, name)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        for ours, theirs in zip(module.inputs("cpu", dtype), module.inputs("cpu", dtype), strict=True):
            torch.testing.assert_close(op(*ours), module.reference(*theirs))
"""


def python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=os.environ | environment, capture_output=True, text=True
    )


def test_info_describes_what_is_loaded():
    assert INFO["built"] == (kernel_of("simam", "cpu") == "native")
    assert INFO["cpu"] in (CAPABILITIES if INFO["built"] else (None,))
    assert INFO["error"] is None


@pytest.mark.parametrize("op", ["no_such_op", "simam_sideways"])
def test_kernel_of_an_unknown_op_is_none(op):
    assert kernel_of(op, "cpu") is None


@pytest.mark.parametrize("op", ["simam_backward", "greedy_coreset_step", "denoise_step"])
def test_every_operator_of_a_file_is_found(op):
    assert kernel_of(op, "cpu") == ("native" if INFO["built"] else "reference")


@pytest.mark.skipif(not INFO["built"], reason="the native library is not built")
@pytest.mark.parametrize("capability", CAPABILITIES[:-1])
def test_lower_instruction_sets_agree_with_the_references(capability):
    if CAPABILITIES.index(capability) >= CAPABILITIES.index(INFO["cpu"] or "baseline"):
        pytest.skip(f"this run itself uses {INFO['cpu']}")
    run = python(AGREEMENT, capability, *OPS, ADTOOL_CPU_CAPABILITY=capability)
    assert run.returncode == 0, run.stderr


def test_an_unknown_instruction_set_is_an_error():
    run = python("import adtool.ops._native", ADTOOL_CPU_CAPABILITY="avx1024")
    assert run.returncode != 0
    assert "ADTOOL_CPU_CAPABILITY=avx1024: expected one of baseline, avx2, avx512" in run.stderr


def test_a_library_that_does_not_load_warns_and_leaves_the_references(tmp_path):
    package = Path(adtool.__file__).parent
    for file in ("__init__.py", "ops/__init__.py", "ops/_native.py"):
        copy = tmp_path / "adtool" / file
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(package / file, copy)
    (tmp_path / "adtool" / "_C.abi3.so").write_bytes(b"not a library")
    code = "from adtool.ops import _native; print(_native.native_info())"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "RuntimeWarning: native code not loaded, PyTorch references answer" in run.stderr
    assert "'built': False" in run.stdout and "_C.abi3.so" in run.stdout

"""The emulated device runs right kernels rightly: in every thread order, and without a sanitizer's false alarm."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from compiled import HERE, ROOT, VARIANTS, output_of
from emulated import ORDERS

SOURCE = HERE / "device.cu"
CASES = re.findall(r'\{"(\w+)",', SOURCE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_right_kernels_pass(variant, order):
    assert len(CASES) > 10
    assert output_of(f"device_{variant}", *CASES, order=order) == (0, "")


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_what_is_offered_is_cuda(tmp_path):
    """The same file compiles for a GPU: no intrinsic takes here what it does not take there."""
    command = ["nvcc", "-std=c++20", "-arch=sm_75", f"-I{ROOT / 'csrc'}", "-c", SOURCE, "-o", tmp_path / "device.o"]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("order", ["sideways", "random", "random:", "random:x", ""])
def test_an_unknown_order_is_named(order):
    status, output = output_of("device_plain", "places", order=order)
    assert status == 1
    assert f"ADTOOL_EMULATION_ORDER={order}: expected forward, reverse or random:<seed>" in output


def test_orders_differ():
    """Otherwise three orders would be one."""
    outputs = {output_of("planted_bugs_plain", "print_order", order=order)[1] for order in (*ORDERS, "random:2")}
    assert len(outputs) == 4

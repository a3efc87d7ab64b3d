"""The emulated device runs right kernels rightly: in every thread order, and without a sanitizer's false alarm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from compiled import VARIANTS, output_of
from emulated import ORDERS

SOURCE = Path(__file__).with_name("device.cu").read_text(encoding="utf-8")
CASES = re.findall(r'\{"(\w+)",', SOURCE)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_right_kernels_pass(case, variant):
    for order in ORDERS:
        status, output = output_of(f"device_{variant}", case, order=order)
        assert (status, output) == (0, "")


def test_an_unknown_order_is_named():
    status, output = output_of("device_plain", "places", order="sideways")
    assert status == 1
    assert "ADTOOL_EMULATION_ORDER=sideways: expected forward, reverse or random:<seed>" in output


def test_orders_differ():
    """Otherwise three orders would be one."""
    outputs = {output_of("planted_bugs_plain", "print_order", order=order)[1] for order in (*ORDERS, "random:2")}
    assert len(outputs) == 4

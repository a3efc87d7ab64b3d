"""The machine in figures that can be checked against each other."""

from __future__ import annotations

import pytest
import torch

from adtool.bench import machine

CPU = torch.device("cpu")


def test_description() -> None:
    found = machine.describe(CPU)
    assert found["threads"] == torch.get_num_threads() and found["device"] == "cpu" and found["cpu"]


def test_rates_are_those_of_a_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "COPIED", 1 << 22)
    found = machine.rates(CPU)
    assert 1e7 < found["copy_bytes_per_s"] < 1e13 and 1e7 < found["sgemm_flops_per_s"] < 1e14


def test_resident_memory_sees_what_a_call_held() -> None:
    before = machine.peak_resident(lambda: None)
    during = machine.peak_resident(lambda: torch.ones(16 << 20))
    assert during - before > 50e6
    if machine._forget_peak():
        assert machine.peak_resident(lambda: None) < during - 50e6


def test_where_the_system_forgets_nothing_the_peak_since_the_start_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_forget_peak", lambda: False)
    high = machine.peak_resident(lambda: torch.ones(16 << 20))
    assert machine.peak_resident(lambda: None) >= high > 64e6

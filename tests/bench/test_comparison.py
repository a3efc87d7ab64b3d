"""Which rows of two documents are compared, and when the second is slower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adtool.bench import comparison
from adtool.errors import AdtoolError

MACHINE = {"cpu": "abacus", "device": "cpu", "threads": 2}


def ops(native: float, eager: float = 1.0, op: str = "simam", **machine: Any) -> dict[str, Any]:
    rows = [
        {"op": op, "shape": "(8,8)", "pass": "forward", "variant": variant, "median_s": seconds}
        for variant, seconds in (("native", native), ("eager", eager))
    ]
    return {"bench": "ops", "machine": MACHINE | machine, "rows": rows}


def score(seconds: float, measured: str = "pipeline", size: int = 256) -> dict[str, Any]:
    row = {"model": "toy", "preset": "default", "size": [size, size], "weights": "none", "batch": 8, "images": 60}
    row |= {"runtime": "torch", "measured": measured, "median_s": seconds}
    return {"bench": "score", "machine": MACHINE, "rows": [row]}


def test_slower_is_more_than_the_tolerance() -> None:
    assert comparison.slower(ops(0.1), ops(0.1099), 0.1) == []
    (line,) = comparison.slower(ops(0.1), ops(0.1101), 0.1)
    assert line == "simam (8,8) forward: 100 ms before, 110.1 ms now (+10 %)"
    assert comparison.slower(ops(0.1), ops(0.1101), 0.2) == []
    assert comparison.slower(ops(0.1), ops(0.05), 0.0) == []


def test_only_native_operators_count() -> None:
    assert comparison.slower(ops(0.1, eager=1), ops(0.1, eager=9), 0.1) == []


def test_rows_of_models_are_known_by_model_size_and_what_was_measured() -> None:
    (line,) = comparison.slower(score(1.0), score(2.0), 0.1)
    assert line.startswith("toy default 256x256 none 8 torch pipeline 60: 1000 ms before, 2000 ms now (+100 %)")
    for other in (score(2.0, measured="forward"), score(2.0, size=128)):
        with pytest.raises(AdtoolError, match="no row in common"):
            comparison.slower(score(1.0), other, 0.1)


@pytest.mark.parametrize("machine", [{"cpu": "other"}, {"threads": 1}, {"device": "H100"}])
def test_another_machine_is_refused(machine: dict[str, Any]) -> None:
    comparison.check_machine(ops(1), dict(MACHINE))
    with pytest.raises(AdtoolError, match=f"{next(iter(machine))} .* do not compare"):
        comparison.check_machine(ops(1), MACHINE | machine)


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(ops(0.1)))
    assert comparison.read(path, "ops") == ops(0.1)
    with pytest.raises(AdtoolError, match="written by `adtool bench ops`, expected one of `adtool bench models`"):
        comparison.read(path, "models")
    with pytest.raises(AdtoolError, match="No such file"):
        comparison.read(tmp_path / "missing.json", "ops")
    for text in ("", "[]", "{}", '{"bench": "ops"}', '{"bench": "ops", "rows": [{}], "machine": {}}'):
        path.write_text(text)
        with pytest.raises(AdtoolError, match="expected a file written by `adtool bench ops --json`"):
            comparison.read(path, "ops")

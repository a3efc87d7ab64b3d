"""Cells worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from adtool.bench import tables

MACHINE = {"cpu": "abacus", "device": "cpu", "threads": 2, "adtool": "0.1.0", "torch": "2.13.0"}
MACHINE |= {"copy_bytes_per_s": 1.25e10, "sgemm_flops_per_s": 2e11}
ROW = {"op": "simam", "shape": "(8,8)", "pass": "forward_backward", "variant": "native", "kernel": "reference"}
ROW |= {"median_s": 0.0012, "p95_s": 0.00234567, "p99_s": 1.5, "times_native": 1.0, "peak_bytes": 2_500_000}
ROW |= {"share_of_copy": 0.716, "share_of_sgemm": None}
MODEL = {"model": "padim", "preset": "small", "weights": "lite0.pth", "size": [96, 128], "batch": 4, "median_s": 0.02}
MODEL |= {"p95_s": 0.03, "p99_s": 0.04, "images_per_s": 200.0, "peak_rss_bytes": 512_000_000}


def document(kind: str, *rows: dict[str, Any]) -> dict[str, Any]:
    skipped = [{"op": "simam", "variant": "compiled", "reason": "no compiler"}]
    return {"bench": kind, "machine": MACHINE, "rows": list(rows), "skipped": skipped}


def test_an_operators_name_stands_once() -> None:
    eager = ROW | {"variant": "eager", "kernel": "torch", "times_native": 6.125, "share_of_sgemm": 0.9}
    columns, rows, words = tables.cells(document("ops", ROW, eager, ROW | {"shape": "(9,9)"}))
    titles = ["operator", "variant", "median ms", "p95", "p99", "x native", "of limit", "peak MB", "kernel"]
    assert columns == titles and words == 2
    name = "simam (8,8) forward + backward"
    assert rows[0] == [name, "native", "1.2", "2.346", "1500", "1.00", "72 % copy", "2.5", "reference"]
    assert rows[1] == ["", "eager", "1.2", "2.346", "1500", "6.12", "90 % sgemm", "2.5", "torch"]
    assert rows[2][0] == "simam (9,9) forward + backward"


@pytest.mark.parametrize(
    ("weights", "shown"), [("lite0.pth", "ImageNet"), ("random", "random"), ("trained", "trained")]
)
def test_a_models_weights_are_named_by_kind(weights: str, shown: str) -> None:
    _, ((*start, batch, median, _, _, rate, peak),), words = tables.cells(
        document("models", MODEL | {"weights": weights})
    )
    assert start == ["padim", "small", shown, "96x128"] and words == len(start)
    assert (batch, median, rate, peak) == ("4", "20", "200", "512")


def test_score_has_a_column_for_what_was_measured() -> None:
    row = MODEL | {"measured": "pipeline", "times_forward": 1.5}
    columns, (cells,), words = tables.cells(document("score", row))
    assert dict(zip(columns, cells, strict=True))["x forward"] == "1.50" and cells[words - 1] == "pipeline"


def test_markdown_says_where_what_and_what_not() -> None:
    lines = tables.markdown(document("ops", ROW)).splitlines()
    assert lines[0] == "adtool 0.1.0, torch 2.13.0, abacus, 2 threads: copy 12.5 GB/s, sgemm 200 GFLOP/s."
    assert lines[2].startswith("| operator | variant |") and lines[3].startswith("| --- | --- | ---: |")
    assert lines[4].startswith("| simam (8,8) forward + backward | native |")
    assert lines[-1] == "Not measured: simam compiled: no compiler"

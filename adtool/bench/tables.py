"""A document of `adtool bench` as a table for people, and as files."""

from __future__ import annotations

from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Any

from adtool.runs import write_text

Row = dict[str, Any]


def _text(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key])


def _seconds(key: str) -> Callable[[Row], str]:
    return lambda row: f"{1000 * row[key]:.4g}"


def _megabytes(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key] / 1e6:.4g}"


def _times(key: str) -> Callable[[Row], str]:
    return lambda row: "" if row[key] is None else f"{row[key]:.2f}"


def _of_limit(row: Row) -> str:
    """The larger of the two shares, and of what."""
    shares = {"copy": row["share_of_copy"], "sgemm": row["share_of_sgemm"] or 0.0}
    limit = max(shares, key=lambda name: shares[name])
    return f"{100 * shares[limit]:.0f} % {limit}"


def _operator(row: Row) -> str:
    return f"{row['op']} {row['shape']} {row['pass'].replace('_', ' + ')}"


def _weights(row: Row) -> str:
    """The published file's name is in the document."""
    kind: str = row["weights"]
    return kind if kind in ("trained", "random", "none") else "ImageNet"


def _size(row: Row) -> str:
    return "x".join(map(str, row["size"]))


LATENCY = {"median ms": _seconds("median_s"), "p95": _seconds("p95_s"), "p99": _seconds("p99_s")}
MODEL = {"model": _text("model"), "preset": _text("preset"), "weights": _weights, "size": _size}
RATE = {"images/s": lambda row: f"{row['images_per_s']:.4g}", "peak RSS MB": _megabytes("peak_rss_bytes")}
COLUMNS: dict[str, dict[str, Callable[[Row], str]]] = {
    "ops": {
        "operator": _operator,
        "variant": _text("variant"),
        **LATENCY,
        "x native": _times("times_native"),
        "of limit": _of_limit,
        "peak MB": _megabytes("peak_bytes"),
        "kernel": _text("kernel"),
    },
    "models": {**MODEL, "batch": _text("batch"), **LATENCY, **RATE},
    "score": {
        **MODEL,
        "measured": _text("measured"),
        "batch": _text("batch"),
        **LATENCY,
        "x forward": _times("times_forward"),
        **RATE,
    },
}
WORDS = {"ops": 2, "models": 4, "score": 5}
"""Columns at the left that are words."""
LEGEND = {
    "ops": "`x native`: this variant's time in units of native's, median over the rounds. `of limit`: the time that a "
    "copy of the bytes that have to move takes (with as much new memory as the results), or torch's matrix product of "
    "as many operations, whichever is longer, as a share of the time taken; more than 100 % where work is avoided, or "
    "where reading alone is quicker than copying. `peak MB`: tensors made by one call.",
    "models": "One prediction of a batch, images in memory to maps and scores. `peak RSS MB`: of the whole process.",
    "score": "One pass over all pictures. `x forward`: in units of the bare prediction of the same tensors.",
}


def cells(document: dict[str, Any]) -> tuple[list[str], list[list[str]], int]:
    """Column titles, a row of text per row of the document, and how many columns at the left are words.

    An operator's name stands in the first of its rows.
    """
    columns = COLUMNS[document["bench"]]
    rows = [[cell(row) for cell in columns.values()] for row in document["rows"]]
    for row, before in reversed(list(zip(rows[1:], rows, strict=False))):
        if document["bench"] == "ops" and row[0] == before[0]:
            row[0] = ""
    return list(columns), rows, WORDS[document["bench"]]


def machine(document: dict[str, Any]) -> str:
    """One line about where and with what a document was measured."""
    found = document["machine"]
    device = "" if found["device"] == "cpu" else f", {found['device']}"
    return (
        f"adtool {found['adtool']}, torch {found['torch']}, {found['cpu']}, {found['threads']} threads{device}: copy "
        f"{found['copy_bytes_per_s'] / 1e9:.1f} GB/s, sgemm {found['sgemm_flops_per_s'] / 1e9:.0f} GFLOP/s"
    )


def skipped(document: dict[str, Any]) -> list[str]:
    """A line for each thing that was not measured, and why."""
    return [
        f"{' '.join(str(value) for key, value in entry.items() if key != 'reason')}: {entry['reason']}"
        for entry in document["skipped"]
    ]


def markdown(document: dict[str, Any]) -> str:
    """The document as a page."""
    columns, rows, words = cells(document)
    rule = ["---" if number < words else "---:" for number in range(len(columns))]
    lines = [machine(document) + ".", "", *(f"| {' | '.join(row)} |" for row in [columns, rule, *rows]), ""]
    lines += [LEGEND[document["bench"]], *(f"\nNot measured: {line}" for line in skipped(document))]
    return "\n".join(lines) + "\n"


def write(document: dict[str, Any], json: Path | None, markdown_file: Path | None) -> list[Path]:
    """Write the document and its page where paths are given, and return these paths."""
    if json is not None:
        write_text(json, dumps(document, indent=1, allow_nan=False) + "\n", "--json")
    if markdown_file is not None:
        write_text(markdown_file, markdown(document), "--markdown")
    return [path for path in (json, markdown_file) if path is not None]

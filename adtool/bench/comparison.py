"""Whether a new document of `adtool bench` is slower than an old one."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from adtool.errors import AdtoolError

SAME_MACHINE = ("cpu", "device", "threads")
NAMES = {
    "ops": ("op", "shape", "pass"),
    "models": ("model", "preset", "size", "weights", "batch", "runtime"),
    "score": ("model", "preset", "size", "weights", "batch", "runtime", "measured", "images"),
}
"""What makes two rows the same measurement; of operators the variant `native` alone is compared."""


def read(path: Path, kind: str) -> dict[str, Any]:
    """An earlier document of this kind; AdtoolError when the file is something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document["bench"]
        _by_name({"bench": kind, "rows": document["rows"]} if found == kind else {"bench": kind, "rows": []})
        {name: document["machine"][name] for name in SAME_MACHINE}
    except OSError as error:
        raise AdtoolError(f"--compare {path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise AdtoolError(f"--compare {path}: expected a file written by `adtool bench {kind} --json`") from error
    if found != kind:
        raise AdtoolError(f"--compare {path}: written by `adtool bench {found}`, expected one of `adtool bench {kind}`")
    return dict(document)


def check_machine(old: dict[str, Any], machine: dict[str, Any]) -> None:
    """AdtoolError where times of the two machines say nothing of the code."""
    for name in SAME_MACHINE:
        before, now = old["machine"][name], machine[name]
        if before != now:
            raise AdtoolError(f"--compare: was measured with {name} {before}, this is {now}: the times do not compare")


def slower(old: dict[str, Any], new: dict[str, Any], tolerance: float) -> list[str]:
    """A line for each row whose median grew by more than the share `tolerance`; AdtoolError when none is in both."""
    before, now = _by_name(old), _by_name(new)
    common = [name for name in now if name in before]
    if not common:
        raise AdtoolError("--compare: has no row in common with what was measured now")
    return [
        f"{' '.join(map(str, name))}: {1000 * before[name]:.4g} ms before, {1000 * now[name]:.4g} ms now "
        f"({100 * (now[name] / before[name] - 1):+.0f} %)"
        for name in common
        if now[name] > (1 + tolerance) * before[name]
    ]


def _by_name(document: dict[str, Any]) -> dict[tuple[Hashable, ...], float]:
    """Median seconds of the rows that are compared."""
    rows = [row for row in document["rows"] if row.get("variant", "native") == "native"]
    return {tuple(_plain(row[name]) for name in NAMES[document["bench"]]): float(row["median_s"]) for row in rows}


def _plain(value: Any) -> Hashable:
    return "x".join(map(str, value)) if isinstance(value, list) else value

"""The rows of `score` as CSV or JSON lines.

Rows go to `FILE.partial` as they come, each whole, and the file gets its name when the last one is written; a run that
is stopped keeps what it has and says where.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from adtool.errors import AdtoolError

Row = dict[str, str | float | bool | None]

COLUMNS = ("path", "score", "normalized_score", "p_value", "threshold", "is_anomalous", "error")


class Sink(Protocol):
    """Takes encoded lines."""

    def write(self, line: bytes, /) -> object:
        """Take one line."""


class Rows:
    """Rows as CSV with a header, or as JSON lines; each is handed to the sink in one piece."""

    def __init__(self, sink: Sink, *, as_json: bool = False) -> None:
        self._sink = sink
        self._as_json = as_json
        if not as_json:
            sink.write(_csv_line(COLUMNS))

    def add(self, row: Row) -> None:
        """Write one row; numbers have the nine digits that identify a float32."""
        short = {name: float(f"{value:.9g}") if isinstance(value, float) else value for name, value in row.items()}
        line = json.dumps(short).encode() + b"\n" if self._as_json else _csv_line(map(_cell, short.values()))
        self._sink.write(line)


def _cell(value: str | float | bool | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _csv_line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="surrogateescape")


class WholeLines:
    """A file that only ever holds whole lines, also when the disk is full."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self.file = path.open("wb", buffering=0)
        self._end = 0

    def write(self, line: bytes, /) -> None:
        """Append the line, or nothing of it and raise AdtoolError."""
        try:
            if self.file.write(line) != len(line):
                raise OSError(None, "No space left on device")
        except OSError as error:
            with contextlib.suppress(OSError):  # a device has no length
                self.file.truncate(self._end)
            raise _unwritable(self.path, error) from error
        self._end += len(line)
        self.lines += 1


@contextlib.contextmanager
def open_rows(path: Path) -> Iterator[Rows]:
    """Rows that appear as `path` (.csv or .jsonl) when all are written, and stay in `path.partial` when stopped."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = WholeLines(partial)
    except OSError as error:
        raise _unwritable(path, error) from error
    with lines.file:
        try:
            yield Rows(lines, as_json=path.suffix == ".jsonl")
            os.fsync(lines.file.fileno())
            os.replace(partial, path)
        except BaseException as stop:
            stop.add_note(f"the rows so far are in {partial}")
            raise


def _unwritable(path: Path, error: OSError) -> AdtoolError:
    return AdtoolError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another place")

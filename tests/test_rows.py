"""Rows: the exact text of CSV and JSON lines, and what is left of a run that stops."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from adtool.errors import AdtoolError
from adtool.rows import COLUMNS, WholeLines, open_rows

ROW: dict[str, Any] = {
    "path": 'a "b", c.png',
    "score": 0.30000001192092896,  # a float32
    "normalized_score": 0.5,
    "p_value": 1 / 20,
    "threshold": 0.3,
    "is_anomalous": True,
    "error": None,
}
BAD: dict[str, Any] = dict.fromkeys(COLUMNS) | {"path": "x.png", "error": "is empty"}


def test_csv_rows_have_a_header_and_empty_cells_for_what_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    with open_rows(path) as rows:
        rows.add(ROW)
        rows.add(BAD)
    assert path.read_text().splitlines() == [
        "path,score,normalized_score,p_value,threshold,is_anomalous,error",
        '"a ""b"", c.png",0.300000012,0.5,0.05,0.3,true,',
        "x.png,,,,,,is empty",
    ]
    with path.open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == ['a "b", c.png', "x.png"]


def test_json_lines_have_the_same_keys_and_null_for_what_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with open_rows(path) as rows:
        rows.add(ROW)
        rows.add(BAD)
    first, second = map(json.loads, path.read_text().splitlines())
    assert tuple(first) == tuple(second) == COLUMNS
    assert first["is_anomalous"] is True and first["score"] == 0.300000012
    assert second == BAD


def test_file_name_that_is_no_text_is_kept_byte_for_byte(tmp_path: Path) -> None:
    with open_rows(tmp_path / "rows.csv") as rows:
        rows.add(BAD | {"path": b"\xff.png".decode(errors="surrogateescape")})
    assert b"\n\xff.png,," in (tmp_path / "rows.csv").read_bytes()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_stopped_run_keeps_its_rows_and_says_where(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("the run before\n")
    with pytest.raises(stop) as caught, open_rows(path) as rows:
        rows.add(ROW)
        raise stop
    assert caught.value.__notes__ == [f"the rows so far are in {path}.partial"]
    assert len(Path(f"{path}.partial").read_text().splitlines()) == 2
    assert path.read_text() == "the run before\n"


def test_full_disk_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "rows.csv.partial").symlink_to("/dev/full")
    with pytest.raises(AdtoolError, match=r"rows\.csv\.partial: cannot be written \(No space left on device\)"):
        with open_rows(tmp_path / "rows.csv"):
            pass
    assert not (tmp_path / "rows.csv").exists()


def test_half_written_line_is_taken_back(tmp_path: Path) -> None:
    lines = WholeLines(tmp_path / "rows")
    lines.write(b"one\n")

    class NearlyFull:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, line: bytes) -> int:
            return int(self.file.write(line[:2]))

        def truncate(self, size: int) -> None:
            self.file.truncate(size)

    with lines.file as whole:
        lines.file = NearlyFull(whole)  # type: ignore[assignment]
        with pytest.raises(AdtoolError, match="No space left"):
            lines.write(b"two\n")
    assert (tmp_path / "rows").read_bytes() == b"one\n"


def test_place_that_is_no_folder_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AdtoolError, match=r"rows\.csv: cannot be written"), open_rows(tmp_path / "file" / "rows.csv"):
        pass

"""`adtool score` on the toy detector: rows, pictures, exit statuses, bad input, and what an interruption leaves."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_detector
from click.testing import Result
from PIL import Image
from toy_detector import write_image

from adtool.rows import COLUMNS

Run = Callable[..., Result]
TOY = [sys.executable, str(Path(toy_detector.__file__))]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two good pictures and one with a spot, in two folders."""
    folder = tmp_path / "pictures"
    write_image(folder / "a" / "1.png", grey=102, size=(20, 30))
    write_image(folder / "a" / "2.png", grey=98, size=(20, 30))
    write_image(folder / "b" / "1.jpg", spot=200, size=(20, 30))
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_are_csv_on_stdout_and_the_summary_is_not(adtool: Run, model: Path, pictures: Path) -> None:
    result = adtool("score", pictures, "--model", model)
    assert result.exit_code == 0, result.stderr
    rows = rows_of(result.stdout)
    assert tuple(rows[0]) == COLUMNS
    assert [row["path"] for row in rows] == [str(pictures / p) for p in ("a/1.png", "a/2.png", "b/1.jpg")]
    assert [row["is_anomalous"] for row in rows] == ["false", "false", "true"]
    assert float(rows[0]["score"]) == pytest.approx(2 / 255, rel=1e-6)
    assert "3 images, 1 anomalous, 0 unreadable" in result.stderr


def test_output_file_and_pictures(adtool: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folders = [f"--{kind}={out / kind}" for kind in ("heatmaps", "maps", "masks")]
    result = adtool("score", pictures, "--model", model.parent, "--output", out / "rows.jsonl", *folders, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert [tuple(row) for row in rows] == [COLUMNS] * 3
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*") if p.is_file()) == [
        "heatmaps/a/1.png", "heatmaps/a/2.png", "heatmaps/b/1.png",
        "maps/a/1.tiff", "maps/a/2.tiff", "maps/b/1.tiff",
        "masks/a/1.png", "masks/a/2.png", "masks/b/1.png",
        "rows.jsonl",
    ]  # fmt: skip
    mask = np.asarray(Image.open(out / "masks/b/1.png"))
    assert mask.shape == (20, 30) and mask[0, 0] == 255 and mask[-1, -1] == 0


def test_maps_of_mvtec_pictures_lie_as_its_evaluation_expects(adtool: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bottle" / "train" / "good").mkdir(parents=True)
    write_image(tmp_path / "bottle" / "test" / "broken" / "000.png")
    result = adtool("score", tmp_path / "bottle" / "test", "--model", model, "--maps", tmp_path / "maps")
    assert result.exit_code == 0
    assert (tmp_path / "maps" / "bottle" / "test" / "broken" / "000.tiff").is_file()


def test_unreadable_pictures_are_rows_with_an_error_and_status_3(adtool: Run, model: Path, pictures: Path) -> None:
    whole = write_image(pictures / "c" / "whole.jpg", size=(64, 64)).read_bytes()
    (pictures / "c" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (pictures / "c" / "empty.png").touch()
    (pictures / "c" / "text.png").write_text("hello")
    (pictures / "c" / "huge.png").write_bytes(png_header(30_000, 30_000))
    write_image(pictures / "c" / "dot.png", size=(1, 1))
    result = adtool("score", pictures, "--model", model)
    rows = {Path(row["path"]).name: row for row in rows_of(result.stdout)}
    assert result.exit_code == 3
    assert len(rows) == 9
    for name in ("cut.jpg", "empty.png", "text.png", "huge.png"):
        assert rows[name]["error"] and not rows[name]["score"] and not rows[name]["is_anomalous"]
        assert f"warning: {pictures / 'c' / name}: " in result.stderr
    for name in ("whole.jpg", "dot.png"):
        assert rows[name]["score"] and not rows[name]["error"]


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that announces this many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def test_fail_on_anomaly_is_status_4(adtool: Run, model: Path, pictures: Path) -> None:
    assert adtool("score", pictures, "--model", model, "--fail-on-anomaly").exit_code == 4
    assert adtool("score", pictures / "a", "--model", model, "--fail-on-anomaly").exit_code == 0
    (pictures / "a" / "empty.png").touch()
    assert adtool("score", pictures / "a", "--model", model, "--fail-on-anomaly").exit_code == 3
    assert adtool("score", pictures, "--model", model, "--fail-on-anomaly").exit_code == 4


def test_threshold_decides(adtool: Run, model: Path, pictures: Path) -> None:
    rows = rows_of(adtool("score", pictures, "--model", model, "--threshold", "0.9").stdout)
    assert {row["is_anomalous"] for row in rows} == {"false"} and {row["threshold"] for row in rows} == {"0.9"}


def test_model_without_calibration_warns_and_scores(adtool: Run, pictures: Path, tmp_path: Path) -> None:
    bare = toy_detector.write_model(tmp_path / "bare.safetensors", calibration=None)
    result = adtool("score", pictures, "--model", bare)
    assert result.exit_code == 0
    assert "no calibrated threshold" in result.stderr
    assert all(row["score"] and not row["is_anomalous"] for row in rows_of(result.stdout))


def test_paths_come_from_stdin(adtool: Run, model: Path, pictures: Path) -> None:
    listed = f"{pictures / 'b' / '1.jpg'}\n\n{pictures / 'gone.png'}\n{pictures / 'a'}\n"
    result = adtool("score", "-", "--model", model, input=listed)
    rows = rows_of(result.stdout)
    assert [Path(row["path"]).name for row in rows] == ["1.jpg", "gone.png", "1.png", "2.png"]
    assert "No such file" in rows[1]["error"] and result.exit_code == 3


def test_empty_stdin_is_an_error(adtool: Run, model: Path) -> None:
    result = adtool("score", "-", "--model", model, input="\n")
    assert result.exit_code == 1 and "no paths on standard input" in result.stderr


def test_each_picture_is_scored_once(adtool: Run, model: Path, pictures: Path) -> None:
    result = adtool(
        "score", pictures, pictures / "a", pictures / "a" / "*.png", f"{pictures}/b/../a/1.png", "--model", model
    )
    assert len(rows_of(result.stdout)) == 3


def test_folders_that_are_written_to_are_not_scored(adtool: Run, model: Path, pictures: Path) -> None:
    for _ in range(2):
        result = adtool("score", pictures, "--model", model, "--heatmaps", pictures / "heat")
        assert len(rows_of(result.stdout)) == 3
    result = adtool("score", pictures, "--model", model, "--heatmaps", pictures)
    assert result.exit_code == 1 and "folder that is written to" in result.stderr
    assert np.asarray(Image.open(pictures / "a" / "1.png")).max() == 102


def test_batch_size_workers_and_threads_change_nothing(adtool: Run, model: Path, pictures: Path) -> None:
    plain = adtool("score", pictures, "--model", model).stdout
    for options in (
        ["--batch-size", "1"],
        ["--workers", "1"],
        ["--workers", "5", "--batch-size", "2"],
        ["--threads", "1"],
    ):
        assert adtool("score", pictures, "--model", model, *options).stdout == plain


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.json"])
def test_output_of_unknown_kind_is_wrong_usage(adtool: Run, model: Path, pictures: Path, name: str) -> None:
    result = adtool("score", pictures, "--model", model, "--output", name)
    assert result.exit_code == 2 and ".csv or .jsonl" in result.stderr


def test_folder_without_images_is_an_error(adtool: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "readme.txt").touch()
    result = adtool("score", tmp_path / "none", "--model", model)
    assert result.exit_code == 1 and "none: no images in this folder" in result.stderr


def test_path_that_is_not_there_is_an_error(adtool: Run, model: Path, tmp_path: Path) -> None:
    result = adtool("score", tmp_path / "gone", "--model", model)
    assert result.exit_code == 1 and "no such file or folder" in result.stderr


@pytest.mark.parametrize("damage", ["truncated", "foreign", "altered", "empty", "missing"])
def test_bad_model_file_is_one_clear_line(adtool: Run, model: Path, pictures: Path, damage: str) -> None:
    whole = model.read_bytes()
    contents = {"truncated": whole[:-3], "foreign": b"PK\x03\x04 a zip", "altered": whole[:-1] + b"\0", "empty": b""}
    model.write_bytes(contents[damage]) if damage in contents else model.unlink()
    result = adtool("score", pictures, "--model", model)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith(f"error: {model}: ")


@pytest.mark.parametrize("option", ["--heatmaps", "--maps", "--masks"])
def test_output_folder_that_cannot_be_written(adtool: Run, model: Path, pictures: Path, option: str) -> None:
    result = adtool("score", pictures, "--model", model, option, "/proc/adtool")
    assert result.exit_code == 1 and "/proc/adtool: cannot be written to" in result.stderr
    assert result.stdout == ""


def test_output_file_that_cannot_be_written(adtool: Run, model: Path, pictures: Path) -> None:
    result = adtool("score", pictures, "--model", model, "--output", "/proc/rows.csv")
    assert result.exit_code == 1 and "/proc/rows.csv: cannot be written" in result.stderr


def test_full_disk_keeps_the_rows_written_so_far(
    adtool: Run, model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Image.Image.save

    def full(self: Image.Image, place: Any, *arguments: Any, **options: Any) -> None:
        if "2.png" in str(place):
            raise OSError(28, "No space left on device")
        save(self, place, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    rows = tmp_path / "rows.csv"
    result = adtool("score", pictures, "--model", model, "--output", rows, "--heatmaps", tmp_path / "heat")
    assert result.exit_code == 1
    assert "2.png: cannot be written (No space left on device)" in result.stderr
    assert f"the rows so far are in {rows}.partial" in result.stderr
    assert len(rows_of(Path(f"{rows}.partial").read_text())) >= 1
    assert not rows.exists() and not list((tmp_path / "heat").rglob(".*"))


@pytest.mark.parametrize("signals", [1, 2])
def test_interrupted_run_loses_nothing_and_says_where_it_is(model: Path, tmp_path: Path, signals: int) -> None:
    for k in range(200):
        write_image(tmp_path / "in" / f"{k}.png")
    rows, heat = tmp_path / "rows.csv", tmp_path / "heat"
    command = [
        *TOY,
        "score",
        tmp_path / "in",
        "--model",
        model,
        "--output",
        rows,
        "--heatmaps",
        heat,
        "--batch-size",
        "2",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TOY_SECONDS": "0.05"})  # type: ignore[call-overload]
    partial = Path(f"{rows}.partial")
    deadline = time.monotonic() + 30
    while not partial.exists() or partial.read_text().count("\n") < 4:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "error: interrupted" in errors and f"the rows so far are in {partial}" in errors
    assert "Traceback" not in errors
    kept = rows_of(partial.read_text())
    assert 3 <= len(kept) < 200 and all(row["score"] for row in kept)
    assert {p.stem for p in heat.glob("*.png")} >= {Path(row["path"]).stem for row in kept}
    assert not list(heat.glob(".*")) and not rows.exists()


PEAK = """
import resource, sys
sys.path[:0] = [{tests!r}]
import toy_detector
toy_detector.install()
from adtool.cli import main
try:
    main({arguments!r}, prog_name="adtool")
except SystemExit as stop:
    print(stop.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kilobytes(arguments: list[str]) -> int:
    """Peak memory of a run of its own."""
    code = PEAK.format(tests=str(Path(toy_detector.__file__).parent), arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, peak = done.stdout.split()
    assert status == "0", done.stderr
    return int(peak)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    model = toy_detector.write_model(tmp_path / "model.safetensors", height=128, width=128)
    for k in range(600):
        write_image(tmp_path / "many" / f"{k}.png", size=(64, 64))
        if k < 60:
            write_image(tmp_path / "few" / f"{k}.png", size=(64, 64))
    peaks = [
        peak_kilobytes(
            ["score", str(tmp_path / name), "--model", str(model), "--quiet", "--threads", "1"]
            + ["--output", str(tmp_path / "r.csv"), "--heatmaps", str(tmp_path / "h"), "--maps", str(tmp_path / "m")]
        )
        for name in ("few", "many")
    ]
    assert peaks[1] < 1.05 * peaks[0]

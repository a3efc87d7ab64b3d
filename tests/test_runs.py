"""Run folders: their names, the newest one, and finding a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adtool import runs
from adtool.errors import AdtoolError


def finished(run: Path) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    (run / runs.MODEL).write_bytes(b"model")
    return run


def test_each_new_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    assert runs.new_run("padim-metal nut/2", root) == root / "padim-metal-nut-2-1"
    assert runs.new_run("padim-metal nut/2", root) == root / "padim-metal-nut-2-2"
    assert runs.new_run("..", root) == root / "run-1"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdtoolError, match="file/runs/a-1: cannot be written.*--output"):
        runs.new_run("a", tmp_path / "file" / "runs")
    with pytest.raises(AdtoolError, match="file: cannot be written"):
        runs.make(tmp_path / "file")


def test_latest_names_the_newest_run_and_survives_moving_the_folder(tmp_path: Path) -> None:
    for name in ("first", "second"):
        runs.point_latest(finished(tmp_path / "runs" / name))
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert runs.resolve_model(tmp_path / "moved" / "latest") == tmp_path / "moved" / "second" / runs.MODEL


def test_a_run_elsewhere_leaves_no_pointer(tmp_path: Path) -> None:
    runs.point_latest(finished(tmp_path / "elsewhere" / "run"))
    assert not (tmp_path / "elsewhere" / "latest").exists()


def test_a_model_is_found_by_file_and_by_folder(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    assert runs.resolve_model(run) == run / runs.MODEL
    assert runs.resolve_model(str(run / runs.MODEL)) == run / runs.MODEL


def test_what_is_not_a_model_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AdtoolError, match="runs/latest: no such model file or run folder; train one"):
        runs.resolve_model()
    with pytest.raises(AdtoolError, match="nowhere: no such model file or run folder; check the path"):
        runs.resolve_model("nowhere")
    with pytest.raises(AdtoolError, match="a folder without model.safetensors; name"):
        runs.resolve_model(tmp_path)
    (tmp_path / runs.STATE).write_bytes(b"")
    with pytest.raises(AdtoolError, match="without model.safetensors .*unfinished: `adtool train --resume`"):
        runs.resolve_model(tmp_path)
    (tmp_path / "latest").write_text("gone\n")
    with pytest.raises(AdtoolError, match="names the run 'gone', which is not there"):
        runs.resolve_model("latest")


def test_the_newest_unfinished_run_is_found_by_number(tmp_path: Path) -> None:
    for number in (2, 9, 10, 11):
        runs.write_config(runs.make(tmp_path / f"padim-nut-{number}"), {})
    finished(tmp_path / "padim-nut-11")
    assert runs.unfinished_run("padim-nut", tmp_path) == tmp_path / "padim-nut-10"
    with pytest.raises(AdtoolError, match="no unfinished run .*padim-bolt-N.*--output"):
        runs.unfinished_run("padim-bolt", tmp_path)


def test_leftovers_of_a_killed_process_are_cleared_too(tmp_path: Path) -> None:
    for name in ("training.safetensors", ".training.safetensors.123.tmp", "log.jsonl"):
        (tmp_path / name).write_text("")
    runs.clear(tmp_path, runs.STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_the_log_is_one_json_object_a_line(tmp_path: Path) -> None:
    for step in (1, 2):
        runs.Log(tmp_path / "log.jsonl")({"event": "epoch", "step": step})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all("time" in line for line in lines)
    with pytest.raises(AdtoolError, match="cannot be written"):
        runs.Log(tmp_path / "log.jsonl" / "below")({})

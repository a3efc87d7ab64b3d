"""Run folders: where training puts its files, what they are called, and which one is the newest.

A run folder holds the model, a log (JSON lines), the configuration, and, while training is unfinished, its state. The
text file `runs/latest` holds the name of the newest finished run in `runs/`.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adtool.errors import AdtoolError

ROOT = Path("runs")
LATEST = "latest"
MODEL = "model.safetensors"
STATE = "training.safetensors"
LOG = "log.jsonl"
CONFIG = "config.json"


def new_run(name: str, root: Path = ROOT) -> Path:
    """Make and return the folder `root/name-1`, or with the first free number; AdtoolError when it cannot be made."""
    number = 1
    while True:
        run = root / f"{_plain(name)}-{number}"
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise _unwritable(run, error) from error
        else:
            return run


def make(run: Path) -> Path:
    """Make the folder `run` unless it is there; AdtoolError when it cannot be made."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(run, error) from error
    return run


def unfinished_run(name: str, root: Path = ROOT) -> Path:
    """The newest run of this name that has no model yet; AdtoolError when there is none."""
    found = [run for run in root.glob(f"{_plain(name)}-*") if (run / CONFIG).is_file() and not (run / MODEL).exists()]
    numbered = [(int(number), run) for run in found if (number := run.name.rpartition("-")[2]).isdigit()]
    if not numbered:
        raise AdtoolError(f"--resume: no unfinished run {root}/{_plain(name)}-N; name its folder with --output")
    return max(numbered)[1]


def resolve_model(path: Path | str = ROOT / LATEST) -> Path:
    """The model file meant by the path of one, of a run folder or of `latest`; AdtoolError when there is none."""
    path = Path(path)
    if path.name == LATEST and path.is_file():
        path = _pointed(path)
    elif not path.exists():
        cure = "train one with `adtool train`, or name one with --model" if path.name == LATEST else "check the path"
        raise AdtoolError(f"{path}: no such model file or run folder; {cure}")
    if path.is_dir() and not (path / MODEL).exists():
        unfinished = " (its training is unfinished: `adtool train --resume`)" if (path / STATE).exists() else ""
        raise AdtoolError(f"{path}: a folder without {MODEL}{unfinished}; name a model file or a run folder")
    return path / MODEL if path.is_dir() else path


def point_latest(run: Path) -> None:
    """Make `runs/latest` name this run, where `run` is in a folder called `runs`; other folders get no pointer."""
    if run.resolve().parent.name == ROOT.name:
        write_text(run.resolve().parent / LATEST, run.resolve().name + "\n")


def write_config(run: Path, values: Mapping[str, Any]) -> None:
    """Write what a run was started with."""
    write_text(run / CONFIG, json.dumps(values, indent=2) + "\n")


def write_text(path: Path, text: str, option: str = "--output") -> None:
    """Replace a small text file in one go; when it cannot be written, an AdtoolError that names `option`."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _unwritable(path, error, option) from error


def clear(run: Path, *names: str) -> None:
    """Remove files of a run, and what a killed process left half written of them."""
    for name in names:
        for leftover in [*run.glob(f".{name}.*tmp"), run / name]:
            leftover.unlink(missing_ok=True)


class Log:
    """Events of a run as JSON lines, each on disk as soon as it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Append one event with the time of day; AdtoolError when it cannot be written."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **event})
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise _unwritable(self.path, error) from error


def _pointed(pointer: Path) -> Path:
    name = pointer.read_text(encoding="utf-8").strip()
    run = pointer.parent / name
    if not name or not run.is_dir():
        raise AdtoolError(f"{pointer}: names the run {name!r}, which is not there; name a model file or a run folder")
    return run


def _plain(name: str) -> str:
    """A name that is good for a folder on every system."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"


def _unwritable(path: Path, error: OSError, option: str = "--output") -> AdtoolError:
    return AdtoolError(
        f"{path}: cannot be written ({error.strerror or error}); free some space, or name a folder you may write to "
        f"with {option}"
    )

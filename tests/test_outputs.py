"""Pictures under unambiguous names, rows in order after them, and nothing lost when a run stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_detector import CALIBRATION, write_image

from adtool.data import Sample
from adtool.errors import AdtoolError
from adtool.outputs import Pictures, output_names, write_results
from adtool.scoring import Scored


def names(root: Path, *images: str, arguments: tuple[str, ...] = ("",)) -> list[str]:
    """Names given to images below `root` when the arguments are folders or files below it."""
    paths = [(image, root / image) for image in images]
    return [str(name) for name in output_names(paths, [root / argument for argument in arguments]).values()]


def test_names_keep_folders_relative_to_the_argument(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    assert names(tmp_path, "in/a/1.png", "in/a.b.png", arguments=("in",)) == ["a/1", "a.b"]
    assert names(tmp_path, "in/a/1.png", arguments=("in/a/*.png",)) == ["1"]


def test_names_of_several_arguments_are_relative_to_what_they_share(tmp_path: Path) -> None:
    for folder in ("x", "y/z"):
        (tmp_path / folder).mkdir(parents=True)
    assert names(tmp_path, "x/1.png", "y/z/1.png", arguments=("x", "y/z")) == ["x/1", "y/z/1"]
    (tmp_path / "x" / "1.png").touch()
    assert names(tmp_path, "x/1.png", arguments=("x/1.png",)) == ["1"]


def test_equal_stems_keep_their_suffix(tmp_path: Path) -> None:
    assert names(tmp_path, "1.png", "1.jpg", "2.png") == ["1.png", "1.jpg", "2"]
    assert names(tmp_path, "1.png", "a/1.png") == ["1", "a/1"]
    assert names(tmp_path, "A.png", "a.png") == ["A.png", "a.png"]  # one file on some systems
    assert len(set(names(tmp_path, "x.jpg.png", "x.jpg", "x.png"))) == 3


def test_mvtec_layout_gets_the_folders_of_its_evaluation(tmp_path: Path) -> None:
    (tmp_path / "bottle" / "train" / "good").mkdir(parents=True)
    image = "bottle/test/broken/000.png"
    for argument in ("", "bottle", "bottle/test", "bottle/test/broken"):
        (tmp_path / argument).mkdir(parents=True, exist_ok=True)
        assert names(tmp_path, image, arguments=(argument,)) == ["bottle/test/broken/000"]
    (tmp_path / "other" / "test" / "broken").mkdir(parents=True)  # no train folder beside it
    assert names(tmp_path, "other/test/broken/000.png", arguments=("other/test",)) == ["broken/000"]


def scored(path: Path, **fields: Any) -> Scored:
    return Scored(Sample(path), 0.1, map=np.full((4, 4), 0.1, dtype=np.float32), **fields)


class Written:
    """Rows in memory."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def add(self, row: dict[str, Any]) -> None:
        self.paths.append(Path(row["path"]).name)


def silent(what: str, done: int, total: int) -> None:
    pass


def test_pictures_have_the_size_of_the_image(tmp_path: Path) -> None:
    image = write_image(tmp_path / "1.png", size=(12, 20))
    folders = {kind: tmp_path / kind for kind in ("heatmaps", "maps", "masks")}
    Pictures({str(image): PurePath("a/1")}, CALIBRATION, **folders).write(scored(image))
    for file in ("heatmaps/a/1.png", "maps/a/1.tiff", "masks/a/1.png"):
        with Image.open(tmp_path / file) as picture:
            assert picture.size == (20, 12), file


def test_image_that_vanishes_before_its_heat_map_is_an_error_row(tmp_path: Path) -> None:
    pictures = Pictures({str(tmp_path / "1.png"): PurePath("1")}, CALIBRATION, heatmaps=tmp_path / "h")
    result = pictures.write(scored(tmp_path / "1.png", is_anomalous=True))
    assert result.score is None and result.is_anomalous is None
    assert result.error is not None and "No such file" in result.error


def test_rows_come_in_order_and_after_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, done = Written(), []

    def write(self: Pictures, result: Scored) -> Scored:
        time.sleep(0.01 * (3 - int(result.sample.path.stem) % 4))  # the first takes longest
        done.append(result.sample.path.name)
        return result

    monkeypatch.setattr(Pictures, "write", write)
    images = [tmp_path / f"{k}.png" for k in range(40)]
    summary = write_results(map(scored, images), rows, Pictures({}), total=40, report=silent, workers=4)  # type: ignore[arg-type]
    assert rows.paths == [image.name for image in images]
    assert done != rows.paths  # the pictures did finish out of order
    assert (summary.images, summary.anomalous, summary.unreadable) == (40, 0, [])


def test_few_results_wait_for_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, held, most = 0, 0, 0
    gate = threading.Semaphore(0)

    def write(self: Pictures, result: Scored) -> Scored:
        gate.acquire()
        return result

    def results() -> Iterator[Scored]:
        nonlocal drawn, most
        for k in range(100):
            drawn += 1
            most = max(most, drawn - held)
            gate.release()
            yield scored(tmp_path / f"{k}.png")

    class Counting(Written):
        def add(self, row: dict[str, Any]) -> None:
            nonlocal held
            held += 1

    monkeypatch.setattr(Pictures, "write", write)
    write_results(results(), Counting(), Pictures({}), total=100, report=silent)  # type: ignore[arg-type]
    assert most <= 18


def test_stopped_run_writes_what_was_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: Pictures, result: Scored) -> Scored:
        time.sleep(0.05)
        return result

    def results() -> Iterator[Scored]:
        yield from (scored(tmp_path / f"{k}.png") for k in range(5))
        raise KeyboardInterrupt

    monkeypatch.setattr(Pictures, "write", write)
    rows = Written()
    with pytest.raises(KeyboardInterrupt):
        write_results(results(), rows, Pictures({}), total=9, report=silent)  # type: ignore[arg-type]
    assert rows.paths == [f"{k}.png" for k in range(5)]


def test_folder_that_cannot_be_written_is_found_out_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AdtoolError, match="file/heat: cannot be written to"):
        Pictures({}, CALIBRATION, heatmaps=tmp_path / "file" / "heat")
    with pytest.raises(AdtoolError, match="/proc/heat: cannot be written to"):
        Pictures({}, CALIBRATION, maps=Path("/proc/heat"))


def test_heat_maps_need_a_calibrated_scale(tmp_path: Path) -> None:
    with pytest.raises(AdtoolError, match="--heatmaps: .* too few good images"):
        Pictures({}, None, heatmaps=tmp_path)
    with pytest.raises(AdtoolError, match="--masks: .* too few good images"):
        Pictures({}, None, masks=tmp_path)
    Pictures({}, None, maps=tmp_path)


def test_masks_do_not_go_where_heat_maps_go(tmp_path: Path) -> None:
    with pytest.raises(AdtoolError, match="would overwrite the heat maps"):
        Pictures({}, CALIBRATION, heatmaps=tmp_path, masks=tmp_path)

"""Which layout and which category a path means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from trees import tree

from adtool.data import open_dataset
from adtool.errors import AdtoolError


def test_path_can_be_the_category_or_the_data_set(tmp_path: Path) -> None:
    tree(tmp_path, "nut/train/good/0.png")
    inside, outside = open_dataset(tmp_path / "nut"), open_dataset(str(tmp_path))
    assert inside == outside
    assert (inside.layout, inside.category, inside.root) == ("mvtec", "nut", tmp_path / "nut")


def test_path_can_be_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "nut/train/good/0.png")
    monkeypatch.chdir(tmp_path / "nut")
    dataset = open_dataset(".")
    assert dataset.category == "nut" and dataset.samples[0].path == Path("train/good/0.png")


def test_several_categories_are_named_in_the_error(tmp_path: Path) -> None:
    tree(tmp_path, "nut/train/good/0.png", "bolt/train/ok/0.png", "pin/train/good/0.png")
    with pytest.raises(AdtoolError, match="holds 3 categories; choose one with --category: bolt, nut, pin"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, category="bolt").layout == "btad"


def test_unknown_category_is_an_error_with_the_known_ones(tmp_path: Path) -> None:
    tree(tmp_path, "nut/train/good/0.png", "bolt/train/good/0.png")
    with pytest.raises(AdtoolError, match="--category screw: not in .*; found: bolt, nut"):
        open_dataset(tmp_path, category="screw")


def test_layout_can_be_forced(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png", "test/hole/0.png")
    assert open_dataset(tmp_path).layout == "mvtec"
    assert open_dataset(tmp_path, "folder").layout == "folder"
    with pytest.raises(AdtoolError, match="no data set of layout visa found; expected split_csv/1cls.csv"):
        open_dataset(tmp_path, "visa")
    with pytest.raises(AdtoolError, match="--layout mvtex: no such layout; known layouts: loco, mvtec, btad"):
        open_dataset(tmp_path, "mvtex")


@pytest.mark.parametrize("name", ["none", "x" * 5000, "a.png"])
def test_path_that_is_no_folder_is_an_error(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "a.png")
    with pytest.raises(AdtoolError, match="no such folder; expected a data set"):
        open_dataset(tmp_path / name)


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(AdtoolError, match="no data set found; expected images of good parts"):
        open_dataset(tmp_path)


def test_reading_leaves_the_data_untouched(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png", "test/hole/0.png", "ground_truth/hole/0_mask.png")
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    open_dataset(tmp_path)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_opening_a_data_set_needs_no_torch_and_no_decoder(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png")
    code = f"""
import sys
from adtool.data import list_images, open_dataset
open_dataset({str(tmp_path)!r}), list_images([{str(tmp_path)!r}])
sys.exit(bool({{"torch", "PIL"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

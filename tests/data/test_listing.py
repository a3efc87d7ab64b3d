"""Which files are images, their order, and their masks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trees import names, tree

from adtool.data import list_images
from adtool.data.listing import (
    folders_in,
    hash_order,
    images_below,
    images_in,
    masks_of,
    natural_key,
)
from adtool.errors import AdtoolError


def test_natural_order_counts_and_ignores_case() -> None:
    paths = [Path(text) for text in ("b/1.png", "img10.png", "IMG9.png", "img2.png", "img2b.png", "b1/1.png", "7.png")]
    ordered = [str(path) for path in sorted(reversed(paths), key=natural_key)]
    assert ordered == ["7.png", "b/1.png", "b1/1.png", "img2.png", "img2b.png", "IMG9.png", "img10.png"]


def test_natural_order_is_the_same_for_equal_numbers() -> None:
    paths = [Path("1.png"), Path("01.png"), Path("001.png")]
    assert sorted(paths, key=natural_key) == sorted(reversed(paths), key=natural_key)


def test_images_in_takes_image_endings_of_any_case_and_no_junk(tmp_path: Path) -> None:
    tree(tmp_path, "a.PNG", "b.JpEg", "c.tif", "d.webp", ".hidden.png", "._a.png", "sub/e.png")
    for name in ("Thumbs.db", "license.txt", "readme.md", "f.gif", "png"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder.png").mkdir()
    os.symlink(tmp_path / "nowhere.png", tmp_path / "broken.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert [path.name for path in images_in(tmp_path)] == ["a.PNG", "b.JpEg", "c.tif", "d.webp"]
    assert images_in(tmp_path / "none") == []


def test_folders_in_leaves_out_junk(tmp_path: Path) -> None:
    for name in ("b10", "b9", ".git", "__MACOSX", "@eaDir"):
        (tmp_path / name).mkdir()
    assert [path.name for path in folders_in(tmp_path)] == ["b9", "b10"]


def test_images_below_walks_links_once(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png", "a/b/2.png", "__MACOSX/a/1.png", ".cache/3.png")
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    assert [str(path.relative_to(tmp_path)) for path in images_below(tmp_path)] == ["a/1.png", "a/b/2.png"]


def test_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(AdtoolError, match="cannot be listed: Permission denied"):
        images_in(tmp_path)


def test_masks_match_by_stem(tmp_path: Path) -> None:
    tree(tmp_path, "1_mask.png", "2.BMP", "3/000.png", "3/001.png", "4_mask.png", "4.png", "1_mask_old.png")
    images = [Path(f"images/{stem}.jpg") for stem in ("1", "2", "3", "4", "5")]
    found = [[str(mask.relative_to(tmp_path)) for mask in masks] for masks in masks_of(images, tmp_path)]
    assert found == [["1_mask.png"], ["2.BMP"], ["3/000.png", "3/001.png"], ["4_mask.png"], []]


def test_hash_order_depends_on_seed_and_names() -> None:
    files = [f"{number}.png" for number in range(20)]
    assert hash_order(files, 0) == hash_order(reversed(files), 0)
    assert hash_order(files, 0) != hash_order(files, 1)
    without = [name for name in hash_order(files, 0) if name != "3.png"]
    assert hash_order([name for name in files if name != "3.png"], 0) == without
    assert hash_order(["b.png", "a.png", "c.png"], 0) == ["c.png", "b.png", "a.png"]  # the same on every machine


def test_list_images_takes_files_folders_and_globs(tmp_path: Path) -> None:
    tree(tmp_path, "in/10.png", "in/9.png", "in/deep/1.png", "x_1.png", "x_2.jpg", "[odd].png")
    (tmp_path / "notes.txt").write_text("x")
    assert names(list_images([tmp_path / "in"])) == ["9.png", "10.png", "1.png"]
    assert names(list_images([str(tmp_path / "x_*"), tmp_path / "x_2.jpg"])) == ["x_1.png", "x_2.jpg"]
    assert names(list_images([tmp_path / "in" / "**" / "*.png"])) == ["9.png", "10.png", "1.png"]
    assert names(list_images([tmp_path / "[odd].png", tmp_path / "notes.txt"])) == ["[odd].png", "notes.txt"]
    assert names(list_images([tmp_path / "i*"])) == ["9.png", "10.png", "1.png"]
    samples = list_images([tmp_path / "in"])
    assert {(sample.label, sample.split, sample.mask_paths) for sample in samples} == {(None, "test", ())}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.png", "no such file or folder"),
        ("none*", "matches nothing"),
        ("empty", "no images"),
        ("*.txt", "no image"),
    ],
)
def test_list_images_refuses_what_names_nothing(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(AdtoolError, match=words):
        list_images([tmp_path / name])


def test_list_images_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no image")
    assert names(list_images([tmp_path])) == ["broken.png"]

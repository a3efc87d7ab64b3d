"""Folders without a published layout, and manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trees import names, tree

from adtool.data import Sample, open_dataset
from adtool.data.folder import read_folders
from adtool.errors import AdtoolError


def test_flat_folder_is_all_good_and_for_training(tmp_path: Path) -> None:
    tree(tmp_path / "parts", "10.png", "9.jpg", "monday/1.bmp")
    dataset = open_dataset(tmp_path / "parts")
    assert (dataset.layout, dataset.category) == ("folder", "parts")
    assert names(dataset.samples) == ["9.jpg", "10.png", "1.bmp"]
    assert {(s.split, s.label, s.defect_type) for s in dataset.samples} == {("train", 0, "good")}
    assert dataset.notes == ("all 3 images are taken for good ones",)


@pytest.mark.parametrize("suspect", ["bad", "Defects", "test", "ground_truth"])
def test_flat_folder_with_defects_below_is_refused(tmp_path: Path, suspect: str) -> None:
    tree(tmp_path, "0.png", f"{suspect}/1.png")
    with pytest.raises(AdtoolError, match=f"1.png: is in a folder named {suspect.lower()}, yet every image below"):
        open_dataset(tmp_path)


def test_folder_of_masks_is_refused_itself(tmp_path: Path) -> None:
    tree(tmp_path, "masks/0.png", "test/0.png")
    with pytest.raises(AdtoolError, match="is in a folder named masks"):
        open_dataset(tmp_path / "masks")
    assert len(open_dataset(tmp_path / "test").split("train")) == 1


@pytest.mark.parametrize("good", ["normal", "OK", "Good"])
def test_tree_with_other_names_for_good(tmp_path: Path, good: str) -> None:
    tree(tmp_path, f"train/{good}/0.png", f"test/{good}/1.png", "test/dent/2.png", "ground_truth/dent/2.png")
    dataset = open_dataset(tmp_path, "folder")
    assert sorted((s.path.name, s.split, s.label, len(s.mask_paths)) for s in dataset.samples) == [
        ("0.png", "train", 0, 0),
        ("1.png", "test", 0, 0),
        ("2.png", "test", 1, 1),
    ]


def test_train_folder_may_hold_the_images_itself(tmp_path: Path) -> None:
    tree(tmp_path, "train/0.png", "train/1.png", "test/good/2.png", "test/dent/3.png")
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "folder"
    assert names(dataset.split("train")) == ["0.png", "1.png"] and len(dataset.split("test")) == 2


def test_good_beside_defects_is_split_four_to_one(tmp_path: Path) -> None:
    tree(tmp_path, *(f"good/{number}.png" for number in range(10)), "dent/0.png", "cut/0.png", "masks/cut/0_mask.png")
    dataset = open_dataset(tmp_path, seed=1)
    assert len(dataset.split("train")) == 8
    test = dataset.split("test")
    assert [(s.label, s.defect_type) for s in test] == [(1, "cut"), (1, "dent"), (0, "good"), (0, "good")]
    assert [len(s.mask_paths) for s in test] == [1, 0, 0, 0]
    assert dataset.notes == ("10 good images split 80 : 20 into train and test with seed 1; defects: cut, dent",)
    assert open_dataset(tmp_path, seed=1) == dataset
    assert names(open_dataset(tmp_path, seed=2).split("test")) != names(test)


def test_good_folder_alone_is_all_for_training(tmp_path: Path) -> None:
    tree(tmp_path, "good/0.png", "good/1.png")
    assert [sample.split for sample in open_dataset(tmp_path).samples] == ["train", "train"]


def test_named_folders_are_read(tmp_path: Path) -> None:
    tree(tmp_path, *(f"fine/{number}.png" for number in range(5)), "broken/0.png", "marks/0_mask.png")
    dataset = read_folders(tmp_path / "fine", tmp_path / "broken", tmp_path / "marks")
    assert [len(dataset.split("train")), len(dataset.split("test"))] == [4, 2]
    (sample,) = [sample for sample in dataset.samples if sample.label]
    assert sample.defect_type == "broken" and sample.mask_paths == (tmp_path / "marks/0_mask.png",)
    assert {sample.split for sample in read_folders(tmp_path / "fine").samples} == {"train"}


def test_named_folders_take_defect_types_from_folders(tmp_path: Path) -> None:
    tree(tmp_path, "fine/0.png", "broken/dent/0.png", "broken/cut/0.png", "marks/cut/0.png")
    dataset = read_folders(tmp_path / "fine", tmp_path / "broken", tmp_path / "marks")
    assert [(s.defect_type, len(s.mask_paths)) for s in dataset.split("test")] == [("cut", 1), ("dent", 0)]
    with pytest.raises(AdtoolError, match="none: no such folder"):
        read_folders(tmp_path / "fine", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AdtoolError, match="empty: no images found"):
        read_folders(tmp_path / "empty")


def manifest(folder: Path, *rows: object) -> Path:
    path = folder / "parts.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_manifest_lists_images_relative_to_itself(tmp_path: Path) -> None:
    tree(tmp_path, "a/0.png", "a/1.png", "b.png", "m1.png", "m2.png")
    path = manifest(
        tmp_path,
        {"image": "a/1.png", "label": 0, "split": "train"},
        {"image": "a/0.png", "label": "normal", "split": "val"},
        "",
        {"image": "b.png", "label": 1, "split": "test", "mask": ["m1.png", "m2.png"], "defect_type": "cut"},
    )
    dataset = open_dataset(path)
    assert (dataset.layout, dataset.category, dataset.root) == ("folder", "parts", tmp_path)
    assert dataset.samples == (
        Sample(tmp_path / "a/0.png", "val", 0, "good", (), "parts"),
        Sample(tmp_path / "a/1.png", "train", 0, "good", (), "parts"),
        Sample(tmp_path / "b.png", "test", 1, "cut", (tmp_path / "m1.png", tmp_path / "m2.png"), "parts"),
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "line 2: Expecting property name"),
        ("[1]", "line 2: "),
        ({"label": 0, "split": "train"}, "line 2: no 'image'"),
        ({"image": "0.png", "label": 2, "split": "train"}, "line 2: label 2 or split 'train' is unknown"),
        ({"image": "0.png", "label": 0, "split": "dev"}, "line 2: label 0 or split 'dev' is unknown"),
        ({"image": "0.png", "label": 1, "split": "train"}, "line 2: an anomalous image cannot be in train"),
        ({"image": "9.png", "label": 0, "split": "train"}, "line 2: .*9.png does not exist"),
        ({"image": "0.png", "label": 1, "split": "test", "mask": "9.png"}, "line 2: .*9.png does not exist"),
    ],
)
def test_wrong_line_of_a_manifest_is_named(tmp_path: Path, row: object, words: str) -> None:
    tree(tmp_path, "0.png")
    with pytest.raises(AdtoolError, match=f"parts.jsonl, {words}"):
        open_dataset(manifest(tmp_path, {"image": "0.png", "label": 0, "split": "train"}, row))


def test_manifest_without_training_images_is_an_error(tmp_path: Path) -> None:
    tree(tmp_path, "0.png")
    with pytest.raises(AdtoolError, match='no line has "split": "train"'):
        open_dataset(manifest(tmp_path, {"image": "0.png", "label": 0, "split": "test"}))

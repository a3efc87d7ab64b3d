"""MVTec AD and trees like it."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import names, tree

from adtool.data import Sample, open_dataset
from adtool.errors import AdtoolError


def test_samples_have_split_label_type_and_mask(tmp_path: Path) -> None:
    tree(
        tmp_path / "nut",
        *("train/good/10.png", "train/good/9.png", "test/good/0.png", "test/bent/0.png", "test/bent/1.png"),
        *("ground_truth/bent/0_mask.png", "ground_truth/bent/1_mask.png"),
    )
    root = tmp_path / "nut"
    dataset = open_dataset(root)
    assert dataset.samples == (
        Sample(root / "test/bent/0.png", "test", 1, "bent", (root / "ground_truth/bent/0_mask.png",), "nut"),
        Sample(root / "test/bent/1.png", "test", 1, "bent", (root / "ground_truth/bent/1_mask.png",), "nut"),
        Sample(root / "test/good/0.png", "test", 0, "good", (), "nut"),
        Sample(root / "train/good/9.png", "train", 0, "good", (), "nut"),
        Sample(root / "train/good/10.png", "train", 0, "good", (), "nut"),
    )
    assert names(dataset.split("train")) == ["9.png", "10.png"]
    assert dataset.saturation == {} and dataset.notes == ()


def test_converted_visa_matches_masks_of_the_same_stem(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.JPG", "test/bad/000.JPG", "ground_truth/bad/000.png")
    (sample,) = open_dataset(tmp_path).split("test")
    assert sample.mask_paths == (tmp_path / "ground_truth/bad/000.png",)


def test_mask_folder_without_rules_gives_several_masks(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png", "test/bad/0.png", "ground_truth/bad/0/b.png", "ground_truth/bad/0/a.png")
    (sample,) = open_dataset(tmp_path).split("test")
    assert names([Sample(path) for path in sample.mask_paths]) == ["a.png", "b.png"]


def test_validation_is_read_when_there_is_one(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png", "val/good/1.png", "validation/good/2.png")
    dataset = open_dataset(tmp_path)
    assert names(dataset.split("val")) == ["1.png", "2.png"]


def test_what_does_not_fit_is_noted(tmp_path: Path) -> None:
    tree(
        tmp_path,
        *("train/good/0.png", "train/bad/0.png", "test/loose.png", "test/hole/0.png", "test/hole/1.png"),
        *("ground_truth/hole/0_mask.png", "ground_truth/hole/7_mask.png", "ground_truth/good/0_mask.png"),
    )
    dataset = open_dataset(tmp_path)
    assert dataset.notes == (
        "1 of 2 defective images have no mask: they count for image metrics only",
        "1 images directly in test/ are left out: without a folder their label is unknown",
        "train/ is used for its good images only; left out: bad",
        "1 masks fit no test image, ground_truth/hole/7_mask.png among them",
    )
    assert names(dataset.split("train")) == ["0.png"] and len(dataset.split("test")) == 2


def test_no_good_training_image_is_an_error(tmp_path: Path) -> None:
    tree(tmp_path, "test/good/0.png")
    (tmp_path / "train" / "good").mkdir(parents=True)
    with pytest.raises(
        AdtoolError, match="train: no good images found; put images without defect into its folder good/"
    ):
        open_dataset(tmp_path)

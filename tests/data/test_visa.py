"""VisA as its archive unpacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import names, tree

from adtool.data import open_dataset
from adtool.errors import AdtoolError

HEADER = "object,split,label,image,mask\n"
ROWS = [
    "candle,train,normal,candle/Data/Images/Normal/0.JPG,",
    "candle,test,normal,candle/Data/Images/Normal/1.JPG,",
    "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png",
    "cashew,train,normal,cashew/Data/Images/Normal/0.JPG,",
]


def archive(root: Path, *rows: str) -> Path:
    """An archive with this split file, or without one."""
    normal = [f"candle/Data/Images/Normal/{number}.JPG" for number in range(20)]
    tree(root, *normal, "candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png")
    tree(root, "cashew/Data/Images/Normal/0.JPG")
    if rows:
        (root / "split_csv").mkdir()
        (root / "split_csv" / "1cls.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return root


@pytest.mark.parametrize("inside", [False, True])
def test_published_split_is_followed(tmp_path: Path, inside: bool) -> None:
    root = archive(tmp_path, *ROWS)
    dataset = open_dataset(root / "candle") if inside else open_dataset(root, category="candle")
    assert (dataset.layout, dataset.category, dataset.notes) == ("visa", "candle", ())
    assert [(s.path.name, s.split, s.label, s.defect_type, len(s.mask_paths)) for s in dataset.samples] == [
        ("000.JPG", "test", 1, "anomaly", 1),
        ("0.JPG", "train", 0, "good", 0),
        ("1.JPG", "test", 0, "good", 0),
    ]


def test_classes_are_those_of_the_split(tmp_path: Path) -> None:
    with pytest.raises(AdtoolError, match="holds 2 categories; choose one with --category: candle, cashew"):
        open_dataset(archive(tmp_path, *ROWS))


def test_without_split_nine_tenths_of_the_normal_images_train(tmp_path: Path) -> None:
    root = archive(tmp_path)
    dataset = open_dataset(root, category="candle", seed=3)
    assert len(dataset.split("train")) == 18
    assert [sample.label for sample in dataset.split("test")] == [1, 0, 0]
    assert dataset.split("test")[0].mask_paths == (root / "candle/Data/Masks/Anomaly/000.png",)
    assert "split 90 : 10 with seed 3" in dataset.notes[0]
    assert open_dataset(root, category="candle", seed=3) == dataset
    assert names(open_dataset(root, category="candle", seed=4).split("test")) != names(dataset.split("test"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("candle,train,normal", "expected five columns"),
        ("candle,dev,normal,candle/Data/Images/Normal/0.JPG,", "0.JPG is dev, normal; expected train or test"),
        ("candle,train,normal,candle/Data/Images/Normal/99.JPG,", "1 listed files do not exist, .*99.JPG among them"),
        ("candle,test,normal,candle/Data/Images/Normal/0.JPG,", "no normal images to train on"),
    ],
)
def test_wrong_split_file_is_an_error_that_says_where(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(AdtoolError, match=words):
        open_dataset(archive(tmp_path, row), category="candle")

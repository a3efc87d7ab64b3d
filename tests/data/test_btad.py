"""BTAD: ok and ko, masks in other formats than their images."""

from __future__ import annotations

from pathlib import Path

from trees import names, tree

from adtool.data import Sample, open_dataset


def test_products_are_read_with_masks_of_any_format(tmp_path: Path) -> None:
    tree(
        tmp_path,
        *("01/train/ok/0000.bmp", "01/test/ok/0001.bmp", "01/test/ko/0000.bmp", "01/ground_truth/ko/0000.png"),
        *("03/train/ok/0000.bmp", "03/test/ko/0000.bmp", "03/ground_truth/ko/0000.bmp"),
    )
    dataset = open_dataset(tmp_path, category="01")
    assert (dataset.layout, dataset.category) == ("btad", "01")
    assert [(s.path.parent.name, s.split, s.label, s.defect_type) for s in dataset.samples] == [
        ("ko", "test", 1, "ko"),
        ("ok", "test", 0, "good"),
        ("ok", "train", 0, "good"),
    ]
    assert names([Sample(path) for path in dataset.samples[0].mask_paths]) == ["0000.png"]
    (broken,) = open_dataset(tmp_path / "03").split("test")
    assert names([Sample(path) for path in broken.mask_paths]) == ["0000.bmp"]

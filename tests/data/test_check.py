"""The look at a data set before training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from trees import draw, tree

from adtool.data.check import Leak, _separation, check
from adtool.errors import AdtoolError


def noise(path: Path, seed: int, size: tuple[int, int] = (8, 8), offset: int = 0) -> Path:
    """An image that is like no other; PNG files of one size differ little in bytes."""
    pixels = np.random.default_rng(seed).integers(0, 200, size, np.uint8)
    return draw(path, (pixels + offset).astype(np.uint8))


def test_made_set_is_clean(texture_set: Path) -> None:
    report = check(texture_set)
    assert (report.layout, report.category, report.root) == ("mvtec", "texture", str(texture_set))
    assert report.counts == {
        "train": {"good": 12},
        "test": {"good": 4, "hole": 3, "scratch": 3, "stain": 3, "weave": 3},
    }
    assert list(report.counts) == ["train", "test"]
    assert report.sizes == {"64 x 64": 28} and report.formats == {".png": 28} and report.masks == 12
    assert report.is_clean and not report.without_mask and not report.leaks and not report.notes
    assert report.megapixels == pytest.approx(28 * 64 * 64 / 1e6)
    assert json.loads(json.dumps(asdict(report)))["counts"]["train"] == {"good": 12}


def test_made_logical_set_is_clean(logical_set: Path) -> None:
    report = check(logical_set)
    assert report.is_clean and report.sizes == {"96 x 64": 30} and report.masks == 12
    assert list(report.counts) == ["train", "val", "test"]


def test_unreadable_images_are_listed_with_reasons(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png", "train/good/1.png", "test/good/0.png")
    (tmp_path / "train/good/0.png").write_bytes(b"")
    (tmp_path / "test/good/0.png").write_text("text")
    report = check(tmp_path)
    assert not report.is_clean
    first, second = report.unreadable
    assert "test/good/0.png: is not an image" in first and "train/good/0.png: is empty" in second
    assert report.counts["train"] == {"good": 2} and report.sizes == {"4 x 4": 1}


def test_masks_are_compared_with_their_images(tmp_path: Path) -> None:
    for number in range(5):
        noise(tmp_path / f"test/cut/{number}.png", number)
    noise(tmp_path / "train/good/0.png", 9)
    folder = tmp_path / "ground_truth/cut"
    draw(folder / "0_mask.png", 255, (8, 8))
    draw(folder / "1_mask.png", 255, (4, 6))
    draw(folder / "2_mask.png", 0, (8, 8))
    (folder / "3_mask.png").write_text("text")
    report = check(tmp_path)
    size, empty, unreadable = report.bad_masks
    assert size.endswith("1_mask.png: 6 x 4 pixels, its image 8 x 8; it will be resized")
    assert empty.endswith("2_mask.png: marks no pixel")
    assert "3_mask.png: is not an image" in unreadable
    assert [Path(name).name for name in report.without_mask] == ["4.png"]
    assert not report.is_clean


def test_wrong_loco_channel_is_listed(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png", "test/logical_anomalies/0.png", "ground_truth/logical_anomalies/0/0.png")
    rule = {"defect_name": "x", "pixel_value": 255, "saturation_threshold": 1, "relative_saturation": True}
    (tmp_path / "defects_config.json").write_text(json.dumps([rule]))
    (bad,) = check(tmp_path).bad_masks
    assert "pixel value 128 has no saturation rule" in bad


def test_set_without_any_mask_is_not_blamed_for_it(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png", value=1)
    tree(tmp_path, "test/cut/0.png", value=2)
    report = check(tmp_path)
    assert report.without_mask == () and report.is_clean
    assert "1 of 1 defective images have no mask" in report.notes[0]


def test_same_pixels_in_train_and_test_are_found_in_any_format(tmp_path: Path) -> None:
    for number in range(3):
        noise(tmp_path / f"train/good/{number}.png", number)
    noise(tmp_path / "test/good/copy.bmp", 1)
    noise(tmp_path / "test/good/new.png", 7)
    report = check(tmp_path)
    ((tested, trained),) = report.duplicates
    assert tested.endswith("test/good/copy.bmp") and trained.endswith("train/good/1.png")
    assert not report.is_clean


def labelled(root: Path, offset: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
    """Twelve good and twelve defective test images; the latter brighter by `offset`, and of `size`."""
    noise(root / "train/good/0.png", 99)
    for number in range(12):
        noise(root / f"test/good/{number}.png", number)
        noise(root / f"test/cut/{number}.png", 100 + number, size, offset)
    return root


def test_brightness_that_gives_the_answer_away_is_found(tmp_path: Path) -> None:
    assert check(labelled(tmp_path / "fair")).leaks == ()
    assert check(labelled(tmp_path / "bright", offset=50)).leaks == (Leak("brightness", 1.0),)


def test_size_that_gives_the_answer_away_is_found(tmp_path: Path) -> None:
    assert {leak.statistic for leak in check(labelled(tmp_path, size=(8, 16))).leaks} == {"image size", "file size"}


def test_few_images_prove_no_leak(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png", "test/good/0.png", value=10)
    tree(tmp_path, "test/cut/0.png", value=200)
    assert check(tmp_path).leaks == ()


def test_separation_is_the_auroc_either_way() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random(60) < 0.4
    for values in (generator.normal(size=60), generator.integers(0, 4, 60).astype(float), labels * -1.0):
        expected = roc_auc_score(labels, values)
        assert _separation(labels, values) == pytest.approx(max(expected, 1 - expected), abs=1e-12)


def test_result_does_not_depend_on_workers_and_progress_is_told(texture_set: Path) -> None:
    told: list[tuple[str, int, int]] = []
    one = check(texture_set, workers=1, progress=lambda *step: told.append(step))
    assert one == check(texture_set, workers=5)
    assert told == [("checking images", done, 28) for done in range(1, 29)]


def test_path_without_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AdtoolError, match="no data set found"):
        check(tmp_path)

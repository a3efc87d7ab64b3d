"""Evaluation: hand-worked numbers, each defect type against all good, both resolutions, sPRO, and bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from toy_detector import CALIBRATION, GOOD_GREY, Config, Model, write_image

from adtool import metrics
from adtool.checkpoint import LoadedModel
from adtool.data import Dataset, open_dataset
from adtool.data.images import load, read_channels, to_float
from adtool.errors import AdtoolError
from adtool.evaluation import KEYS, evaluate, min_max
from adtool.heatmaps import resize_map


def silent(what: str, done: int, total: int) -> None:
    pass


def evaluated(dataset: Dataset, **options: Any) -> dict[str, Any]:
    return evaluate(LoadedModel(Model(Config()).eval(), {}, CALIBRATION), dataset, report=silent, **options)


def write_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(path)


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    """Plain pictures that score 10, 40 (good), 35 (type a) and 80 (type b), all over 255; no masks."""
    root = tmp_path / "graded"
    write_image(root / "train" / "good" / "0.png")
    for place, offset in {"good/0": 10, "good/1": 40, "a/0": 35, "b/0": 80}.items():
        write_image(root / "test" / f"{place}.png", grey=GOOD_GREY + offset)
    return root


def test_image_metrics_by_hand(graded: Path) -> None:
    result = evaluated(open_dataset(graded))
    pooled = result["metrics"]
    assert pooled["image_auroc"] == pytest.approx(0.75)
    assert pooled["image_ap"] == pytest.approx(5 / 6)
    assert pooled["image_f1_max"] == pytest.approx(0.8)
    assert [pooled[key] for key in ("pixel_auroc", "pixel_ap", "aupro", "spro")] == [None] * 4
    assert (result["images"], result["good"], result["unreadable"]) == (4, 2, [])


def test_each_type_is_measured_against_all_good_images(graded: Path) -> None:
    result = evaluated(open_dataset(graded))
    assert {name: values["image_auroc"] for name, values in result["per_defect"].items()} == {"a": 0.5, "b": 1.0}
    assert result["per_defect_mean"]["image_auroc"] == 0.75
    assert result["per_defect_mean"]["aupro"] is None


def test_counts_at_the_calibrated_threshold(graded: Path) -> None:
    expected = {"threshold": CALIBRATION.threshold, "false_alarms": 0, "good": 2, "found": 1, "anomalous": 2}
    assert evaluated(open_dataset(graded))["at_threshold"] == expected  # 80 / 255 > 0.18 alone


def test_every_image_is_there_with_its_score_between_the_least_and_the_greatest(graded: Path) -> None:
    scores = evaluated(open_dataset(graded))["image_scores"]
    rows = {Path(row["path"]).relative_to(graded / "test").as_posix(): row for row in scores}
    assert list(rows) == sorted(rows) and len(rows) == 4
    greatest, good = rows["b/0.png"], rows["good/0.png"]
    assert (greatest["label"], greatest["defect_type"], greatest["min_max"]) == (1, "b", 1.0)
    assert (good["label"], good["min_max"]) == (0, 0.0) and good["score"] == pytest.approx(10 / 255)
    assert rows["a/0.png"]["min_max"] == pytest.approx((35 - 10) / (80 - 10), rel=1e-4)


def test_scores_between_the_least_and_the_greatest_by_hand() -> None:
    assert min_max([3.0, -1.0, 1.0]) == [1.0, 0.0, 0.5]
    assert min_max([2.0, 2.0]) == [0.5, 0.5] and min_max([7.0]) == [0.5] and min_max([]) == []


def test_result_has_the_promised_keys_and_is_plain_json(graded: Path) -> None:
    result = evaluated(open_dataset(graded))
    assert {"data", "images", "metrics", "per_defect", "images_per_second", "seconds"} <= set(result)
    assert tuple(result["metrics"]) == KEYS and tuple(result["per_defect"]["a"]) == KEYS
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["images_per_second"] > 0


def test_without_defects_every_metric_is_undefined(graded: Path) -> None:
    for kind in ("a", "b"):
        (graded / "test" / kind / "0.png").unlink()
    result = evaluated(open_dataset(graded))
    assert set(result["metrics"].values()) == {None} and result["per_defect"] == {}


def test_data_without_a_test_split_is_an_error(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "good" / "0.png")
    with pytest.raises(AdtoolError, match="no test images"):
        evaluated(open_dataset(tmp_path))


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Random pictures of 48 x 40 with two types of defects, some brighter inside their masks; one has no mask."""
    root, rng = tmp_path / "noisy", np.random.default_rng(0)
    write_image(root / "train" / "good" / "0.png")
    for kind in ("good", "dark", "light"):
        for index in range(3):
            pixels = rng.integers(70, 131, (48, 40, 3), dtype=np.uint8)
            mask = np.zeros((48, 40), dtype=bool)
            mask[4 + 8 * index : 20 + 8 * index, 8:24] = True
            if kind != "good":
                pixels[mask] += np.uint8(25 if kind == "light" else 5)
                write_mask(root / "ground_truth" / kind / f"{index}_mask.png", mask)
            (root / "test" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "test" / kind / f"{index}.png")
    (root / "ground_truth" / "dark" / "2_mask.png").unlink()
    return root


@pytest.mark.parametrize("eval_size", ["model", "original"])
def test_pixel_metrics_against_scikit_learn(noisy: Path, eval_size: str) -> None:
    dataset = open_dataset(noisy)
    maps, masks = [], []
    for sample in dataset.split("test"):
        image = to_float(load(sample, (16, 16))[None])
        anomaly_map = Model(Config()).predict(image).maps[0, 0].numpy()
        mask = np.zeros((48, 40), dtype=bool)
        if sample.label and not sample.mask_paths:
            continue
        if sample.mask_paths:
            mask = np.asarray(Image.open(sample.mask_paths[0])) > 0
        if eval_size == "model":  # 16 x 16 of 48 x 40: nearest takes the middle of each cell
            mask = mask[1::3][:, (2.5 * (np.arange(16) + 0.5)).astype(int)]
        else:
            anomaly_map = resize_map(anomaly_map, (48, 40))
        maps.append(anomaly_map)
        masks.append(mask)
    truth, values = np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])
    result = evaluated(dataset, eval_size=eval_size)
    assert result["metrics"]["pixel_auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-9)
    assert result["metrics"]["pixel_ap"] == pytest.approx(average_precision_score(truth, values), abs=1e-9)
    assert result["metrics"]["aupro"] == pytest.approx(metrics.aupro(maps, masks, 0.3), abs=1e-9)
    assert 0.5 < result["per_defect"]["dark"]["pixel_auroc"] < result["per_defect"]["light"]["pixel_auroc"]
    assert result["notes"][-1].startswith("1 of 6 anomalous images have no mask")


def test_mask_of_other_size_counts_like_one_of_the_image_size(noisy: Path) -> None:
    whole = evaluated(open_dataset(noisy))
    path = noisy / "ground_truth" / "light" / "1_mask.png"
    Image.open(path).resize((80, 96), Image.Resampling.NEAREST).save(path)
    assert evaluated(open_dataset(noisy))["metrics"] == whole["metrics"]


def test_unreadable_image_and_mask_are_named_and_left_out(noisy: Path) -> None:
    whole = evaluated(open_dataset(noisy))
    (noisy / "test" / "good" / "0.png").write_bytes(b"")
    (noisy / "ground_truth" / "light" / "1_mask.png").write_text("no mask")
    result = evaluated(open_dataset(noisy))
    assert [Path(bad["path"]).name for bad in result["unreadable"]] == ["0.png", "1.png"]
    assert "empty" in result["unreadable"][0]["error"] and "1_mask.png" in result["unreadable"][1]["error"]
    assert (whole["images"], result["images"]) == (9, 8)
    assert None not in (result["metrics"]["image_auroc"], result["metrics"]["pixel_auroc"])


@pytest.fixture
def loco(tmp_path: Path) -> Path:
    """Pictures of 60 x 50 with defect channels that overlap and saturate."""
    root, rng = tmp_path / "loco", np.random.default_rng(1)
    write_image(root / "train" / "good" / "0.png")
    rules = [
        {"defect_name": "missing", "pixel_value": 255, "saturation_threshold": 40, "relative_saturation": False},
        {"defect_name": "scratch", "pixel_value": 254, "saturation_threshold": 0.5, "relative_saturation": True},
    ]
    (root / "defects_config.json").write_text(json.dumps(rules))
    for kind in ("good", "logical_anomalies", "structural_anomalies"):
        for index in range(4):
            pixels = rng.integers(60, 141, (60, 50, 3), dtype=np.uint8)
            for channel in range(0 if kind == "good" else 1 + index % 2):
                mask = np.zeros((60, 50), dtype=bool)
                mask[10 + 5 * channel : 30 + 5 * channel, 10 * index : 10 * index + 12] = True
                pixels[mask] = np.clip(pixels[mask].astype(int) + 6 - 3 * channel, 0, 255)
                folder = root / "ground_truth" / kind / str(index)
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype(np.uint8) * np.uint8(255 - channel)).save(folder / f"{channel}.png")
            (root / "test" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "test" / kind / f"{index}.png")
    return root


def spro_of_whole_maps(dataset: Dataset, *kinds: str) -> float | None:
    maps, channels = [], []
    for sample in dataset.split("test"):
        if sample.defect_type in ("good", *kinds):
            prediction = Model(Config()).predict(to_float(load(sample, (16, 16))[None]))
            maps.append(resize_map(prediction.maps[0, 0].numpy(), (60, 50)))
            channels.append(read_channels(sample, dataset))
    return metrics.spro(maps, channels, 0.05)


def test_spro_keeps_few_pixels_and_is_that_of_whole_maps(loco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(loco)
    kinds = ("logical_anomalies", "structural_anomalies")
    each = [spro_of_whole_maps(dataset, kind) for kind in kinds]
    kept, add = [], metrics.PixelScores.add_channels
    monkeypatch.setattr(
        metrics.PixelScores,
        "add_channels",
        lambda self, plane, found: (kept.append(plane.size), add(self, plane, found)),
    )
    result = evaluated(dataset)
    assert sum(kept) < 0.4 * (8 + 8 + 12) * 60 * 50  # of both types with good, and of all
    assert [result["per_defect"][kind]["spro"] for kind in kinds] == pytest.approx(each, abs=1e-12)
    assert result["metrics"]["spro"] == pytest.approx(np.mean(each), abs=1e-12)
    assert result["metrics"]["spro_pooled"] == pytest.approx(spro_of_whole_maps(dataset, *kinds), abs=1e-12)
    assert 0.05 < result["metrics"]["spro"] < 0.95


def test_spro_of_constant_maps_is_half_the_limit(loco: Path) -> None:
    for path in (loco / "test").rglob("*.png"):
        write_image(path, size=(60, 50))
    assert evaluated(open_dataset(loco))["metrics"]["spro"] == pytest.approx(0.025)


def test_unreadable_channel_is_named_and_left_out(loco: Path) -> None:
    (loco / "ground_truth" / "logical_anomalies" / "0" / "0.png").write_text("no mask")
    result = evaluated(open_dataset(loco))
    assert [Path(bad["path"]).parts[-2:] for bad in result["unreadable"]] == [("logical_anomalies", "0.png")]
    assert result["metrics"]["spro"] is not None

"""`adtool eval` on the toy detector: the table, the JSON, and bad data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_detector
from click.testing import Result
from PIL import Image
from toy_detector import GOOD_GREY, write_image

from adtool.evaluation import KEYS

Run = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Scores 10 and 40 (good), 35 (type a), 80 (type b), over 255; a mask for the last, which covers a quarter."""
    root = tmp_path / "bolts"
    write_image(root / "train" / "good" / "0.png")
    for place, offset in {"good/0": 10, "good/1": 40, "a/0": 35}.items():
        write_image(root / "test" / f"{place}.png", grey=GOOD_GREY + offset)
    write_image(root / "test" / "b" / "0.png", spot=GOOD_GREY + 80)
    write_image(root / "ground_truth" / "b" / "0_mask.png", grey=0, spot=255)
    return root


def test_json_has_the_promised_keys(adtool: Run, model: Path, data: Path) -> None:
    result = adtool("eval", data, "--model", model, "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert {"model", "data", "images", "metrics", "per_defect", "images_per_second", "seconds"} <= set(printed)
    assert printed["model"] == str(model) and printed["images"] == 4
    assert tuple(printed["metrics"]) == KEYS
    assert printed["metrics"]["image_auroc"] == 0.75 and printed["metrics"]["pixel_auroc"] == 1.0
    assert printed["metrics"]["spro"] is None and printed["per_defect"]["a"]["aupro"] is None


def test_table_states_what_was_measured(adtool: Run, model: Path, data: Path) -> None:
    result = adtool("eval", data, "--model", model.parent)
    lines = result.stdout.splitlines()
    title = lines[0]
    for fact in ("toy default, seed 0", "bolts", "test split, 4 images", "input 16 x 16", "pixel metrics at 16 x 16"):
        assert fact in title, title
    values = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert values["a"] == ["50.0", "50.0", "66.7", "n/a", "n/a", "n/a"]
    assert values["b"] == ["100.0"] * 6
    assert values["all"][:3] == ["75.0", "83.3", "80.0"]
    assert "sPRO" not in result.stdout
    assert "found 1 of 2 anomalous, false alarms 0 of 2 good" in result.stdout
    assert "images/s" in result.stderr and "note: 1 of 2 anomalous images have no mask" in result.stderr


def test_original_size_is_stated(adtool: Run, model: Path, data: Path) -> None:
    result = adtool("eval", data, "--model", model, "--eval-size", "original")
    assert "pixel metrics at the images' own size" in result.stdout


def test_a_gallery_is_drawn_and_its_columns_named(
    adtool: Run, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = adtool("eval", data, "--model", model, "--gallery", tmp_path / "g.png")
    assert refused.exit_code == 1 and "restores no images, so there is no gallery" in refused.stderr
    monkeypatch.setattr(toy_detector.Model, "restorations", lambda self, images: {"restored": images / 2})
    result = adtool("eval", data, "--model", model, "--gallery", tmp_path / "g.png", "--json")
    assert json.loads(result.stdout)["images"] == 4
    assert f"{tmp_path / 'g.png'}: image, restored, residual, heat map, truth\n" in result.stderr
    with Image.open(tmp_path / "g.png") as picture:
        assert picture.size[0] % (5 * 20) == 0


def test_unreadable_images_are_named_and_status_is_3(adtool: Run, model: Path, data: Path) -> None:
    (data / "test" / "a" / "0.png").write_text("no image")
    result = adtool("eval", data, "--model", model, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["unreadable"][0]["path"].endswith("a/0.png")
    assert "a/0.png: is not an image" in result.stderr


def test_data_that_is_no_data_set_is_an_error(adtool: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = adtool("eval", tmp_path / "empty", "--model", model)
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1


def test_missing_model_names_the_cure(adtool: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = adtool("eval", data)
    assert result.exit_code == 1
    assert "runs/latest" in result.stderr and "adtool train" in result.stderr

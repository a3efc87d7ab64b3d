"""MVTec LOCO AD: channels, rules, and the form with merged masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from trees import draw, names, tree

from adtool.data import Sample, Saturation, open_dataset
from adtool.data.images import read_channels
from adtool.errors import AdtoolError

RULES = [
    {"defect_name": "extra", "pixel_value": 255, "saturation_threshold": 3, "relative_saturation": False},
    {"defect_name": "cut", "pixel_value": 254, "saturation_threshold": 1.0, "relative_saturation": True},
]


def pins(root: Path, rules: object = RULES) -> Path:
    """A category with one logical anomaly of two channels."""
    tree(root, "train/good/0.png", "validation/good/0.png", "test/good/0.png", "test/logical_anomalies/000.png")
    (root / "defects_config.json").write_text(json.dumps(rules))
    for place, value in enumerate((255, 254)):
        mask = np.zeros((4, 4), np.uint8)
        mask[place, :] = value
        draw(root / f"ground_truth/logical_anomalies/000/{place:03d}.png", mask)
    return root


def test_category_is_read_with_channels_and_rules(tmp_path: Path) -> None:
    dataset = open_dataset(pins(tmp_path / "pins"))
    assert (dataset.layout, dataset.category, dataset.notes) == ("loco", "pins", ())
    assert [len(dataset.split(split)) for split in ("train", "val", "test")] == [1, 1, 2]
    assert dataset.saturation == {255: Saturation("extra", 255, 3.0, False), 254: Saturation("cut", 254, 1.0, True)}
    (sample,) = [sample for sample in dataset.samples if sample.label]
    assert sample.defect_type == "logical_anomalies"
    assert names([Sample(path) for path in sample.mask_paths]) == ["000.png", "001.png"]
    channels = read_channels(sample, dataset)
    assert [(mask.sum(), saturation) for mask, saturation in channels] == [(4, 3), (4, 4)]


def test_merged_masks_are_read_without_rules_and_with_a_note(tmp_path: Path) -> None:
    root = pins(tmp_path / "pins")
    for path in (root / "ground_truth/logical_anomalies/000").iterdir():
        path.unlink()
    (root / "ground_truth/logical_anomalies/000").rmdir()
    tree(root, "ground_truth/logical_anomalies/000_mask.png")
    dataset = open_dataset(root)
    assert dataset.layout == "loco" and dataset.saturation == {}
    assert "sPRO cannot" in dataset.notes[-1]
    (sample,) = [sample for sample in dataset.samples if sample.label]
    assert names([Sample(path) for path in sample.mask_paths]) == ["000_mask.png"]


def test_without_rules_the_tree_is_read_as_mvtec(tmp_path: Path) -> None:
    root = pins(tmp_path / "pins")
    (root / "defects_config.json").unlink()
    assert open_dataset(root).layout == "mvtec"
    with pytest.raises(AdtoolError, match="no data set of layout loco found; expected defects_config.json"):
        open_dataset(root, "loco")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixel_value": 0}, "pixel_value 0 is outside 1..255"),
        ({"saturation_threshold": 1.5, "relative_saturation": True}, "1.5 of extra is out of range"),
        ({"saturation_threshold": -3}, "is out of range"),
        ({"saturation_threshold": "many"}, "could not convert"),
    ],
)
def test_wrong_rule_is_an_error_that_names_the_file(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(AdtoolError, match=f"defects_config.json: not a list of saturation rules .*{words}"):
        open_dataset(pins(tmp_path, [RULES[0] | change]))


@pytest.mark.parametrize("rules", ["{", '"text"', "[1]", '[{"defect_name": "x"}]', "null"])
def test_rules_that_are_no_rules_are_an_error(tmp_path: Path, rules: str) -> None:
    root = pins(tmp_path)
    (root / "defects_config.json").write_text(rules)
    with pytest.raises(AdtoolError, match="defects_config.json: not a list of saturation rules"):
        open_dataset(root)

"""Made sample sets: exact masks, the layout they promise, and the same pictures every time."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from adtool.data import open_dataset
from adtool.data.images import read_channels, read_image, read_mask
from adtool.data.sample_set import KINDS, _Picture, write_sample_set
from adtool.data.scenes import logical, object, texture
from adtool.data.scenes.shapes import between, blob, circle, coverage, grid, polyline
from adtool.errors import AdtoolError

DEFECTS = {"texture": texture.DEFECTS, "object": object.DEFECTS, "logical": logical.DEFECTS}


def hashes(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def good_twin(kind: str, path: Path, size: int = 64) -> np.ndarray:
    """The picture of the same name without its defect."""
    return _Picture(kind, "/".join((*path.parts[-3:-1], path.stem)), size, 0).image(())


@pytest.mark.parametrize("kind", ["texture", "object"])
def test_mvtec_layout_with_the_counts_asked_for(kind: str, request: pytest.FixtureRequest) -> None:
    dataset = open_dataset(request.getfixturevalue(f"{kind}_set"))
    assert (dataset.layout, dataset.category, dataset.notes) == ("mvtec", kind, ())
    counts = Counter((sample.split, sample.defect_type, len(sample.mask_paths)) for sample in dataset.samples)
    expected = {("train", "good", 0): 12, ("test", "good", 0): 4} | {("test", name, 1): 3 for name in DEFECTS[kind]}
    assert counts == expected


@pytest.mark.parametrize("kind", ["texture", "object"])
def test_mask_is_exactly_what_the_defect_changed(kind: str, request: pytest.FixtureRequest) -> None:
    dataset = open_dataset(request.getfixturevalue(f"{kind}_set"))
    for sample in dataset.split("test"):
        image = read_image(sample)
        assert image.shape == (64, 64, 3)
        changed = (image != good_twin(kind, sample.path)).any(axis=2)
        np.testing.assert_array_equal(read_mask(sample), changed, err_msg=str(sample.path))
        assert changed.any() == bool(sample.label)


def test_logical_set_is_loco_with_exact_channels(logical_set: Path) -> None:
    dataset = open_dataset(logical_set)
    assert (dataset.layout, dataset.category, dataset.notes) == ("loco", "logical", ())
    counts = Counter((sample.split, sample.defect_type) for sample in dataset.samples)
    assert counts == {
        ("train", "good"): 12,
        ("val", "good"): 4,
        ("test", "good"): 4,
        ("test", "logical_anomalies"): 5,
        ("test", "structural_anomalies"): 5,
    }
    for sample in dataset.split("test"):
        image = read_image(sample)
        assert image.shape == (64, 96, 3)
        changed = (image != good_twin("logical", sample.path)).any(axis=2)
        channels = read_channels(sample, dataset)
        union = np.logical_or.reduce([mask for mask, _ in channels] or [np.zeros_like(changed)])
        np.testing.assert_array_equal(union, changed, err_msg=str(sample.path))
    several = [sample for sample in dataset.samples if len(sample.mask_paths) == 2]
    assert sorted(sample.path.name for sample in several) == ["004.png", "004.png"]


def test_logical_rules_are_absolute_for_counts_and_relative_else(logical_set: Path) -> None:
    rules = {rule.defect_name: rule for rule in open_dataset(logical_set).saturation.values()}
    assert set(rules) == set(logical.DEFECTS)
    absolute = {name for name, rule in rules.items() if not rule.relative}
    assert absolute == {"missing_pin", "extra_pin"}
    # head of radius 0.062 and shaft of 0.032 x 0.338, of 64 x 64 pixels: 49.5 + 44.3
    assert rules["missing_pin"].threshold == 93
    assert rules["swapped_colours"].threshold == 1.0
    assert json.loads((logical_set / "defects_config.json").read_text())[0]["saturation_threshold"] == 93


@pytest.mark.parametrize("kind", KINDS)
def test_good_pictures_differ_from_each_other_and_show_no_defect(kind: str) -> None:
    pictures = [_Picture(kind, f"train/good/{index:03d}", 64, 0).image(()) for index in range(4)]
    assert len({picture.tobytes() for picture in pictures}) == 4
    assert all(40 < picture.mean() < 160 and picture.std() > 10 for picture in pictures)


@pytest.mark.parametrize("kind", KINDS)
def test_every_defect_shows_but_does_not_fill_the_picture(kind: str) -> None:
    for defect in DEFECTS[kind]:
        shares = []
        for index in range(6):
            image, (mask,) = _Picture(kind, f"test/{defect}/{index}", 96, 5).defective((defect,))
            good = _Picture(kind, f"test/{defect}/{index}", 96, 5).image(())
            shares.append(mask.mean())
            assert np.abs(image.astype(int) - good).max() > 5, defect
        assert 0 < min(shares) and max(shares) < 0.15, (defect, shares)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_depend_on_seed_and_name_alone(kind: str, tmp_path: Path) -> None:
    few = hashes(write_sample_set(tmp_path / "few", kind, size=32, train=1, good=2, per_defect=2, seed=7))
    many = hashes(write_sample_set(tmp_path / "many", kind, size=32, train=3, good=2, per_defect=3, seed=7))
    assert few.items() <= many.items()
    other = hashes(write_sample_set(tmp_path / "other", kind, size=32, train=1, good=2, per_defect=2, seed=8))
    assert all(few[name] != other[name] for name in few if name.endswith(".png") and "ground_truth" not in name)


def test_train_and_test_pictures_are_different(object_set: Path) -> None:
    digests = Counter(read_image(sample).tobytes() for sample in open_dataset(object_set).samples)
    assert set(digests.values()) == {1}


def test_swapped_colours_change_two_heads_only() -> None:
    picture = _Picture("logical", "test/logical_anomalies/002", 96, 0)
    _, (mask,) = picture.defective(("swapped_colours",))
    columns = np.flatnonzero(mask.any(axis=0))
    assert (np.diff(columns) > 1).sum() == 1  # two runs of columns, one per head
    assert not mask[60:].any()  # no shaft


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "wood"}, "kind wood: no such sample set; known kinds: texture, object, logical"),
        ({"size": 31}, "size 31: too small .* expected at least 32"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: dict, words: str) -> None:
    with pytest.raises(AdtoolError, match=words):
        write_sample_set(tmp_path / "new", **({"kind": "object"} | arguments))
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(AdtoolError, match="is not an empty folder"):
            write_sample_set(path, "object")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_shapes_measure_in_picture_heights() -> None:
    x, y = grid(2, 4)
    assert x.tolist() == [[0.25, 0.75, 1.25, 1.75]] and y.tolist() == [[0.25], [0.75]]
    np.testing.assert_allclose(circle(x, y, (0.25, 0.25), 0.5)[0], [-0.5, 0, 0.5, 1])
    np.testing.assert_allclose(polyline(x, y, [(0.25, 0.75), (1.25, 0.75)])[:, 3], [np.hypot(0.5, 0.5), 0.5])
    np.testing.assert_allclose(polyline(x, y, [(0.25, 0.75), (1.25, 0.75)])[:, 1], [0.5, 0])
    np.testing.assert_allclose(coverage(np.float32([-1, -0.25, 0, 0.25, 1]), 2), [1, 1, 0.5, 0, 0])


def test_blob_is_closed_around_its_centre() -> None:
    x, y = grid(50, 50)
    distance = blob(x, y, (0.5, 0.5), 0.1, np.random.default_rng(0))
    assert distance[25, 25] < 0 and distance[0].min() > 0 and distance[:, 0].min() > 0
    assert 0.5 < (distance < 0).mean() / (np.pi * 0.01) < 2  # about the area of a circle of that radius


def test_between_stays_between() -> None:
    generator = np.random.default_rng(0)
    numbers = [between(generator, 0.01, 1) for _ in range(500)]
    assert 0.01 <= min(numbers) and max(numbers) <= 1
    assert 0.4 < np.mean(np.array(numbers) < 0.1) < 0.6  # half of them below the geometric mean

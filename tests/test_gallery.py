"""The gallery shows each test image with its restorations, residual, heat map and truth, every defect type in turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toy_detector
from PIL import Image
from toy_detector import CALIBRATION, GOOD_GREY, write_image

from adtool.checkpoint import LoadedModel
from adtool.data import Dataset, open_dataset
from adtool.errors import AdtoolError
from adtool.gallery import write_gallery
from adtool.heatmaps import overlay
from adtool.preview import GAP


class Restorer(toy_detector.Model):
    """Restores images half-way to the good grey, then wholly."""

    def restorations(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        good = self.grey.expand_as(images)
        return {"half": (images + good) / 2, "restored": good}


def loaded(calibration: object = CALIBRATION) -> LoadedModel:
    return LoadedModel(Restorer(toy_detector.Config()).eval(), {}, calibration)  # type: ignore[arg-type]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two good images, two of type a without masks, one of type b whose upper left quarter is defective."""
    root = tmp_path / "bolts"
    write_image(root / "train" / "good" / "0.png")
    for place, offset in {"good/0": 10, "good/1": 40, "a/0": 35, "a/1": 36}.items():
        write_image(root / "test" / f"{place}.png", grey=GOOD_GREY + offset)
    write_image(root / "test" / "b" / "0.png", spot=GOOD_GREY + 80)
    write_image(root / "ground_truth" / "b" / "0_mask.png", grey=0, spot=255)
    return open_dataset(root)


def cells(path: Path, samples: int, columns: int, side: int = 16) -> np.ndarray:
    """What the picture shows, (samples, columns, side, side, 3)."""
    with Image.open(path) as picture:
        sheet = np.asarray(picture)
    place, edge = side + GAP, GAP // 2
    wide = sheet.shape[1] // (columns * place)
    lines = sheet.shape[0] // place
    grid = sheet.reshape(lines, place, wide, columns, place, 3).transpose(2, 0, 3, 1, 4, 5)
    return grid.reshape(wide * lines, columns, place, place, 3)[:samples, :, edge:-edge, edge:-edge]


def test_every_column_is_what_its_name_says(tmp_path: Path, dataset: Dataset) -> None:
    names = write_gallery(tmp_path / "sheet.png", loaded(), dataset)
    assert names == ["image", "half", "restored", "residual", "heat map", "truth"]
    found = cells(tmp_path / "sheet.png", 5, 6)
    greys = found[:, :, 0, 0, 0]
    # every type in turn: a/0 (+35), b/0 (+80), good/0 (+10), a/1 (+36), good/1 (+40)
    assert greys[:, 0].tolist() == [135, 180, 110, 136, 140]
    assert greys[:, 1].tolist() == pytest.approx([117.5, 140, 105, 118, 120], abs=0.51)
    assert greys[:, 2].tolist() == [100] * 5
    assert greys[:, 3].tolist() == pytest.approx([255 * one / 80 for one in (35, 80, 10, 36, 40)], abs=0.51)
    truth = found[:, 5, :, :, 0]
    assert (truth[[0, 3]] == 128).all() and (truth[[2, 4]] == 0).all()  # no mask, good
    assert (truth[1, :8, :8] == 255).all() and truth[1].astype(int).sum() == 64 * 255
    good = found[1, 3, 12, 12, 0], found[1, 0, 12, 12, 0]
    assert good == (0, 100)  # what is not defective has no residual


@pytest.mark.parametrize("calibrated", [True, False])
def test_heat_has_the_calibrations_colours_or_those_of_the_picture(
    tmp_path: Path, dataset: Dataset, calibrated: bool
) -> None:
    write_gallery(tmp_path / "sheet.png", loaded(CALIBRATION if calibrated else None), dataset)
    image = np.full((16, 16, 3), 110, np.uint8)
    low, high = (CALIBRATION.map_low, CALIBRATION.map_high) if calibrated else (0.0, 80 / 255)
    expected = overlay(image, np.full((16, 16), 10 / 255, np.float32), low, high)
    assert np.array_equal(cells(tmp_path / "sheet.png", 5, 6)[2, 4], np.asarray(expected))


def test_so_many_are_shown_as_are_asked_for_and_bad_ones_passed_over(tmp_path: Path, dataset: Dataset) -> None:
    next(iter(dataset.root.glob("test/a/0.png"))).write_text("no image")
    progress: list[tuple[str, int, int]] = []
    write_gallery(tmp_path / "s.png", loaded(), dataset, count=2, report=lambda *row: progress.append(row))
    assert progress == [("gallery", 1, 2), ("gallery", 2, 2)]
    assert cells(tmp_path / "s.png", 2, 6)[:, 0, 0, 0, 0].tolist() == [180, 110]


def test_nothing_to_show_is_an_error(tmp_path: Path, dataset: Dataset) -> None:
    plain = LoadedModel(toy_detector.Model(toy_detector.Config()).eval(), {}, None)
    with pytest.raises(AdtoolError, match="--model toy-detector: restores no images, so there is no gallery"):
        write_gallery(tmp_path / "s.png", plain, dataset)
    empty = Dataset(dataset.root, "mvtec", "bolts", ())
    with pytest.raises(AdtoolError, match="has no test images for a gallery"):
        write_gallery(tmp_path / "s.png", loaded(), empty)
    assert not (tmp_path / "s.png").exists()

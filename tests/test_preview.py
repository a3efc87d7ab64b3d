"""The preview is what training shows, and the sheet shows it pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toy_simulator
import toys
from PIL import Image
from torch import Tensor

from adtool import models
from adtool.errors import AdtoolError
from adtool.fitting import fit
from adtool.layers.defects import Simulated
from adtool.models._detector import Pairs
from adtool.preview import GAP, preview, write_sheet


@pytest.fixture(autouse=True)
def toy_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "load", lambda name: {"toy": toys, "simulator": toy_simulator}[name])
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return toys.write_pictures(tmp_path / "bolts", 30, (32, 32))


def test_the_first_epoch_of_training_begins_with_what_was_previewed(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Simulated] = []
    original = toy_simulator.Model.preview

    def noting(self: toy_simulator.Model, pairs: Pairs) -> Simulated:
        simulated = original(self, pairs)
        if self.training:
            shown.append(simulated)
        return simulated

    monkeypatch.setattr(toy_simulator.Model, "preview", noting)
    settings = {"anomaly_source": str(pictures)}
    pairs, previewed = preview(pictures, model="simulator", settings=settings, count=8, seed=3)
    fit(pictures, model="simulator", settings=settings, seed=3)
    assert torch.equal(torch.cat([one.images for one in shown[:2]]), previewed.images)
    assert torch.equal(torch.cat([one.masks for one in shown[:2]]), previewed.masks)
    assert torch.equal(torch.where(previewed.masks == 0, previewed.images, pairs.images), pairs.images)


def test_there_are_as_many_as_asked_for_or_as_there_are(pictures: Path) -> None:
    few = preview(pictures, model="simulator", count=3)[1].images
    every = preview(pictures, model="simulator", count=100, workers=3)[1].images
    assert len(few) == 3 and len(every) == 20  # a third is held out
    assert torch.equal(every[:3], few)


def test_a_model_that_simulates_nothing_says_so(pictures: Path) -> None:
    with pytest.raises(AdtoolError, match="--model toys: simulates no defects, so there is nothing to preview"):
        preview(pictures, model="toy")


def numbered(count: int, height: int, width: int) -> tuple[Pairs, Simulated]:
    """Samples of one grey each: the image 10 k, the defect 10 k + 100, masks of every second one full."""
    grey = torch.arange(count).view(-1, 1, 1, 1) / 255 * 10
    images = grey.expand(count, 3, height, width)
    masks = (torch.arange(count) % 2).view(-1, 1, 1, 1).expand(count, 1, height, width).float()
    return Pairs(images, images, torch.arange(count)), Simulated(images + 100 / 255, masks)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize(
    ("count", "height", "width", "columns"), [(1, 6, 6, 1), (12, 8, 8, 2), (7, 9, 5, 2), (12, 20, 6, 3)]
)
def test_a_sheet_has_every_sample_as_three_pictures(
    tmp_path: Path, count: int, height: int, width: int, columns: int
) -> None:
    write_sheet(tmp_path / "deep" / "sheet.png", *numbered(count, height, width))
    sheet = read(tmp_path / "deep" / "sheet.png")
    lines = -(-count // columns)
    tall, wide = height + GAP, width + GAP
    assert sheet.shape == (lines * tall, columns * 3 * wide, 3)
    for number in range(columns * lines):
        top, left = (number % lines) * tall, (number // lines) * 3 * wide
        cells = [sheet[top : top + tall, left + part * wide : left + (part + 1) * wide] for part in range(3)]
        edge = GAP // 2
        inner = [set(cell[edge:-edge, edge:-edge].flatten().tolist()) for cell in cells]
        if number < count:
            assert inner == [{10 * number}, {10 * number + 100}, {255 * (number % 2)}]
        else:
            assert inner == [{255}] * 3
        assert all((cell[0] == 255).all() and (cell[:, 0] == 255).all() for cell in cells)


def test_a_sheet_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdtoolError, match="cannot be written"):
        write_sheet(tmp_path / "file" / "sheet.png", *numbered(1, 4, 4))


def test_colours_stay_in_place(tmp_path: Path) -> None:
    image: Tensor = torch.rand(1, 3, 5, 7)
    write_sheet(tmp_path / "s.png", Pairs(image, image, torch.zeros(1)), Simulated(image, image[:, :1].round()))
    sheet = read(tmp_path / "s.png")
    expected = (image[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert (sheet[2:7, 2:9] == expected).all()


def test_the_model_has_seen_the_good_images_before_it_paints(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in training, where a model may leave out defects that are none on such images."""
    events: list[str] = []
    monkeypatch.setattr(toy_simulator.Model, "prepare", lambda self, batches, report: events.append("prepared"))
    original = toy_simulator.Model.preview
    noting = lambda self, pairs: events.append("painted") or original(self, pairs)  # noqa: E731
    monkeypatch.setattr(toy_simulator.Model, "preview", noting)
    preview(pictures, model="simulator", count=3)
    assert events == ["prepared", "painted"]

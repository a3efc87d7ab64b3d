"""`adtool data`: what is found, what is wrong, and a made set that is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_simulator
import toys
from click.testing import Result
from PIL import Image

from adtool import models
from adtool.data import sample_set

Run = Callable[..., Result]
FEW = ("--size", 64, "--train", 3, "--good", 2, "--per-defect", 1)


@pytest.fixture
def made(adtool: Run, tmp_path: Path) -> Path:
    result = adtool("data", "make", "texture", tmp_path / "made", *FEW)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'made'}\n")
    return tmp_path / "made"


def test_made_set_passes_the_check(adtool: Run, made: Path) -> None:
    result = adtool("data", "check", made)
    assert result.exit_code == 0, result.stdout
    assert "layout mvtec, category made" in result.stdout
    assert "train good 3" in " ".join(result.stdout.split())
    assert "every file can be used" in result.stdout


def test_check_as_json_has_the_fields_of_the_report(adtool: Run, made: Path) -> None:
    found = json.loads(adtool("data", "check", made, "--json", "--quiet").stdout)
    assert found["counts"]["train"] == {"good": 3}
    assert found["unreadable"] == [] and found["sizes"] == {"64 x 64": sum(map(sum_of, found["counts"].values()))}


def sum_of(counts: dict[str, int]) -> int:
    return sum(counts.values())


def test_unreadable_image_is_named_and_status_is_3(adtool: Run, made: Path) -> None:
    (made / "train" / "good" / "001.png").write_bytes(b"")
    result = adtool("data", "check", made)
    assert result.exit_code == 3
    assert f"cannot be read: {made / 'train' / 'good' / '001.png'}: is empty" in result.stdout
    assert "every file can be used" not in result.stdout


def test_test_image_seen_in_training_is_named(adtool: Run, made: Path) -> None:
    (made / "test" / "good" / "000.png").write_bytes((made / "train" / "good" / "002.png").read_bytes())
    result = adtool("data", "check", made)
    assert result.exit_code == 0
    assert "also in training" in result.stdout and "002.png" in result.stdout


def test_folder_that_is_not_there_is_wrong_usage(adtool: Run, tmp_path: Path) -> None:
    assert adtool("data", "check", tmp_path / "gone").exit_code == 2


def test_folder_that_is_not_empty_is_left_alone(adtool: Run, made: Path) -> None:
    result = adtool("data", "make", "object", made)
    assert result.exit_code == 1 and "is not empty" in result.stderr


def test_interrupted_making_leaves_no_half_set_under_its_name(
    adtool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sample_set, "_write_masks", stop)
    result = adtool("data", "make", "texture", tmp_path / "made", *FEW)
    assert result.exit_code == 1 and "interrupted" in result.stderr
    assert not (tmp_path / "made").exists()
    result = adtool("data", "make", "texture", tmp_path / "made", *FEW)
    assert result.exit_code == 1 and "made.partial: is not an empty folder" in result.stderr


@pytest.fixture
def simulator(adtool: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy that simulates defects, besides the real models."""
    load = models.load
    monkeypatch.setattr(models, "load", lambda name: toy_simulator if name == "simulator" else load(name))


def test_preview_draws_a_sheet_and_prints_its_path(
    adtool: Run, tmp_path: Path, texture_set: Path, simulator: None
) -> None:
    sheet = tmp_path / "sheets" / "sheet.png"
    options = ("--preset", "tiny", "--count", 6, "--set", "height=24", "--seed", 2)
    result = adtool("data", "preview", texture_set, "--model", "simulator", "-o", sheet, *options)
    assert (result.exit_code, result.stdout) == (0, f"{sheet}\n"), result.stderr
    assert "6 images, 6 with a defect, of " in result.stderr
    with Image.open(sheet) as picture:
        assert picture.size == (2 * 3 * 20, 3 * 28)
    again = tmp_path / "again.png"
    adtool("data", "preview", texture_set, "--model", "simulator", "-o", again, *options)
    assert again.read_bytes() == sheet.read_bytes()


def test_preview_paints_with_the_pictures_given(
    adtool: Run, tmp_path: Path, texture_set: Path, simulator: None
) -> None:
    toys.write_pictures(tmp_path / "source", 3)
    sheets = [tmp_path / "drawn.png", tmp_path / "given.png"]
    textured = ("--model", "simulator", "--set", "source=texture", "--set", "logical=false")
    adtool("data", "preview", texture_set, *textured, "-o", sheets[0])
    result = adtool("data", "preview", texture_set, *textured, "-o", sheets[1], "--anomaly-source", tmp_path / "source")
    assert result.exit_code == 0, result.stderr
    assert sheets[0].read_bytes() != sheets[1].read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "masked-rd", "--preset", "small"], "--model masked-rd: simulates no defects, so there is nothing"),
        (["--model", "masked-rd", "--anomaly-source", "x"], "--anomaly-source: 'anomaly_source' is not a field"),
        (["--model", "simulator", "--anomaly-source", "x"], "--anomaly-source x: no such folder; name a folder"),
        (["--model", "simulator", "--set", "source=water"], "source 'water' of simulated defects: expected one of"),
        (["--model", "nobody"], "--model nobody: no such model"),
    ],
)
def test_preview_says_what_it_cannot_do(
    adtool: Run, tmp_path: Path, texture_set: Path, simulator: None, options: list[str], words: str
) -> None:
    result = adtool("data", "preview", texture_set, "-o", tmp_path / "sheet.png", *options)
    assert result.exit_code == 1
    assert words in result.stderr.replace("\n", " ") and "Traceback" not in result.stderr
    assert not (tmp_path / "sheet.png").exists()


def test_preview_names_a_texture_that_cannot_be_read(
    adtool: Run, tmp_path: Path, texture_set: Path, simulator: None
) -> None:
    (toys.write_pictures(tmp_path / "source", 3) / "001.png").write_bytes(b"no picture")
    options = ("--model", "simulator", "-o", tmp_path / "sheet.png", "--anomaly-source", tmp_path / "source")
    result = adtool("data", "preview", texture_set, *options)
    assert result.exit_code == 1
    assert "001.png" in result.stderr and "--anomaly-source" in result.stderr.replace("\n", " ")

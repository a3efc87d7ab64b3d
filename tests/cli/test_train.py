"""`adtool train`: options reach the fitting, the answer goes to stdout, and stopping loses nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from click.testing import Result

from adtool import checkpoint, models, training

Run = Callable[..., Result]
LOAD = models.load


@pytest.fixture(autouse=True)
def toy_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, adtool: Run) -> Iterator[None]:
    monkeypatch.setattr(models, "load", lambda name: toys)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return toys.write_pictures(tmp_path / "bolts", 30)


def test_the_path_of_the_model_is_all_of_stdout(adtool: Run, pictures: Path) -> None:
    done = adtool("train", pictures, "--model", "toy", "--threads", 1)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "runs/toy-bolts-1/model.safetensors\n"
    assert checkpoint.load_model(Path(done.stdout.strip())).calibration is not None
    assert "toy (default) from 20 good images" in done.stderr
    assert "training autoencoder 15/15 (100 %)" in done.stderr


def test_what_a_model_notices_is_a_warning(adtool: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = toys.Model.losses

    def noticing(self: toys.Model, images: torch.Tensor) -> Iterator[torch.Tensor]:
        yield from original(self, images)
        self.notices += ("something",)

    monkeypatch.setattr(toys.Model, "losses", noticing)
    done = adtool("train", pictures, "--model", "toy", "--threads", 1, "--set", "max_steps=1", "--quiet")
    assert done.exit_code == 0 and "warning: training autoencoder, step 1: something\n" in done.stderr


def test_json_is_the_object_scripts_rely_on(adtool: Run, pictures: Path) -> None:
    done = adtool("train", pictures, "--model", "toy", "--json", "--seed", 3, "--quiet", "--false-alarm-rate", 0.2)
    answer = json.loads(done.stdout)
    promised = "model name preset seconds images parameters threshold false_alarm_rate weights seed".split()
    assert set(promised) <= answer.keys()
    assert (answer["name"], answer["seed"], answer["false_alarm_rate"], answer["weights"]) == ("toy", 3, 0.2, None)
    assert isinstance(answer["threshold"], float)
    assert done.stderr.count("\n") == len(answer["notes"])  # warnings alone


def test_settings_come_from_file_and_options_the_later_winning(adtool: Run, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text("epochs = 2\nbatch_size = 8\n")
    options = ("--config", tmp_path / "toy.toml", "--set", "epochs=1", "--set", "scales=4,5", "--preset", "long")
    done = adtool("train", pictures, *options, "--output", "here", "--holdout", "0.5", "--workers", 1)
    assert done.stdout == "here/model.safetensors\n"
    meta = checkpoint.read_meta(Path("here/model.safetensors"))
    assert meta["config"] == {
        **{"height": 16, "width": 16, "learning_rate": 0.01, "patience": 5, "max_steps": None},
        **{"epochs": 1, "batch_size": 8, "scales": [4, 5]},
    }
    assert (meta["preset"], meta["data"]["held_out"]) == ("long", 15)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--set", "epochs"], 2, "epochs: expected key=value"),
        (["--set", "epochs=many"], 1, "--set epochs=many: expected a whole number"),
        (["--set", "wings=2"], 1, "'wings' is not a field of this model"),
        (["--backbone", "resnet18"], 1, "--backbone: 'backbone' is not a field of this model"),
        (["--anomaly-source", "."], 1, "--anomaly-source: 'anomaly_source' is not a field"),
        (["--preset", "huge"], 1, "--preset huge: not a preset of this model; known presets: default, long"),
        (["--false-alarm-rate", "1"], 2, "is not in the range 0<x<1"),
        (["--device", "tpu"], 2, "not a device"),
        (["--layout", "circle"], 2, "'circle' is not one of"),
        (["--resume"], 1, "no unfinished run"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    adtool: Run, pictures: Path, options: list[str], code: int, words: str
) -> None:
    done = adtool("train", pictures, *options)
    assert done.exit_code == code
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_picture_that_cannot_be_read_is_named(adtool: Run, pictures: Path) -> None:
    (pictures / "003.png").write_bytes(b"not a picture")
    done = adtool("train", pictures, "--model", "toy")
    assert done.exit_code == 1
    assert "003.png" in done.stderr


def test_ctrl_c_names_the_way_back(adtool: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = training._train_step

    def interrupted(state: Any, images: Any) -> None:
        original(state, images)
        if state.position.step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training, "_train_step", interrupted)
    stopped = adtool("train", pictures, "--model", "toy")
    assert stopped.exit_code == 1
    assert "error: interrupted" in stopped.stderr
    assert "the same command with --output runs/toy-bolts-1 --resume" in stopped.stderr
    monkeypatch.setattr(training, "_train_step", original)
    resumed = adtool("train", pictures, "--model", "toy", "--output", "runs/toy-bolts-1", "--resume")
    whole = adtool("train", pictures, "--model", "toy")
    files = [checkpoint.read(Path(done.stdout.strip()))[0] for done in (resumed, whole)]
    assert all(files[0][name].equal(files[1][name]) for name in files[1])


@pytest.mark.parametrize(
    ("model", "options"),
    [("patchcore", []), ("padim", []), ("masked-rd", ["--preset", "small", "--set", "max_steps=2"])],
)
def test_a_real_model_trains_from_the_command_line(
    adtool: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch, model: str, options: list[str]
) -> None:
    monkeypatch.setattr(models, "load", LOAD)
    size = ["--set", "height=64", "--set", "width=64", "--backbone", "efficientnet_lite0"]
    done = adtool("train", pictures, "--model", model, "--random-weights", "--json", *size, *options)
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["images"], answer["held_out"], answer["weights"]["source"]) == (20, 10, "random")
    loaded = checkpoint.load_model(Path(answer["model"]))
    assert loaded.calibration is not None
    assert loaded.calibration.threshold == answer["threshold"]


def test_a_folder_without_pictures_says_so(adtool: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = adtool("train", tmp_path / "empty")
    assert done.exit_code == 1
    assert "empty" in done.stderr

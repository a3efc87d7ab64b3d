"""From a folder of good images to a model file, and back after being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_simulator
import toys

from adtool import checkpoint, models, runs
from adtool.data import open_dataset
from adtool.errors import AdtoolError
from adtool.fitting import fit
from adtool.holdout import hold_out


@pytest.fixture(autouse=True)
def toy_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(models, "load", lambda name: toys)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return toys.write_pictures(tmp_path / "bolts", 30)


def test_a_folder_becomes_a_model_file_with_all_that_scoring_needs(pictures: Path) -> None:
    fitted = fit(pictures, model="Toy", false_alarm_rate=0.1, seed=5)
    run = Path("runs/toy-bolts-1")
    assert (fitted.model, fitted.name, fitted.preset) == (str(run / "model.safetensors"), "toy", "default")
    assert (fitted.images, fitted.held_out, fitted.seed, fitted.weights) == (20, 10, 5, None)
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "log.jsonl", "model.safetensors"]
    loaded = checkpoint.load_model(runs.resolve_model())
    assert not any(name.startswith("judge") for name in loaded.model.state_dict())  # `discard`
    assert fitted.parameters == sum(parameter.numel() for parameter in loaded.model.parameters())
    assert loaded.model.get_buffer("mean").flatten().tolist() == pytest.approx([120 / 255] * 3, abs=0.01)  # `prepare`
    assert loaded.model.get_buffer("bank").shape == (20, 8)  # `finish`
    assert loaded.calibration is not None
    assert loaded.calibration.threshold == fitted.threshold
    assert loaded.meta["preprocessing"]["height"] == 16
    assert loaded.meta["data"]["layout"] == "folder"


def test_the_threshold_comes_from_the_images_held_out(pictures: Path) -> None:
    fitted = fit(pictures, model="toy", false_alarm_rate=0.1)
    loaded = checkpoint.load_model(Path(fitted.model))
    held_out = hold_out(open_dataset(pictures))[1]
    from adtool.data.batches import ImageBatches

    with torch.inference_mode():
        scores = [loaded.model.predict(image).scores.item() for image in ImageBatches(held_out, (16, 16), batch_size=1)]
    assert loaded.calibration is not None
    assert loaded.calibration.scores == pytest.approx(sorted(scores), rel=1e-5)
    # ceil((10 + 1) (1 - 0.1)) = 10th smallest of 10
    assert fitted.threshold == pytest.approx(max(scores), rel=1e-5)


def test_too_few_images_for_the_rate_asked_is_said(pictures: Path) -> None:
    fitted = fit(pictures, model="toy", false_alarm_rate=0.01)
    loaded = checkpoint.load_model(Path(fitted.model))
    assert loaded.calibration is not None
    assert fitted.notes[-1] == loaded.calibration.note != ""
    assert checkpoint.read_meta(Path(fitted.model))["notes"] == list(fitted.notes)


def test_a_handful_of_images_trains_without_a_threshold_and_says_so(tmp_path: Path) -> None:
    fitted = fit(toys.write_pictures(tmp_path / "few", 5), model="toy")
    assert (fitted.images, fitted.held_out, fitted.threshold) == (5, 0, None)
    assert "no threshold" in fitted.notes[-1]
    assert checkpoint.load_model(Path(fitted.model)).calibration is None


def test_two_trainings_with_one_seed_are_one(pictures: Path) -> None:
    first, second, third = (fit(pictures, model="toy", seed=seed, workers=n) for seed, n in ((0, 1), (0, 3), (1, 1)))
    tensors = [checkpoint.read(Path(fitted.model))[0] for fitted in (first, second, third)]
    assert all(tensors[0][name].equal(tensors[1][name]) for name in tensors[0])
    assert not all(tensors[0][name].equal(tensors[2][name]) for name in tensors[0])
    assert first.threshold == second.threshold


def test_early_stopping_watches_the_held_out_images_where_enough_remain(pictures: Path, tmp_path: Path) -> None:
    fit(pictures, model="toy", output=tmp_path / "enough")
    fit(pictures, model="toy", output=tmp_path / "few", holdout=11)
    watched = {}
    for name in ("enough", "few"):
        events = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        assert [event["event"] for event in events] == ["start", "stage", "epoch", "epoch", "epoch", "end", "finished"]
        watched[name] = [event["validation"] is not None for event in events if event["event"] == "epoch"]
    assert watched == {"enough": [True] * 3, "few": [False] * 3}


def test_what_a_model_notices_is_logged_and_told(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, told = toys.Model.losses, list[str]()

    def noticing(self: toys.Model, images: torch.Tensor) -> Iterator[torch.Tensor]:
        yield from original(self, images)
        self.notices += ("something",)

    monkeypatch.setattr(toys.Model, "losses", noticing)
    fit(pictures, model="toy", settings={"max_steps": 2}, output=Path("run"), tell=told.append)
    assert told == ["training autoencoder, step 1: something", "training autoencoder, step 2: something"]
    events = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert [event["text"] for event in events if event["event"] == "notice"] == ["something"] * 2


def test_settings_and_presets_reach_the_model(pictures: Path) -> None:
    fitted = fit(pictures, model="toy", preset="long", settings={"max_steps": 2, "scales": (5,)})
    config = checkpoint.load_model(Path(fitted.model)).model.config
    assert asdict(config) == asdict(toys.Config(epochs=1000, max_steps=2, scales=(5,)))
    with pytest.raises(AdtoolError, match="--set wings"):
        fit(pictures, model="toy", settings={"wings": 2})
    with pytest.raises(AdtoolError, match="--weights .*has 0 backbones"):
        fit(pictures, model="toy", weights=Path("x.pth"))
    assert [path.name for path in Path("runs").iterdir() if path.is_dir()] == ["toy-bolts-1"]


def test_an_unwritable_output_is_found_before_training(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    steps: list[Any] = []
    with pytest.raises(AdtoolError, match="file/run: cannot be written"):
        fit(pictures, model="toy", output=tmp_path / "file" / "run", report=lambda *row: steps.append(row))
    assert steps == []


def test_a_disk_that_is_full_at_the_end_loses_no_training(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise AdtoolError("no space")

    output = Path("runs/full")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_model", full)
        with pytest.raises(AdtoolError, match="no space") as caught:
            fit(pictures, model="toy", output=output)
    assert "--output runs/full --resume" in caught.value.__notes__[0]
    assert not Path("runs/latest").exists()
    trained: list[Any] = []
    resumed = fit(pictures, model="toy", output=output, resume=True, report=lambda *row: trained.append(row[0]))
    assert set(trained) == {"calibrating"}
    assert weights_of(resumed.model) == weights_of(fit(pictures, model="toy").model)


def weights_of(model: str) -> dict[str, Any]:
    tensors, meta = checkpoint.read(Path(model))
    return {name: tensor.tolist() for name, tensor in tensors.items()} | {"calibration": meta["calibration"]}


KILLED = """
import sys
from pathlib import Path
import torch, toys
from adtool import models, training
from adtool.fitting import fit
torch.set_num_threads(1)
models.load = lambda name: toys
training.train.__kwdefaults__["save_seconds"] = 0.0
fit(Path(sys.argv[1]), model="toy", settings=eval(sys.argv[2]), output=Path("runs/killed"),
    report=lambda *row: print(*row, flush=True))
"""


def test_a_killed_training_resumes_to_the_same_model(pictures: Path) -> None:
    settings = {"epochs": 40, "patience": None}
    command = [sys.executable, "-c", KILLED, str(pictures), repr(settings)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(toys.__file__).parent), *sys.path])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("training autoencoder 7 "):  # 5 steps an epoch: inside the second
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    position = checkpoint.read_meta(Path("runs/killed/training.safetensors"))["position"]
    assert 7 <= position["step"] < 200
    with pytest.raises(AdtoolError, match="holds an unfinished training; go on with --resume"):
        fit(pictures, model="toy", settings=settings, output=Path("runs/killed"))
    with pytest.raises(AdtoolError, match="was started with seed 0, but now it is 1") as caught:
        fit(pictures, model="toy", settings=settings, output=Path("runs/killed"), resume=True, seed=1)
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(AdtoolError, match="was started with config epochs 40, but now it is 41"):
        fit(pictures, model="toy", settings={**settings, "epochs": 41}, output=Path("runs/killed"), resume=True)
    resumed = fit(pictures, model="toy", settings=settings, output=Path("runs/killed"), resume=True)
    whole = fit(pictures, model="toy", settings=settings)
    assert weights_of(resumed.model) == weights_of(whole.model)
    assert sorted(path.name for path in Path("runs/killed").iterdir()) == [
        "config.json",
        "log.jsonl",
        "model.safetensors",
    ]


def test_ctrl_c_keeps_the_training_and_says_how_to_go_on(pictures: Path) -> None:
    def interrupt(what: str, step: int, total: int) -> None:
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(pictures, model="toy", report=interrupt)
    assert "the same command with --output runs/toy-bolts-1 --resume" in caught.value.__notes__[0]
    resumed = fit(pictures, model="toy", resume=True)  # the newest unfinished run, without its name
    assert resumed.model == "runs/toy-bolts-1/model.safetensors"
    assert weights_of(resumed.model) == weights_of(fit(pictures, model="toy").model)


def test_there_is_nothing_to_resume_in_a_finished_or_missing_run(pictures: Path) -> None:
    with pytest.raises(AdtoolError, match="no unfinished run runs/toy-bolts-N"):
        fit(pictures, model="toy", resume=True)
    with pytest.raises(AdtoolError, match="there is no run in runs/none"):
        fit(pictures, model="toy", resume=True, output=Path("runs/none"))
    fit(pictures, model="toy", output=Path("runs/done"))
    with pytest.raises(AdtoolError, match="the run in runs/done is finished"):
        fit(pictures, model="toy", resume=True, output=Path("runs/done"))


def test_other_images_cannot_resume_a_training(pictures: Path) -> None:
    def interrupt(what: str, step: int, total: int) -> None:
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(pictures, model="toy", report=interrupt)
    first = hold_out(open_dataset(pictures))[0][0].path
    toys.write_pictures(pictures / "x", 1)
    (pictures / "x" / "000.png").replace(first)
    (pictures / "x").rmdir()
    with pytest.raises(AdtoolError, match=r"was started with training images \(sha256\)"):
        fit(pictures, model="toy", resume=True)


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load", lambda name: toy_simulator)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Textures of noise."""
    return toys.write_pictures(tmp_path / "source", 4, (20, 20))


def test_a_model_that_paints_defects_learns_the_same_from_the_same_seed(
    pictures: Path, source: Path, simulator: None
) -> None:
    def weights(seed: int, **settings: Any) -> dict[str, Any]:
        fitted = fit(pictures, model="simulator", seed=seed, settings=settings, workers=1 + seed)
        return {name: tensor.tolist() for name, tensor in checkpoint.read(Path(fitted.model))[0].items()}

    first = weights(1)
    assert first == weights(1)
    assert first != weights(0)
    assert first != weights(1, anomaly_source=str(source))


def test_the_category_and_the_textures_reach_the_model_file(pictures: Path, source: Path, simulator: None) -> None:
    fitted = fit(pictures, model="simulator", settings={"anomaly_source": str(source)})
    meta = checkpoint.read_meta(Path(fitted.model))
    assert (meta["config"]["category"], meta["config"]["anomaly_source"]) == ("bolts", str(source))
    assert len(meta["data"]["textures_sha256"]) == 64
    assert json.loads(Path(fitted.model).with_name("config.json").read_text())["config"] == meta["config"]
    source.rename(source.with_name("gone"))
    assert checkpoint.load_model(Path(fitted.model)).model.textures is None  # scoring needs none


def test_a_missing_texture_folder_is_found_before_a_run_is_made(pictures: Path, simulator: None) -> None:
    with pytest.raises(AdtoolError, match="--anomaly-source nowhere: no such folder; name a folder of pictures"):
        fit(pictures, model="simulator", settings={"anomaly_source": "nowhere"})
    assert not Path("runs").exists()


def test_a_painted_training_resumes_with_the_same_textures_wherever_they_are(
    pictures: Path, source: Path, simulator: None
) -> None:
    def interrupt(what: str, step: int, total: int) -> None:
        if (what, step) == ("training segment", 7):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(pictures, model="simulator", settings={"anomaly_source": str(source)}, report=interrupt)
    moved = {"anomaly_source": str(source.rename(source.with_name("moved")))}
    (source.with_name("moved") / "new.png").write_bytes((source.with_name("moved") / "000.png").read_bytes())
    with pytest.raises(AdtoolError, match=r"was started with anomaly-source images \(sha256\)"):
        fit(pictures, model="simulator", settings=moved, resume=True)
    (source.with_name("moved") / "new.png").unlink()
    resumed = fit(pictures, model="simulator", settings=moved, resume=True)
    assert weights_of(resumed.model) == weights_of(fit(pictures, model="simulator", settings=moved).model)

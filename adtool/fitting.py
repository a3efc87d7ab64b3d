"""From a folder of good images to a model file: hold-out, model, weights, training, calibration, writing.

Some good images are held out of training. They alone set the threshold and the p-values; where at least 20 images
remain to train on, early stopping watches them too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adtool import checkpoint, runs, training
from adtool.building import build, load_textures, load_weights, measure_norms, weight_digests
from adtool.calibration import Calibration
from adtool.data import Dataset, open_dataset
from adtool.data.batches import ImageBatches
from adtool.errors import AdtoolError
from adtool.holdout import fingerprint, hold_out
from adtool.models._detector import Batches, Detector, Report, silent

ENOUGH_TO_VALIDATE = 20
BATCH_SIZE = 16  # of passes without training
TRAINING, HELD_OUT = "training images (sha256)", "held-out images (sha256)"
TEXTURES = "anomaly-source images (sha256)"


@dataclass(frozen=True)
class Fitted:
    """What was trained: the fields of `adtool train --json`."""

    model: str
    """Path of the model file."""
    name: str
    preset: str
    seconds: float
    images: int
    """Images trained on."""
    held_out: int
    parameters: int
    threshold: float | None
    """None when no images could be held out."""
    false_alarm_rate: float
    """The rate asked for; `notes` says when there were too few images to support it."""
    weights: dict[str, Any] | None
    """Source and sha256 of the backbone's weights; None for a model without a backbone."""
    seed: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Run:
    """One training: everything about it that is settled before it starts."""

    folder: Path
    detector: Detector
    good: ImageBatches
    held_out: ImageBatches
    device: torch.device
    identity: dict[str, Any]
    """What an interrupted run must have in common with the one that resumes it."""
    log: runs.Log
    report: Report
    tell: Callable[[str], None]


def fit(
    data: Path,
    *,
    model: str,
    preset: str = "default",
    settings: Mapping[str, Any] | None = None,
    layout: str | None = None,
    category: str | None = None,
    output: Path | None = None,
    weights: Path | None = None,
    random_weights: bool = False,
    false_alarm_rate: float = 0.01,
    holdout: float | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int = 1,
    resume: bool = False,
    report: Report = silent,
    tell: Callable[[str], None] = lambda text: None,
) -> Fitted:
    """Train a model on the good images of `data` and write it into a run folder, `output` or a new one in `runs/`.

    `settings` are fields of the model's configuration that differ from the preset. `holdout` is the share (below 1) or
    number of images to hold out. `tell` is given what a model notices while it trains, in words. With `resume` an
    unfinished run goes on as if it had never stopped. What was trained before an AdtoolError or Ctrl-C stays in the run
    folder, and a note on the exception says where.
    """
    start = time.monotonic()
    name = model.strip().lower().replace("_", "-")
    dataset = open_dataset(data, layout=layout, category=category, seed=seed)
    good, held_out = hold_out(dataset, holdout, seed)
    detector = build(name, preset, settings or {}, seed, dataset.category)
    loaded = load_weights(detector, name, weights, random_weights)
    device = torch.device(device)
    config = asdict(detector.config)
    identity = {"model": name, "seed": seed, "device": device.type}
    identity |= {"config": {field: value for field, value in config.items() if field != "anomaly_source"}}
    identity |= {"weights (sha256)": weight_digests(loaded), TEXTURES: load_textures(detector, seed, workers, report)}
    identity |= {TRAINING: fingerprint(dataset, good), HELD_OUT: fingerprint(dataset, held_out)}
    batches = partial(ImageBatches, size=detector.config.size, batch_size=BATCH_SIZE, workers=workers)
    folder = _run_folder(f"{name}-{_called(dataset)}", output, resume)
    started = {**identity, "config": config, "preset": preset, "data": str(data), "category": dataset.category}
    runs.write_config(folder, started)
    log = runs.Log(folder / runs.LOG)
    run = _Run(folder, detector, batches(good), batches(held_out), device, identity, log, report, tell)
    with _resumable(folder, resume):
        if random_weights:
            _pass(run, partial(measure_norms, detector))
        _train(run, resume)
        calibration = _calibrate(run, false_alarm_rate)
        fitted = Fitted(
            model=str(folder / runs.MODEL),
            name=name,
            preset=preset,
            seconds=time.monotonic() - start,
            images=len(good),
            held_out=len(held_out),
            parameters=sum(parameter.numel() for parameter in detector.parameters()),
            threshold=calibration.threshold if calibration else None,
            false_alarm_rate=false_alarm_rate,
            weights=loaded,
            seed=seed,
            notes=tuple(filter(None, (*dataset.notes, _note(calibration, len(good))))),
        )
        _write(run, dataset, fitted, calibration)
    return fitted


def _run_folder(name: str, output: Path | None, resume: bool) -> Path:
    """The folder to train in, made unless it is there; AdtoolError when it holds what `resume` does not fit."""
    if output is None:
        return runs.unfinished_run(name) if resume else runs.new_run(name)
    unfinished = (output / runs.STATE).exists()
    if resume and not unfinished and (output / runs.MODEL).exists():
        raise AdtoolError(f"--resume: the run in {output} is finished; leave --resume out to train again")
    if resume and not (output / runs.CONFIG).exists():
        raise AdtoolError(f"--resume: there is no run in {output}; leave --resume out to start one")
    if unfinished and not resume:
        raise AdtoolError(
            f"--output {output}: holds an unfinished training; go on with --resume, name another folder, or remove "
            f"{output / runs.STATE}"
        )
    return runs.make(output)


def _train(run: _Run, resume: bool) -> None:
    """Everything a model learns: the pass before its stages, the stages, the pass after them."""
    detector, seed = run.detector, run.identity["seed"]
    run.log({"event": "start", "images": len(run.good), "held_out": len(run.held_out), **run.identity})
    _pass(run, detector.prepare)
    training.train(
        detector,
        run.good,
        seed=seed,
        validation=run.held_out if len(run.held_out) and len(run.good) >= ENOUGH_TO_VALIDATE else None,
        device=run.device,
        log=partial(_log, run),
        report=run.report,
        checkpoint=run.folder / runs.STATE,
        identity=run.identity,
        resume=resume,
    )
    _pass(run, detector.finish)
    detector.discard()


def _log(run: _Run, event: Mapping[str, Any]) -> None:
    """Write an event of training into the log and tell a notice."""
    run.log(event)
    if event["event"] == "notice":
        run.tell(f"training {event['stage']}, step {event['step']}: {event['text']}")


def _pass(run: _Run, work: Callable[[Batches, Report], None]) -> None:
    """A pass over the training images, in eval mode, without gradients, its random numbers from the seed."""
    torch.manual_seed(run.identity["seed"])
    run.detector.to(run.device).eval()
    with torch.no_grad():
        work(_Placed(run.good, run.device), run.report)


@dataclass(frozen=True)
class _Placed:
    """Batches on a device."""

    batches: ImageBatches
    device: torch.device

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Tensor]:
        return (batch.to(self.device) for batch in self.batches)


def _calibrate(run: _Run, false_alarm_rate: float) -> Calibration | None:
    """The calibration from scores and maps of the held-out images; None when there are none."""
    scores: list[float] = []
    medians: list[float] = []
    maxima: list[float] = []
    run.detector.eval()
    with torch.inference_mode():
        for batch in _Placed(run.held_out, run.device):
            maps, image_scores = run.detector.predict(batch)
            pixels = maps.flatten(1).float().cpu().numpy()
            scores += image_scores.float().tolist()
            medians += np.median(pixels, axis=1).tolist()
            maxima += pixels.max(axis=1).tolist()
            run.report("calibrating", len(scores), len(run.held_out))
    return Calibration.fit(scores, medians, maxima, false_alarm_rate) if scores else None


def _note(calibration: Calibration | None, images: int) -> str:
    if calibration is not None:
        return calibration.note
    return (
        f"all {images} good images were used for training and none held out, so there is no threshold: scores compare "
        "images, but none is called anomalous; train with more good images, or give --holdout"
    )


def _write(run: _Run, dataset: Dataset, fitted: Fitted, calibration: Calibration | None) -> None:
    """Write the model file, let `latest` name it, and remove the state that is no longer needed."""
    height, width = run.detector.config.size
    meta = {
        "model": fitted.name,
        "preset": fitted.preset,
        "preprocessing": {
            "height": height,
            "width": width,
            "resize": "bilinear antialiased",
            "images": "RGB in [0, 1]",
        },
        "calibration": calibration.to_json() if calibration else None,
        "weights": fitted.weights,
        "data": {
            "name": _called(dataset),
            "layout": dataset.layout,
            "images": fitted.images,
            "held_out": fitted.held_out,
            "training_sha256": run.identity[TRAINING],
            "held_out_sha256": run.identity[HELD_OUT],
            "textures_sha256": run.identity[TEXTURES],
        },
        "seed": fitted.seed,
        "parameters": fitted.parameters,
        "false_alarm_rate": fitted.false_alarm_rate,
        "notes": list(fitted.notes),
        "torch": torch.__version__,
    }
    checkpoint.save_model(run.folder / runs.MODEL, run.detector, meta)
    run.log({"event": "finished", **asdict(fitted)})
    runs.clear(run.folder, runs.STATE)
    runs.point_latest(run.folder)


def _called(dataset: Dataset) -> str:
    return dataset.category or dataset.root.resolve().name


@contextmanager
def _resumable(folder: Path, resume: bool) -> Iterator[None]:
    """Say on an error or Ctrl-C where the training is kept and how it goes on."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if (folder / runs.STATE).exists() and (isinstance(error, KeyboardInterrupt) or not resume):
            error.add_note(
                f"the training so far is in {folder}: the same command with --output {folder} --resume goes on from it"
            )
        raise

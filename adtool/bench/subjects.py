"""Models to be timed: read from a file, or built by name and filled with what drawn pictures teach in one pass.

What gradient descent would change is left out: it does not change how long a prediction takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from adtool import models, runs
from adtool.building import build
from adtool.checkpoint import LoadedModel, load_model
from adtool.data import Sample, open_dataset
from adtool.data.batches import ImageBatches
from adtool.data.sample_set import write_sample_set
from adtool.errors import AdtoolError, WeightsError
from adtool.layers.backbones import Backbone
from adtool.models._detector import Detector, Report
from adtool.weights import load_backbone

BATCH_SIZE = 16
PICTURE = 512
"""Pixels of height of a drawn picture."""


@dataclass(frozen=True)
class Subject:
    """A model ready to predict."""

    name: str
    preset: str
    weights: str
    """"trained" where it was read from a model file, else the backbone's: a file's name, "random", or "none"."""
    loaded: LoadedModel

    @property
    def row(self) -> dict[str, Any]:
        """How rows name it."""
        size = list(self.loaded.model.config.size)
        return {"model": self.name, "preset": self.preset, "weights": self.weights, "size": size, "runtime": "torch"}


@dataclass(frozen=True)
class Skipped:
    """A model that cannot be timed here, and why."""

    name: str
    preset: str
    reason: str


def draw_pictures(folder: Path, count: int) -> list[Sample]:
    """Write `count` good pictures into a folder of `folder`; the same ones every time."""
    root = write_sample_set(folder / "pictures", "object", size=PICTURE, train=count, good=0, per_defect=0)
    return open_dataset(root).split("train")


def plan(chosen: Sequence[str], presets: Sequence[str]) -> list[tuple[str, str | None]]:
    """(name, preset) of each model to be timed, (model file, None) for one that is trained.

    `chosen` are names, model files and run folders, by default every name; `presets` those of each, by default all that
    it has. AdtoolError for one that does not exist.
    """
    found: list[tuple[str, str | None]] = []
    for text in chosen or models.names():
        if text not in models.names() and Path(text).exists():
            found.append((str(runs.resolve_model(text)), None))
            continue
        config = models.load(text).Config
        for preset in presets or config.PRESETS:
            config.preset(preset)
            found.append((text, preset))
    return found


def subjects(
    planned: Sequence[tuple[str, str | None]],
    pictures: Sequence[Sample],
    *,
    random_weights: bool = False,
    device: torch.device,
) -> Iterator[Subject | Skipped]:
    """The models of a plan; one whose weights are not here is skipped, unless `random_weights` does without."""
    for text, preset in planned:
        if preset is None:
            loaded = load_model(Path(text), device)
            yield Subject(loaded.meta["model"], str(loaded.meta.get("preset")), "trained", loaded)
            continue
        try:
            yield _untrained(text, preset, pictures, random_weights, device)
        except WeightsError as error:
            yield Skipped(text, preset, str(error))


def measure(
    document: dict[str, Any],
    planned: Sequence[tuple[str, str | None]],
    pictures: Sequence[Sample],
    rows: Callable[[Subject], list[dict[str, Any]]],
    *,
    random_weights: bool,
    device: torch.device,
    report: Report,
) -> dict[str, Any]:
    """Fill the `rows` and `skipped` of a document, model by model; AdtoolError when no model could be timed."""
    document |= {"rows": [], "skipped": []}
    for done, subject in enumerate(subjects(planned, pictures, random_weights=random_weights, device=device)):
        report("models", done, len(planned))
        if isinstance(subject, Skipped):
            about = {"model": subject.name, "preset": subject.preset, "reason": subject.reason}
            document["skipped"].append(about)
        else:
            document["rows"] += rows(subject)
    report("models", len(planned), len(planned))
    if not document["rows"]:
        raise AdtoolError(document["skipped"][0]["reason"])
    return document


def _untrained(
    name: str, preset: str, pictures: Sequence[Sample], random_weights: bool, device: torch.device
) -> Subject:
    detector = build(name, preset, {}, seed=0)
    backbones = [cast(Backbone, backbone) for backbone in detector.backbones.values()]
    sources = {str(load_backbone(backbone, random=random_weights)["source"]) for backbone in backbones}
    with torch.no_grad():
        batches = images(detector, pictures, device)
        detector.to(device).eval()
        for backbone in backbones if random_weights else []:
            backbone.measure_norms(batches)
        detector.prepare(batches)
        detector.finish(batches)
    detector.discard()
    weights = ", ".join(sorted(Path(source).name for source in sources)) or "none"
    return Subject(name, preset, weights, LoadedModel(detector, {"model": name, "preset": preset}, None))


def images(detector: Detector, pictures: Sequence[Sample], device: torch.device) -> list[Tensor]:
    """The pictures at the model's size on its device, (N, 3, H, W) each."""
    return [batch.to(device) for batch in ImageBatches(pictures, detector.config.size, batch_size=BATCH_SIZE)]

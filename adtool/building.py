"""An untrained model and what it is given before its training: configuration, weights of backbones, textures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from adtool import models
from adtool.data import Dataset
from adtool.data.textures import choose_textures, read_textures
from adtool.errors import AdtoolError
from adtool.holdout import fingerprint
from adtool.layers.backbones import Backbone
from adtool.models._detector import Batches, Detector, Report, silent
from adtool.runtime import keep_freed_memory
from adtool.weights import load_backbone


def build(name: str, preset: str, settings: Mapping[str, Any], seed: int, category: str = "") -> Detector:
    """The untrained model of that name, its weights drawn from `seed`.

    `category` fills the configuration's field of that name, where it has one that is empty.
    """
    keep_freed_memory()
    module = models.load(name)
    config = module.Config.preset(preset).override(**settings)
    if getattr(config, "category", None) == "":
        config = config.override(category=category)
    torch.manual_seed(seed)
    return cast(Detector, module.Model(config))


def load_weights(detector: Detector, name: str, file: Path | None, random: bool) -> dict[str, Any] | None:
    """Load every backbone's weights; the record of where they came from, by backbone where there are several."""
    backbones = detector.backbones
    if file is not None and len(backbones) != 1:
        raise AdtoolError(f"--weights {file}: {name} has {len(backbones)} backbones, expected 1; leave it out")
    records = {
        part: load_backbone(cast(Backbone, backbone), file=file, random=random) for part, backbone in backbones.items()
    }
    return next(iter(records.values())) if len(records) == 1 else records or None


def weight_digests(weights: dict[str, Any] | None) -> Any:
    """The sha256 of each weight file alone: the same file may lie elsewhere when a run is resumed."""
    if weights is None or "sha256" in weights:
        return weights and weights["sha256"]
    return {part: record["sha256"] for part, record in weights.items()}


def measure_norms(detector: Detector, batches: Batches, report: Report) -> None:
    """Batch-norm statistics of random backbones, in one pass over good images each."""
    for backbone in detector.backbones.values():
        cast(Backbone, backbone).measure_norms(batches)


def load_textures(detector: Detector, seed: int, workers: int = 1, report: Report = silent) -> str | None:
    """Read the configuration's `anomaly_source` into `detector.textures`; the fingerprint of the pictures read.

    None where the model has no such field or it is empty.
    """
    source = getattr(detector.config, "anomaly_source", "")
    if not source:
        return None
    folder = Path(source)
    samples = choose_textures(folder, seed)
    total = len(samples)
    detector.textures = read_textures(
        samples, detector.config.size, workers=workers, visit=lambda done: report("textures", done, total)
    )
    return fingerprint(Dataset(folder, "folder", "", tuple(samples)), samples)

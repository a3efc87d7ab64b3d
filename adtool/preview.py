"""The defects that training will show a model, before it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adtool.building import build, load_textures
from adtool.data import open_dataset
from adtool.data.batches import ImageBatches
from adtool.heatmaps import write_picture
from adtool.holdout import hold_out
from adtool.layers.defects import Simulated
from adtool.models._detector import Pairs, Report, silent
from adtool.pairing import PairedBatches

GAP = 4
"""White pixels between pictures of a sheet."""


def preview(
    data: Path,
    *,
    model: str,
    preset: str = "default",
    settings: Mapping[str, Any] | None = None,
    layout: str | None = None,
    category: str | None = None,
    count: int = 12,
    seed: int = 0,
    workers: int = 1,
    report: Report = silent,
) -> tuple[Pairs, Simulated]:
    """The first `count` images of the first epoch that learns from defects in `fit` with the same arguments, and these.

    AdtoolError for a model that is shown no simulated defects.
    """
    dataset = open_dataset(data, layout=layout, category=category, seed=seed)
    good, _ = hold_out(dataset, None, seed)
    detector = build(model, preset, settings or {}, seed, dataset.category)
    load_textures(detector, seed, workers, report)
    stage = next((stage.name for stage in detector.stages() if stage.paired), None)
    images = ImageBatches(good, detector.config.size, workers=workers)
    if stage is not None:
        detector.eval().prepare(images, report)
    pairs = next(PairedBatches(images, seed, stage or "preview").shuffled(seed, 0, min(count, len(images))))
    with torch.no_grad():
        return pairs, detector.eval().preview(pairs)


def write_sheet(path: Path, pairs: Pairs, simulated: Simulated) -> None:
    """Write a PNG with image, simulated image and mask of each sample side by side, the samples in columns."""
    write_rows(path, [pairs.images, simulated.images, simulated.masks.expand_as(pairs.images)])


def write_rows(path: Path, parts: Sequence[Tensor]) -> None:
    """Write a PNG with the pictures of each sample side by side, one of each (N, 3, H, W) part, samples in columns."""
    rows = torch.cat([_framed(part) for part in parts], dim=3)  # (N, 3, h, parts x w)
    height, width = rows.shape[2:]
    columns = max(1, round((len(rows) * height / width) ** 0.5))
    lines = -(-len(rows) // columns)
    blank = rows.new_ones((columns * lines - len(rows), 3, height, width))
    grid = torch.cat([rows, blank]).view(columns, lines, 3, height, width).permute(1, 3, 0, 4, 2)
    sheet = grid.reshape(lines * height, columns * width, 3)
    write_picture(path, (sheet.clamp(0, 1) * 255).round().byte().cpu().numpy())


def _framed(images: Tensor) -> Tensor:
    return F.pad(images, [GAP // 2] * 4, value=1.0)

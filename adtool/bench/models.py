"""Latency of a prediction, from images to maps and scores in memory: batches of 1, of 16 and of the best size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from adtool import timing
from adtool.bench import machine
from adtool.bench.subjects import Subject, draw_pictures, images, measure, plan
from adtool.models._detector import Prediction, Report, silent

BATCHES = (1, 2, 4, 8, 16)
"""Batch sizes among which the best one is sought."""


def bench(
    chosen: Sequence[str] = (),
    presets: Sequence[str] = (),
    *,
    device: torch.device,
    batches: Sequence[int] = (),
    pictures: int = 60,
    random_weights: bool = False,
    seconds: float = 10.0,
    repeats: int | None = None,
    report: Report = silent,
) -> dict[str, Any]:
    """The document of `adtool bench models`: rows for the first, best and last of `BATCHES`, or for each of `batches`.

    `pictures` drawn pictures fill memory banks. `seconds` and `repeats` are those of `timing.interleaved`, for all
    batch sizes of a model together. AdtoolError when no model could be timed.
    """
    planned = plan(chosen, presets)
    document: dict[str, Any] = {"bench": "models", "machine": machine.describe(device) | machine.rates(device)}
    document["pictures"] = pictures
    with TemporaryDirectory() as folder:
        drawn = draw_pictures(Path(folder), pictures)

        def rows(subject: Subject) -> list[dict[str, Any]]:
            stack = torch.cat(images(subject.loaded.model, drawn, device))
            return _rows(subject, stack, batches, seconds, repeats)

        return measure(document, planned, drawn, rows, random_weights=random_weights, device=device, report=report)


def _rows(
    subject: Subject, stack: Tensor, batches: Sequence[int], seconds: float, repeats: int | None
) -> list[dict[str, Any]]:
    """Rows of one model; all batch sizes are timed by turns."""
    calls = {batch: partial(predict, subject, _batch(stack, batch)) for batch in batches or BATCHES}
    named = {str(batch): call for batch, call in calls.items()}
    times = timing.interleaved(named, device=stack.device, seconds=seconds, repeats=repeats)
    rate = {batch: batch / times[str(batch)].median for batch in calls}
    kept = batches or sorted({BATCHES[0], max(rate, key=lambda batch: rate[batch]), BATCHES[-1]})
    return [
        {
            **subject.row,
            "batch": batch,
            "median_s": times[str(batch)].median,
            "p95_s": times[str(batch)].percentile(95),
            "p99_s": times[str(batch)].percentile(99),
            "runs": len(times[str(batch)].seconds),
            "images_per_s": rate[batch],
            "peak_bytes": timing.peak_bytes(calls[batch], stack.device),
            "peak_rss_bytes": machine.peak_resident(calls[batch]),
        }
        for batch in kept
    ]


def predict(subject: Subject, batch: Tensor) -> Prediction:
    """Maps and scores of a batch (N, 3, H, W)."""
    with torch.inference_mode():
        return subject.loaded.model.predict(batch)


def _batch(stack: Tensor, size: int) -> Tensor:
    """`size` images, the same ones again where there are fewer."""
    return stack[torch.arange(size, device=stack.device) % len(stack)]

"""Images per second of the scoring pipeline, from files to results, against the bare prediction of its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from adtool import scoring, timing
from adtool.bench import machine
from adtool.bench.models import predict
from adtool.bench.subjects import Subject, draw_pictures, images, measure, plan
from adtool.data import Sample, list_images
from adtool.models._detector import Report, silent


def bench(
    chosen: Sequence[str] = (),
    presets: Sequence[str] = ("default",),
    paths: Sequence[Path] = (),
    *,
    device: torch.device,
    batch_size: int = scoring.BATCH_SIZE,
    workers: int = 2,
    pictures: int = 60,
    random_weights: bool = False,
    seconds: float = 30.0,
    repeats: int | None = None,
    report: Report = silent,
) -> dict[str, Any]:
    """The document of `adtool bench score`: a row for the pipeline and one for the bare prediction, per model.

    The pictures are those of `paths`, or `pictures` drawn ones, which fill memory banks in either case. A run is a pass
    over all of them. AdtoolError when no model could be timed, or when a picture cannot be read.
    """
    planned = plan(chosen, presets)
    document: dict[str, Any] = {"bench": "score", "machine": machine.describe(device) | machine.rates(device)}
    document["workers"] = workers
    with TemporaryDirectory() as folder:
        drawn = draw_pictures(Path(folder), pictures)
        scored = list_images(paths) if paths else drawn

        def rows(subject: Subject) -> list[dict[str, Any]]:
            stack = torch.cat(images(subject.loaded.model, scored, device))
            calls: dict[str, timing.Call] = {
                "pipeline": partial(_pipeline, subject, scored, batch_size, workers, device),
                "forward": partial(_forward, subject, torch.split(stack, batch_size)),
            }
            return _rows(subject, calls, len(scored), batch_size, device, seconds, repeats)

        return measure(document, planned, drawn, rows, random_weights=random_weights, device=device, report=report)


def _pipeline(
    subject: Subject, pictures: Sequence[Sample], batch_size: int, workers: int, device: torch.device
) -> None:
    """Score all pictures as `adtool score` does, and forget the results."""
    for _ in scoring.score(subject.loaded, pictures, batch_size=batch_size, workers=workers, device=device):
        pass


def _forward(subject: Subject, batches: Sequence[Tensor]) -> None:
    for batch in batches:
        predict(subject, batch)


def _rows(
    subject: Subject,
    calls: dict[str, timing.Call],
    count: int,
    batch_size: int,
    device: torch.device,
    seconds: float,
    repeats: int | None,
) -> list[dict[str, Any]]:
    times = timing.interleaved(calls, device=device, seconds=seconds, repeats=repeats)
    return [
        {
            **subject.row,
            "measured": what,
            "batch": batch_size,
            "images": count,
            "median_s": taken.median,
            "p95_s": taken.percentile(95),
            "p99_s": taken.percentile(99),
            "runs": len(taken.seconds),
            "images_per_s": count / taken.median,
            "times_forward": taken.over(times["forward"]),
            "peak_rss_bytes": machine.peak_resident(calls[what]),
        }
        for what, taken in times.items()
    ]

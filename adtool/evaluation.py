"""How well a model does on a labelled data set: image and pixel metrics, pooled and per defect type, as one plain dict.

Each defect type is measured against all good images. Pixel metrics are taken at the model's resolution (masks resized
to it, nearest) or at the images' own (maps resized to them, bilinear); sPRO always at the images' own, because its
saturation areas are pixels of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from adtool.data import Dataset
from adtool.data.images import image_size, read_channels, read_mask
from adtool.errors import AdtoolError, ImageError
from adtool.heatmaps import resize_map
from adtool.metrics import PixelScores, auroc, average_precision, f1_max
from adtool.scoring import BATCH_SIZE, Scored, score

if TYPE_CHECKING:
    from adtool.checkpoint import LoadedModel

Report = Callable[[str, int, int], None]
Metrics = dict[str, float | None]

EVAL_SIZES = ("model", "original")
PIXEL_KEYS = ("pixel_auroc", "pixel_ap", "aupro")
KEYS = ("image_auroc", "image_ap", "image_f1_max", *PIXEL_KEYS, "spro")
AUPRO_LIMIT = 0.3
"""False-positive rate up to which AUPRO is taken (Bergmann et al., MVTec AD, IJCV 129, 2021)."""
SPRO_LIMIT = 0.05
"""False-positive rate up to which sPRO is taken (Bergmann et al., IJCV 130, 2022)."""
SPARSE = 4
"""Pixels per row and column of which one is looked at to guess a quantile."""


def evaluate(
    loaded: LoadedModel,
    dataset: Dataset,
    *,
    eval_size: str = "model",
    batch_size: int = BATCH_SIZE,
    workers: int = 2,
    device: torch.device | str = "cpu",
    report: Report,
) -> dict[str, Any]:
    """Score the test split and return every metric, None where undefined, with what was measured and how.

    Images and masks that cannot be read are left out and named under `unreadable`.
    """
    samples = dataset.split("test")
    if not samples:
        raise AdtoolError(f"{dataset.root}: category {dataset.category} has no test images to evaluate on")
    started = time.perf_counter()
    keep_maps = any(sample.label and sample.mask_paths for sample in samples)
    results = []
    for scored in score(loaded, samples, batch_size=batch_size, workers=workers, device=device):
        results.append(scored if keep_maps else replace(scored, map=None))
        report("score", len(results), len(samples))
    scoring_seconds = time.perf_counter() - started
    measured = Measured(results, dataset, eval_size, report)
    return {
        "data": str(dataset.root),
        "category": dataset.category,
        "layout": dataset.layout,
        "split": "test",
        "size": list(loaded.model.config.size),
        "eval_size": eval_size,
        **measured.summary(),
        "images_per_second": len(results) / scoring_seconds,
        "seconds": time.perf_counter() - started,
    }


class Measured:
    """The metrics of some results, all good images with all anomalous ones and with each defect type alone."""

    def __init__(self, results: Sequence[Scored], dataset: Dataset, eval_size: str, report: Report) -> None:
        self.dataset = dataset
        self.eval_size = eval_size
        self.unreadable = {r.sample.name: r.error for r in results if r.error is not None}
        self.readable = [r for r in results if r.error is None and r.sample.label is not None]
        self.good = [r for r in self.readable if r.sample.label == 0]
        anomalous = [r for r in self.readable if r.sample.label == 1]
        types = sorted({r.sample.defect_type for r in anomalous})
        self.notes = _notes(anomalous)
        self.pooled = self._metrics(anomalous)
        self.per_defect: dict[str, Metrics] = {}
        for done, name in enumerate(types, 1):
            self.per_defect[name] = self._metrics([r for r in anomalous if r.sample.defect_type == name])
            report("measure", done, len(types))
        if dataset.saturation:
            # Bergmann et al. 2022: the headline is the mean over structural and logical anomalies
            self.pooled["spro_pooled"] = self.pooled["spro"]
            self.pooled["spro"] = _mean(self.per_defect.values())["spro"]
        self.at_threshold = _at_threshold(self.good, anomalous)

    def summary(self) -> dict[str, Any]:
        """Everything measured, as plain values."""
        return {
            "images": len(self.readable),
            "good": len(self.good),
            "metrics": self.pooled,
            "per_defect": self.per_defect,
            "per_defect_mean": _mean(self.per_defect.values()),
            "at_threshold": self.at_threshold,
            "image_scores": _image_scores(self.readable),
            "unreadable": [{"path": path, "error": error} for path, error in self.unreadable.items()],
            "notes": [*self.dataset.notes, *self.notes],
        }

    def _metrics(self, anomalous: Sequence[Scored]) -> Metrics:
        """All metrics of these anomalous images against all good ones."""
        masked = [r for r in anomalous if r.sample.mask_paths and r.sample.name not in self.unreadable]
        metrics: Metrics = dict.fromkeys(KEYS)
        metrics.update(_image_metrics([*self.good, *anomalous]))
        if masked:
            metrics.update(self._pixel_metrics([*self.good, *masked]))
        if masked and self.dataset.saturation:
            metrics["spro"] = self._spro([*self.good, *masked])
        return metrics

    def _pixel_metrics(self, results: Iterable[Scored]) -> Metrics:
        pixels = PixelScores()
        for result in results:
            assert result.map is not None
            size = result.map.shape if self.eval_size == "model" else image_size(result.sample)
            try:
                mask = read_mask(result.sample, size) if result.sample.label else None
            except ImageError as error:
                self._leave_out(result, error)
            else:
                pixels.add(resize_map(result.map, size), mask)
        curve = pixels.curve()
        values = curve.auroc(), curve.average_precision(), curve.overlap(AUPRO_LIMIT)
        return dict(zip(PIXEL_KEYS, values, strict=True))

    def _spro(self, results: Sequence[Scored]) -> float | None:
        """sPRO-AUC at original resolution, exact, holding only the pixels that its false-positive limit can reach.

        Normal pixels below a floor are counted, not kept. The floor is lowered until more than the limit's share of
        the normal pixels lies above it; what is below cannot change the curve up to the limit.
        """
        normal = np.concatenate([self._normal_sample(result) for result in results])
        for share in (2 * SPRO_LIMIT, 8 * SPRO_LIMIT) if normal.size else ():
            value, reached = self._spro_above(results, float(np.quantile(normal, 1 - share)))
            if reached:
                return value
        return self._spro_above(results, -np.inf)[0]

    def _normal_sample(self, result: Scored) -> NDArray[np.float32]:
        """Every SPARSE-th value in both directions of the map at original size, outside the mask."""
        assert result.map is not None
        try:
            mask = read_mask(result.sample)
        except ImageError:  # named by the pass that measures
            return result.map[:0].ravel()
        return resize_map(result.map, mask.shape)[::SPARSE, ::SPARSE][~mask[::SPARSE, ::SPARSE]]

    def _spro_above(self, results: Iterable[Scored], floor: float) -> tuple[float | None, bool]:
        """The value, and whether enough normal pixels lie above the floor for it to be exact."""
        pixels = PixelScores()
        dropped = 0
        for result in results:
            assert result.map is not None
            try:
                channels = read_channels(result.sample, self.dataset)
                size = image_size(result.sample)
            except ImageError as error:
                self._leave_out(result, error)
                continue
            anomaly_map = resize_map(result.map, size)
            kept = anomaly_map > floor
            for mask, _ in channels:
                kept |= mask
            dropped += kept.size - int(np.count_nonzero(kept))
            if not kept.any():
                continue
            # channels are not cut into components, so their pixels may stand in a row
            pixels.add_channels(anomaly_map[kept][None], [(mask[kept][None], area) for mask, area in channels])
        curve = pixels.curve()
        whole = replace(curve, normals=curve.normals + dropped, normal_below=curve.normal_below + dropped)
        return whole.overlap(SPRO_LIMIT), curve.normals > SPRO_LIMIT * whole.normals or not dropped

    def _leave_out(self, result: Scored, error: ImageError) -> None:
        self.unreadable[result.sample.name] = str(error)


def _image_metrics(results: Sequence[Scored]) -> Metrics:
    labels = [result.sample.label for result in results]
    scores = [result.score for result in results]
    best = f1_max(labels, scores)
    return {
        "image_auroc": auroc(labels, scores),
        "image_ap": average_precision(labels, scores),
        "image_f1_max": None if best is None else best[0],
    }


def _at_threshold(good: Sequence[Scored], anomalous: Sequence[Scored]) -> dict[str, float | int | None] | None:
    """What the calibrated threshold does on these images; None without one."""
    thresholds = {result.threshold for result in [*good, *anomalous]}
    if len(thresholds) != 1 or None in thresholds:
        return None
    return {
        "threshold": thresholds.pop(),
        "false_alarms": sum(bool(result.is_anomalous) for result in good),
        "good": len(good),
        "found": sum(bool(result.is_anomalous) for result in anomalous),
        "anomalous": len(anomalous),
    }


def _image_scores(results: Sequence[Scored]) -> list[dict[str, Any]]:
    """Every image's score as it is, and between the least (0) and the greatest (1) of these images (SCGAN, Eq. 12).

    The scaling sees the images that are evaluated, defects among them: for tables and figures, never for a verdict.
    """
    scores = [cast(float, result.score) for result in results]
    return [
        {
            "path": result.sample.name,
            "label": result.sample.label,
            "defect_type": result.sample.defect_type,
            "score": value,
            "min_max": between,
        }
        for result, value, between in zip(results, scores, min_max(scores), strict=True)
    ]


def min_max(scores: Sequence[float]) -> list[float]:
    """(score - min) / (max - min) of each; 0.5 where all are the same."""
    if not scores:
        return []
    least, greatest = min(scores), max(scores)
    if least == greatest:
        return [0.5] * len(scores)
    return [(score - least) / (greatest - least) for score in scores]


def _mean(metrics: Iterable[Mapping[str, float | None]]) -> Metrics:
    """The mean of each metric over those for which it is defined."""
    rows = list(metrics)
    means: Metrics = {}
    for key in KEYS:
        values = [value for row in rows if (value := row[key]) is not None]
        means[key] = float(np.mean(values)) if values else None
    return means


def _notes(anomalous: Sequence[Scored]) -> list[str]:
    without = sum(not result.sample.mask_paths for result in anomalous)
    if 0 < without < len(anomalous):
        return [f"{without} of {len(anomalous)} anomalous images have no mask and count for image metrics only"]
    return []

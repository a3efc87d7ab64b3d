"""Metrics of labelled scores, one per image: AUROC, average precision, F1-max."""

from __future__ import annotations

from typing import Any

import numpy as np

from adtool.errors import AdtoolError
from adtool.metrics._arrays import to_numpy, to_scores
from adtool.metrics.curve import Curve, OperatingPoint
from adtool.metrics.pixels import PixelScores


def auroc(labels: Any, scores: Any) -> float | None:
    """Area under the ROC curve of (N,) scores, tied pairs count half; None unless both labels occur."""
    return _curve(labels, scores).auroc()


def average_precision(labels: Any, scores: Any) -> float | None:
    """Step-wise area under the precision-recall curve of (N,) scores; None without anomalous labels."""
    return _curve(labels, scores).average_precision()


def f1_max(labels: Any, scores: Any) -> tuple[float, float] | None:
    """The largest F1 of any threshold and the largest threshold attaining it; None without anomalous labels."""
    return _curve(labels, scores).f1_max()


def oracle(labels: Any, scores: Any) -> OperatingPoint | None:
    """F1, threshold, precision, recall and accuracy where F1 is largest; None without anomalous labels."""
    return _curve(labels, scores).oracle()


def _curve(labels: Any, scores: Any) -> Curve:
    """The curve of (N,) scores with labels 0 (good) and 1 (anomalous), as if they were the pixels of one image."""
    truth, values = to_numpy(labels), to_scores(scores)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise AdtoolError(f"labels {truth.shape} and scores {values.shape} must be two lists of the same length")
    for index in np.flatnonzero((truth != 0) & (truth != 1))[:1]:
        raise AdtoolError(f"image {index}: the label is {truth[index]}, expected 0 (good) or 1 (anomalous)")
    for index in np.flatnonzero(~np.isfinite(values))[:1]:
        raise AdtoolError(f"image {index}: the score is {values[index]}, expected a finite number")
    pixels = PixelScores()
    pixels.add(values[None], truth[None] == 1)
    return pixels.curve()

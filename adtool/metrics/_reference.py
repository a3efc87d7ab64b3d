"""The sorter of pixel scores in NumPy: what `_exact` computes, plainly.

Answers when the package was installed without native code, and checks it in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]
Steps = tuple[Array, Array, Array, Array, Array, int, int]


class PixelSorter:
    """Collects scores of normal and anomalous pixels; `steps` sorts them."""

    def __init__(self) -> None:
        self._normal: list[Array] = [np.empty(0, np.float32)]
        self._scores: list[Array] = [np.empty(0, np.float32)]
        self._regions: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        self._first: list[NDArray[np.bool_]] = [np.empty(0, np.bool_)]
        self._saturation: list[int] = []

    def add(self, scores: Array, mask: NDArray[np.bool_] | None) -> None:
        """Add an (H, W) map; every 8-connected component of `mask` is a region."""
        if mask is None:
            mask = np.zeros(scores.shape, np.bool_)
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        self._normal.append(scores[~mask])
        self._append(scores[mask], labels[mask] - 1 + len(self._saturation), np.ones(int(mask.sum()), np.bool_))
        self._saturation += np.bincount(labels[mask], minlength=count + 1)[1:].tolist()

    def add_channels(self, scores: Array, masks: Sequence[NDArray[np.bool_]], saturation: Sequence[int]) -> None:
        """Add an (H, W) map; every mask is a region that is found once `saturation` of its pixels are."""
        covered = np.zeros(scores.shape, np.bool_)
        for mask, pixels in zip(masks, saturation, strict=True):
            region = np.full(int(mask.sum()), len(self._saturation))
            self._append(scores[mask], region, ~covered[mask])
            self._saturation.append(pixels)
            covered |= mask
        self._normal.append(scores[~covered])

    def steps(self) -> Steps:
        """Ascending distinct anomalous scores with normal pixels below and tied, anomalous pixels, overlap gained;
        then the number of normal pixels and of regions."""
        normal = np.sort(np.concatenate(self._normal).astype(np.float64))
        scores = np.concatenate(self._scores).astype(np.float64)
        first, gain = np.concatenate(self._first), self._gains(scores, np.concatenate(self._regions))
        thresholds, step = np.unique(scores, return_inverse=True)
        below = np.searchsorted(normal, thresholds, side="left")
        tied = np.searchsorted(normal, thresholds, side="right") - below
        anomalous = np.bincount(step[first], minlength=thresholds.size)
        overlap = np.bincount(step, weights=gain, minlength=thresholds.size)
        return thresholds, below, tied, anomalous, overlap, normal.size, len(self._saturation)

    def _append(self, scores: Array, regions: Array, first: NDArray[np.bool_]) -> None:
        self._scores.append(scores)
        self._regions.append(regions)
        self._first.append(first)

    def _gains(self, scores: NDArray[np.float64], regions: NDArray[np.int64]) -> NDArray[np.float64]:
        """What each pixel adds to its region's overlap: nothing once as many larger ones as saturate it are found."""
        saturation = np.asarray(self._saturation, np.int64)
        order = np.lexsort((-scores, regions))
        start = np.searchsorted(regions[order], np.arange(saturation.size))
        found_before = np.empty(scores.size, np.int64)
        found_before[order] = np.arange(scores.size) - start[regions[order]]
        return np.where(found_before < saturation[regions], 1.0 / saturation[regions], 0.0)

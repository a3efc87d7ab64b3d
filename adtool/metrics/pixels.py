"""Metrics of anomaly maps: pixel AUROC, AP and F1-max, AUPRO and sPRO, all exact and from one sort.

AUPRO: Bergmann et al., MVTec AD, IJCV 129, 2021, over the 8-connected components of the masks.
sPRO: Bergmann et al., Beyond Dents and Scratches, IJCV 130, 2022, over defect channels that saturate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtool.errors import AdtoolError
from adtool.metrics import _reference
from adtool.metrics._arrays import Array, checked_image, pairs
from adtool.metrics.curve import Curve

try:
    from adtool.metrics._exact import PixelSorter
except ModuleNotFoundError:  # installed without native code
    PixelSorter = _reference.PixelSorter  # type: ignore[misc, assignment]
except ImportError as error:
    raise AdtoolError(f"adtool.metrics._exact cannot be loaded: {error}; build it again: pip install .") from error


def native() -> bool:
    """Whether the compiled sorter answers; the NumPy reference gives the same values, more slowly."""
    return PixelSorter is not _reference.PixelSorter  # type: ignore[comparison-overlap]


class PixelScores:
    """Maps and masks, one image at a time and each of its own size.

    Of an image only the scores are kept: 4 bytes per normal pixel (8 for float64 scores that float32 cannot hold) and
    16 bytes per anomalous one.
    """

    def __init__(self) -> None:
        self._sorter = PixelSorter()
        self._images = 0

    def add(self, scores: Any, mask: Any = None) -> None:
        """Add the (H, W) map of an image with its (H, W) mask, above 0 where anomalous; None for a good image.

        The regions are the 8-connected components of the mask.
        """
        plane, masks = self._next_image(scores, [] if mask is None else [mask])
        self._sorter.add(plane, masks[0] if masks else None)

    def add_channels(self, scores: Any, channels: Sequence[tuple[Any, int]]) -> None:
        """Add the (H, W) map of an image with its defect channels: (H, W) mask and pixels that suffice to find it.

        The regions are the channels, which may overlap; [] for a good image. A saturation above the channel's area
        means the whole of it.
        """
        index = self._images
        plane, masks = self._next_image(scores, [mask for mask, _ in channels])
        saturation = []
        for k, (mask, (_, pixels)) in enumerate(zip(masks, channels, strict=True)):
            area = int(mask.sum())
            if area == 0:
                raise AdtoolError(f"image {index}: mask of channel {k} marks no pixel")
            if pixels < 1:
                raise AdtoolError(f"image {index}: channel {k} saturates at {pixels} pixels, expected at least 1")
            saturation.append(min(int(pixels), area))
        self._sorter.add_channels(plane, masks, saturation)

    def curve(self) -> Curve:
        """The curve of all images added so far, from which every metric is read."""
        return Curve(*self._sorter.steps())

    def _next_image(self, scores: Any, masks: Sequence[Any]) -> tuple[Array, list[NDArray[np.bool_]]]:
        """The checked map and masks of the next image."""
        index, self._images = self._images, self._images + 1
        return checked_image(scores, masks, index)


def pixel_metrics(maps: Any, masks: Any, limits: Sequence[float] = (0.3,)) -> dict[str, float | None]:
    """Every pixel metric of N images from one sort.

    `maps` and `masks` are (N, H, W), (N, 1, H, W) or iterables of (H, W); None in `masks` is a good image. Keys:
    pixel_auroc, pixel_ap, pixel_f1_max, pixel_threshold, aupro (at the first limit), aupro@L for each further limit L.
    """
    curve = _pixel_curve(maps, masks)
    f1, threshold = curve.f1_max() or (None, None)
    further = {f"aupro@{limit:g}": curve.overlap(limit) for limit in limits[1:]}
    return {
        "pixel_auroc": curve.auroc(),
        "pixel_ap": curve.average_precision(),
        "pixel_f1_max": f1,
        "pixel_threshold": threshold,
        "aupro": curve.overlap(limits[0]),
        **further,
    }


def aupro(maps: Any, masks: Any, limit: float = 0.3) -> float | None:
    """Area under the per-region overlap curve up to the false-positive rate `limit`, as a share of the best possible.

    `maps` and `masks` as in `pixel_metrics`. None without a region or without a normal pixel.
    """
    return _pixel_curve(maps, masks).overlap(limit)


def spro(maps: Any, channels: Iterable[Sequence[tuple[Any, int]]], limit: float = 0.05) -> float | None:
    """Area under the saturated per-region overlap curve up to the false-positive rate `limit`, normalised to [0, 1].

    `channels` holds for each image its (mask, saturation in pixels), [] for a good one. None without a channel or
    without a normal pixel.
    """
    pixels = PixelScores()
    for scores, found in pairs(maps, channels):
        pixels.add_channels(scores, found)
    return pixels.curve().overlap(limit)


def _pixel_curve(maps: Any, masks: Any) -> Curve:
    pixels = PixelScores()
    for scores, mask in pairs(maps, masks):
        pixels.add(scores, mask)
    return pixels.curve()

"""The region overlap of the RD4AD evaluation (Deng and Li, CVPR 2022), to compare with numbers published with it.

It is not AUPRO: every anomalous image is judged alone at 200 thresholds of its own range, good images take no part, and
the false-positive rates below 0.3 are stretched to [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adtool.metrics._arrays import Array, checked_image, pairs
from adtool.metrics.curve import area

THRESHOLDS = 200
LIMIT = 0.3
"""False-positive rate below which points of the curve are kept."""


def pro_rd4ad(maps: Any, masks: Any) -> float | None:
    """Mean over the anomalous images of the area under their own stretched overlap curve.

    `maps` and `masks` as in `pixel_metrics`. Images without an anomalous or without a normal pixel take no part; None
    when no image does.
    """
    areas = []
    for index, (scores, mask) in enumerate(pairs(maps, masks)):
        plane, planes = checked_image(scores, [] if mask is None else [mask], index)
        if planes and planes[0].any() and not planes[0].all():
            areas.append(_image_area(plane, planes[0]))
    return float(np.mean(areas)) if areas else None


def _image_area(scores: Array, mask: NDArray[np.bool_]) -> float:
    """Area of one (H, W) map.

    Kept points that all lie at rate 0 cannot be stretched: the largest overlap among them is the area. No point below
    the limit (a constant map) means 0.
    """
    values = scores.astype(np.float64)
    # From the minimum on, equally spaced, the maximum left out: {s > maximum} is empty.
    thresholds = np.linspace(values.min(), values.max(), THRESHOLDS, endpoint=False)
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    overlap = np.mean([_share_above(values[labels == k + 1], thresholds) for k in range(count)], axis=0)
    rate = _share_above(values[~mask], thresholds)
    rate, overlap = rate[rate < LIMIT][::-1], overlap[rate < LIMIT][::-1]
    if rate.size == 0 or values.min() == values.max():
        return 0.0
    return area(rate / rate[-1], overlap) if rate[-1] > 0 else float(overlap[-1])


def _share_above(values: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of `values` above each threshold."""
    return 1.0 - np.searchsorted(np.sort(values), thresholds, side="right") / values.size

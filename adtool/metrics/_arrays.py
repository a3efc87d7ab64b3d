"""Whatever a caller hands in, as the arrays that the metrics work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtool.errors import AdtoolError

Array = NDArray[Any]
Mask = NDArray[np.bool_]


def to_numpy(values: Any) -> Array:
    """A NumPy array of an array, a nested list, or a tensor on any device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # NumPy has no such type; float32 holds every value
            values = values.float()
    return np.asarray(values)


def to_scores(values: Any) -> Array:
    """Contiguous float32 scores where that type holds each of them exactly, else float64."""
    scores = to_numpy(values)
    if scores.dtype == np.float32 or scores.dtype == np.float16:
        return np.ascontiguousarray(scores, dtype=np.float32)
    scores = scores.astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = scores.astype(np.float32)
    return np.ascontiguousarray(narrow if np.array_equal(narrow, scores) else scores)


def to_mask(values: Any) -> Mask:
    """Contiguous bool: numbers above 0 are anomalous."""
    mask = to_numpy(values)
    return np.ascontiguousarray(mask if mask.dtype == np.bool_ else mask > 0)


def checked_image(scores: Any, masks: Sequence[Any], index: int) -> tuple[Array, list[Mask]]:
    """The finite map of image `index` and its masks, all of one size (H, W)."""
    plane = _plane(to_scores(scores), "map", index)
    finite = np.isfinite(plane)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise AdtoolError(
            f"image {index}: the map is {plane[row, column]} at row {row}, column {column}, expected finite numbers"
        )
    planes = [_plane(to_mask(mask), "mask", index) for mask in masks]
    for mask in planes:
        if mask.shape != plane.shape:
            raise AdtoolError(f"image {index}: map is {plane.shape} but its mask {mask.shape}; resize one to the other")
    return plane, planes


def pairs(maps: Any, truths: Any) -> Iterator[tuple[Any, Any]]:
    """Each map with its truth; an AdtoolError when one runs out before the other."""
    end = object()
    for index, (scores, truth) in enumerate(zip_longest(_rows(maps), _rows(truths), fillvalue=end)):
        if scores is end or truth is end:
            raise AdtoolError(f"image {index}: there is a {'mask but no map' if scores is end else 'map but no mask'}")
        yield scores, truth


def _rows(images: Any) -> Iterable[Any]:
    """The images of a tensor as arrays, of anything else as they come."""
    return to_numpy(images) if hasattr(images, "detach") else images


def _plane(values: Array, what: str, index: int) -> Array:
    """(H, W) of (H, W) or (1, H, W); any other shape is an AdtoolError that names the image."""
    plane = values[0] if values.ndim == 3 and values.shape[0] == 1 else values
    if plane.ndim != 2:
        raise AdtoolError(f"image {index}: the {what} has shape {values.shape}, expected (height, width)")
    return plane

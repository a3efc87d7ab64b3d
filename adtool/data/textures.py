"""A folder of pictures as textures, from which simulated defects are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from adtool.data import Sample
from adtool.data.batches import ahead
from adtool.data.decode import Size
from adtool.data.images import load
from adtool.data.listing import SUFFIXES, hash_order, images_below
from adtool.errors import AdtoolError, ImageError

MOST = 1000
"""Textures that are kept in memory: 200 MB at 256 x 256."""
CURE = "name a folder of pictures, or leave --anomaly-source out and textures are drawn"


def choose_textures(folder: Path, seed: int) -> list[Sample]:
    """The images in a folder and below it; of more than 1,000 so many, which ones depends on `seed` and their names.

    AdtoolError when there is no folder or no image in it. No image is opened.
    """
    if not folder.is_dir():
        raise AdtoolError(f"--anomaly-source {folder}: no such folder; {CURE}")
    images = images_below(folder)
    if not images:
        kinds = ", ".join(sorted(SUFFIXES))
        raise AdtoolError(f"--anomaly-source {folder}: no images in this folder or below, looked for {kinds}; {CURE}")
    names = {path.relative_to(folder).as_posix(): path for path in images}
    chosen = set(hash_order(names, seed)[:MOST])
    return [Sample(path, "train") for name, path in names.items() if name in chosen]


def read_textures(
    samples: Sequence[Sample], size: Size, *, workers: int = 1, visit: Callable[[int], None] = lambda done: None
) -> torch.Tensor:
    """The pictures at `size`, (T, 3, H, W) uint8; ImageError for one that cannot be read.

    `visit` is called with the number of pictures read so far.
    """
    textures = torch.empty((len(samples), 3, *size), dtype=torch.uint8)
    try:
        for number, texture in enumerate(ahead(partial(load, size=size), samples, workers=workers, window=2 * workers)):
            textures[number] = texture
            visit(number + 1)
    except ImageError as error:
        reason = f"{error.reason}; repair it or take it out of the folder of --anomaly-source"
        raise ImageError(error.path, reason) from error
    return textures

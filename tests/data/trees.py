"""Small trees of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def draw(path: Path, value: int | np.ndarray = 128, size: tuple[int, int] = (4, 4), **options: object) -> Path:
    """One image file: an array, or grey of one value at `size` (height, width); its folders are made."""
    pixels = value if isinstance(value, np.ndarray) else np.full(size, value, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def tree(root: Path, *names: str, value: int = 128) -> Path:
    """Image files of these names below `root`."""
    for name in names:
        draw(root / name, value)
    return root


def names(samples: list) -> list[str]:
    """File names of samples."""
    return [sample.path.name for sample in samples]

"""Pictures of where an image is wrong: heat maps, float maps and masks, each file written whole or not at all.

A heat map is 0.7 of a blue-to-red colour and 0.3 of the image, as the SCGAN paper blends them. The colour scale is
fixed by good images (`Calibration.map_low`, `map_high`), so the same red means the same in every picture of a model.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adtool.errors import AdtoolError

HEAT_SHARE = 0.7
"""Share of the colour in a heat map; the rest is the image."""

COLOURS = ((0, 0, 143), (0, 0, 255), (0, 255, 255), (255, 255, 0), (255, 0, 0), (160, 0, 0))
POSITIONS = (0.0, 0.125, 0.375, 0.625, 0.875, 1.0)
"""Where each of COLOURS sits on the scale: dark blue, blue, cyan, yellow, red, dark red."""

SMALLEST_RANGE = 1e-12
"""Range of the scale when good images have flat maps, so that whatever exceeds them is red."""

PNG_LEVEL = 1
"""zlib level: five times as fast as the default for a sixth more bytes on photographs."""


def palette() -> NDArray[np.uint8]:
    """The colour scale, (256, 3) RGB from low to high."""
    steps = np.linspace(0, 1, 256)
    channels = [np.interp(steps, POSITIONS, channel) for channel in np.array(COLOURS).T]
    scale: NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return scale


PALETTE = palette().tobytes()


def overlay(image: NDArray[np.uint8], anomaly_map: NDArray[np.float32], low: float, high: float) -> Image.Image:
    """The heat map of an (H, W, 3) image from a map of any size; `low` is dark blue, `high` and above dark red."""
    scale = 255 / max(high - low, SMALLEST_RANGE)
    levels = np.rint(np.clip((anomaly_map - low) * scale, 0, 255)).astype(np.uint8)
    heat = Image.fromarray(levels).resize((image.shape[1], image.shape[0]), Image.Resampling.BILINEAR)
    heat.putpalette(PALETTE)
    return Image.blend(Image.fromarray(image), heat.convert("RGB"), HEAT_SHARE)


def resize_map(anomaly_map: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The map resized bilinearly to (height, width)."""
    if anomaly_map.shape == size:
        return anomaly_map
    height, width = size
    return np.asarray(Image.fromarray(anomaly_map).resize((width, height), Image.Resampling.BILINEAR))


def write_heatmap(
    path: Path, image: NDArray[np.uint8], anomaly_map: NDArray[np.float32], low: float, high: float
) -> None:
    """Write the overlay as PNG at the image's resolution."""
    _save(path, overlay(image, anomaly_map, low, high), "PNG", compress_level=PNG_LEVEL)


def write_map(path: Path, anomaly_map: NDArray[np.float32], size: tuple[int, int]) -> None:
    """Write the map as float32 TIFF at `size` (height, width), as the official MVTec evaluation reads it."""
    _save(path, Image.fromarray(resize_map(anomaly_map, size)), "TIFF")


def write_mask(path: Path, anomaly_map: NDArray[np.float32], size: tuple[int, int], threshold: float) -> None:
    """Write where the map exceeds the threshold as PNG, 255 anomalous and 0 good, at `size` (height, width)."""
    mask = resize_map(anomaly_map, size) > threshold
    _save(path, Image.fromarray(mask.astype(np.uint8) * np.uint8(255)), "PNG", compress_level=PNG_LEVEL)


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an (H, W, 3) picture as PNG."""
    _save(path, Image.fromarray(pixels), "PNG", compress_level=PNG_LEVEL)


def _save(path: Path, picture: Image.Image, kind: str, **options: int) -> None:
    """Save under a temporary name, then rename; AdtoolError in words when the disk does not take it."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(temporary, kind, **options)
        os.replace(temporary, path)
    except OSError as error:
        raise AdtoolError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)

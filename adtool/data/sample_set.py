"""Made sample sets: pictures with made defects and exact masks, in MVTec layout (texture, object) or LOCO (logical).

Nothing is copied from anywhere, so there is no licence to heed. Defects are lines, outlines and faults of the scene
itself, not the Perlin masks or pasted patches that detectors train on: none can win by knowing its own simulator.
A mask marks exactly the pixels that differ from the same picture without the defect.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adtool.data.scenes.logical import LOGICAL, STRUCTURAL, pin_area
from adtool.errors import AdtoolError

KINDS = ("texture", "object", "logical")
SMALLEST = 32
"""Pixels of height below which defects vanish between pixels."""

Pixels = NDArray[np.uint8]


def write_sample_set(
    root: Path | str,
    kind: str,
    *,
    size: int = 256,
    train: int = 60,
    good: int = 20,
    per_defect: int = 20,
    seed: int = 0,
) -> Path:
    """Write one category into the new or empty folder `root` and return it.

    `train` and `good` count good images for training and test (logical: `good` more for validation), `per_defect` the
    test images of each defect type (logical: of each of the two groups of types); `size` is the height in pixels. An
    image depends on `seed`, its name and the size alone, whatever the counts.
    """
    root = Path(root)
    _check(root, kind, size)
    good_folders = {"train": train, "test": good} | ({"validation": good} if kind == "logical" else {})
    for split, count in good_folders.items():
        for index in range(count):
            _save(_Picture(kind, f"{split}/good/{index:03d}", size, seed).image(()), root / split / "good", index)
    write = _write_channels if kind == "logical" else _write_masks
    write(root, kind, size, per_defect, seed)
    return root


def _write_masks(root: Path, kind: str, size: int, count: int, seed: int) -> None:
    """Defective images of each type, one mask each."""
    for defect in _scene(kind).DEFECTS:
        for index in range(count):
            image, mask = _Picture(kind, f"test/{defect}/{index:03d}", size, seed).defective((defect,))
            _save(image, root / "test" / defect, index)
            _save(np.where(mask[0], 255, 0), root / "ground_truth" / defect, index, "_mask")


def _write_channels(root: Path, kind: str, size: int, count: int, seed: int) -> None:
    """Logical and structural anomalies, a folder of defect channels each, and the rules of saturation."""
    rules = _saturation_rules(size)
    values = {rule["defect_name"]: rule["pixel_value"] for rule in rules}
    for group, names in (("logical_anomalies", LOGICAL), ("structural_anomalies", STRUCTURAL)):
        for index in range(count):
            defects = _pick(names, index)
            image, masks = _Picture(kind, f"test/{group}/{index:03d}", size, seed).defective(defects)
            _save(image, root / "test" / group, index)
            for channel, (defect, mask) in enumerate(zip(defects, masks, strict=True)):
                _save(np.where(mask, values[defect], 0), root / "ground_truth" / group / f"{index:03d}", channel)
    (root / "defects_config.json").write_text(json.dumps(rules, indent=4) + "\n", encoding="utf-8")


def _pick(names: Sequence[str], index: int) -> tuple[str, ...]:
    """The types by turns; every fifth image has two."""
    first = index % len(names)
    return (names[first],) if index % 5 != 4 else (names[first], names[(first + 1) % len(names)])


def _saturation_rules(size: int) -> list[dict[str, Any]]:
    """A missing or extra pin is found when an area of one pin is; the other defects when all of them is."""
    counted = {"missing_pin": pin_area(size), "extra_pin": pin_area(size)}
    return [
        {
            "defect_name": defect,
            "pixel_value": 255 - place,
            "saturation_threshold": counted.get(defect, 1.0),
            "relative_saturation": defect not in counted,
        }
        for place, defect in enumerate(LOGICAL + STRUCTURAL)
    ]


class _Picture:
    """One picture of a set: what it shows follows from the seed and its name."""

    def __init__(self, kind: str, name: str, size: int, seed: int) -> None:
        self.render: Callable[..., Pixels] = _scene(kind).render
        self.key = (seed, zlib.crc32(f"{kind}/{name}".encode()))
        self.size = size

    def image(self, defects: Sequence[str], attempt: int = 0) -> Pixels:
        """The picture with some of its defects."""
        flaws = {name: np.random.default_rng((*self.key, zlib.crc32(name.encode()), attempt)) for name in defects}
        return self.render(np.random.default_rng(self.key), self.size, flaws)

    def defective(self, defects: Sequence[str]) -> tuple[Pixels, list[NDArray[np.bool_]]]:
        """The picture with the defects, and for each of them where it changes the good picture."""
        good = self.image(())
        for attempt in range(100):
            image = self.image(defects, attempt)
            changed = _changed(image, good)
            masks = [changed]
            if len(defects) > 1:
                masks = [_changed(self.image((name,), attempt), good) for name in defects]
            if all(mask.any() for mask in masks) and np.array_equal(np.logical_or.reduce(masks), changed):
                return image, masks
        raise AdtoolError(f"size {self.size}: too small to show {' and '.join(defects)}; take a larger one")


def _changed(image: Pixels, good: Pixels) -> NDArray[np.bool_]:
    changed: NDArray[np.bool_] = (image != good).any(axis=2)
    return changed


def _scene(kind: str) -> ModuleType:
    return import_module(f"adtool.data.scenes.{kind}")


def _save(pixels: NDArray[Any], folder: Path, index: int, suffix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}{suffix}.png", compress_level=4)


def _check(root: Path, kind: str, size: int) -> None:
    if kind not in KINDS:
        raise AdtoolError(f"kind {kind}: no such sample set; known kinds: {', '.join(KINDS)}")
    if size < SMALLEST:
        raise AdtoolError(f"size {size}: too small for a defect to show; expected at least {SMALLEST} pixels")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise AdtoolError(f"{root}: is not an empty folder; name a new one, or remove it first")

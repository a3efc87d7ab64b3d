"""Images on disk as Sample records: `open_dataset(path)` finds the layout and returns a Dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from glob import glob
from importlib import import_module
from pathlib import Path
from types import ModuleType

from adtool.data.listing import SUFFIXES, images_below, is_image, natural_key
from adtool.errors import AdtoolError


@dataclass(frozen=True)
class Sample:
    """One image of a data set."""

    path: Path
    split: str = "test"
    """"train", "val" or "test"."""
    label: int | None = None
    """0 good, 1 anomalous, None unknown."""
    defect_type: str = "good"
    mask_paths: tuple[Path, ...] = ()
    """None, one, or (LOCO) one per defect channel."""
    category: str = ""
    index: int | None = None
    """Row inside `path` where one file holds many images (CIFAR batches)."""

    @property
    def name(self) -> str:
        """The path as text, with `#row` where one file holds many images."""
        return f"{self.path}" if self.index is None else f"{self.path}#{self.index}"


@dataclass(frozen=True)
class Saturation:
    """When a defect channel counts as found (MVTec LOCO's defects_config.json)."""

    defect_name: str
    pixel_value: int
    threshold: float
    """Pixels at original resolution, or a share of the channel's area when `relative`."""
    relative: bool


@dataclass(frozen=True)
class Dataset:
    """One category of a data set: its samples in natural order of their paths."""

    root: Path
    layout: str
    """"loco", "mvtec", "btad", "visa", "cifar" or "folder"."""
    category: str
    samples: tuple[Sample, ...]
    saturation: dict[int, Saturation] = field(default_factory=dict)
    """pixel value -> saturation rule; empty except for LOCO."""
    notes: tuple[str, ...] = ()
    """Things a person should know about what was found (missing masks, seeded splits)."""

    def split(self, name: str) -> list[Sample]:
        """The samples of "train", "val" or "test"."""
        return [sample for sample in self.samples if sample.split == name]


LAYOUTS = ("loco", "mvtec", "btad", "visa", "cifar", "folder")
"""The order in which layouts are tried; each is the file of that name, with `categories` and `read`."""


def open_dataset(path: Path | str, layout: str | None = None, category: str | None = None, *, seed: int = 0) -> Dataset:
    """One category of the data set at `path`, its layout detected unless given; no image is opened.

    `path` is a data set, one of its categories, a flat folder of good images or a manifest (.jsonl). `seed` decides the
    split where the layout has none. AdtoolError when nothing fits, or when there are several categories and none is
    named.
    """
    root = Path(path)
    if layout is not None and layout not in LAYOUTS:
        raise AdtoolError(f"--layout {layout}: no such layout; known layouts: {', '.join(LAYOUTS)}")
    if os.path.isfile(root) and root.suffix.lower() == ".jsonl":
        return _layout("folder").read_manifest(root, seed)  # type: ignore[no-any-return]
    if not os.path.isdir(root):
        raise AdtoolError(f"{root}: no such folder; expected a data set, a folder of images or a manifest.jsonl")
    name, place, found = _choose(root, _categories(root, layout), category)
    return _layout(found).read(place, name, seed)  # type: ignore[no-any-return]


def list_images(paths: Iterable[Path | str]) -> list[Sample]:
    """Samples of unknown label to be scored: files as given, folders with all below them, and globs (`**` too).

    Each argument's images come in natural order, none twice; nothing is opened. AdtoolError when an argument names
    nothing or a folder has no images.
    """
    images = [image for path in paths for image in _images(Path(path))]
    return [Sample(image, label=None, defect_type="") for image in dict.fromkeys(images)]


def _images(path: Path) -> list[Path]:
    if os.path.isdir(path):
        if images := images_below(path):
            return images
        raise AdtoolError(f"{path}: no images in this folder or below; looked for {', '.join(sorted(SUFFIXES))}")
    if os.path.exists(path):
        return [path]
    matches = [Path(match) for match in glob(str(path), recursive=True)]
    if not matches:
        raise AdtoolError(f"{path}: no such file or folder, and as a pattern it matches nothing; check the spelling")
    files = [match for match in matches if os.path.isfile(match) and is_image(match.name)]
    folders = [match for match in matches if os.path.isdir(match) and "**" not in path.parts]
    images = files + [image for folder in folders for image in images_below(folder)]
    if not images:
        raise AdtoolError(f"{path}: matches {len(matches)} files or folders, but no image")
    return sorted(images, key=natural_key)


def _layout(name: str) -> ModuleType:
    return import_module(f"adtool.data.{name}")


def _categories(root: Path, layout: str | None) -> dict[str, tuple[Path, str]]:
    """Category name -> (where it is, its layout); the first layout that claims a name has it."""
    found: dict[str, tuple[Path, str]] = {}
    for name in (layout,) if layout else LAYOUTS:
        if name == "folder" and found:
            break
        for category, place in _layout(name).categories(root).items():
            found.setdefault(category, (place, name))
    if not found:
        expected = _layout(layout or "folder").EXPECTED
        raise AdtoolError(f"{root}: no data set {f'of layout {layout} ' if layout else ''}found; expected {expected}")
    return found


def _choose(root: Path, found: dict[str, tuple[Path, str]], category: str | None) -> tuple[str, Path, str]:
    known = ", ".join(sorted(found))
    if category is None and len(found) > 1:
        raise AdtoolError(f"{root}: holds {len(found)} categories; choose one with --category: {known}")
    category = category or next(iter(found))
    if category not in found:
        raise AdtoolError(f"--category {category}: not in {root}; found: {known}")
    return category, *found[category]

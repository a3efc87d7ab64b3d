"""Which files of a folder are images, in which order, and which masks belong to them. Nothing is opened."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from adtool.errors import AdtoolError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""File name endings of images, compared without case."""

JUNK = frozenset({"__macosx", "@eadir", "$recycle.bin", "thumbs.db"})
"""Leftovers of operating systems, compared without case; names that begin with a dot are ignored too."""

GOOD = ("good", "ok", "normal")
"""Folder names that mean "without defect", compared without case."""

Key = tuple[tuple[str | int, ...], ...]


def natural_key(path: Path) -> tuple[Key, str]:
    """Sorts img2 before img10, case aside, folder by folder."""
    return tuple(_chunks(part) for part in path.parts), str(path)


def _chunks(name: str) -> tuple[str | int, ...]:
    """Text and numbers in turn, text first, so that two names always compare like with like."""
    chunks = re.split("([0-9]+)", name.casefold())
    return tuple(int(chunk) if place % 2 else chunk for place, chunk in enumerate(chunks))


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name is looked at."""
    return not name.startswith(".") and name.casefold() not in JUNK


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return is_visible(name) and os.path.splitext(name)[1].lower() in SUFFIXES


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, in natural order; none when there is no such folder."""
    names = [name for name, is_folder in _entries(folder) if not is_folder and is_image(name)]
    return sorted((folder / name for name in names), key=natural_key)


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, in natural order; none when there is no such folder."""
    names = [name for name, is_folder in _entries(folder) if is_folder and is_visible(name)]
    return sorted((folder / name for name in names), key=natural_key)


def images_below(folder: Path) -> list[Path]:
    """The image files in a folder and all folders below it, in natural order; a loop of links is walked once."""
    return sorted(_walk(folder, set()), key=natural_key)


def _walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    for name, is_folder in _entries(folder):
        if is_folder and is_visible(name):
            yield from _walk(folder / name, seen)
        elif not is_folder and is_image(name):
            yield folder / name


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder and whether each is a folder, in name order; sockets, pipes and broken links are left out."""
    if not os.path.isdir(folder):
        return []
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, entry.is_dir()) for entry in entries if entry.is_dir() or entry.is_file())
    except OSError as error:
        raise AdtoolError(f"{folder}: cannot be listed: {error.strerror}; check its permissions") from error


def is_good(name: str) -> bool:
    """Whether a folder of this name holds images without defect."""
    return name.casefold() in GOOD


def good_folders(folder: Path) -> list[Path]:
    """The folders directly below it that hold good images (good, ok, normal)."""
    return [child for child in folders_in(folder) if is_good(child.name)]


def named(root: Path, is_category: Callable[[Path], bool]) -> dict[str, Path]:
    """Categories by name: the folder itself when it is one, else those of its folders that are."""
    if is_category(root):
        return {root.resolve().name: root}
    return {child.name: child for child in folders_in(root) if is_category(child)}


def masks_of(images: Sequence[Path], folder: Path) -> list[tuple[Path, ...]]:
    """The masks of each image: the files of `folder/STEM/`, else `STEM_mask.*`, else `STEM.*`."""
    files: dict[str, list[Path]] = {}
    for path in images_in(folder):
        files.setdefault(path.stem, []).append(path)
    channels = {child.name: child for child in folders_in(folder)}
    return [_masks(image.stem, files, channels) for image in images]


def _masks(stem: str, files: dict[str, list[Path]], channels: dict[str, Path]) -> tuple[Path, ...]:
    if stem in channels:
        return tuple(images_in(channels[stem]))
    return tuple(files.get(f"{stem}_mask") or files.get(stem) or ())


def hash_order(names: Iterable[str], seed: int) -> list[str]:
    """Names in an order that looks random, depends on `seed` and each name alone, and not on the machine."""
    return sorted(names, key=lambda name: hashlib.sha256(os.fsencode(f"{seed}:{name}")).digest())

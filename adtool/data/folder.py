"""Folders without a published layout, and manifests.

train/good/, test/<defect>/, ground_truth/<defect>/   good may be called ok or normal; train/ may hold images itself
good/ beside <defect>/ folders, masks/<defect>/       good images are split 80 : 20 by a seeded hash of their names
any images                                            all of them are good and for training
manifest.jsonl                                        {"image", "label", "split", "mask"?, "defect_type"?} a line
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adtool.data import Dataset, Sample
from adtool.data.listing import (
    GOOD,
    folders_in,
    good_folders,
    hash_order,
    images_below,
    images_in,
    is_good,
    masks_of,
    named,
    natural_key,
)
from adtool.data.mvtec import read_tree
from adtool.errors import AdtoolError

EXPECTED = "images of good parts (png, jpg, bmp, tif, webp), train/good/ and test/<defect>/, or good/ beside <defect>/"
TRAIN_SHARE = 0.8
MASK_FOLDERS = ("ground_truth", "masks", "mask")
SUSPECT = frozenset(
    ("bad", "ko", "ng", "defect", "defects", "defective", "anomaly", "anomalies", "anomalous", "abnormal", "test")
    + MASK_FOLDERS
)
"""Folder names, without case, whose images are no good images to learn from."""
LABELS = dict.fromkeys(("0", "false", *GOOD), 0) | dict.fromkeys(("1", "true", "bad", "ko", "anomaly", "anomalous"), 1)


def categories(root: Path) -> dict[str, Path]:
    """Trees at `root` or in its folders, else `root` itself when there are images in it or below."""
    return named(root, _is_tree) or ({root.resolve().name: root} if images_below(root) else {})


def _is_tree(folder: Path) -> bool:
    train = folder / "train"
    return bool(good_folders(train) or images_in(train))


def read(folder: Path, category: str, seed: int) -> Dataset:
    """The images of a folder, whichever of the three forms it has."""
    if _is_tree(folder):
        return read_tree(folder, category, "folder")
    if good := good_folders(folder):
        kinds = [child for child in folders_in(folder) if not is_good(child.name) and child.name not in MASK_FOLDERS]
        masks = next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)
        return _split(folder, category, good, kinds, masks, seed)
    return _flat(folder, category)


def read_folders(normal: Path, abnormal: Path | None = None, masks: Path | None = None, *, seed: int = 0) -> Dataset:
    """Good images in one folder, defective ones in another (its folders are the defect types), masks in a third.

    Without `abnormal` all good images are for training; with it a seeded fifth of them is for testing.
    """
    for folder in (normal, abnormal, masks):
        if folder is not None and not folder.is_dir():
            raise AdtoolError(f"{folder}: no such folder; expected a folder of images")
    if abnormal is None:
        return _flat(normal, normal.resolve().name)
    kinds = folders_in(abnormal) or [abnormal]
    return _split(normal, normal.resolve().name, [normal], kinds, masks, seed)


def _flat(folder: Path, category: str) -> Dataset:
    images = images_below(folder)
    if not images:
        raise AdtoolError(f"{folder}: no images found; expected {EXPECTED}")
    own = folder.resolve().name
    for image in images:
        above = (*image.relative_to(folder).parts[:-1], "" if own == "test" else own)
        if suspects := SUSPECT.intersection(part.casefold() for part in above):
            raise AdtoolError(
                f"{image}: is in a folder named {', '.join(suspects)}, yet every image below {folder} would be taken "
                "for a good one; name the folder of good images itself, or call it train/good"
            )
    samples = tuple(Sample(path, "train", 0, category=category) for path in images)
    return Dataset(folder, "folder", category, samples, notes=(f"all {len(images)} images are taken for good ones",))


def _split(
    root: Path, category: str, good: Sequence[Path], kinds: Sequence[Path], masks: Path | None, seed: int
) -> Dataset:
    normals = {str(path.relative_to(root)): path for folder in good for path in images_below(folder)}
    if not normals:
        raise AdtoolError(f"{good[0]}: no images found; put images without defect there")
    defective = [sample for kind in kinds for sample in _defective(kind, masks, category)]
    keep = round(len(normals) * TRAIN_SHARE) if defective else len(normals)
    order = hash_order(normals, seed)
    splits = [(name, "train" if place < max(keep, 1) else "test") for place, name in enumerate(order)]
    samples = [Sample(normals[name], split, 0, category=category) for name, split in splits] + defective
    notes = []
    if defective:
        names = ", ".join(kind.name for kind in kinds)
        notes.append(f"{len(normals)} good images split 80 : 20 into train and test with seed {seed}; defects: {names}")
    return Dataset(root, "folder", category, tuple(_sorted(samples)), notes=tuple(notes))


def _defective(folder: Path, masks: Path | None, category: str) -> list[Sample]:
    images = images_below(folder)
    found: list[tuple[Path, ...]] = [()] * len(images)
    if masks is not None:
        found = masks_of(images, masks / folder.name if (masks / folder.name).is_dir() else masks)
    return [Sample(path, "test", 1, folder.name, mask, category) for path, mask in zip(images, found, strict=True)]


def read_manifest(path: Path, seed: int = 0) -> Dataset:
    """The images that a JSON-lines file lists, with paths relative to it; a wrong line is named by its number."""
    samples = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                samples.append(_listed(json.loads(line), path))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise AdtoolError(
                    f"{path}, line {number}: {reason}; expected "
                    '{"image": "a.png", "label": 0 or 1, "split": "train", "val" or "test", "mask": "m.png"}'
                ) from error
    if not any(sample.split == "train" for sample in samples):
        raise AdtoolError(f'{path}: no line has "split": "train"; list the good images to learn from')
    return Dataset(path.parent, "folder", path.stem, tuple(_sorted(samples)))


def _listed(row: dict[str, Any], path: Path) -> Sample:
    label = LABELS.get(str(row["label"]).casefold())
    split = str(row["split"])
    if label is None or split not in ("train", "val", "test"):
        raise ValueError(f"label {row['label']!r} or split {split!r} is unknown")
    if label and split != "test":
        raise ValueError(f"an anomalous image cannot be in {split}: detectors learn from good images alone")
    masks = row.get("mask") or []
    files = [path.parent / name for name in [row["image"], *([masks] if isinstance(masks, str) else masks)]]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file} does not exist")
    kind = str(row.get("defect_type") or ("anomaly" if label else "good"))
    return Sample(files[0], split, label, kind, tuple(files[1:]) if label else (), path.stem)


def _sorted(samples: list[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: natural_key(sample.path))

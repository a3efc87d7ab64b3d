"""VisA (Zou et al., ECCV 2022) as its archive unpacks; the converted form is read by `mvtec`.

ROOT/split_csv/1cls.csv                                 object,split,label,image,mask with paths from ROOT
ROOT/<class>/Data/Images/{Normal,Anomaly}/0000.JPG
ROOT/<class>/Data/Masks/Anomaly/000.png                 small numbers; any but 0 is a defect
"""

from __future__ import annotations

import csv
from pathlib import Path

from adtool.data import Dataset, Sample
from adtool.data.listing import hash_order, images_in, masks_of, named, natural_key
from adtool.errors import AdtoolError

EXPECTED = "split_csv/1cls.csv, or <class>/Data/Images/Normal/"
SPLIT = Path("split_csv", "1cls.csv")
TRAIN_SHARE = 0.9
"""Of the normal images when there is no split_csv: the share that 1cls.csv has, too."""


def categories(root: Path) -> dict[str, Path]:
    """Classes at `root`: name -> folder."""
    if (root / SPLIT).is_file():
        return {name: root / name for name in dict.fromkeys(row[0] for row in _rows(root / SPLIT))}
    return named(root, lambda folder: (folder / "Data" / "Images" / "Normal").is_dir())


def read(folder: Path, category: str, seed: int) -> Dataset:
    """One class, split by 1cls.csv where it is, else by a seeded hash of the names."""
    root = folder.parent if folder.name else folder.resolve().parent
    published = (root / SPLIT).is_file()
    samples = _listed(root, category) if published else _hashed(folder, category, seed)
    notes = () if published else (f"no {SPLIT}: normal images are split 90 : 10 with seed {seed}, not as published",)
    if not any(sample.split == "train" for sample in samples):
        raise AdtoolError(f"{folder}: no normal images to train on; expected {EXPECTED}")
    return Dataset(folder, "visa", category, tuple(sorted(samples, key=lambda s: natural_key(s.path))), notes=notes)


def _rows(path: Path) -> list[list[str]]:
    """The rows below the header, five columns each."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows or any(len(row) != 5 for row in rows):
        raise AdtoolError(f"{path}: expected five columns (object,split,label,image,mask) in every row")
    return rows[1:]


def _listed(root: Path, category: str) -> list[Sample]:
    samples = [_sample(root, row) for row in _rows(root / SPLIT) if row[0] == category]
    missing = [path for sample in samples for path in (sample.path, *sample.mask_paths) if not path.is_file()]
    if missing:
        raise AdtoolError(f"{root / SPLIT}: {len(missing)} listed files do not exist, {missing[0]} among them")
    return samples


def _sample(root: Path, row: list[str]) -> Sample:
    category, split, label, image, mask = row
    if split not in ("train", "test") or label not in ("normal", "anomaly"):
        raise AdtoolError(f"{root / SPLIT}: {image} is {split}, {label}; expected train or test, normal or anomaly")
    if label == "normal":
        return Sample(root / image, split, 0, category=category)
    return Sample(root / image, split, 1, "anomaly", (root / mask,) if mask else (), category)


def _hashed(folder: Path, category: str, seed: int) -> list[Sample]:
    images = folder / "Data" / "Images"
    normal = {path.name: path for path in images_in(images / "Normal")}
    keep = max(1, round(len(normal) * TRAIN_SHARE))
    samples = [
        Sample(normal[name], "train" if place < keep else "test", 0, category=category)
        for place, name in enumerate(hash_order(normal, seed))
    ]
    anomalous = images_in(images / "Anomaly")
    masks = masks_of(anomalous, folder / "Data" / "Masks" / "Anomaly")
    samples += [Sample(path, "test", 1, "anomaly", m, category) for path, m in zip(anomalous, masks, strict=True)]
    return samples

"""A look at a data set before hours of training: what is there, what cannot be read, what would spoil the numbers."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtool.data import Dataset, Sample, open_dataset
from adtool.data.batches import ahead
from adtool.data.images import image_size, read_channels, read_image, read_mask
from adtool.errors import ImageError

LEAK_AUROC = 0.95
"""From here on a trivial statistic is said to give the answer away."""
LEAK_IMAGES = 10
"""Fewer test images of a kind prove nothing."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Leak:
    """A number that tells good from defective test images without looking at any defect."""

    statistic: str
    auroc: float


@dataclass(frozen=True)
class Report:
    """What was found; paths as text, counts by name."""

    root: str
    layout: str
    category: str
    counts: dict[str, dict[str, int]]
    """split -> defect type -> images."""
    masks: int
    """Mask files, all channels counted."""
    sizes: dict[str, int]
    """"width x height" -> images, the most frequent first."""
    formats: dict[str, int]
    """File name ending -> images."""
    unreadable: tuple[str, ...]
    """Images that cannot be read, each with the reason."""
    without_mask: tuple[str, ...]
    """Defective test images without a mask, in a data set that has masks."""
    bad_masks: tuple[str, ...]
    """Masks that cannot be read, are empty, or have another size than their image."""
    duplicates: tuple[tuple[str, str], ...]
    """A test image and the image of train or validation with the very same pixels."""
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...]
    megapixels: float
    """Of all images together: what one pass decodes."""

    @property
    def is_clean(self) -> bool:
        """Whether every file can be used and no test image was seen in training."""
        return not (self.unreadable or self.bad_masks or self.duplicates)


@dataclass(frozen=True)
class _Look:
    """What one image and its masks turned out to be."""

    sample: Sample
    error: str = ""
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    statistics: tuple[float, ...] = ()
    mask_errors: tuple[str, ...] = ()


STATISTICS = ("brightness", "contrast", "image size", "file size")


def check(
    path: Path | str,
    layout: str | None = None,
    category: str | None = None,
    *,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> Report:
    """Open every image and mask of a data set; files that cannot be read are listed, not raised."""
    dataset = open_dataset(path, layout, category, seed=seed)
    looks = []
    for look in ahead(partial(_look, dataset), dataset.samples, workers=workers, window=4 * workers):
        looks.append(look)
        if progress:
            progress("checking images", len(looks), len(dataset.samples))
    return _report(dataset, looks)


def _look(dataset: Dataset, sample: Sample) -> _Look:
    try:
        image = read_image(sample)
    except ImageError as error:
        return _Look(sample, str(error))
    height, width, _ = image.shape
    digest = hashlib.sha256(f"{height}x{width}:".encode() + image.tobytes()).digest()
    file_size = sample.path.stat().st_size if sample.index is None else 0
    statistics = float(image.mean()), float(image.std()), float(height * width), float(file_size)
    return _Look(sample, "", (height, width), digest, statistics, tuple(_mask_errors(dataset, sample)))


def _mask_errors(dataset: Dataset, sample: Sample) -> list[str]:
    if not sample.mask_paths:
        return []
    try:
        if dataset.saturation:
            read_channels(sample, dataset)
            return []
        if not read_mask(sample).any():
            return [f"{sample.mask_paths[0]}: marks no pixel"]
        expected = image_size(sample)
        found = {path: image_size(path) for path in sample.mask_paths}
    except ImageError as error:
        return [str(error)]
    return [
        f"{path}: {width} x {height} pixels, its image {expected[1]} x {expected[0]}; it will be resized"
        for path, (height, width) in found.items()
        if (height, width) != expected
    ]


def _report(dataset: Dataset, looks: Sequence[_Look]) -> Report:
    read = [look for look in looks if not look.error]
    sizes = Counter(f"{look.size[1]} x {look.size[0]}" for look in read)
    defective = [sample for sample in dataset.samples if sample.label == 1]
    bare = [sample.name for sample in defective if not sample.mask_paths]
    return Report(
        root=str(dataset.root),
        layout=dataset.layout,
        category=dataset.category,
        counts=_counts(dataset.samples),
        masks=sum(len(sample.mask_paths) for sample in dataset.samples),
        sizes=dict(sizes.most_common()),
        formats=dict(Counter(sample.path.suffix.lower() for sample in dataset.samples).most_common()),
        unreadable=tuple(look.error for look in looks if look.error),
        without_mask=tuple(bare) if len(bare) < len(defective) else (),
        bad_masks=tuple(error for look in read for error in look.mask_errors),
        duplicates=tuple(_duplicates(read)),
        leaks=tuple(_leaks(read)),
        notes=dataset.notes,
        megapixels=sum(look.size[0] * look.size[1] for look in read) / 1e6,
    )


def _counts(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for sample in samples:
        kinds = counts.setdefault(sample.split, {})
        kinds[sample.defect_type] = kinds.get(sample.defect_type, 0) + 1
    return {split: counts[split] for split in ("train", "val", "test") if split in counts}


def _duplicates(looks: Sequence[_Look]) -> list[tuple[str, str]]:
    seen = {look.digest: look.sample.name for look in looks if look.sample.split != "test"}
    tested = [look for look in looks if look.sample.split == "test"]
    return [(look.sample.name, seen[look.digest]) for look in tested if look.digest in seen]


def _leaks(looks: Sequence[_Look]) -> list[Leak]:
    tested = [look for look in looks if look.sample.split == "test"]
    labels = np.array([look.sample.label == 1 for look in tested], np.bool_)
    if min(labels.sum(), (~labels).sum()) < LEAK_IMAGES:
        return []
    values = np.array([look.statistics for look in tested])
    found = [Leak(name, _separation(labels, column)) for name, column in zip(STATISTICS, values.T, strict=True)]
    return [leak for leak in found if leak.auroc >= LEAK_AUROC]


def _separation(labels: NDArray[np.bool_], values: NDArray[np.float64]) -> float:
    """AUROC of a statistic, whichever way round it separates: the share of pairs in the better order, ties as half."""
    good, defective = np.sort(values[~labels]), values[labels]
    below = np.searchsorted(good, defective, "left") + np.searchsorted(good, defective, "right")
    auroc = float(below.sum()) / (2 * good.size * defective.size)
    return max(auroc, 1 - auroc)

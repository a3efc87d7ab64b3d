"""Which good images are kept out of training, and a fingerprint of all that were used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from adtool.data import Dataset, Sample
from adtool.errors import AdtoolError, ImageError

SHARE = 0.1
MOST = 200
LEAST = 10  # where there are ENOUGH images or more
ENOUGH = 30
SHARE_OF_FEW = 0.2  # where there are fewer


def hold_out(dataset: Dataset, holdout: float | None = None, seed: int = 0) -> tuple[list[Sample], list[Sample]]:
    """The good images to train on and those held out, each in the data set's order.

    Held out are `holdout` of the training images (a share below 1, or a number); when None, the data set's own
    validation images, or else 10 % of the training images, at least 10 and at most 200; of fewer than 30 a
    fifth, and none when that is a single image. Which ones depends on `seed` and the file names alone. Test images are
    never used.

    Raises AdtoolError when no image would be left to train on.
    """
    good = [sample for sample in dataset.split("train") if not sample.label]
    validation = [sample for sample in dataset.split("val") if not sample.label]
    if holdout is None and len(validation) > 1:
        return _some_left(good, dataset, 0), _chosen(dataset, validation, MOST, seed)
    number = _number(len(good), holdout)
    held_out = _chosen(dataset, good, number, seed)
    chosen = set(held_out)
    return _some_left([sample for sample in good if sample not in chosen], dataset, number), held_out


def fingerprint(dataset: Dataset, samples: Sequence[Sample]) -> str:
    """SHA-256 over name, size and content of the images' files, in the order of their names."""
    digest = hashlib.sha256()
    contents: dict[Path, str] = {}
    for sample in sorted(samples, key=lambda sample: _name(dataset, sample)):
        if sample.path not in contents:
            contents[sample.path] = _content(sample.path)
        digest.update(f"{_name(dataset, sample)}\n{contents[sample.path]}\n".encode())
    return digest.hexdigest()


def _number(images: int, holdout: float | None) -> int:
    """How many of so many images to hold out."""
    if holdout is None:
        number = min(max(round(SHARE * images), LEAST), MOST) if images >= ENOUGH else round(SHARE_OF_FEW * images)
        return number if number > 1 else 0
    return round(holdout * images) if holdout < 1 else round(holdout)


def _chosen(dataset: Dataset, samples: Sequence[Sample], number: int, seed: int) -> list[Sample]:
    """`number` of the samples, by a hash of seed and name, in their own order."""

    def key(sample: Sample) -> str:
        return hashlib.sha256(f"{seed}/{_name(dataset, sample)}".encode()).hexdigest()

    chosen = set(sorted(samples, key=key)[:number])
    return [sample for sample in samples if sample in chosen]


def _some_left(samples: list[Sample], dataset: Dataset, held_out: int) -> list[Sample]:
    if not samples:
        cure = "hold out fewer (--holdout)" if held_out else "add pictures of good parts"
        raise AdtoolError(f"{dataset.root}: no good images left to train on, {held_out} held out; {cure}")
    return samples


def _name(dataset: Dataset, sample: Sample) -> str:
    """The sample's name inside the data set, the same wherever the data set lies."""
    path = sample.path
    inside = path.relative_to(dataset.root) if path.is_relative_to(dataset.root) else Path(path.name)
    return inside.as_posix() if sample.index is None else f"{inside.as_posix()}#{sample.index}"


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"{path.stat().st_size} {digest}"
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror}); repair it or take it out of the folder") from error

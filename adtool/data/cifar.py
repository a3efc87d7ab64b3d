"""CIFAR-10, one class against the rest (Krizhevsky, 2009; protocol of Ruff et al., ICML 2018).

    ROOT/data_batch_1 .. data_batch_5, test_batch     Python pickles, in cifar-10-batches-py/ or in the folder itself
    ROOT/train/<class>/, ROOT/test/<class>/           image files

The category is the normal class: training takes its training images, the test takes the test images of all classes.
"""

from __future__ import annotations

import io
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtool.data import Dataset, Sample
from adtool.data.listing import folders_in, images_in, is_good
from adtool.errors import AdtoolError, ImageError

EXPECTED = "cifar-10-batches-py/data_batch_1, or train/<class>/ and test/<class>/ with the same classes"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
SIZE = (32, 32)
NOTE = "one class against the rest, without masks: pixel metrics do not apply"


def categories(root: Path) -> dict[str, Path]:
    """Classes, each of which can be the normal one."""
    if batches := _batches(root):
        return dict.fromkeys(CLASSES, batches)
    train, test = ([folder.name for folder in folders_in(root / split)] for split in ("train", "test"))
    is_one_class = len(train) > 1 and train == test and not any(map(is_good, train))
    return dict.fromkeys(train, root) if is_one_class else {}


def _batches(root: Path) -> Path | None:
    folders = (root, root / "cifar-10-batches-py")
    return next((folder for folder in folders if (folder / TRAIN_FILES[0]).is_file()), None)


def read(folder: Path, category: str, seed: int) -> Dataset:
    """The data set with one class as the normal one."""
    samples = _packed(folder, category) if _batches(folder) else _files(folder, category)
    return Dataset(folder, "cifar", category, tuple(samples), notes=(NOTE,))


def _packed(folder: Path, category: str) -> list[Sample]:
    normal = CLASSES.index(category)
    samples = []
    for name in TRAIN_FILES:
        labels = _load(folder / name)[1]
        rows = [row for row, label in enumerate(labels) if label == normal]
        samples += [Sample(folder / name, "train", 0, category=category, index=row) for row in rows]
    for row, label in enumerate(_load(folder / "test_batch")[1]):
        kind = "good" if label == normal else CLASSES[label]
        samples.append(Sample(folder / "test_batch", "test", int(label != normal), kind, (), category, row))
    return samples


def _files(folder: Path, category: str) -> list[Sample]:
    train = [Sample(path, "train", 0, category=category) for path in images_in(folder / "train" / category)]
    if not train:
        raise AdtoolError(f"{folder / 'train' / category}: no images found; expected images of the normal class")
    test = [_tested(path, category) for kind in folders_in(folder / "test") for path in images_in(kind)]
    return test + train


def _tested(path: Path, category: str) -> Sample:
    kind = path.parent.name
    if kind == category:
        return Sample(path, "test", 0, category=category)
    return Sample(path, "test", 1, kind, (), category)


def read_row(path: Path, row: int) -> NDArray[np.uint8]:
    """Image number `row` of a batch file, (32, 32, 3)."""
    images = _load(path)[0]
    if not 0 <= row < len(images):
        raise ImageError(path, f"has {len(images)} images; number {row} does not exist")
    planes: NDArray[np.uint8] = images[row].reshape(3, 32, 32)
    return planes.transpose(1, 2, 0).copy()


@lru_cache(maxsize=6)
def _load(path: Path) -> tuple[NDArray[np.uint8], list[int]]:
    """Images (M, 3072) and labels (M) of a batch file; all six files take 184 MB."""
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        images, labels = content[b"data"].values, content[b"labels"]
        if images.shape != (len(labels), 3072) or not set(labels) <= set(range(10)):
            raise ValueError(f"data is {images.shape}, with {len(labels)} labels")
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror}); expected a CIFAR-10 batch file") from error
    except Exception as error:  # a broken pickle raises anything
        raise ImageError(
            path, f"is no batch of CIFAR-10's Python version ({error}); take the original archive"
        ) from error
    return images, labels


class _Array:
    """Stands for a pickled NumPy array of bytes; NumPy's own unpickling, which trusts the file, is not used."""

    values: NDArray[np.uint8]

    def __init__(self, *origin: object) -> None:
        pass

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Type, bool, bytes]) -> None:
        _, shape, kind, is_fortran, content = state
        if kind.name not in ("u1", b"u1") or is_fortran:
            raise ValueError(f"array of {kind.name!r}; expected unsigned bytes, row by row")
        self.values = np.frombuffer(content, np.uint8).reshape(shape)


class _Type:
    """Stands for a pickled NumPy dtype."""

    def __init__(self, name: str | bytes, *options: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        pass


def _encode(text: str, encoding: str) -> bytes:
    """Bytes, as Python 3 stores them in old pickles."""
    return text.encode("latin-1")


class _Unpickler(pickle.Unpickler):
    """Knows the names that an array needs, gives them stand-ins, and refuses all others."""

    KNOWN = {
        "numpy.core.multiarray._reconstruct": _Array,
        "numpy._core.multiarray._reconstruct": _Array,
        "numpy.ndarray": _Array,
        "numpy.dtype": _Type,
        "_codecs.encode": _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        if asked not in self.KNOWN:
            raise pickle.UnpicklingError(f"it asks for {asked}, which images never need; the file may be malicious")
        return self.KNOWN[asked]

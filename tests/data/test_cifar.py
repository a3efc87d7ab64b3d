"""CIFAR-10, one class against the rest, from its pickles and from image files."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from trees import tree

from adtool.data import Dataset, cifar, open_dataset
from adtool.data.images import image_size, load, read_image
from adtool.errors import AdtoolError, ImageError

FILES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


def python2_pickle(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch file as Python 2 and the NumPy of 2009 wrote it, opcode by opcode."""

    def text(value: bytes) -> bytes:
        return b"T" + len(value).to_bytes(4, "little") + value

    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    shape = b"".join(b"J" + length.to_bytes(4, "little") for length in images.shape)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + text(b"b") + b"tR"
        b"(K\x01(" + shape + b"tcnumpy\ndtype\n(" + text(b"u1") + b"K\0K\x01tR"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbI00\n" + text(images.tobytes()) + b"tb"
    )
    return b"\x80\x02}(" + text(b"labels") + b"](" + numbers + b"e" + text(b"data") + array + b"u."


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six files of twenty images, two of each class: image n is of class n mod 10."""
    root = tmp_path_factory.mktemp("cifar")
    (root / "cifar-10-batches-py").mkdir()
    for seed, name in enumerate(FILES):
        content = python2_pickle(images(20, seed), [number % 10 for number in range(20)])
        (root / "cifar-10-batches-py" / name).write_bytes(content)
    return root


def counts(dataset: Dataset) -> Counter:
    return Counter((sample.split, sample.label, sample.defect_type) for sample in dataset.samples)


def test_category_is_the_normal_class(archive: Path) -> None:
    dataset = open_dataset(archive, category="cat")
    assert (dataset.layout, dataset.category) == ("cifar", "cat")
    found = counts(dataset)
    assert found.pop(("train", 0, "good")) == 10
    assert found.pop(("test", 0, "good")) == 2
    assert found == {("test", 1, name): 2 for name in cifar.CLASSES if name != "cat"}
    assert dataset.samples[0].name.endswith("data_batch_1#3")


def test_a_class_must_be_chosen(archive: Path) -> None:
    with pytest.raises(AdtoolError, match="holds 10 categories; .*airplane, automobile, bird"):
        open_dataset(archive)


def test_rows_are_planes_of_red_green_and_blue(archive: Path) -> None:
    sample = open_dataset(archive / "cifar-10-batches-py", category="cat").samples[1]
    row = images(20, 0)[13]
    assert sample.index == 13 and image_size(sample) == (32, 32)
    image = read_image(sample)
    assert image.shape == (32, 32, 3)
    assert image[0, 1].tolist() == [row[1], row[1024 + 1], row[2048 + 1]]
    assert image[31, 0, 2] == row[2048 + 31 * 32]
    assert torch.equal(load(sample, (32, 32)), torch.from_numpy(row.reshape(3, 32, 32)))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_python3_pickles_are_read_too(tmp_path: Path, protocol: int) -> None:
    content = {b"labels": [3, 4], b"data": images(2, 0)}
    for name in FILES:
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol))
    dataset = open_dataset(tmp_path, category="cat")
    np.testing.assert_array_equal(read_image(dataset.samples[0]), images(2, 0)[0].reshape(3, 32, 32).transpose(1, 2, 0))


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({b"labels": [0], b"data": Malicious()}), "it asks for posix.mkdir, which images never need"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "it asks for builtins.eval"),
        (b"cnumpy.core.multiarray\n_reconstruct.__init__\n.", "it asks for numpy"),
        (pickle.dumps({b"labels": [0], b"data": np.array([object()])}, 2), "it asks for"),
        (pickle.dumps({b"labels": [0], b"data": np.zeros((1, 3072))}, 2), "array of 'f8'; expected unsigned bytes"),
        (pickle.dumps({b"labels": [0], b"data": np.asfortranarray(images(2, 0))}, 2), "row by row"),
        (pickle.dumps({b"labels": [0], b"data": images(2, 0)}, 2), "with 1 labels"),
        (pickle.dumps({b"labels": [0, 10], b"data": images(2, 0)}, 2), "with 2 labels"),
        (pickle.dumps({b"labels": [0]}), "data"),
        (pickle.dumps([1, 2]), "list indices"),
        (b"no pickle", "no batch of CIFAR-10's Python version"),
        (b"", "no batch of CIFAR-10's Python version"),
    ],
)
def test_file_that_is_no_batch_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(ImageError, match=words) as caught:
        open_dataset(tmp_path, category="cat")
    assert caught.value.path.name == "data_batch_1"
    assert not (tmp_path / "pwned").exists()


def test_missing_file_and_missing_row_are_named(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(python2_pickle(images(1, 0), [3]))
    with pytest.raises(ImageError, match="data_batch_2: cannot be read"):
        open_dataset(tmp_path, category="cat")
    with pytest.raises(ImageError, match="number 20 does not exist"):
        cifar.read_row(archive / "cifar-10-batches-py" / "test_batch", 20)


def test_folders_of_classes_are_read(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/0.png", "train/dog/0.png", "test/cat/1.png", "test/dog/1.png", "test/dog/2.png")
    dataset = open_dataset(tmp_path, category="dog")
    assert dataset.layout == "cifar"
    assert counts(dataset) == {("train", 0, "good"): 1, ("test", 0, "good"): 2, ("test", 1, "cat"): 1}
    with pytest.raises(AdtoolError, match="choose one with --category: cat, dog"):
        open_dataset(tmp_path)


def test_folders_of_good_and_bad_are_no_classes(tmp_path: Path) -> None:
    tree(tmp_path, "train/good/0.png", "train/bad/0.png", "test/good/1.png", "test/bad/1.png")
    assert open_dataset(tmp_path).layout == "mvtec"

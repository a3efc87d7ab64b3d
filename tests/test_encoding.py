"""Encoded images come in the order of the images, are encoded once where they fit, and anew where they do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toys import write_pictures

from adtool.data import Sample
from adtool.data.batches import ImageBatches
from adtool.encoding import EncodedBatches, images_in
from adtool.models._detector import Pairs


class Counting:
    """Twice the image and its mean, counting the images it is given."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Tensor) -> list[Tensor]:
        self.images += len(images)
        return [2 * images, images.mean((1, 2, 3))]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageBatches:
    folder = write_pictures(tmp_path_factory.mktemp("pictures") / "good", 11)
    samples = [Sample(path, "train", 0) for path in sorted(folder.iterdir())]
    return ImageBatches(samples, (6, 5), batch_size=4)


@pytest.mark.parametrize("keep_bytes", [0, 1 << 20])
def test_encoded_batches_are_those_of_the_images(images: ImageBatches, keep_bytes: int) -> None:
    encoded = EncodedBatches(images, Counting(), keep_bytes=keep_bytes)
    for passes in ((encoded, images), (encoded.shuffled(3, 1, 5), images.shuffled(3, 1, 5))):
        for (doubled, means), plain in zip(*passes, strict=True):
            assert torch.equal(doubled, 2 * plain) and torch.equal(means, plain.mean((1, 2, 3)))
    assert len(encoded) == 11


def test_what_fits_is_encoded_once(images: ImageBatches) -> None:
    encode, seen = Counting(), []
    each = 4 * (3 * 6 * 5 + 1)
    encoded = EncodedBatches(images, encode, keep_bytes=11 * each, visit=seen.append)
    for epoch in range(3):
        list(encoded.shuffled(0, epoch, 4))
    assert encode.images == 11 and seen == [4, 8, 11]


def test_what_does_not_fit_is_encoded_anew(images: ImageBatches) -> None:
    encode = Counting()
    each = 4 * (3 * 6 * 5 + 1)
    encoded = EncodedBatches(images, encode, keep_bytes=11 * each - 1)
    assert encode.images == 4  # one batch, to see how much it takes
    list(encoded)
    assert encode.images == 15


def test_images_in_a_batch() -> None:
    assert images_in(torch.zeros(3, 1)) == 3 == images_in([torch.zeros(3, 1), torch.zeros(3)])
    assert images_in(Pairs(torch.zeros(4, 1), torch.zeros(4, 1), torch.zeros(4))) == 4

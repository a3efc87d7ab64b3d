"""Good images in pairs: for each image another one and a seed, whatever the batch it comes in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch

from adtool.data.batches import ImageBatches, shuffled_order
from adtool.models._detector import Pairs

IN_ORDER = -1
"""The epoch whose pairs a pass in the images' order gives."""


class PairedBatches:
    """`images` in the same orders as they come themselves, as `Pairs`.

    The other image and the seed of an image follow from `seed`, `stage`, epoch and the image's number.
    """

    def __init__(self, images: ImageBatches, seed: int, stage: str) -> None:
        self.images, self.seed, self.stage = images, seed, stage

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Pairs]:
        return self._pairs(range(len(self)), self.seed, IN_ORDER, self.images.batch_size)

    def shuffled(self, seed: int, epoch: int, batch_size: int) -> Iterator[Pairs]:
        """One pass in the order of `images.shuffled`."""
        return self._pairs(shuffled_order(len(self), seed, epoch, batch_size), seed, epoch, batch_size)

    def _pairs(self, order: Sequence[int], seed: int, epoch: int, batch_size: int) -> Iterator[Pairs]:
        drawn = [_drawn(f"{seed}/{self.stage}/{epoch}/{index}") for index in order]
        seeds = torch.split(torch.tensor([own for own, _ in drawn], dtype=torch.int64), batch_size)
        others = [_other(index, number, len(self)) for index, (_, number) in zip(order, drawn, strict=True)]
        batches = (self.images.chosen(order, batch_size), self.images.chosen(others, batch_size))
        yield from map(Pairs, *batches, seeds)


def _drawn(key: str) -> tuple[int, int]:
    """Two numbers below 2^63 that no other key shares."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1, int.from_bytes(digest[8:16], "little") >> 1


def _other(index: int, number: int, count: int) -> int:
    """One of the `count` images, by a random number, but not the one of this index where there are more."""
    return (index + 1 + number % (count - 1)) % count if count > 1 else index

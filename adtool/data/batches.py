"""Images as float batches: decoded ahead in threads, kept as bytes while they fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from adtool.data import Sample
from adtool.data.decode import Size
from adtool.data.images import load, to_float
from adtool.errors import AdtoolError

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int, window: int) -> Iterator[Result]:
    """`work(item)` for each item in order, done by `workers` threads at most `window` items ahead of the reader.

    An exception of `work` is raised at its item's turn. When the reader stops early, work not begun is dropped.
    """
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="adtool-decode")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def shuffled_order(count: int, seed: int, epoch: int, batch_size: int) -> list[int]:
    """The numbers below `count` in an order of (seed, epoch), without a last, partial batch if there is a full one."""
    order: list[int] = np.random.default_rng((seed, epoch)).permutation(count).tolist()
    full = count - count % batch_size
    return order[: full or None]


class ImageBatches:
    """The images of some samples at one size.

    Iterating yields (N, 3, H, W) float32 batches in [0, 1] in the samples' order, the same whatever `workers` is.
    Decoded images are kept as uint8 while they fit into `cache_bytes`; beyond that about two batches are in memory.
    An unreadable image is an ImageError.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: Size,
        *,
        batch_size: int = 16,
        workers: int = 1,
        cache_bytes: int = 1 << 30,
    ) -> None:
        if batch_size < 1:
            raise AdtoolError(f"batch size {batch_size}: expected at least 1")
        self.samples = tuple(samples)
        self.size = size
        self.batch_size = batch_size
        self.workers = workers
        # which images are kept depends on their place alone, so every pass over them costs the same
        self._keep = min(len(self.samples), cache_bytes // (3 * size[0] * size[1]))
        self._kept: dict[int, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return self.chosen(range(len(self)), self.batch_size)

    def shuffled(self, seed: int, epoch: int, batch_size: int | None = None) -> Iterator[torch.Tensor]:
        """One pass in an order that depends on `seed` and `epoch` alone.

        A last, partial batch is dropped when there is at least one full batch.
        """
        batch_size = batch_size or self.batch_size
        return self.chosen(shuffled_order(len(self), seed, epoch, batch_size), batch_size)

    def chosen(self, order: Sequence[int], batch_size: int) -> Iterator[torch.Tensor]:
        """Batches of the images with these numbers, in their order; the last one may be partial."""
        images: list[torch.Tensor] = []
        for image in self._images(order, batch_size):
            images.append(image)
            if len(images) == batch_size:
                yield to_float(torch.stack(images))
                images.clear()
        if images:
            yield to_float(torch.stack(images))

    def _images(self, order: Sequence[int], window: int) -> Iterator[torch.Tensor]:
        if all(index in self._kept for index in order):
            return iter([self._kept[index] for index in order])
        return ahead(self._image, order, workers=self.workers, window=max(window, self.workers))

    def _image(self, index: int) -> torch.Tensor:
        image = self._kept.get(index)
        if image is None:
            image = load(self.samples[index], self.size)
            if index < self._keep:
                self._kept[index] = image
        return image

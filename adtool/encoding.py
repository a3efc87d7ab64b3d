"""What a stage's frozen part makes of images, computed once per image and kept in memory while it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from adtool.data.batches import ImageBatches, shuffled_order
from adtool.devices import autocast, placed

CPU = torch.device("cpu")
KEEP_BYTES = 2 << 30
"""How much memory the encoded images of one set may take."""


def images_in(batch: Tensor | list[Tensor] | tuple[Tensor, ...]) -> int:
    """How many images a batch is of: as they are, encoded or in pairs."""
    return len(batch if isinstance(batch, Tensor) else batch[0])


class EncodedBatches:
    """`encode` of the batches of `images`, in the same orders as the images themselves.

    `encode` takes (N, 3, H, W) images on `device` to tensors (N, ...), each image on its own, without gradients, in
    `precision`. What it gives is kept on the CPU if all of it fits into `keep_bytes`; otherwise every batch is encoded
    anew. `visit` is called with the number of images encoded so far while they are encoded to be kept.
    """

    def __init__(
        self,
        images: ImageBatches,
        encode: Callable[[Tensor], list[Tensor]],
        *,
        device: torch.device = CPU,
        precision: torch.dtype = torch.float32,
        keep_bytes: int = KEEP_BYTES,
        visit: Callable[[int], None] = lambda done: None,
    ) -> None:
        self.images, self.keep_bytes = images, keep_bytes
        self._encode, self._device, self._precision = encode, device, precision
        self._kept = self._encode_all(visit)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[list[Tensor]]:
        if self._kept is None:
            return map(self.encode, self.images)
        return self._chosen(list(range(len(self))), self.images.batch_size)

    def shuffled(self, seed: int, epoch: int, batch_size: int) -> Iterator[list[Tensor]]:
        """One pass in the order of `images.shuffled`."""
        if self._kept is None:
            return map(self.encode, self.images.shuffled(seed, epoch, batch_size))
        return self._chosen(shuffled_order(len(self), seed, epoch, batch_size), batch_size)

    def encode(self, batch: Tensor) -> list[Tensor]:
        """What the frozen part makes of a batch."""
        with torch.no_grad(), autocast(self._device, self._precision):
            return self._encode(placed(batch, self._device))

    def _chosen(self, order: list[int], batch_size: int) -> Iterator[list[Tensor]]:
        for start in range(0, len(order), batch_size):
            yield [part[order[start : start + batch_size]] for part in self._kept or []]

    def _encode_all(self, visit: Callable[[int], None]) -> list[Tensor] | None:
        kept: list[Tensor] = []
        done = 0
        for batch in self.images:
            parts = self.encode(batch)
            if not kept:
                if sum(part.nbytes for part in parts) / len(batch) * len(self) > self.keep_bytes:
                    return None
                kept = [torch.empty((len(self), *part.shape[1:]), dtype=part.dtype) for part in parts]
            for whole, part in zip(kept, parts, strict=True):
                whole[done : done + len(batch)] = part
            done += len(batch)
            visit(done)
        return kept

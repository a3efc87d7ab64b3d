"""A memory of good patches (Roth et al. 2022): filled once, then asked how far patches are from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from adtool.ops.greedy_coreset import greedy_coreset
from adtool.ops.nearest_patch import nearest_patch

UNITS = 2000
"""Good patches outside the bank whose mean distance is the bank's unit."""


class MemoryBank(nn.Module):
    """`rows` (M, D) and `unit`, the mean distance of good patches that are not in the bank."""

    rows: Tensor
    unit: Tensor

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(0, dimension))
        self.register_buffer("unit", torch.ones(()))

    def fill(
        self,
        patches: Tensor,
        covering: int,
        common: int,
        neighbours: int,
        projection: int,
        seed: int,
        report: Callable[[str, int, int], None],
    ) -> None:
        """Keep `covering` rows of patches (P, D) by greedy coreset and up to `common` drawn at random from the others.

        A coreset covers rare and common patches alike; the random rows make it denser where good patches are.
        """
        generator = torch.Generator().manual_seed(seed)
        picked = greedy_coreset(patches, min(covering, len(patches)), seed, projection, report)
        free = torch.ones(len(patches), dtype=torch.bool, device=patches.device)
        free[picked] = False
        others = free.nonzero().squeeze(1)
        others = others[torch.randperm(len(others), generator=generator)]
        self.rows = patches[torch.cat([picked, others[:common]])].clone()
        outside = patches[others[common : common + UNITS]]
        if len(outside):
            self.unit.copy_(self.distance(outside, neighbours)[0].mean().clamp_min(1e-12))

    def distance(self, patches: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
        """(P, D) -> mean distance (P,) to the `neighbours` nearest rows, and the nearest row's index (P,)."""
        distance, index = nearest_patch(patches, self.rows, min(neighbours, len(self.rows)))
        return distance.mean(1), index[:, 0]

    def neighbourhood(self, index: Tensor, count: int) -> Tensor:
        """Rows `index` (N,) -> the `count` bank rows nearest to each, itself included: (N, count, D)."""
        _, near = nearest_patch(self.rows[index], self.rows, min(count, len(self.rows)))
        return self.rows[near]


def sampled(patches: Iterable[Tensor], per_image: int, seed: int) -> Tensor:
    """Batches of patches (N, P, D) -> a seeded share of at most `per_image` patches of every image, (rows, D)."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for batch in patches:
        for image in batch:
            if len(image) > per_image:
                image = image[torch.randperm(len(image), generator=generator)[:per_image].sort().values]
            parts.append(image)
    return torch.cat(parts)

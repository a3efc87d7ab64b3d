"""k-centre greedy selection of patches that cover all others: the coreset of patchcore (Roth et al. 2022, Algorithm 1).

Start at a seeded row of patches (P, D); then, until there are n, pick the row farthest from the rows picked so far.
Each row's squared distance to the nearest pick is kept and updated, so a pick costs one pass over the patches, and on a
GPU nothing waits between picks. The CPU's kernel makes the same picks lazily: a distance only shrinks as picks are
added, so a row that is nearer to the picks it has been compared with than some other row is to all of them can wait.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401

BLOCK = 1 << 16
"""Elements of the patches that the reference handles at a time."""
BETWEEN_REPORTS = 0.5
"""Seconds."""
NO_GRADIENT = "a selection: the patches are frozen features"
NOT_COMPILED = "every pick needs the one before; tracing unrolls the loop into thousands of operations"

torch.library.define("adtool::greedy_coreset", "(Tensor patches, int first, int n) -> Tensor")
torch.library.define(
    "adtool::greedy_coreset_step",
    "(Tensor patches, Tensor picked, Tensor(a!) distance, Tensor(b!) seen, int count) -> Tensor",
)


def _start(patches: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """One pick, and nothing known of the patches: picked, distance, seen."""
    dtype = torch.promote_types(patches.dtype, torch.float32)
    return (
        torch.tensor([first], device=patches.device),
        patches.new_full((patches.shape[0],), math.inf, dtype=dtype),
        patches.new_zeros(patches.shape[0], dtype=torch.int32),
    )


def reference_step(patches: Tensor, picked: Tensor, distance: Tensor, seen: Tensor, count: int) -> Tensor:
    """`count` more picks after `picked` (t,), t >= 1: all of them, (t + count,).

    `distance` (P,) is each row's squared distance to the nearest of the first `seen` (P,) picks, -1 for a pick so that
    none is picked twice; both are updated. Before anything is known they are infinity and 0.
    """
    picks = torch.cat([picked, picked.new_empty(count)])
    known = picked.shape[0]
    distance[picked] = -1
    step = max(1, BLOCK // max(1, patches.shape[1]))
    for position in range(int(seen.min()), known + count - 1):
        pick = patches[picks[position]].double()
        for start in range(0, patches.shape[0], step):
            here = (patches[start : start + step].double() - pick).square_().sum(1).to(distance.dtype)
            kept = distance[start : start + step]
            kept.copy_(torch.where(here < kept, here, kept))
        if position + 1 >= known:
            picks[position + 1] = distance.argmax()
            distance[picks[position + 1]] = -1
        seen.fill_(position + 1)
    return picks


def reference(patches: Tensor, first: int, n: int) -> Tensor:
    """n picks, of which `first` is the first."""
    return reference_step(patches, *_start(patches, first), n - 1)


torch.library.impl("adtool::greedy_coreset", "default", reference)
torch.library.impl("adtool::greedy_coreset_step", "default", reference_step)


def _shape(patches: Tensor, first: int, n: int) -> Tensor:
    return patches.new_empty(n, dtype=torch.int64)


def _shape_step(patches: Tensor, picked: Tensor, distance: Tensor, seen: Tensor, count: int) -> Tensor:
    return picked.new_empty(picked.shape[0] + count)


torch.library.register_fake("adtool::greedy_coreset", _shape)
torch.library.register_fake("adtool::greedy_coreset_step", _shape_step)


def _project(patches: Tensor, dimension: int, generator: torch.Generator) -> Tensor:
    """Johnson-Lindenstrauss: (P, D) -> (P, dimension) float32, by a Gaussian matrix that keeps distances on average."""
    matrix = torch.randn(patches.shape[1], dimension, generator=generator, dtype=torch.float64) / math.sqrt(dimension)
    matrix = matrix.to(patches.device)
    projected = patches.new_empty(patches.shape[0], dimension, dtype=torch.float32)
    step = max(1, BLOCK // patches.shape[1])
    for start in range(0, patches.shape[0], step):
        # products in float64: how threads share the work does not show in the rounded result
        projected[start : start + step] = patches[start : start + step].double() @ matrix
    return projected


def greedy_coreset(
    patches: Tensor,
    n: int,
    seed: int,
    projection: int | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> Tensor:
    """Indices (n,) of n distinct rows of patches (P, D), in the order they are picked; ties go to the lower index.

    `projection` is the dimension of a seeded random projection applied first; D or more leaves the patches as they are.
    `report("coreset", done, n)` is called about twice a second; an exception from it ends the selection. The number of
    threads does not change a pick. A ValueError names what does not fit.
    """
    if patches.dim() != 2 or not patches.is_floating_point():
        raise ValueError(f"patches: expected (P, D) floating point, got {tuple(patches.shape)} {patches.dtype}")
    if not 0 <= n <= patches.shape[0]:
        raise ValueError(f"n: expected 0 to {patches.shape[0]}, the rows of patches, got {n}")
    if projection is not None and projection < 1:
        raise ValueError(f"projection: expected at least 1, got {projection}")
    if n == 0:
        return torch.empty(0, dtype=torch.int64, device=patches.device)
    generator = torch.Generator().manual_seed(seed)
    first = int(torch.randint(patches.shape[0], (), generator=generator))
    if projection is not None and projection < patches.shape[1]:
        patches = _project(patches, projection, generator)
    if patches.stride(1) != 1:
        patches = patches.contiguous()  # once, not at every step
    picked, distance, seen = _start(patches, first)
    run = 1
    while picked.shape[0] < n:
        started = time.perf_counter()
        count = min(run, n - picked.shape[0])
        picked = torch.ops.adtool.greedy_coreset_step(patches, picked, distance, seen, count)
        picked[-1].item()  # until it is made: a device only takes the order
        run = max(1, round(count * min(BETWEEN_REPORTS / (time.perf_counter() - started), 4)))
        if report is not None:
            report("coreset", picked.shape[0], n)
    return picked


def eager(patches: Tensor, first: int, n: int) -> Tensor:
    """What one writes without this operator, for comparison: a row of distances per pick, not exact in float32."""
    picked = [torch.tensor(first, device=patches.device)]
    distance = torch.cdist(patches, patches[first : first + 1]).squeeze(1)
    for _ in range(n - 1):
        picked.append(distance.argmax())
        distance = torch.minimum(distance, torch.cdist(patches, patches[picked[-1]][None]).squeeze(1))
    return torch.stack(picked)


def flops(patches: Tensor, first: int, n: int) -> tuple[int, int]:
    """Operations forward, three per element and pick; there is no backward."""
    return 3 * patches.numel() * (n - 1), 0


def min_bytes(patches: Tensor, first: int, n: int) -> int:
    """Bytes read and written by one pass over patches and distances per pick, as Algorithm 1 makes it."""
    distances = 2 * patches.shape[0] * torch.promote_types(patches.dtype, torch.float32).itemsize
    return (n - 1) * (patches.numel() * patches.element_size() + distances)


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Example arguments: `small` for tests, `paper` for benchmarks."""
    sizes = {"small": [(50, 13, 20), (3, 40, 3), (70, 7, 4)], "paper": [(100_000, 128, 1000)]}[size]
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(p, d, generator=generator).to(device, dtype), 1, n) for p, d, n in sizes]

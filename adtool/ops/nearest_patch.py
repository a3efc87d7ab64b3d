"""Distance and index of the k nearest bank rows of every patch: the search of patchcore (Roth et al. 2022, Eq. 6).

patches (P, D), bank (M, D) -> distance (P, k), index (P, k). Candidates are found by |x|^2 - 2 <x, b> + |b|^2 in blocks
of inner products; where rounding leaves the order of too many in doubt, all rows are. Then their distances are taken
from x - b in float64. So the result is that of an exhaustive search in float64, d(x, x) = 0, and neither threads nor
the other patches change a bit of it. No P x M matrix is ever held.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401

SPARE = 8
"""Candidates beyond k, for scores that rounding leaves in doubt."""
BLOCK = 4096
"""Bank rows that meet a block of patches at a time."""
BUDGET = 1 << 20
"""Elements of an intermediate in float64 (8 MiB)."""
NO_GRADIENT = "a search: the bank and the patches are frozen features"

torch.library.define("adtool::nearest_patch", "(Tensor patches, Tensor bank, int k=1) -> (Tensor, Tensor)")


def _candidates(rows: Tensor, bank: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest |b|^2 - 2 <x, b> of each row in float64, ascending, and their bank rows."""
    score = rows.new_empty(rows.shape[0], 0, dtype=torch.float64)
    index = rows.new_empty(rows.shape[0], 0, dtype=torch.int64)
    for start in range(0, bank.shape[0], BLOCK):
        block = bank[start : start + BLOCK].double()
        here = torch.arange(start, start + block.shape[0], device=bank.device).expand(rows.shape[0], -1)
        score = torch.cat([score, block.square().sum(1) - 2 * (rows.double() @ block.T)], dim=1)
        score, order = score.topk(min(count, score.shape[1]), dim=1, largest=False)
        index = torch.cat([index, here], dim=1).gather(1, order)
    return score, index


def _exhaustive(row: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest by differences of the float64 row to the whole bank."""
    step = max(1, BUDGET // max(1, bank.shape[1]))
    parts = [bank[start : start + step].sub(row).square_().sum(1) for start in range(0, bank.shape[0], step)]
    distance, index = torch.cat(parts).sqrt_().sort(stable=True)
    return distance[:k], index[:k]


def reference(patches: Tensor, bank: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The same in plain PyTorch, with intermediates of about 8 MiB."""
    distance = patches.new_empty(patches.shape[0], k, dtype=torch.promote_types(patches.dtype, torch.float32))
    index = patches.new_empty(patches.shape[0], k, dtype=torch.int64)
    count = min(k + SPARE, bank.shape[0])
    largest = torch.linalg.vector_norm(bank, dim=1, dtype=torch.float64).max()
    step = max(1, BUDGET // max(min(bank.shape[0], BLOCK), count * patches.shape[1], 1))
    for start in range(0, patches.shape[0], step):
        rows = patches[start : start + step].double()
        score, near = _candidates(rows, bank, count)
        near = near.sort(dim=1).values
        exact = (rows[:, None] - bank[near]).square().sum(2).sqrt()  # (rows, count)
        exact, order = exact.sort(dim=1, stable=True)
        distance[start : start + step] = exact[:, :k]
        index[start : start + step] = near.gather(1, order)[:, :k]
        if count < bank.shape[0]:
            rounding = 1e-15 * (patches.shape[1] + 8) * largest * (largest + rows.norm(dim=1))
            crowded = ~(score[:, -1] - score[:, k - 1] > rounding)  # near-ties beyond those kept, or NaN
            for i in crowded.nonzero().flatten().tolist():
                distance[start + i], index[start + i] = _exhaustive(rows[i], bank, k)
    return distance, index


torch.library.impl("adtool::nearest_patch", "default", reference)


def _shape(patches: Tensor, bank: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    shape = (patches.shape[0], k)
    dtype = torch.promote_types(patches.dtype, torch.float32)
    return patches.new_empty(shape, dtype=dtype), patches.new_empty(shape, dtype=torch.int64)


torch.library.register_fake("adtool::nearest_patch", _shape)


def nearest_patch(patches: Tensor, bank: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Euclidean distance to the k nearest bank rows, and their indices: patches (P, D), bank (M, D) -> (P, k) each.

    Nearest first, ties to the lower index, NaN last. Distances are float32, of float64 patches float64. No gradient.
    Beyond the result, memory stays within about 32 MiB whatever P and M. A ValueError names what does not fit.
    """
    shapes = f"got {tuple(patches.shape)} {patches.dtype} and {tuple(bank.shape)} {bank.dtype}"
    if patches.dim() != 2 or bank.dim() != 2 or patches.shape[1] != bank.shape[1]:
        raise ValueError(f"patches and bank: expected (P, D) and (M, D), {shapes}")
    if patches.dtype != bank.dtype or not patches.is_floating_point():
        raise ValueError(f"patches and bank: expected floating-point elements of one type, {shapes}")
    if not 1 <= k <= bank.shape[0]:
        raise ValueError(f"k: expected 1 to {bank.shape[0]}, the rows of the bank, got {k}")
    result: tuple[Tensor, Tensor] = torch.ops.adtool.nearest_patch(patches, bank, k)
    return result


def eager(patches: Tensor, bank: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """What one writes without this operator, for comparison: the whole P x M matrix, not exact in float32."""
    distance, index = torch.cdist(patches, bank).topk(k, dim=1, largest=False)
    return distance, index


def flops(patches: Tensor, bank: Tensor, k: int = 1) -> tuple[int, int]:
    """Operations forward, those of the matrix product <x, b>; there is no backward."""
    return 2 * patches.shape[0] * bank.shape[0] * patches.shape[1], 0


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Example arguments: `small` for tests, the last with each of a few bank rows often, `paper` for benchmarks."""
    sizes = {
        "small": [(17, 45, 11, 1), (5, 9, 70, 9), (130, 20, 8, 2), (3, 1100, 8, 2), (3, 130, 24, 3)],
        "paper": [(8192, 4096, 384, 1), (8192, 4096, 384, 9)],
    }[size]
    generator = torch.Generator().manual_seed(0)
    cases: list[tuple[Any, ...]] = [
        (*(torch.randn(rows, d, generator=generator).to(device, dtype) for rows in (p, m)), k) for p, m, d, k in sizes
    ]
    if size == "small":
        patches, bank, k = cases[-1]
        cases[-1] = patches, bank[torch.arange(len(bank), device=device) % 3], k
    return cases

"""The neighbours of every node of a graph: the most alike in what they show, less how alike they are in where they lie.

    S = cos(query, key^T) - cos(position, position^T)         slsg Eq. 4 and 5
    index_i = the k largest of row i, largest first

query, key (B, N, D), position (N, P) or None -> index (B, N, k). A cosine with a row of zeros is 0; equal scores go to
the lower index, a score that is no number comes last. Scores are those of float64 to multiples of 2^-40, so that what
ought to be equal is, whatever the elements are stored as: inner products of float32 find the candidates, and where
rounding leaves their order in doubt they are taken again. So neither the device nor threads nor the rest of the batch
change the result, and no B x N x N array is ever held.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from adtool.ops import _native  # noqa: F401

BUDGET = 1 << 20
"""Scores held at a time by the reference, at least a row (8 MiB)."""
ROUND = 1.5 * 2.0**12
"""Adding it and taking it off rounds float64 numbers below 2^11 to multiples of 2^-40."""
NO_GRADIENT = "which nodes are neighbours is a choice; gradients flow through what is done with them"

torch.library.define("adtool::topk_neighbors", "(Tensor query, Tensor key, Tensor? position, int k) -> Tensor")


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1 in float64; zeros stay."""
    rows = rows.double()
    length = rows.square().sum(-1, keepdim=True).sqrt()
    return rows / torch.where(length == 0, 1.0, length)


def reference(query: Tensor, key: Tensor, position: Tensor | None, k: int) -> Tensor:
    """The formula above in float64, a block of rows at a time."""
    q, keys = _unit(query), _unit(key).mT
    positions = None if position is None else _unit(position)
    parts = [torch.empty(*query.shape[:1], 0, k, dtype=torch.int64, device=query.device)]
    step = max(1, BUDGET // max(1, query.shape[0] * query.shape[1]))
    for start in range(0, query.shape[1], step):
        score = q[:, start : start + step] @ keys
        if positions is not None:
            score = score - positions[start : start + step] @ positions.mT
        order = (score + ROUND - ROUND).nan_to_num(-torch.inf).sort(dim=-1, descending=True, stable=True)
        parts.append(order.indices[..., :k])
    return torch.cat(parts, dim=1)


def _shape(query: Tensor, key: Tensor, position: Tensor | None, k: int) -> Tensor:
    return query.new_empty(query.shape[0], query.shape[1], k, dtype=torch.int64)


torch.library.impl("adtool::topk_neighbors", "default", reference)
torch.library.register_fake("adtool::topk_neighbors", _shape)


def check_nodes(query: Tensor, key: Tensor, position: Tensor | None, k: int) -> None:
    """A ValueError if the arguments are not those of a graph."""
    if query.dim() != 3 or query.shape != key.shape:
        raise ValueError(f"query and key: expected (B, N, D) each, got {tuple(query.shape)} and {tuple(key.shape)}")
    if query.dtype != key.dtype or not query.is_floating_point():
        raise ValueError(f"query and key: expected floating-point elements of one type, got {query.dtype}, {key.dtype}")
    nodes = query.shape[1]
    if position is not None and (position.dim() != 2 or position.shape[0] != nodes or not position.is_floating_point()):
        got = f"{position.dtype} {tuple(position.shape)}"
        raise ValueError(f"position: expected floating-point ({nodes}, P), got {got}")
    if not 1 <= k <= nodes:
        raise ValueError(f"k: expected 1 to {nodes}, the nodes, got {k}")


def topk_neighbors(query: Tensor, key: Tensor, position: Tensor | None, k: int) -> Tensor:
    """Each node's k neighbours, nearest first: query, key (B, N, D), position (N, P) or None -> int64 index (B, N, k).

    A node may be its own neighbour. Beyond the result, memory grows as B N k. No gradient. A ValueError names what does
    not fit.
    """
    check_nodes(query, key, position, k)
    index: Tensor = torch.ops.adtool.topk_neighbors(query, key, position, k)
    return index


def eager(query: Tensor, key: Tensor, position: Tensor | None, k: int) -> Tensor:
    """What one writes without this operator, for comparison: the whole B x N x N array, not exact in float32."""
    score = normalize(query, dim=2) @ normalize(key, dim=2).mT
    if position is not None:
        places = normalize(position, dim=1)
        score = score - places @ places.mT
    return score.topk(k).indices


def flops(query: Tensor, key: Tensor, position: Tensor | None, k: int) -> tuple[int, int]:
    """Operations forward, those of the matrix products; there is no backward."""
    nodes = query.shape[1]
    places = 0 if position is None else position.numel()
    return 2 * nodes * (query.numel() + places), 0


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones, with near-ties, for tests, slsg's of growing size for benchmarks."""
    sizes = {
        "small": [(2, 19, 11, 6, 4), (1, 45, 33, 0, 9), (1, 1, 1, 1, 1), (1, 70, 24, 3, 30)],
        "paper": [(8, n, 256, p, 9) for n in (64, 256, 1024, 4096) for p in (0, 512)],
    }[size]
    generator = torch.Generator().manual_seed(0)

    def rows(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    cases = [(rows(b, n, d), rows(b, n, d), rows(n, p) if p else None, k) for b, n, d, p, k in sizes]
    if size == "small":
        query, key, _, k = cases[1]
        lengths = torch.linspace(0.5, 2, key.shape[1]).to(device, dtype)[:, None]
        cases.append((query, key[:, torch.arange(key.shape[1]) % 7] * lengths, None, k))  # few directions, each often
    return cases

"""A graph's neighbours found and aggregated in one call: what slsg's SG block does with its features.

    index = the k largest of cos(query, key^T) - cos(position, position^T)      slsg Eq. 4 and 5: `topk_neighbors`
    y_i   = max_j (x[index_ij] - x_i)                                           slsg Eq. 6: `max_relative`

query, key (B, N, D), position (N, P) or None, x (B, N, C) -> y (B, N, C) and the index (B, N, k). Neighbours are
chosen, so the gradient reaches x alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adtool.ops import (
    _native,  # noqa: F401
    max_relative,
    topk_neighbors,
)

torch.library.define(
    "adtool::topk_max_relative",
    "(Tensor query, Tensor key, Tensor? position, Tensor x, int k) -> (Tensor, Tensor)",
)


def reference(query: Tensor, key: Tensor, position: Tensor | None, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """One after the other, by whichever kernels the device has."""
    index: Tensor = torch.ops.adtool.topk_neighbors(query, key, position, k)
    return torch.ops.adtool.max_relative(x, index), index


def _shape(query: Tensor, key: Tensor, position: Tensor | None, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    return max_relative.empty_like(x), query.new_empty(query.shape[0], query.shape[1], k, dtype=torch.int64)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[3], output[1])
    ctx.mark_non_differentiable(output[1])


def _gradient(ctx: Any, grad: Tensor, grad_index: Any) -> tuple[None, None, None, Tensor | None, None]:
    if not ctx.needs_input_grad[3]:
        return None, None, None, None, None
    return None, None, None, torch.ops.adtool.max_relative_backward(grad, *ctx.saved_tensors), None


torch.library.impl("adtool::topk_max_relative", "default", reference)
torch.library.register_fake("adtool::topk_max_relative", _shape)
torch.library.register_autograd("adtool::topk_max_relative", _gradient, setup_context=_save)


def topk_max_relative(query: Tensor, key: Tensor, position: Tensor | None, x: Tensor, k: int) -> Tensor:
    """Each node's largest neighbour minus itself, for the k neighbours that `topk_neighbors` finds: (B, N, C) as x.

    query, key (B, N, D), position (N, P) or None, x (B, N, C). A ValueError names what does not fit.
    """
    topk_neighbors.check_nodes(query, key, position, k)
    if x.dim() != 3 or x.shape[:2] != query.shape[:2] or not x.is_floating_point():
        expected = f"({query.shape[0]}, {query.shape[1]}, C)"
        raise ValueError(f"x: expected floating-point {expected}, got {x.dtype} {tuple(x.shape)}")
    y: Tensor = torch.ops.adtool.topk_max_relative(query, key, position, x, k)[0]
    return y


def eager(query: Tensor, key: Tensor, position: Tensor | None, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What one writes without these operators, for comparison."""
    with torch.no_grad():
        index = topk_neighbors.eager(query, key, position, k)
    return max_relative.eager(x, index), index


def flops(query: Tensor, key: Tensor, position: Tensor | None, x: Tensor, k: int) -> tuple[int, int]:
    """Operations of both, forward and backward."""
    search, _ = topk_neighbors.flops(query, key, position, k)
    return search + k * x.numel(), (k + 1) * x.numel()


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, slsg's at 256, 512 and 1024 pixels for benchmarks."""
    sizes = {
        "small": [(2, 19, 11, 6, 5, 4), (1, 1, 1, 0, 1, 1)],
        "paper": [(8, n, 256, 512, 512, 9) for n in (64, 256, 1024)],
    }[size]
    generator = torch.Generator().manual_seed(0)

    def rows(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    return [(rows(b, n, d), rows(b, n, d), rows(n, p) if p else None, rows(b, n, c), k) for b, n, d, p, c, k in sizes]

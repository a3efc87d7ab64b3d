"""Max-relative graph aggregation: how far the neighbours of a node rise above it, channel by channel.

    y_i = max_j (x[index_ij] - x_i) = max_j x[index_ij] - x_i          slsg Eq. 6; Li et al. 2019, "DeepGCNs"

x (B, N, C), index (B, N, k) -> y (B, N, C). A channel's maximum ignores the other channels; a NaN among the neighbours
is the maximum. No (B, N, k, C) tensor is ever held. Gradient, where j* is the first neighbour that gives the maximum:

    dL/dx_i = -g_i + sum of g_m over the nodes m whose neighbour j* is i
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401

torch.library.define("adtool::max_relative", "(Tensor x, Tensor index) -> Tensor")
torch.library.define("adtool::max_relative_backward", "(Tensor grad, Tensor x, Tensor index) -> Tensor")


def _wide(x: Tensor) -> Tensor:
    """Half precision is stored, never computed with."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _neighbors(x: Tensor, index: Tensor) -> Tensor:
    """x[index]: (B, N, k, C)."""
    near = x.gather(1, index.flatten(1)[:, :, None].expand(-1, -1, x.shape[2]))
    return near.view(*index.shape, x.shape[2])


def empty_like(x: Tensor) -> Tensor:
    """The numbers of a node side by side or, where those of a channel lie so in `x` alone, these."""
    if x.stride(2) != 1 and x.stride(1) == 1:
        return x.new_empty(x.shape[0], x.shape[2], x.shape[1]).mT
    return x.new_empty(x.shape)


def reference(x: Tensor, index: Tensor) -> Tensor:
    """The formula above."""
    wide = _wide(x)
    return empty_like(x).copy_(_neighbors(wide, index).amax(2) - wide)


def reference_backward(grad: Tensor, x: Tensor, index: Tensor) -> Tensor:
    """The gradient above."""
    first = _neighbors(_wide(x), index).argmax(2)  # (B, N, C)
    dx = -_wide(grad)
    return empty_like(x).copy_(dx.scatter_add(1, index.gather(2, first), _wide(grad)))


def _shape(x: Tensor, index: Tensor) -> Tensor:
    return empty_like(x)


def _shape_backward(grad: Tensor, x: Tensor, index: Tensor) -> Tensor:
    return empty_like(x)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return torch.ops.adtool.max_relative_backward(grad, *ctx.saved_tensors), None


torch.library.impl("adtool::max_relative", "default", reference)
torch.library.impl("adtool::max_relative_backward", "default", reference_backward)
torch.library.register_fake("adtool::max_relative", _shape)
torch.library.register_fake("adtool::max_relative_backward", _shape_backward)
torch.library.register_autograd("adtool::max_relative", _gradient, setup_context=_save)


def max_relative(x: Tensor, index: Tensor) -> Tensor:
    """Largest neighbour minus the node itself: x (B, N, C), int64 index (B, N, k) of nodes -> (B, N, C) of x's dtype.

    The result lies in memory as x does, node by node or channel by channel. A ValueError names what does not fit; an
    index that is no node is a RuntimeError on the CPU.
    """
    if x.dim() != 3 or not x.is_floating_point():
        raise ValueError(f"x: expected floating-point (B, N, C) features, got {x.dtype} {tuple(x.shape)}")
    if index.dtype != torch.int64 or index.dim() != 3 or index.shape[:2] != x.shape[:2] or index.shape[2] == 0:
        expected = f"({x.shape[0]}, {x.shape[1]}, k)"
        raise ValueError(f"index: expected int64 {expected}, k > 0, got {index.dtype} {tuple(index.shape)}")
    y: Tensor = torch.ops.adtool.max_relative(x, index)
    return y


def eager(x: Tensor, index: Tensor) -> Tensor:
    """What one writes without this operator, for comparison: all neighbours of all nodes, (B, N, k, C)."""
    return _neighbors(x, index).amax(2) - x


def flops(x: Tensor, index: Tensor) -> tuple[int, int]:
    """Operations forward (k - 1 comparisons and a difference) and backward (the comparisons again, and two sums)."""
    k = index.shape[2]
    return k * x.numel(), (k + 1) * x.numel()


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, slsg's at 256, 512 and 1024 pixels for benchmarks."""
    sizes = {
        "small": [(2, 7, 5, 3), (1, 1, 1, 1), (2, 11, 16, 4)],
        "paper": [(8, n, 512, 9) for n in (64, 256, 1024)],
    }[size]
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(b, n, c, generator=generator).to(device, dtype),
            torch.randint(n, (b, n, k), generator=generator).to(device),
        )
        for b, n, c, k in sizes
    ]

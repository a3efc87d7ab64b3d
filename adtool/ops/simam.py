"""SimAM: parameter-free attention by the inverse energy of each neuron in its own plane.

    mu = mean(x)                                over the M = H W pixels of a plane (n, c)
    v  = sum((x - mu)^2) / (M - 1)              0 where M = 1
    k  = 1 / (4 (v + lambda))
    u  = k (x - mu)^2 + 1/2                     = 1 / e_t*, masked_rd Eq. 9
    y  = x sigmoid(u)                           masked_rd Eq. 10

x and y are (N, C, H, W). Mean and variance are those of the whole plane, the closed form of Yang et al. 2021, "SimAM: A
Simple, Parameter-Free Attention Module for Convolutional Neural Networks". Gradient, with s = sigmoid(u), g = dL/dy and
q = g x s (1 - s):

    dL/dx = g s + 2 k (q (x - mu) - mean(q (x - mu))) - 8 k^2 / (M - 1) (x - mu) sum(q (x - mu)^2)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401
from adtool.ops._layout import dense_format

torch.library.define("adtool::simam", "(Tensor x, float lambda_=1e-4) -> Tensor")
torch.library.define("adtool::simam_backward", "(Tensor grad, Tensor x, float lambda_) -> Tensor")


def _energy(x: Tensor, lambda_: float) -> tuple[Tensor, Tensor, Tensor]:
    """x - mu (N, C, H, W), k (N, C, 1, 1) and u (N, C, H, W)."""
    d = x - x.mean((2, 3), keepdim=True)
    v = d.square().sum((2, 3), keepdim=True) / max(x.shape[2] * x.shape[3] - 1, 1)
    k = 1 / (4 * (v + lambda_))
    return d, k, k * d.square() + 0.5


def _wide(x: Tensor) -> Tensor:
    """Half precision is stored, never computed with."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def reference(x: Tensor, lambda_: float = 1e-4) -> Tensor:
    """The formula above, line by line."""
    wide = _wide(x)
    _, _, u = _energy(wide, lambda_)
    return (wide * torch.sigmoid(u)).to(x.dtype).contiguous(memory_format=dense_format(x))


def reference_backward(grad: Tensor, x: Tensor, lambda_: float) -> Tensor:
    """The gradient above."""
    wide, g = _wide(x), _wide(grad)
    d, k, u = _energy(wide, lambda_)
    s = torch.sigmoid(u)
    qd = g * wide * s * (1 - s) * d
    through_mean = 2 * k * (qd - qd.mean((2, 3), keepdim=True))
    through_variance = 8 * k.square() / max(x.shape[2] * x.shape[3] - 1, 1) * d * (qd * d).sum((2, 3), keepdim=True)
    return (g * s + through_mean - through_variance).to(x.dtype).contiguous(memory_format=dense_format(x))


def _shape(x: Tensor, lambda_: float = 1e-4) -> Tensor:
    return torch.empty_like(x, memory_format=dense_format(x))


def _shape_backward(grad: Tensor, x: Tensor, lambda_: float) -> Tensor:
    return torch.empty_like(x, memory_format=dense_format(x))


def _save(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
    x, ctx.lambda_ = inputs
    ctx.save_for_backward(x)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (x,) = ctx.saved_tensors
    return torch.ops.adtool.simam_backward(grad, x, ctx.lambda_), None


torch.library.impl("adtool::simam", "default", reference)
torch.library.impl("adtool::simam_backward", "default", reference_backward)
torch.library.register_fake("adtool::simam", _shape)
torch.library.register_fake("adtool::simam_backward", _shape_backward)
torch.library.register_autograd("adtool::simam", _gradient, setup_context=_save)


def _check(x: Tensor, lambda_: float) -> None:
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"x: expected floating-point (N, C, H, W) features, got {x.dtype} {tuple(x.shape)}")
    if not lambda_ >= 0:
        raise ValueError(f"lambda_: expected a regulariser from 0 on, got {lambda_}")


def simam(x: Tensor, lambda_: float = 1e-4) -> Tensor:
    """Attend to the neurons of (N, C, H, W) features that stand out in their plane; same shape and dtype."""
    _check(x, lambda_)
    y: Tensor = torch.ops.adtool.simam(x, lambda_)
    return y


def simam_energy(x: Tensor, lambda_: float = 1e-4) -> Tensor:
    """The minimal energy e_t* of every neuron (masked_rd Eq. 9), (N, C, H, W): small where a neuron stands out."""
    _check(x, lambda_)
    return 1 / _energy(_wide(x), lambda_)[2]


def flops(x: Tensor, lambda_: float = 1e-4) -> tuple[int, int]:
    """Operations of the formulas above, forward and backward; exp and a division count as one each."""
    return 10 * x.numel(), 23 * x.numel()


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, the `paper`'s shapes for benchmarks."""
    small = [(2, 3, 5, 7), (1, 2, 1, 1), (2, 35, 4, 4), (1, 2, 33, 33), (1, 1, 32, 36)]  # every kernel of simam.cu
    shapes = {"small": small, "paper": [(8, 1024, 16, 16), (8, 256, 64, 64)]}[size]
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(shape, generator=generator).to(device, dtype), 1e-4) for shape in shapes]

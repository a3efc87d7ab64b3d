"""Group norm whose result is scaled and shifted for each sample and passed through SiLU, in one operator.

    v = (x - mean) / sqrt(var + eps) w + b         mean and variance of the C / G channels of a group, Wu & He 2018
    v = v (1 + scale) + shift                      where there is a modulation, (N, 2 C): scales, then shifts
    y = v sigmoid(v)                               where SiLU is asked for, else v

x and y are (N, C, H, W), w and b (C,). This is what stands between the convolutions of a diffusion model's network
(Dhariwal & Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis", adaptive group normalization), here dgrnet's.
A sample's result has the same bits whatever else is in its batch, and with any number of threads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adtool.ops import _native  # noqa: F401
from adtool.ops._layout import dense_format

NO_GRADIENT = "it serves prediction; in training the layers call PyTorch's own group norm, whose gradient is native"

torch.library.define(
    "adtool::group_norm",
    "(Tensor x, int groups, Tensor weight, Tensor bias, Tensor? modulation, float eps=1e-5, bool silu=False) -> Tensor",
)


def reference(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    modulation: Tensor | None,
    eps: float = 1e-5,
    silu: bool = False,
) -> Tensor:
    """The formula above in float64, a sample at a time."""
    n, c, h, w = x.shape
    y = torch.empty_like(x, memory_format=dense_format(x))
    for place in range(n):
        part = x[place].double().contiguous().reshape(groups, -1)
        d = part - part.mean(1, keepdim=True)
        v = (d / (d.square().mean(1, keepdim=True) + eps).sqrt()).reshape(c, h, w)
        v = v * weight.double()[:, None, None] + bias.double()[:, None, None]
        if modulation is not None:
            scale, shift = modulation[place].double()[:, None, None].chunk(2)
            v = v * (1 + scale) + shift
        y[place] = v * torch.sigmoid(v) if silu else v
    return y


def _shape(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return torch.empty_like(x, memory_format=dense_format(x))


torch.library.impl("adtool::group_norm", "default", reference)
torch.library.register_fake("adtool::group_norm", _shape)


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    modulation: Tensor | None = None,
    eps: float = 1e-5,
    *,
    silu: bool = False,
) -> Tensor:
    """Norm (N, C, H, W) over `groups` of channels, times weight and plus bias (C,); same shape and dtype.

    Of `modulation` (N, 2 C) the first half scales by one more than itself, the second is added. `silu` ends with SiLU.
    No gradient. A ValueError names what does not fit.
    """
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"x: expected floating-point (N, C, H, W) features, got {x.dtype} {tuple(x.shape)}")
    number, channels = x.shape[:2]
    if groups < 1 or channels % groups:
        raise ValueError(f"groups: expected a divisor of the {channels} channels, got {groups}")
    for name, numbers in (("weight", weight), ("bias", bias)):
        if numbers.shape != (channels,):
            raise ValueError(f"{name}: expected ({channels},), one for each channel, got {tuple(numbers.shape)}")
    if modulation is not None and modulation.shape != (number, 2 * channels):
        raise ValueError(f"modulation: expected ({number}, {2 * channels}), got {tuple(modulation.shape)}")
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = None if modulation is None else modulation.to(wide)
    y: Tensor = torch.ops.adtool.group_norm(x, groups, weight.to(wide), bias.to(wide), rows, eps, silu)
    return y


def eager(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    modulation: Tensor | None,
    eps: float = 1e-5,
    silu: bool = False,
) -> Tensor:
    """What one writes without this operator, for comparison: PyTorch's group norm, addcmul and SiLU."""
    y = torch.group_norm(x, groups, weight.to(x.dtype), bias.to(x.dtype), eps)
    if modulation is not None:
        scale, shift = modulation.to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        y = torch.addcmul(shift, y, 1 + scale)
    return F.silu(y, inplace=True) if silu else y


def flops(x: Tensor, *given: Any) -> tuple[int, int]:
    """Operations forward: 4 for the moments, 3 for the norm, 4 for SiLU, which is last; there is no backward."""
    return (11 if given[-1] else 7) * x.numel(), 0


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, dgrnet's larger ones for benchmarks."""
    small = [((2, 6, 5, 7), 2), ((1, 4, 1, 1), 4), ((3, 40, 8, 8), 8), ((1, 72, 33, 33), 1), ((2, 8, 40, 36), 4)]
    plain = [(*each, place % 2 == 0, True, 1) for place, each in enumerate(small)]
    other = [(*each, place % 2 == 1, False, 1) for place, each in enumerate(small)]
    far = [((1, 5, 3, 11), 1, False, True, 100)]  # where SiLU is its limit
    paper = [((4, 32, 128, 128), 8, True, True, 1), ((1, 128, 128, 128), 32, False, True, 1)]
    generator = torch.Generator().manual_seed(0)
    wide = torch.promote_types(dtype, torch.float32)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    cases = []
    for shape, groups, modulated, silu, spread in {"small": plain + other + far, "paper": paper}[size]:
        layout = torch.contiguous_format if size == "small" else torch.channels_last  # as dgrnet has them
        x = (drawn(*shape) + 0.5).to(device, dtype, memory_format=layout)
        weight, bias = (times * drawn(shape[1]).to(device, wide) for times in (spread, 1))
        rows = drawn(shape[0], 2 * shape[1]).to(device, wide) if modulated else None
        cases.append((x, groups, weight, bias, rows, 1e-5, silu))
    return cases

"""Convolution and group norm that give a sample the same bits whatever else is in its batch.

PyTorch chooses a convolution on the CPU by the size of the batch, and its group norm shares the sums of a channels-last
batch among threads without regard to where a sample ends; both round differently then. A diffusion chain feeds on
itself for hundreds of steps, so its network uses these. In training they are PyTorch's own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.ops.group_norm import group_norm

MEETING = ((1, 0, 0), (0, 1, 1)), ((1, 1, 0), (0, 0, 1))
"""Which of three taps meet one pixel of a row and which the next one, when every pixel is repeated: at the first of two
copies, and at the second."""


def _at_stake(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()


def _innermost(x: Tensor) -> Tensor:
    """Channels innermost, and told by the strides of a single sample too, from which PyTorch takes the layout."""
    _, channels, height, width = x.shape
    strides = height * width * channels, 1, width * channels, channels
    return x.contiguous(memory_format=torch.channels_last).as_strided(x.shape, strides)


class Conv2d(nn.Conv2d):
    """oneDNN's convolution, channels innermost, for any batch; `padding` is in pixels."""

    padding: tuple[int, int]

    def forward(self, x: Tensor) -> Tensor:
        if not _at_stake(x) or not torch._C._has_mkldnn:
            return super().forward(x)
        sizes = self.padding, self.stride, self.dilation, self.groups
        return torch.mkldnn_convolution(_innermost(x), self.weight, self.bias, *sizes)


class UpConv2d(Conv2d):
    """Convolution, 3x3, of images doubled by repetition: interpolate(x, scale_factor=2), then Conv2d.

    Taps that meet copies of one pixel are added up beforehand, so that prediction takes 4/9 of the products: 2x2 taps
    for each of the four pixels that one becomes.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not _at_stake(x) or not torch._C._has_mkldnn or self.bias is None:
            return super().forward(F.interpolate(x, scale_factor=2.0))
        number, _, height, width = x.shape
        rows = self.weight.new_tensor(MEETING)  # (which copy, tap of two, tap of three)
        weight = torch.einsum("aik,bjl,ockl->abocij", rows, rows, self.weight).flatten(0, 2)
        four = torch.mkldnn_convolution(_innermost(x), weight, self.bias.repeat(4), (1, 1), (1, 1), (1, 1), 1)
        image, row, pixel, own = (height + 1) * (width + 1) * 4, (width + 1) * 4, 4, 1  # steps, in outputs
        # the copy (a, b) of pixel (i, j) is channel (2 a + b) of place (i + a, j + b)
        sizes = number, height, 2, width, 2, self.out_channels
        steps = *(self.out_channels * step for step in (image, row, row + 2 * own, pixel, pixel + own)), 1
        copies = _innermost(four).as_strided(sizes, steps).contiguous()
        return copies.view(number, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class GroupNorm(nn.GroupNorm):
    """Group norm that may be scaled and shifted for each sample, and with `silu` ends with SiLU."""

    def __init__(self, groups: int, channels: int, *, silu: bool = False) -> None:
        super().__init__(groups, channels)
        self.silu = silu

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        """`modulation` (N, 2 C) are scales, to which one is added, then shifts."""
        if not torch.is_grad_enabled():
            return group_norm(x, self.num_groups, self.weight, self.bias, modulation, self.eps, silu=self.silu)
        x = super().forward(x)
        if modulation is not None:
            scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
            x = torch.addcmul(shift, x, 1 + scale)
        return F.silu(x) if self.silu else x

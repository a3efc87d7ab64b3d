"""Convolution and group norm that give a sample the same bits whatever else is in its batch.

PyTorch chooses a convolution on the CPU by the size of the batch, and its group norm shares the sums of a channels-last
batch among threads without regard to where a sample ends; both round differently then. A diffusion chain feeds on
itself for hundreds of steps, so its network uses these. In training they are PyTorch's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARED = 1024
"""Pixels from which on PyTorch's group norm shares a sample's sums among threads."""


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


class GroupNorm(nn.GroupNorm):
    """Every sample on its own, where its sums would be shared among threads."""

    def forward(self, x: Tensor) -> Tensor:
        if not _at_stake(x) or torch.get_num_threads() == 1 or x.shape[2] * x.shape[3] < SHARED:
            return super().forward(x)
        normed = torch.empty_like(x)
        for place in range(len(x)):
            normed[place : place + 1] = super().forward(x[place : place + 1])
        return normed

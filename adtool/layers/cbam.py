"""CBAM, the convolutional block attention module (Woo et al. 2018): which channels count, then which places."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WINDOW = 7
"""Side of the convolution that weighs places."""


class CBAM(nn.Module):
    """(N, C, H, W) to the same shape, times a gate for each channel and then one for each place.

    Channels: sigmoid(MLP(mean) + MLP(max)) over places, through C / reduction hidden numbers. Places:
    sigmoid(BN(conv(max and mean over channels))).
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.weigh = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.place = nn.Sequential(nn.Conv2d(2, 1, WINDOW, 1, WINDOW // 2, bias=False), nn.BatchNorm2d(1))

    def forward(self, features: Tensor) -> Tensor:
        channels = (self.weigh(features.mean((2, 3))) + self.weigh(features.amax((2, 3)))).sigmoid()
        weighed = features * channels[:, :, None, None]
        seen = torch.cat([weighed.amax(1, keepdim=True), weighed.mean(1, keepdim=True)], dim=1)
        gated: Tensor = weighed * self.place(seen).sigmoid()
        return gated

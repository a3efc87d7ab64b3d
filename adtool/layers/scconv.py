"""SCConv (Li et al., CVPR 2023): a spatial (SRU) and a channel (CRU) reconstruction unit, as Qi et al. 2024 use them.

SRU separates informative from redundant entries by the scale of a group norm and recombines them crosswise (their
Eq. 2-5). CRU splits the channels, transforms a rich and a cheap half, and fuses the two by a pairwise soft
attention over pooled channels (Eq. 6-8).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

RAMP = 0.05
"""Width of the gate's step, in standard deviations of the normed features: continuous, so that no score hangs on the
rounding of a value at the threshold."""


class SpatialReconstruction(nn.Module):
    """(N, C, H, W) -> (N, C, H, W), C even and divisible by `groups` (Eq. 2-5).

    `hard` gates are the paper's text (1 above the threshold, 0 below), through which the norm's scale gets no gradient;
    soft gates keep the sigmoid below the threshold.
    """

    def __init__(self, channels: int, *, groups: int = 16, threshold: float = 0.5, hard: bool = False) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.threshold_logit, self.hard = math.log(threshold / (1 - threshold)), hard

    def forward(self, features: Tensor) -> Tensor:
        gamma = self.norm.weight
        total = gamma.sum()
        share = torch.where(total.abs() < 1e-6, torch.full_like(gamma, 1 / gamma.numel()), gamma / total)  # Eq. 3
        share = share.view(1, -1, 1, 1)
        logit = share * self.norm(features)
        weight = torch.sigmoid(logit)  # Eq. 4
        above = logit - self.threshold_logit
        step = (above / (RAMP * share.abs().clamp_min(1e-12)) + 0.5).clamp(0, 1)
        kept = step if self.hard else weight + step * (1 - weight)
        rest = (1 - step) if self.hard else (1 - step) * weight
        first, second = (kept * features).chunk(2, dim=1)
        other_first, other_second = (rest * features).chunk(2, dim=1)
        return torch.cat([first + other_second, second + other_first], dim=1)  # Eq. 5


class ChannelReconstruction(nn.Module):
    """(N, C, H, W) -> (N, C, H, W), C divisible by 8 (Eq. 6-8; split 1/2, squeeze 2, two groups)."""

    def __init__(self, channels: int, *, squeeze: int = 2, groups: int = 2) -> None:
        super().__init__()
        inner = channels // 2 // squeeze
        self.squeeze_up = nn.Conv2d(channels // 2, inner, 1, bias=False)
        self.squeeze_low = nn.Conv2d(channels // 2, inner, 1, bias=False)
        self.grouped = nn.Conv2d(inner, channels, 3, padding=1, groups=groups)
        self.pointwise_up = nn.Conv2d(inner, channels, 1, bias=False)
        self.pointwise_low = nn.Conv2d(inner, channels - inner, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        up, low = features.chunk(2, dim=1)
        up, low = self.squeeze_up(up), self.squeeze_low(low)
        rich = self.grouped(up) + self.pointwise_up(up)  # Y1
        cheap = torch.cat([self.pointwise_low(low), low], dim=1)  # Y2
        attention = torch.sigmoid(rich.mean((2, 3), keepdim=True) - cheap.mean((2, 3), keepdim=True))  # Eq. 6-7
        fused: Tensor = attention * rich + (1 - attention) * cheap  # Eq. 8
        return fused


class SCConv(nn.Sequential):
    """SRU, then CRU: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, *, groups: int = 16, hard: bool = False) -> None:
        super().__init__(SpatialReconstruction(channels, groups=groups, hard=hard), ChannelReconstruction(channels))

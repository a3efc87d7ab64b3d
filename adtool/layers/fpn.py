"""Segmentation from a feature pyramid (Lin et al. 2017): deep features are added to finer and finer ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


def _group(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


class PyramidSegmentation(nn.Module):
    """Features (N, C_k, H / 2^k, W / 2^k), k = 1 ..., finest first, to logits (N, 1, H, W).

    P_k = group(double(P_(k + 1)) + L_k) with L_k a 1x1 convolution to `width` channels and the deepest P its own L.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in channels)
        self.groups = nn.ModuleList(_group(width, width) for _ in channels[1:])
        self.narrow = _group(width, width // 4)
        self.logits = nn.Conv2d(width // 4, 1, 3, 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: list[Tensor]) -> Tensor:
        *finer, hidden = (lateral(f) for lateral, f in zip(self.laterals, features, strict=True))
        for group, lateral in zip(reversed(list(self.groups)), reversed(finer), strict=True):
            hidden = group(_doubled(hidden) + lateral)
        return cast(Tensor, self.logits(_doubled(self.narrow(hidden))))

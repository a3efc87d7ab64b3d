"""Segmentation from a feature pyramid (Lin et al. 2017): deep features are added to finer and finer ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.backbones import Backbone
from adtool.layers.resnet import BasicBlock, Bottleneck, ResNet

STRIDES = (2, 4, 8, 16, 32)
PRIOR = 0.1
"""The probability of an anomaly that an untrained pyramid gives to a pixel."""


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
        self.apply(_initialise)
        nn.init.normal_(self.logits.weight, 0, 0.01)  # as in RetinaNet: every pixel starts at the prior
        nn.init.constant_(cast(Tensor, self.logits.bias), math.log(PRIOR / (1 - PRIOR)))

    def forward(self, features: list[Tensor]) -> Tensor:
        *finer, hidden = (lateral(f) for lateral, f in zip(self.laterals, features, strict=True))
        for group, lateral in zip(reversed(list(self.groups)), reversed(finer), strict=True):
            hidden = group(_doubled(hidden) + lateral)
        return cast(Tensor, self.logits(_doubled(self.narrow(hidden))))


class PairSegmentation(nn.Module):
    """Images and what they are compared with, (N, 3, H, W) in [-1, 1], to logits (N, 1, H, W): a ResNet and a pyramid.

    The two are six channels of one image or, `siamese`, told apart by the distance of their features.
    """

    def __init__(
        self, depths: tuple[int, int, int, int], base: int, width: int, *, bottleneck: bool, siamese: bool
    ) -> None:
        super().__init__()
        self.siamese = siamese
        block = Bottleneck if bottleneck else BasicBlock
        self.encoder = ResNet(block, depths, deepest=32, base=base, inputs=3 if siamese else 6)
        self.pyramid = PyramidSegmentation([self.encoder.channels[stride] for stride in self.encoder.strides], width)
        self.encoder.apply(_initialise)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        levels = self.encoder.levels(torch.cat([images, others], 0 if self.siamese else 1))
        if self.siamese:
            levels = [(ours - theirs).abs() for ours, theirs in (level.chunk(2) for level in levels)]
        logits: Tensor = self.pyramid(levels)
        return logits


class PublishedPairSegmentation(nn.Module):
    """The same with the features of a published network that stays as it is, at strides 2 to 32.

    The pyramid sees the features of both side by side or, `siamese`, their distance. No gradient reaches the images.
    """

    def __init__(self, backbone: str, width: int, *, siamese: bool) -> None:
        super().__init__()
        self.siamese = siamese
        self.encoder = Backbone(backbone, STRIDES)
        channels = self.encoder.channels
        self.pyramid = PyramidSegmentation([count if siamese else 2 * count for count in channels], width)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        with torch.no_grad():
            levels = self.encoder((torch.cat([images, others]) + 1) / 2)
        pairs = [level.chunk(2) for level in levels]
        logits: Tensor = self.pyramid([(a - b).abs() if self.siamese else torch.cat([a, b], 1) for a, b in pairs])
        return logits


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

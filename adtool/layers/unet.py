"""The decoder that slsg's two networks share: upsampling with skips from every level of an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.residual import convolution_norm_relu, initialise


def upsampled(features: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """(N, C, h, w) brought to (N, C, H, W) of `size` bilinearly."""
    if features.shape[2:] == size:
        return features
    return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)


class AuxiliaryHead(nn.Module):
    """Deep features (N, inputs, h, w) -> (N, outputs, H, W) of `size`, past the decoder."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution_norm_relu(inputs, inner, 3), nn.Conv2d(inner, outputs, 1))
        initialise(self)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return upsampled(self.body(features), size)


class Decoder(nn.Module):
    """Encoder levels, finest first, of `channels` and the deepest features -> (N, outputs, H, W) at twice the finest.

    A stage for each level but the deepest: the features brought to its resolution and through a convolution group,
    joined with the level, two more groups. With `deep_skips` every stage but the first is also given the deepest
    features through a group of its own.
    """

    def __init__(self, channels: Sequence[int], outputs: int, *, deep_skips: bool = False) -> None:
        super().__init__()
        *levels, deepest = channels
        self.up, self.blocks, self.skips = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = deepest
        for stage, level in enumerate(reversed(levels)):
            raised = level if stage else deepest
            skipped = level if deep_skips and stage else 0
            self.up.append(convolution_norm_relu(inputs, raised, 3))
            self.skips.append(convolution_norm_relu(deepest, skipped, 3) if skipped else nn.Identity())
            joined = raised + level + skipped
            self.blocks.append(
                nn.Sequential(convolution_norm_relu(joined, level, 3), convolution_norm_relu(level, level, 3))
            )
            inputs = level
        self.head = nn.Sequential(convolution_norm_relu(inputs, inputs, 3), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.deep_skips = deep_skips
        initialise(self)

    def forward(self, levels: Sequence[Tensor], deepest: Tensor) -> Tensor:
        hidden = deepest
        stages = zip(self.up, self.skips, self.blocks, reversed(levels[:-1]), strict=True)
        for stage, (up, skip, block, level) in enumerate(stages):
            parts = [up(upsampled(hidden, level.shape[2:])), level]
            if self.deep_skips and stage:
                parts.append(upsampled(skip(deepest), level.shape[2:]))
            hidden = block(torch.cat(parts, dim=1))
        height, width = hidden.shape[2:]
        decoded: Tensor = self.head(upsampled(hidden, (2 * height, 2 * width)))
        return decoded

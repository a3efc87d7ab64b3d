"""Backbone stages whose channels can be brought to zero mean and unit variance over the good images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from adtool.layers.backbones import Backbone


class ChannelStatistics:
    """Float64 sums of feature channels over every position of every batch added."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | None = None  # (2, C): of values, of squares

    def add(self, features: Tensor) -> None:
        """Take (N, C, H, W) features into account."""
        wide = features.double()
        sums = torch.stack([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3))])
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += features.numel() // features.shape[1]

    def mean_std(self) -> tuple[Tensor, Tensor]:
        """Mean (C,) and standard deviation (C,), float32; a channel that never varies has standard deviation 1."""
        if self.sums is None:
            raise ValueError("no features were added")
        mean, square = self.sums / self.count
        variance = (square - mean.square()).clamp_min(0)
        still = variance <= 1e-12 * mean.square() + 1e-24
        return mean.float(), torch.where(still, torch.ones_like(variance), variance.sqrt()).float()


class StageFeatures(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> one (N, C, H/s, W/s) tensor per stride: (backbone - mean) * scale by channel.

    Means are 0 and scales 1 until `standardise` has seen good images. `mirrored` features are the mean of those of the
    image and of its mirror image at the same place, steadier at the price of a second pass of the backbone.
    """

    def __init__(self, backbone: str, strides: Sequence[int], *, mirrored: bool = False) -> None:
        super().__init__()
        self.mirrored = mirrored
        self.backbone = Backbone(backbone, strides)
        for index, channels in enumerate(self.backbone.channels):
            self.register_buffer(f"mean{index}", torch.zeros(1, channels, 1, 1))
            self.register_buffer(f"scale{index}", torch.ones(1, channels, 1, 1))

    @property
    def channels(self) -> list[int]:
        """Channels of each stage."""
        return self.backbone.channels

    def standardise(self, batches: Iterable[Tensor]) -> int:
        """Measure means and deviations over good images; how many there were."""
        statistics = [ChannelStatistics() for _ in self.channels]
        count = 0
        with torch.inference_mode():
            for images in batches:
                count += len(images)
                for one, features in zip(statistics, self.backbone(images), strict=True):
                    one.add(features)
        for index, one in enumerate(statistics):
            mean, std = one.mean_std()
            self.get_buffer(f"mean{index}").copy_(mean.view(1, -1, 1, 1))
            self.get_buffer(f"scale{index}").copy_((1 / std).view(1, -1, 1, 1))
        return count

    def forward(self, images: Tensor) -> list[Tensor]:
        stages: list[Tensor] = self.backbone(images)
        if self.mirrored:
            pairs = zip(stages, self.backbone(images.flip(3)), strict=True)
            stages = [(stage + mirrored.flip(3)) / 2 for stage, mirrored in pairs]
        return [
            (features - self.get_buffer(f"mean{index}")) * self.get_buffer(f"scale{index}")
            for index, features in enumerate(stages)
        ]

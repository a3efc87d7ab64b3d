"""Encoders of a segmentation network: images in [0, 1] to features of every stride, trained or published."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adtool.layers.backbones import IMAGENET, Backbone
from adtool.layers.residual import convolution_norm_relu, initialise
from adtool.layers.resnet import BasicBlock, ResNet

MIDDLE = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""Brings images to [-1, 1]."""


class LearntEncoder(ResNet):
    """A ResNet-18 to be trained, whose deepest features have `stride` 16 or 32.

    One that starts from the `published` weights normalises images as they ask for.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, base: int, stride: int, *, published: bool = False) -> None:
        super().__init__(BasicBlock, (2, 2, 2, 2), deepest=32, base=base, last_stride=stride // 16)
        self.widths = [base, base, 2 * base, 4 * base, 8 * base]
        for name, values in zip(("mean", "std"), IMAGENET if published else MIDDLE, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        initialise(self)

    def levels(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1] to features, finest first."""
        normalised = (images - self.mean) / self.std
        return super().levels(normalised.contiguous(memory_format=torch.channels_last))


class PublishedEncoder(nn.Module):
    """A published network that stays as it is; only the step to the deepest features is trained.

    These have `bottleneck` channels and `stride` 16 or 32; the others have strides of 2, 4, 8 and 16.
    """

    def __init__(self, name: str, stride: int, bottleneck: int) -> None:
        super().__init__()
        self.backbone = Backbone(name, [2, 4, 8, 16, 32][: 4 + stride // 32])
        self.narrow = convolution_norm_relu(self.backbone.channels[-1], bottleneck, 1)
        self.widths: Sequence[int] = [*self.backbone.channels[:4], bottleneck]
        initialise(self.narrow)

    def levels(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1] to features, finest first."""
        found = self.backbone(images)
        return [*found[:4], self.narrow(found[-1])]

"""Residual blocks that keep, halve or double the resolution: the parts of mirrored encoders and decoders."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Step = Literal["keep", "down", "up"]


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A bias-free convolution padded by half its kernel."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def convolution_norm_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(convolution(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs), nn.ReLU())


def initialise(module: nn.Module) -> None:
    """He et al. 2015 for every convolution that a norm follows, from its outputs."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def _resample(inputs: int, outputs: int, step: Step) -> nn.Module:
    """3x3 convolution that keeps or halves the resolution, or a 2x2 transposed one that doubles it."""
    if step == "up":
        return nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=False)
    return convolution(inputs, outputs, 3, 2 if step == "down" else 1)


def _shortcut(inputs: int, outputs: int, step: Step) -> nn.Module:
    if step == "keep" and inputs == outputs:
        return nn.Identity()
    if step == "up":
        return nn.Sequential(_resample(inputs, outputs, step), nn.BatchNorm2d(outputs))
    return nn.Sequential(convolution(inputs, outputs, 1, 2 if step == "down" else 1), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """(N, inputs, H, W) -> (N, outputs, H', W'); with `ratio` a bottleneck of outputs / ratio channels, else basic."""

    def __init__(self, inputs: int, outputs: int, step: Step = "keep", ratio: int | None = None) -> None:
        super().__init__()
        self.shortcut = _shortcut(inputs, outputs, step)
        if ratio is None:
            layers = [_resample(inputs, outputs, step), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [convolution(outputs, outputs, 3), nn.BatchNorm2d(outputs)]
        else:
            inner = outputs // ratio
            layers = [convolution_norm_relu(inputs, inner, 1), _resample(inner, inner, step)]
            layers += [nn.BatchNorm2d(inner), nn.ReLU(), convolution(inner, outputs, 1), nn.BatchNorm2d(outputs)]
        self.body = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.body(features) + self.shortcut(features))


def chain(inputs: int, outputs: int, depth: int, step: Step, ratio: int | None = None) -> nn.Sequential:
    """`depth` residual blocks, the first of which changes channels and resolution."""
    blocks = [Residual(inputs, outputs, step, ratio)]
    blocks += [Residual(outputs, outputs, "keep", ratio) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)

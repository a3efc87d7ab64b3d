"""ResNet-18/34/50 and WideResNet-50-2 (He et al. 2016; Zagoruyko & Komodakis 2016) under torchvision's key names."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(inputs, planes, stride)

    def forward(self, features: Tensor) -> Tensor:
        skip = features if self.downsample is None else self.downsample(features)
        hidden = F.relu(self.bn1(self.conv1(features)), inplace=True)
        return F.relu(self.bn2(self.conv2(hidden)).add_(skip), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride), 1x1 convolutions and a skip."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, width: int) -> None:
        super().__init__()
        inner = planes * width // 64
        self.conv1 = _conv(inputs, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _conv(inner, inner, 3, stride)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = _conv(inner, planes * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = _downsample(inputs, planes * self.expansion, stride)

    def forward(self, features: Tensor) -> Tensor:
        skip = features if self.downsample is None else self.downsample(features)
        hidden = F.relu(self.bn1(self.conv1(features)), inplace=True)
        hidden = F.relu(self.bn2(self.conv2(hidden)), inplace=True)
        return F.relu(self.bn3(self.conv3(hidden)).add_(skip), inplace=True)


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """The network up to the last layer whose stride is at most `deepest`; the classifier only with `deepest=None`.

    `base` are the channels of the first convolution (64 in the published networks), which every layer's follow,
    `inputs` those of the images; `last_stride` 1 leaves the last layer at the resolution of the one before it.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        width: int = 64,
        deepest: int | None = None,
        *,
        base: int = 64,
        inputs: int = 3,
        last_stride: int = 2,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, base, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.channels: dict[int, int] = {2: base}
        """By stride; where two layers have the same, those of the deeper one."""
        self.strides = [2]
        """Of the first convolution and of each layer."""
        stride, channels = 4, base
        for number, (depth, step) in enumerate(zip(depths, (1, 2, 2, last_stride), strict=True)):
            stride *= step
            if deepest is not None and stride > deepest:
                break
            layer = nn.Sequential()
            for index in range(depth):
                layer.append(block(channels, base << number, step if index == 0 else 1, width))
                channels = (base << number) * block.expansion
            self.add_module(f"layer{number + 1}", layer)
            self.strides.append(stride)
            self.channels[stride] = channels
        if deepest is None:
            self.fc = nn.Linear(channels, 1000)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Normalised images (N, C, H, W) -> features after the first convolution and after each layer."""
        found = [F.relu(self.bn1(self.conv1(images)), inplace=True)]
        features = F.max_pool2d(found[0], 3, 2, 1)
        for number in range(1, len(self.strides)):
            features = self.get_submodule(f"layer{number}")(features)
            found.append(features)
        return found

    def stages(self, images: Tensor) -> dict[int, Tensor]:
        """Normalised images (N, 3, H, W) -> the deepest features (N, C, H/s, W/s) of each stride s."""
        return dict(zip(self.strides, self.levels(images), strict=True))

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) -> ImageNet logits (N, 1000)."""
        logits: Tensor = self.fc(self.levels(images)[-1].mean((2, 3)))
        return logits

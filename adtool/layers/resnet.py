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
        hidden = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.bn2(self.conv2(hidden)) + skip)


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
        hidden = F.relu(self.bn1(self.conv1(features)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        return F.relu(self.bn3(self.conv3(hidden)) + skip)


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """The network up to the last layer whose stride is at most `deepest`; the classifier only with `deepest=None`."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        width: int = 64,
        deepest: int | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.channels: dict[int, int] = {2: 64}
        inputs = 64
        for number, depth in enumerate(depths):
            stride, planes = 4 << number, 64 << number
            if deepest is not None and stride > deepest:
                break
            layer = nn.Sequential()
            for index in range(depth):
                layer.append(block(inputs, planes, 2 if number > 0 and index == 0 else 1, width))
                inputs = planes * block.expansion
            self.add_module(f"layer{number + 1}", layer)
            self.channels[stride] = inputs
        if deepest is None:
            self.fc = nn.Linear(inputs, 1000)

    def stages(self, images: Tensor) -> dict[int, Tensor]:
        """Normalised images (N, 3, H, W) -> features (N, C, H/s, W/s) by stride s."""
        features = F.relu(self.bn1(self.conv1(images)))
        found = {2: features}
        features = F.max_pool2d(features, 3, 2, 1)
        for stride in sorted(self.channels)[1:]:
            layer = self.get_submodule(f"layer{stride.bit_length() - 2}")
            features = layer(features)
            found[stride] = features
        return found

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) -> ImageNet logits (N, 1000)."""
        logits: Tensor = self.fc(self.stages(images)[32].mean((2, 3)))
        return logits

"""MobileNetV2 (Sandler et al. 2018) under torchvision's key names."""

from __future__ import annotations

from torch import Tensor, nn

# expansion, channels, repeats, stride (Sandler et al. 2018, Table 2)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Expand (1x1), depthwise (3x3), project (1x1); a skip where shape is kept."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        self.conv = nn.Sequential()
        if expansion != 1:
            self.conv.append(_conv(inputs, hidden, 1))
        self.conv.append(_conv(hidden, hidden, 3, stride, groups=hidden))
        self.conv.append(nn.Conv2d(hidden, outputs, 1, bias=False))
        self.conv.append(nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        hidden: Tensor = self.conv(features)
        return hidden.add_(features) if self.skips else hidden


class MobileNetV2(nn.Module):
    """The network up to the last stage whose stride is at most `deepest`; the classifier only with `deepest=None`."""

    def __init__(self, deepest: int | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(_conv(3, 32, 3, 2))
        self.channels: dict[int, int] = {}
        self._last_block: dict[int, int] = {}
        inputs, stride = 32, 2
        for expansion, channels, repeats, step in STAGES:
            stride *= step
            if deepest is not None and stride > deepest:
                break
            for repeat in range(repeats):
                self.features.append(InvertedResidual(inputs, channels, step if repeat == 0 else 1, expansion))
                inputs = channels
            self.channels[stride] = channels
            self._last_block[stride] = len(self.features) - 1
        if deepest is None:
            self.features.append(_conv(inputs, 1280, 1))
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def stages(self, images: Tensor) -> dict[int, Tensor]:
        """Normalised images (N, 3, H, W) -> features (N, C, H/s, W/s) by stride s."""
        ends = {block: stride for stride, block in self._last_block.items()}
        features, found = images, {}
        for index in range(max(ends) + 1):
            features = self.features[index](features)
            if index in ends:
                found[ends[index]] = features
        return found

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) -> ImageNet logits (N, 1000)."""
        features = self.features(images)
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits

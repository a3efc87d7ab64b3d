"""EfficientNet-Lite0/1/2 trunks and heads (Liu 2020, after Tan & Le 2019): no squeeze-excite, ReLU6, TF "SAME" padding.

Key names are those of the published PyTorch weight files (`_conv_stem`, `_blocks.<i>._depthwise_conv`, ...). Width
scales neither the stem nor the head; depth scales neither the first nor the last stage.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

STEM = 32
HEAD = 1280
# repeats, kernel, stride, expansion, channels out (Tan & Le 2019, Table 1)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv2d(nn.Conv2d):
    """A bias-free convolution padded as TensorFlow's "SAME": the odd pixel of padding goes to the bottom and right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if self.stride[0] == 1:  # an odd kernel pads evenly
            return super().forward(input)
        height, width = (self._missing(length) for length in input.shape[-2:])
        if self.out_channels > self.stride[0] ** 2 * self.in_channels:  # less to copy than of the result
            padded = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
            return super().forward(padded)
        # Where a side lacks the odd pixel, both get a whole step more, and the first row or column is dropped.
        up, left = height % 2, width % 2
        padding = height // 2 + up * self.stride[0], width // 2 + left * self.stride[1]
        result = F.conv2d(input, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return result[..., up:, left:]

    def _missing(self, length: int) -> int:
        """Pixels to add along an axis of `length` so that the output has ceil(length / stride) positions."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        return max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """Expand (1x1), depthwise (k x k), project (1x1); a skip where shape is kept."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expands = expansion != 1
        self.skips = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv2d(inputs, hidden, 1)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = SameConv2d(hidden, outputs, 1)
        self._bn2 = _norm(outputs)

    def forward(self, features: Tensor) -> Tensor:
        hidden = features
        if self.expands:
            hidden = F.relu6(self._bn0(self._expand_conv(hidden)), inplace=True)
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)), inplace=True)
        hidden = self._bn2(self._project_conv(hidden))
        result: Tensor = hidden.add_(features) if self.skips else hidden
        return result


def _round_channels(channels: int, width: float) -> int:
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class EfficientNetLite(nn.Module):
    """The network up to the last stage whose stride is at most `deepest`; the classifier only with `deepest=None`."""

    def __init__(self, width: float, depth: float, deepest: int | None = None) -> None:
        super().__init__()
        self.channels: dict[int, int] = {}
        self._last_block: dict[int, int] = {}  # stride -> index of the block that ends its stage
        self._conv_stem = SameConv2d(3, STEM, 3, 2)
        self._bn0 = _norm(STEM)
        self._blocks = nn.ModuleList()
        inputs, stride = STEM, 2
        for number, (repeats, kernel, step, expansion, channels) in enumerate(STAGES):
            stride *= step
            if deepest is not None and stride > deepest:
                break
            outputs = _round_channels(channels, width)
            scaled = repeats if number in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
            for repeat in range(scaled):
                self._blocks.append(InvertedResidual(inputs, outputs, kernel, step if repeat == 0 else 1, expansion))
                inputs = outputs
            self.channels[stride] = outputs
            self._last_block[stride] = len(self._blocks) - 1
        if deepest is None:
            self._conv_head = SameConv2d(inputs, HEAD, 1)
            self._bn1 = _norm(HEAD)
            self._fc = nn.Linear(HEAD, 1000)

    def stages(self, images: Tensor) -> dict[int, Tensor]:
        """Normalised images (N, 3, H, W) -> features (N, C, ceil(H/s), ceil(W/s)) by stride s."""
        features = F.relu6(self._bn0(self._conv_stem(images)), inplace=True)
        ends = {block: stride for stride, block in self._last_block.items()}
        found = {}
        for index, block in enumerate(self._blocks):
            features = block(features)
            if index in ends:
                found[ends[index]] = features
        return found

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) -> ImageNet logits (N, 1000)."""
        features = self.stages(images)[32]
        features = F.relu6(self._bn1(self._conv_head(features)), inplace=True)
        logits: Tensor = self._fc(features.mean((2, 3)))
        return logits

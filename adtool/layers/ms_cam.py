"""Multi-scale channel attention (Dai et al. 2021, "Attentional feature fusion", https://arxiv.org/abs/2009.14082)."""

from __future__ import annotations

from torch import Tensor, nn


class MSCAM(nn.Module):
    """Features (N, C, H, W) weighted by sigmoid(local + global), two bottlenecks of 1x1 convolutions.

    The global one sees the mean over H x W (eqs. 1 to 3 of Dai et al. 2023). Training takes at least two images, since
    its norms see one value of each.
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.local = _bottleneck(channels, hidden)
        self.whole = _bottleneck(channels, hidden)

    def forward(self, features: Tensor) -> Tensor:
        weights: Tensor = self.local(features) + self.whole(features.mean((2, 3), keepdim=True))
        return features * weights.sigmoid_()


def _bottleneck(channels: int, hidden: int) -> nn.Sequential:
    first, second = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
    return nn.Sequential(first, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True), second, nn.BatchNorm2d(channels))

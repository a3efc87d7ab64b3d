"""How unlikely features are, given other features at the same place: a linear Gaussian model, fitted in one pass.

Features e and given g, averaged over a neighbourhood of each place, are modelled on good images as e = B g + b + noise,
noise ~ N(0, S), by least squares. The distance of a place is the Mahalanobis distance |S^-1/2 (e - B g - b)| in units
of its root mean square on the good images. The neighbourhood runs over zero padding, and a channel of ones is averaged
along with g: it carries b, so that the model is as right at the border as elsewhere, and patches cut by the border
shrink towards their expectation instead of standing out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RIDGE = 1e-3
"""Of least squares, as a share of each given channel's second moment."""
SHRINKAGE = 0.1
"""Added to the eigenvalues of the noise's correlation matrix."""


class SecondMoments:
    """Float64 sum of outer products of feature vectors over every position of every batch added."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | None = None  # (D, D)

    def add(self, features: Tensor) -> None:
        """Take (N, D, H, W) features into account."""
        rows = features.permute(0, 2, 3, 1).flatten(0, 2).double()
        product = rows.T @ rows
        self.sums = product if self.sums is None else self.sums + product
        self.count += len(rows)

    def mean(self) -> Tensor:
        """Mean outer product (D, D), float64."""
        if self.sums is None:
            raise ValueError("no features were added")
        return self.sums / self.count


class ConditionalGaussian(nn.Module):
    """Features (N, C, H, W), given (N, D, H, W) -> distance (N, 1, H, W); `side` is the neighbourhood's, odd.

    Before `fit` it is the length of the averaged features.
    """

    weight: Tensor
    unit: Tensor

    def __init__(self, channels: int, given: int, side: int = 1) -> None:
        super().__init__()
        self.channels, self.side = channels, side
        self.register_buffer("weight", torch.eye(channels, channels + given + 1)[..., None, None])
        self.register_buffer("unit", torch.ones(()))

    def joint(self, features: Tensor, given: Tensor) -> Tensor:
        """(N, C + D + 1, H, W): features, given and ones, averaged over the neighbourhood."""
        both = torch.cat([features, given, torch.ones_like(features[:, :1])], dim=1)
        return F.avg_pool2d(both, self.side, 1, self.side // 2) if self.side > 1 else both

    def fit(self, moments: SecondMoments) -> None:
        """Take B, b and S from the moments of what `joint` gave for good images."""
        mean = moments.mean()
        count = self.channels
        ridge = RIDGE * mean.diagonal()[count:].clamp_min(1e-12)
        ridge[-1] = 0  # b is free
        slopes = torch.linalg.solve(mean[count:, count:] + torch.diag(ridge), mean[count:, :count])  # (D + 1, C)
        residual = torch.cat([torch.eye(count, dtype=mean.dtype, device=mean.device), -slopes.T], dim=1)
        whiten, self.unit = _whitening(residual @ mean @ residual.T)
        self.weight = (whiten @ residual).to(self.weight.dtype)[..., None, None]

    def forward(self, features: Tensor, given: Tensor) -> Tensor:
        residual = F.conv2d(self.joint(features, given), self.weight)
        distance: Tensor = torch.linalg.vector_norm(residual, dim=1, keepdim=True)
        return distance / self.unit


def _whitening(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix W (C, C) with |W r| the regularised Mahalanobis distance, and that distance's root mean square."""
    variance = covariance.diagonal()
    scale = variance.clamp_min(1e-9 * variance.mean()).clamp_min(1e-24).rsqrt()
    values, vectors = torch.linalg.eigh(scale[:, None] * covariance * scale)
    shrunk = values.clamp_min(0) + SHRINKAGE
    unit = (values.clamp_min(0) / shrunk).sum().sqrt().clamp_min(1e-12).float()
    return (vectors / shrunk.sqrt()).T * scale, unit

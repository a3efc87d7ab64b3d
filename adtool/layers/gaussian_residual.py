"""Anomaly maps of teacher and student: what the student leaves unexplained, in units of its spread on good images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.conditional_gaussian import ConditionalGaussian, SecondMoments


class GaussianResidual(nn.Module):
    """What the student leaves unexplained: linear Gaussians of F_E given the direction of F_G, finest scale first.

    The map comes from all scales but the coarsest, the finest twice as averaged over 3 x 3 positions and once as it is;
    the image score is the largest sum over all scales but the finest, averaged likewise: small defects show where they
    are in the one, what is missing or misplaced shows in the other.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        last = len(channels) - 1
        fine = [(0, 3, 2.0), *((scale, 1, 1.0) for scale in range(max(last, 1)))]  # scale, neighbourhood, weight
        deep = [(scale, 3, 1.0) for scale in range(min(last, 1), last + 1)]
        self.scales, sides, self.weights = zip(*fine, *deep, strict=True)
        self.fine = len(fine)
        self.gaussians = nn.ModuleList(
            ConditionalGaussian(channels[scale], channels[scale], side)
            for scale, side in zip(self.scales, sides, strict=True)
        )

    def fit(self, pairs: Iterable[tuple[list[Tensor], list[Tensor]]]) -> None:
        """Fit to pairs of F_E and F_G of good images."""
        moments = [SecondMoments() for _ in self.scales]
        for taught, generated in pairs:
            for one, joint in zip(moments, self._each("joint", taught, generated), strict=True):
                one.add(joint)
        for gaussian, one in zip(self.gaussians, moments, strict=True):
            cast(ConditionalGaussian, gaussian).fit(one)

    def forward(self, taught: list[Tensor], generated: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The map (N, 1, *size), and the distances (N, 1, h, w) whose maximum is the image score."""
        each = zip(self.weights, self._each("forward", taught, generated), strict=True)
        distances = [weight * distance for weight, distance in each]
        fine, deep = distances[: self.fine], distances[self.fine :]
        grid = (deep[0].shape[2], deep[0].shape[3])
        return _summed(fine, size), _summed(deep, grid)

    def _each(self, method: str, taught: list[Tensor], generated: list[Tensor]) -> Iterator[Tensor]:
        for gaussian, scale in zip(self.gaussians, self.scales, strict=True):
            yield getattr(gaussian, method)(taught[scale], F.normalize(generated[scale], dim=1))


def _summed(distances: list[Tensor], size: tuple[int, int]) -> Tensor:
    resized = [F.interpolate(distance, size, mode="bilinear", align_corners=True) for distance in distances]
    return torch.stack(resized).sum(0)

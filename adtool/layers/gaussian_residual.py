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

    The map comes from all scales but the coarsest, F_E of the finest averaged over 3 x 3 positions; the image score is
    the maximum over all scales but the finest, averaged likewise: small defects show where they are in the one, what is
    missing or misplaced shows in the other.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        last = len(channels) - 1
        fine = [(scale, 1 if scale else 3) for scale in range(max(last, 1))]
        deep = [(scale, 3) for scale in range(min(last, 1), last + 1)]
        self.scales = [scale for scale, _ in fine + deep]
        self.fine = len(fine)
        self.gaussians = nn.ModuleList(
            ConditionalGaussian(channels[scale], channels[scale], side) for scale, side in fine + deep
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
        """Two maps (N, 1, *size): where, and whether at all."""
        distances = [
            F.interpolate(distance, size, mode="bilinear", align_corners=True)
            for distance in self._each("forward", taught, generated)
        ]
        return torch.stack(distances[: self.fine]).sum(0), torch.stack(distances[self.fine :]).sum(0)

    def _each(self, method: str, taught: list[Tensor], generated: list[Tensor]) -> Iterator[Tensor]:
        for gaussian, scale in zip(self.gaussians, self.scales, strict=True):
            yield getattr(gaussian, method)(taught[scale], F.normalize(generated[scale], dim=1))

"""Anomaly maps of teacher and student: what the student leaves unexplained, in units of its spread on good images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.conditional_gaussian import ConditionalGaussian, SecondMoments

FINEST = 2.0
"""Weight of the finest scale in the map; the others have 1."""


class GaussianResidual(nn.Module):
    """What the student leaves unexplained: linear Gaussians of F_E given the direction of F_G, finest scale first.

    The map comes from all scales but the coarsest, the finest averaged over 3 x 3 positions; the image score is the
    largest sum over all scales but the finest, averaged likewise: small defects show where they are in the one, what is
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
        """The map (N, 1, *size), and the distances (N, 1, h, w) whose maximum is the image score."""
        distances = list(self._each("forward", taught, generated))
        fine, deep = distances[: self.fine], distances[self.fine :]
        first, *others = [_resized(distance, size) for distance in fine]
        grid = (deep[0].shape[2], deep[0].shape[3])
        return FINEST * first + sum(others), torch.stack([_resized(distance, grid) for distance in deep]).sum(0)

    def _each(self, method: str, taught: list[Tensor], generated: list[Tensor]) -> Iterator[Tensor]:
        for gaussian, scale in zip(self.gaussians, self.scales, strict=True):
            yield getattr(gaussian, method)(taught[scale], F.normalize(generated[scale], dim=1))


def _resized(distance: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(distance, size, mode="bilinear", align_corners=True)

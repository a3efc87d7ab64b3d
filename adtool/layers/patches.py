"""Locally aware patch features (Roth et al. 2022, Section 3.1): backbone stages averaged over neighbourhoods, one grid.

Where we differ: the average runs over zero-padded standardised features, so that patches cut by the border shrink
towards the mean instead of standing out as rare.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.features import StageFeatures


class PatchFeatures(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> one (N, C, H/s, W/s) tensor of neighbourhood averages per stride."""

    def __init__(
        self, backbone: str, strides: Sequence[int], neighbourhood: int = 3, *, mirrored: bool = False
    ) -> None:
        super().__init__()
        self.stages = StageFeatures(backbone, strides, mirrored=mirrored)
        self.neighbourhood = neighbourhood

    def forward(self, images: Tensor) -> list[Tensor]:
        stages: list[Tensor] = self.stages(images)
        side = self.neighbourhood
        return [F.avg_pool2d(stage, side, 1, side // 2) for stage in stages]

    @staticmethod
    def join(pooled: Sequence[Tensor]) -> Tensor:
        """Stages brought to the first one's grid, bilinearly, and concatenated: (N, D, h, w)."""
        grid = pooled[0].shape[-2:]
        same = [stage if stage.shape[-2:] == grid else F.interpolate(stage, grid, mode="bilinear") for stage in pooled]
        return torch.cat(same, dim=1)

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
    """Images (N, 3, H, W) in [0, 1] -> (N, D, h, w) on the grid of the finest stride asked for."""

    def __init__(self, backbone: str, strides: Sequence[int], neighbourhood: int = 3) -> None:
        super().__init__()
        self.stages = StageFeatures(backbone, strides)
        self.neighbourhood = neighbourhood

    @property
    def dimension(self) -> int:
        """D, the channels of all stages together."""
        return sum(self.stages.channels)

    def forward(self, images: Tensor) -> Tensor:
        stages = self.stages(images)
        grid = stages[0].shape[-2:]
        side = self.neighbourhood
        pooled = [F.avg_pool2d(stage, side, 1, side // 2) for stage in stages]
        same = [stage if stage.shape[-2:] == grid else F.interpolate(stage, grid, mode="bilinear") for stage in pooled]
        return torch.cat(same, dim=1)

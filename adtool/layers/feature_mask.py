"""Feature mask generation (Qi, Chai & Ye 2024, Section 3.7): hide positions of a feature map and regenerate them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskGeneration(nn.Module):
    """FMM of one scale: align, hide positions, regenerate: (N, C_D, H, W), mask (N, 1, H, W) -> (N, C_E, H, W).

    Not `enabled`, it is F_D itself, through a 1x1 convolution where the teacher has other channels.
    """

    def __init__(self, inputs: int, outputs: int, enabled: bool = True) -> None:
        super().__init__()
        self.align = nn.Conv2d(inputs, outputs, 1) if enabled or inputs != outputs else nn.Identity()
        if not enabled:
            return
        self.generate = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        aligned = self.align(features)
        generated: Tensor = self.generate(aligned if mask is None else aligned * mask)
        return generated


def random_mask(features: Tensor, rate: float) -> Tensor:
    """Eq. 11: (N, 1, H, W) of zeros where a uniform number is below `rate` and ones elsewhere, one per position."""
    shape = (features.shape[0], 1, *features.shape[2:])
    return (torch.rand(shape, device=features.device) >= rate).to(features.dtype)


def checkerboard(features: Tensor) -> Tensor:
    """(1, 1, H, W) of zeros and ones in turn."""
    rows = torch.arange(features.shape[2], device=features.device).view(-1, 1)
    columns = torch.arange(features.shape[3], device=features.device)
    return ((rows + columns) % 2).to(features.dtype).expand(1, 1, -1, -1)

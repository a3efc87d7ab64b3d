"""Random views of images: turned, scaled and cropped in one bilinear resampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adtool.layers.draws import between, uniform
from adtool.layers.rotation import turned_grid

STREAM = 0x76696577
"""Of the random numbers, so that they are none of the simulated defects'."""


def random_views(
    images: Tensor,
    seeds: Tensor,
    *,
    scale: tuple[float, float],
    turn: float,
    enlarged: float = 1.0,
    share: float = 1.0,
) -> Tensor:
    """(N, 3, H, W) enlarged by a factor, scaled by one of `scale`, turned by up to `turn` degrees, cropped to H x W.

    Edges are repeated where a turned or shrunk image ends. Only a `share` of the images is changed. All that is random
    of an image follows from its seed.
    """
    if share == 0:
        return images
    height, width = images.shape[2:]
    drawn = uniform(seeds, STREAM, 5)
    factor = (enlarged * between(drawn[:, 0], *scale))[:, None, None]
    x, y = turned_grid(between(drawn[:, 1], -turn, turn) / 360, (height, width))
    room = (1 - 1 / factor).clamp(min=0)  # of each side, left and right or above and below the crop together
    right, down = (between(number, -0.5, 0.5)[:, None, None] * room for number in drawn[:, 2:4].unbind(1))
    across, along = x / (factor * width) + right, y / (factor * height) + down  # shares of the image from its centre
    grid = 2 * torch.stack((across, along), dim=3)
    views = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.where((drawn[:, 4] < share)[:, None, None, None], views, images)

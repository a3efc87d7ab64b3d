"""Turning pictures, each by its own angle, in steps of 1/4096 of a turn, whose sines are the same everywhere."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 4096


@cache
def _circle(device: torch.device) -> Tensor:
    angles = [math.tau * step / STEPS for step in range(STEPS)]
    with torch.inference_mode(False):
        return torch.tensor([[math.cos(angle), math.sin(angle)] for angle in angles], device=device)


def direction(turns: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin, float32, of angles in turns: 0.25 is a right angle."""
    steps = (turns * STEPS).round().long() % STEPS
    circle = _circle(turns.device)[steps]
    return circle[..., 0], circle[..., 1]


def turned_grid(turns: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Coordinates x and y (N, H, W) of every pixel, from the picture's centre, in pixels, turned by (N,) turns."""
    height, width = size
    x = torch.arange(width, device=turns.device) + (0.5 - width / 2)
    y = (torch.arange(height, device=turns.device) + (0.5 - height / 2))[:, None]
    cos, sin = (part[:, None, None] for part in direction(turns))
    return cos * x - sin * y, sin * x + cos * y


def rotate(images: Tensor, turns: Tensor, padding: str, shift: Tensor | None = None) -> Tensor:
    """(N, C, H, W) turned about the centre by (N,) turns, bilinear; beyond them `padding`, "zeros" or "border".

    Then moved by `shift` (N, 2), shares of width and height to the left and up.
    """
    height, width = images.shape[2:]
    x, y = turned_grid(turns, (height, width))
    grid = torch.stack((x * (2 / width), y * (2 / height)), dim=3)
    if shift is not None:
        grid = grid + 2 * shift[:, None, None]
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)

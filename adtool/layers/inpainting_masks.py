"""What slsg hides of an image for the network to restore (Yang et al. 2023, section 3.1): grid cells, large rectangles.

Everything drawn for an image follows from its seed alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adtool.layers.draws import uniform, whole

GRID, COUNT, SIDES, PLACES = range(4)
"""Streams of random numbers."""


def hidden_pixels(
    seeds: Tensor, size: tuple[int, int], patch: int, ratio: float, *, cells: bool = False, large: bool = True
) -> Tensor:
    """(N, 1, H, W), 1 where hidden: cells of `patch` pixels or, with `cells`, so many along a side, and rectangles."""
    cell = [-(-side // patch) if cells else patch for side in size]
    masks = grid_masks(seeds, size, (cell[0], cell[1]), ratio)
    return torch.maximum(masks, large_masks(seeds, size)) if large else masks


def grid_masks(seeds: Tensor, size: tuple[int, int], cell: tuple[int, int], ratio: float) -> Tensor:
    """(N, 1, H, W), 1 where hidden: of the cells of `cell` (height, width) pixels exactly round(ratio * cells)."""
    rows, columns = -(-size[0] // cell[0]), -(-size[1] // cell[1])
    cells = rows * columns
    order = uniform(seeds, GRID, cells).argsort(dim=1, stable=True)
    hidden = torch.zeros(len(seeds), cells, device=seeds.device)
    hidden.scatter_(1, order[:, : round(ratio * cells)], 1.0)
    grid = hidden.view(-1, 1, rows, columns).repeat_interleave(cell[0], 2).repeat_interleave(cell[1], 3)
    return grid[..., : size[0], : size[1]]


def large_masks(seeds: Tensor, size: tuple[int, int], most: int = 3, sides: tuple[int, int] = (40, 150)) -> Tensor:
    """(N, 1, H, W), 1 where hidden: 1 to `most` rectangles that lie inside, their `sides` as at 256 pixels."""
    extent = torch.tensor(size, device=seeds.device)
    count = 1 + whole(uniform(seeds, COUNT, 1), most)  # (N, 1)
    chosen = sides[0] + whole(uniform(seeds, SIDES, 2 * most).view(-1, most, 2), sides[1] - sides[0] + 1)
    length = (chosen * extent / 256).round().long().clamp(min=1).minimum(extent)  # (N, most, 2)
    start = whole(uniform(seeds, PLACES, 2 * most).view(-1, most, 2), extent - length + 1)

    def covered(axis: int) -> Tensor:  # (N, most, H or W)
        place = torch.arange(size[axis], device=seeds.device)
        first = start[..., axis, None]
        return (place >= first) & (place < first + length[..., axis, None])

    drawn = torch.arange(most, device=seeds.device) < count  # (N, most)
    rectangles = covered(0)[..., None] & covered(1)[:, :, None] & drawn[..., None, None]
    return rectangles.any(1, keepdim=True).float()

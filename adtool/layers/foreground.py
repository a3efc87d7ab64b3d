"""Where the object is: a grey threshold, of the category or by Otsu's method, and which side of it the object is on."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from adtool.errors import AdtoolError

KNOWN = {
    **{"bottle": "250 dark", "capsule": "120 dark", "hazelnut": "50 bright", "metal_nut": "40 bright"},
    **{"pill": "100 bright", "screw": "110 dark", "toothbrush": "30 bright", "transistor": "90 dark"},
    **{"zipper": "100 dark"},
    **dict.fromkeys(("carpet", "grid", "leather", "tile", "wood", "cable"), "none"),
}
"""MVTec AD's categories, with the thresholds of MemSeg's code; "none" where the picture has no background."""
TEXTURES = ("carpet", "grid", "leather", "tile", "wood")
"""MVTec AD's categories that look the same turned."""
SMALLEST, LARGEST = 0.05, 0.95
"""Shares of the picture between which Otsu's foreground is believed to be an object."""
ON_BORDER = 0.1
"""Share of the border up to which it is: photographed parts have 0 to 4 %, textures mostly above 14 %."""


def check(text: str) -> str:
    """`text` if it says how to find the foreground; AdtoolError otherwise."""
    if text not in ("auto", "otsu", "none") and not re.fullmatch(r"\d+ (dark|bright)", text):
        raise AdtoolError(
            f"foreground {text!r}: expected auto, otsu, none, or the object's side of a grey value from 0 to 255, such "
            "as '110 dark'"
        )
    return text


def foreground(images: Tensor, how: str = "auto", category: str = "") -> Tensor:
    """Boolean masks (N, 1, H, W) of the object in RGB images (N, 3, H, W) in [0, 1].

    `how` is "auto" (the category's threshold, or "otsu" where it is not known), "otsu", "none" (everything is object),
    or "<grey> dark" (at or below that grey of 0 ... 255), "<grey> bright" (above it).
    """
    if how == "auto":
        how = KNOWN.get(category, "otsu")
    if how == "none":
        return images.new_ones(images[:, :1].shape, dtype=torch.bool)
    greys = grey_levels(images)
    if how == "otsu":
        return _believed(greys <= otsu(greys)[:, None, None, None])
    level, side = check(how).split()
    dark = greys <= int(level)
    return dark if side == "dark" else ~dark


def grey_levels(images: Tensor) -> Tensor:
    """Luma 0 ... 255 (N, 1, H, W) int32 of images in [0, 1], by the integer weights of Rec. 601."""
    levels = (images * 255).round().int()
    red, green, blue = (levels[:, channel : channel + 1] for channel in range(3))
    return (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16


def otsu(levels: Tensor) -> Tensor:
    """Otsu 1979: the level (N,) that best splits each sample of (N, ...) levels 0 ... 255 into `<= level` and `>`.

    The lowest of equals; 0 where all levels are the same.
    """
    number = len(levels)
    own = torch.arange(number, device=levels.device)[:, None] * 256
    counts = torch.bincount((levels.flatten(1) + own).flatten(), minlength=number * 256).view(number, 256)
    below, sums = counts.cumsum(1), (counts * torch.arange(256, device=levels.device)).cumsum(1)
    total, above = below[:, -1:], below[:, -1:] - below
    apart = (sums[:, -1:] * below - sums * total).double()  # total below above times the difference of the means
    between = apart * apart / (below * above).clamp(min=1)
    best = between == between.amax(1, keepdim=True)
    return torch.where(best, torch.arange(256, device=levels.device), 256).amin(1)


def _believed(dark: Tensor) -> Tensor:
    """The class, dark or not, that is rarer on the outermost pixels; everything where it does not look like an object.

    An object is neither next to nothing nor nearly all of the picture and hardly on its border. What Otsu finds in a
    texture is on the border as anywhere.
    """
    edges = (dark[..., 0, :], dark[..., -1, :], dark[..., 1:-1, 0], dark[..., 1:-1, -1])
    border = torch.cat(edges, dim=2)
    darks, length = border.sum((1, 2)), border.shape[2]
    found = dark == (darks * 2 < length)[:, None, None, None]
    area, pixels = found.sum((1, 2, 3)), found[0].numel()
    believed = (area >= SMALLEST * pixels) & (area <= LARGEST * pixels)
    believed &= torch.minimum(darks, length - darks) <= ON_BORDER * length
    return found | ~believed[:, None, None, None]

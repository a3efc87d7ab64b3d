"""Shapes as signed distances, lines and light: lengths are in picture heights, colours in [0, 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]
Point = tuple[float, float]


def colour(red: float, green: float, blue: float) -> Field:
    """A colour, (3,)."""
    return np.array((red, green, blue), np.float32)


def grid(height: int, width: int) -> tuple[Field, Field]:
    """Pixel centres as x (1, W) and y (H, 1)."""
    places = (np.arange(max(height, width)) + 0.5) / height
    x, y = places[None, :width], places[:height, None]
    return x.astype(np.float32), y.astype(np.float32)


def coverage(distance: Field, height: int, softness: float = 0.0) -> Field:
    """How much of each pixel is inside (distance < 0); `softness` widens the edge, in picture heights."""
    return np.asarray(np.clip(0.5 - distance / (1 / height + softness), 0, 1), np.float32)


def circle(x: Field, y: Field, centre: Point, radius: float) -> Field:
    """Distance to a circle."""
    return np.asarray(np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1])) - radius, np.float32)


def blob(x: Field, y: Field, centre: Point, radius: float, flaw: np.random.Generator, rough: float = 0.25) -> Field:
    """Distance to an irregular, elongated outline: an ellipse whose radius wavers with the angle."""
    turn, stretch = flaw.uniform(0, np.pi), np.float32(flaw.uniform(1.0, 1.8))
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    along = (dx * np.float32(np.cos(turn)) + dy * np.float32(np.sin(turn))) / stretch
    across = (dy * np.float32(np.cos(turn)) - dx * np.float32(np.sin(turn))) * stretch
    angle = np.arctan2(across, along)
    outline = np.ones_like(angle)
    for waves in range(2, 9):
        height = rough * flaw.uniform(0.3, 1.0) / waves
        outline += np.float32(height) * np.cos(np.float32(waves) * angle + np.float32(flaw.uniform(0, 2 * np.pi)))
    return np.hypot(along, across) - np.float32(radius) * outline


def polyline(x: Field, y: Field, points: list[Point]) -> Field:
    """Distance to a line through points."""
    nearest = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf, np.float32)
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        dx, dy = x1 - x0, y1 - y0
        length = max(dx * dx + dy * dy, 1e-12)
        share = np.clip(((x - np.float32(x0)) * np.float32(dx) + (y - np.float32(y0)) * np.float32(dy)) / length, 0, 1)
        distance = np.hypot(x - np.float32(x0) - share * np.float32(dx), y - np.float32(y0) - share * np.float32(dy))
        np.minimum(nearest, distance.astype(np.float32), out=nearest)
    return nearest


def walk(flaw: np.random.Generator, start: Point, length: float, bend: float, steps: int = 8) -> list[Point]:
    """A line that keeps its direction but for `bend` radians (standard deviation) at each step."""
    angle = flaw.uniform(0, 2 * np.pi) + np.cumsum(flaw.normal(0, bend, steps))
    x = start[0] + np.cumsum(np.cos(angle)) * length / steps
    y = start[1] + np.cumsum(np.sin(angle)) * length / steps
    return [start, *zip(x.tolist(), y.tolist(), strict=True)]


def scratch(x: Field, y: Field, height: int, flaw: np.random.Generator, start: Point) -> Field:
    """Coverage of a scratch that starts at a point: a thin wandering line, sometimes a second one beside it."""
    width = between(flaw, 0.002, 0.006)
    points = walk(flaw, start, between(flaw, 0.06, 0.4), 0.15)
    cover = coverage(polyline(x, y, points) - np.float32(width), height)
    if flaw.random() < 0.3:
        offset = flaw.uniform(-0.03, 0.03, 2)
        beside = [(px + float(offset[0]), py + float(offset[1])) for px, py in points[2:6]]
        cover = np.maximum(cover, coverage(polyline(x, y, beside) - np.float32(0.7 * width), height))
    return cover


def between(generator: np.random.Generator, low: float, high: float) -> float:
    """A number between two, small ones as likely as large ones (log-uniform)."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def smooth(generator: np.random.Generator, height: int, width: int, cells: int) -> Field:
    """A field of mean 0 and about unit size that changes over 1 / `cells` of the height."""
    across = max(2, round(cells * width / height))
    coarse = Image.fromarray(generator.standard_normal((cells, across), dtype=np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)


def mix(picture: Field, paint: Field, cover: Field) -> Field:
    """Paint, (3,) or (H, W, 3), laid over the picture (H, W, 3) where covered (H, W)."""
    return picture + (paint - picture) * cover[..., None]


def photograph(picture: Field, scene: np.random.Generator, noise: float) -> NDArray[np.uint8]:
    """The picture (H, W, 3) as a camera gives it: with noise, in 8 bits."""
    grain = scene.standard_normal(picture.shape[:2], dtype=np.float32) * np.float32(noise)
    tint = scene.standard_normal(picture.shape, dtype=np.float32) * np.float32(noise / 3)
    return np.asarray(np.clip((picture + grain[..., None] + tint) * 255 + 0.5, 0, 255), np.uint8)

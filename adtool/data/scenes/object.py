"""A turned metal disc with a bore and six bolt holes on a dark mat, in slightly varying pose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtool.data.scenes.shapes import (
    Field,
    Point,
    between,
    blob,
    circle,
    colour,
    coverage,
    grid,
    mix,
    photograph,
    scratch,
    smooth,
)

DEFECTS = ("chip", "dent", "scratch", "stain")
RADIUS, BORE, BOLT_CIRCLE, BOLT = 0.40, 0.11, 0.26, 0.045
MAT, STEEL = colour(0.17, 0.19, 0.20), colour(0.66, 0.67, 0.69)


@dataclass(frozen=True)
class Pose:
    """Where the disc lies."""

    centre: Point
    turn: float
    scale: float


def render(scene: np.random.Generator, size: int, flaws: Mapping[str, np.random.Generator]) -> NDArray[np.uint8]:
    """The disc, (size, size, 3), with one defect for each name in `flaws`."""
    x, y = grid(size, size)
    shift = np.clip(scene.normal(0, 0.012, 2), -0.03, 0.03)
    pose = Pose((0.5 + shift[0], 0.5 + shift[1]), scene.normal(0, 0.08), 1 + 0.012 * scene.uniform(-1, 1))
    mat = MAT * (1 + 0.06 * smooth(scene, size, size, 2) + 0.05 * smooth(scene, size, size, size // 4))[..., None]
    finish = _finish(x, y, pose, scene)
    body = _body(x, y, pose)
    if "chip" in flaws:
        body = np.maximum(body, -_chip(x, y, pose, flaws["chip"]))
    picture = mix(mat, np.zeros(3, np.float32), 0.55 * coverage(_shadow(x, y, pose), size, softness=0.03))
    metal = finish + (0.22 * _rim(body, size))[..., None]
    for name, draw in _DRAW.items():
        if name in flaws:
            metal = draw(metal, x, y, size, flaws[name], _on_metal(pose, flaws[name]))
    return photograph(mix(picture, metal, coverage(body, size)), scene, noise=0.012)


def _body(x: Field, y: Field, pose: Pose) -> Field:
    """Distance to the disc without its holes."""
    distance = circle(x, y, pose.centre, RADIUS * pose.scale)
    for centre, radius in _holes(pose):
        distance = np.maximum(distance, -circle(x, y, centre, radius))
    return distance


def _holes(pose: Pose) -> list[tuple[Point, float]]:
    angles = pose.turn + np.arange(6) * np.pi / 3
    reach = BOLT_CIRCLE * pose.scale
    bolts = [(pose.centre[0] + reach * np.cos(angle), pose.centre[1] + reach * np.sin(angle)) for angle in angles]
    return [(pose.centre, BORE * pose.scale), *((bolt, BOLT * pose.scale) for bolt in bolts)]


def _shadow(x: Field, y: Field, pose: Pose) -> Field:
    return circle(x, y, (pose.centre[0] + 0.012, pose.centre[1] + 0.018), RADIUS * pose.scale)


def _finish(x: Field, y: Field, pose: Pose, scene: np.random.Generator) -> Field:
    """Steel as the lathe leaves it: fine rings, and light that gathers along two opposite directions."""
    dx, dy = x - np.float32(pose.centre[0]), y - np.float32(pose.centre[1])
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    rings = scene.standard_normal(256, dtype=np.float32)
    groove = np.interp(radius, np.linspace(0, 0.5, rings.size, dtype=np.float32), rings).astype(np.float32)
    highlight = np.float32(scene.normal(-0.8, 0.05))
    light = 0.85 + 0.16 * np.cos(2 * (angle - highlight)) + 0.07 * np.cos(4 * (angle - highlight))
    shade = light * (1 + 0.02 * groove) * np.float32(scene.normal(1, 0.015))
    finish: Field = shade[..., None] * STEEL
    return finish


def _rim(body: Field, size: int) -> Field:
    """A chamfer along every edge, lit from the upper left."""
    dy, dx = np.gradient(body)
    slope = np.hypot(dx, dy) + 1e-6
    lit = -(dx + dy) / slope / np.float32(np.sqrt(2))
    rim: Field = lit * coverage(np.abs(body + 0.008) - 0.008, size)
    return rim


def _on_metal(pose: Pose, flaw: np.random.Generator) -> Point:
    """A point on the metal, clear of the holes."""
    while True:
        reach, angle = flaw.uniform(BORE + 0.02, RADIUS - 0.03), flaw.uniform(0, 2 * np.pi)
        point = pose.centre[0] + reach * np.cos(angle), pose.centre[1] + reach * np.sin(angle)
        if all(np.hypot(point[0] - hole[0], point[1] - hole[1]) > radius + 0.015 for hole, radius in _holes(pose)):
            return float(point[0]), float(point[1])


def _chip(x: Field, y: Field, pose: Pose, flaw: np.random.Generator) -> Field:
    """Distance to a ragged piece broken out of the outer edge or of a bolt hole."""
    angle, depth = flaw.uniform(0, 2 * np.pi), between(flaw, 0.010, 0.035)
    if flaw.random() < 0.7:
        centre, radius = pose.centre, RADIUS * pose.scale
    else:
        centre, radius = _holes(pose)[flaw.integers(1, 7)]
    place = centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)
    return blob(x, y, (float(place[0]), float(place[1])), depth, flaw, rough=0.5)


def _dent(metal: Field, x: Field, y: Field, size: int, flaw: np.random.Generator, place: Point) -> Field:
    """A shallow dent: dark on the side of the light, bright on the other."""
    radius = between(flaw, 0.015, 0.05)
    dx, dy = (x - np.float32(place[0])) / np.float32(radius), (y - np.float32(place[1])) / np.float32(radius)
    depth = np.clip(1 - dx**2 - dy**2 * np.float32(flaw.uniform(1.0, 2.0)), 0, None)
    light: Field = np.float32(between(flaw, 0.15, 0.5)) * (dx + dy) * depth
    return metal + light[..., None]


def _scratch(metal: Field, x: Field, y: Field, size: int, flaw: np.random.Generator, place: Point) -> Field:
    tone = between(flaw, 0.08, 0.4) * flaw.choice((-1, 1))
    return metal + (np.float32(tone) * scratch(x, y, size, flaw, place))[..., None]


def _stain(metal: Field, x: Field, y: Field, size: int, flaw: np.random.Generator, place: Point) -> Field:
    """Rust or oil: a brownish or dark tint of irregular outline."""
    radius = between(flaw, 0.02, 0.08)
    cover = coverage(blob(x, y, place, radius, flaw), size, softness=0.4 * radius)
    rust = colour(0.80, 0.58, 0.38) if flaw.random() < 0.5 else colour(0.70, 0.70, 0.66)
    return mix(metal, metal * rust, cover * np.float32(between(flaw, 0.25, 0.9)))


_DRAW = {"dent": _dent, "scratch": _scratch, "stain": _stain}

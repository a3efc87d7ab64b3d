"""A plate with a row of five pins of fixed colours; a picture is wider than high, 3 : 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
    polyline,
    scratch,
    smooth,
)

LOGICAL = ("missing_pin", "extra_pin", "swapped_colours")
STRUCTURAL = ("bent_pin", "contamination", "scratch")
DEFECTS = LOGICAL + STRUCTURAL
COLOURS = (
    colour(0.74, 0.16, 0.14),
    colour(0.83, 0.68, 0.16),
    colour(0.20, 0.52, 0.25),
    colour(0.18, 0.32, 0.66),
    colour(0.80, 0.80, 0.78),
)
PLATE, STEEL = colour(0.47, 0.48, 0.50), colour(0.70, 0.71, 0.73)
HEAD, SHAFT, LENGTH = 0.062, 0.016, 0.40
"""Radius of head and shaft, and length of a pin, in picture heights."""


@dataclass(frozen=True)
class Pin:
    """One pin: middle of its head, angle from the vertical, colour of the head."""

    head: Point
    tilt: float
    colour: Field


def pin_area(size: int) -> int:
    """Pixels of one upright pin in a picture `size` pixels high."""
    return int((np.pi * HEAD**2 + 2 * SHAFT * (LENGTH - HEAD)) * size**2)


def render(scene: np.random.Generator, size: int, flaws: Mapping[str, np.random.Generator]) -> NDArray[np.uint8]:
    """The plate, (size, size * 3 // 2, 3), with one defect for each name in `flaws`."""
    width = size * 3 // 2
    x, y = grid(size, width)
    brushed = 0.018 * scene.standard_normal((size, 1), dtype=np.float32)
    light = (
        1
        + 0.03 * smooth(scene, size, width, 2)
        + np.float32(scene.normal(0, 0.05)) * (x - 0.75)
        + np.float32(scene.normal(0, 0.05))
    )
    picture = PLATE * (light + brushed)[..., None]
    pins = _pins(scene)
    for pin in _changed(pins, scene.permutation(len(pins)).tolist(), flaws):
        picture = _place_pin(picture, x, y, size, pin)
    if "scratch" in flaws:
        picture = _scratch(picture, x, y, size, flaws["scratch"])
    if "contamination" in flaws:
        picture = _contamination(picture, x, y, size, flaws["contamination"])
    return photograph(picture, scene, noise=0.012)


def _pins(scene: np.random.Generator) -> list[Pin]:
    """Five pins, each a little off its place and its colour."""
    moves = np.clip(scene.normal(0, 1, (len(COLOURS) + 1, 4)), -2, 2) * (0.012, 0.015, 0.05, 0.06)
    across, down, *_ = moves[-1].tolist()
    return [
        Pin((0.25 + 0.25 * place + across + dx, 0.28 + down + dy), tilt, paint * np.float32(1 + tone))
        for place, (paint, (dx, dy, tilt, tone)) in enumerate(zip(COLOURS, moves[:-1].tolist(), strict=True))
    ]


def _changed(pins: list[Pin], order: list[int], flaws: Mapping[str, np.random.Generator]) -> list[Pin]:
    """The pins with what is wrong about them; `order` shares out the pins, so that defects do not meet."""
    changed = dict(enumerate(pins))
    if "swapped_colours" in flaws:
        one, other = order[1], order[2]
        changed[one] = replace(pins[one], colour=pins[other].colour)
        changed[other] = replace(pins[other], colour=pins[one].colour)
    if "bent_pin" in flaws:
        flaw = flaws["bent_pin"]
        bend = between(flaw, 0.16, 0.4) * flaw.choice((-1, 1))  # good pins lean 0.1 at most
        changed[order[3]] = replace(pins[order[3]], tilt=float(bend))
    if "extra_pin" in flaws:
        changed[len(pins)] = _extra(pins, flaws["extra_pin"])
    if "missing_pin" in flaws:
        del changed[order[0]]
    return list(changed.values())


def _extra(pins: list[Pin], flaw: np.random.Generator) -> Pin:
    """A sixth pin between two neighbours."""
    left = int(flaw.integers(len(pins) - 1))
    middle = (pins[left].head[0] + pins[left + 1].head[0]) / 2, (pins[left].head[1] + pins[left + 1].head[1]) / 2
    return Pin(middle, float(flaw.normal(0, 0.03)), COLOURS[int(flaw.integers(len(COLOURS)))])


def _place_pin(picture: Field, x: Field, y: Field, size: int, pin: Pin) -> Field:
    """The picture with the pin on it; only the columns around the pin are touched."""
    reach = HEAD + 0.06 + LENGTH * abs(float(np.sin(pin.tilt)))
    columns = slice(max(0, int((pin.head[0] - reach) * size)), int((pin.head[0] + reach) * size) + 1)
    picture[:, columns] = _pin(picture[:, columns], x[:, columns], y, size, pin)
    return picture


def _pin(picture: Field, x: Field, y: Field, size: int, pin: Pin) -> Field:
    """A steel shaft with a round coloured head, its light from the upper left, and its shadow."""
    foot = pin.head[0] + LENGTH * float(np.sin(pin.tilt)), pin.head[1] + LENGTH * float(np.cos(pin.tilt))
    line = polyline(x, y, [pin.head, foot])
    head = circle(x, y, pin.head, HEAD)
    thrown = circle(x, y, (pin.head[0] + 0.014, pin.head[1] + 0.016), HEAD)
    cast = np.minimum(thrown, _below(x, y, pin.head, foot) - SHAFT)
    picture = picture * (1 - 0.35 * coverage(cast, size, softness=0.012))[..., None]
    across = (x - np.float32(pin.head[0])) * np.cos(pin.tilt) - (y - np.float32(pin.head[1])) * np.sin(pin.tilt)
    gloss = 1.1 - 0.45 * (np.clip(across / SHAFT, -1, 1) + 0.3) ** 2
    picture = mix(picture, gloss[..., None] * STEEL, coverage(line - SHAFT, size))
    dx, dy = (x - np.float32(pin.head[0])) / HEAD, (y - np.float32(pin.head[1])) / HEAD
    dome = 0.75 + 0.35 * np.sqrt(np.clip(1 - dx**2 - dy**2, 0, 1)) - 0.12 * (dx + dy)
    shine = 0.5 * np.exp(-((dx + 0.35) ** 2 + (dy + 0.35) ** 2) / 0.04)
    ball = dome[..., None] * pin.colour + shine[..., None]
    return mix(picture, ball, coverage(head, size)).astype(np.float32)


def _below(x: Field, y: Field, head: Point, foot: Point) -> Field:
    """Distance to the middle of the shaft's shadow."""
    return polyline(x, y, [(head[0] + 0.010, head[1] + 0.012), (foot[0] + 0.010, foot[1] + 0.012)])


def _scratch(picture: Field, x: Field, y: Field, size: int, flaw: np.random.Generator) -> Field:
    place = flaw.uniform(0.15, 1.35), flaw.uniform(0.1, 0.9)
    tone = between(flaw, 0.05, 0.3) * flaw.choice((-1, 1))
    return picture + (np.float32(tone) * scratch(x, y, size, flaw, place))[..., None]


def _contamination(picture: Field, x: Field, y: Field, size: int, flaw: np.random.Generator) -> Field:
    """A crumb or a drop somewhere on plate or pins."""
    radius = between(flaw, 0.008, 0.04)
    place = flaw.uniform(0.12, 1.38), flaw.uniform(0.12, 0.88)
    cover = coverage(blob(x, y, place, radius, flaw, rough=0.5), size, softness=0.1 * radius)
    paint = colour(0.42, 0.36, 0.28) * np.float32(flaw.uniform(0.3, 1.8))
    return mix(picture, paint, cover * np.float32(between(flaw, 0.2, 0.8)))

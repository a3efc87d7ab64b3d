"""A woven cloth: two families of threads, each thread of its own tone, under uneven light."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from adtool.data.scenes.shapes import (
    Field,
    Point,
    between,
    blob,
    colour,
    coverage,
    grid,
    mix,
    photograph,
    scratch,
    smooth,
)

DEFECTS = ("hole", "scratch", "stain", "weave")
WARP, WEFT = colour(0.62, 0.56, 0.47), colour(0.50, 0.47, 0.43)
PIXELS_PER_THREAD = 8


def render(scene: np.random.Generator, size: int, flaws: Mapping[str, np.random.Generator]) -> NDArray[np.uint8]:
    """The cloth, (size, size, 3), with one defect for each name in `flaws`."""
    x, y = grid(size, size)
    threads = max(4, min(32, size // PIXELS_PER_THREAD))
    turn = scene.normal(0, 0.02)
    bend = 0.25 * smooth(scene, size, size, 3), 0.25 * smooth(scene, size, size, 3)
    phase = scene.uniform(0, 1, 2)
    u = np.float32(threads) * (x + np.float32(turn) * y) + bend[0] + np.float32(phase[0])
    v = np.float32(threads) * (y - np.float32(turn) * x) + bend[1] + np.float32(phase[1])
    tones = 1 + 0.05 * scene.standard_normal((2, threads + 8), dtype=np.float32)
    light = 1 + 0.03 * smooth(scene, size, size, 2) + np.float32(scene.normal(0, 0.04)) * (x - 0.5)
    swapped = _weave_fault(u, v, flaws["weave"], threads) if "weave" in flaws else np.zeros((size, size), np.bool_)
    cloth = _cloth(u, v, tones, swapped)
    for name, draw in _DRAW.items():
        if name in flaws:
            cloth = draw(cloth, x, y, size, flaws[name])
    return photograph(cloth * light[..., None], scene, noise=0.02)


def _place(flaw: np.random.Generator) -> Point:
    return flaw.uniform(0.12, 0.88), flaw.uniform(0.12, 0.88)


def _cloth(u: Field, v: Field, tones: Field, swapped: NDArray[np.bool_]) -> Field:
    """Plain weave: warp and weft lie on top by turns; a thread is bright along its middle."""
    column, row = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    across, along = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5  # -0.5 .. 0.5 within the thread
    warp_on_top = ((column + row) % 2 == 0) ^ swapped
    # a thread bends away from the eye where it dives under the other: darker towards its ends
    warp = (1 - 1.9 * across**2) * (1 - 0.7 * along**2) * tones[0][column % tones.shape[1]]
    weft = (1 - 1.9 * along**2) * (1 - 0.7 * across**2) * tones[1][row % tones.shape[1]]
    cloth: Field = np.where(warp_on_top, warp, weft)[..., None] * np.where(warp_on_top[..., None], WARP, WEFT)
    return cloth


def _weave_fault(u: Field, v: Field, flaw: np.random.Generator, threads: int) -> NDArray[np.bool_]:
    """A run of threads that pass over where they should pass under: of 32 up to three, over up to ten."""
    start = flaw.integers(1, max(2, threads - 8), 2)
    run = flaw.integers(3, 5 + threads // 5)
    wide = flaw.integers(1, 2 + threads // 12)
    extent = (wide, run) if flaw.random() < 0.5 else (run, wide)
    column, row = np.floor(u) - start[0], np.floor(v) - start[1]
    inside: NDArray[np.bool_] = (column >= 0) & (column < extent[0]) & (row >= 0) & (row < extent[1])
    return inside


def _scratch(cloth: Field, x: Field, y: Field, size: int, flaw: np.random.Generator) -> Field:
    cover = scratch(x, y, size, flaw, _place(flaw))
    tone = 1 + between(flaw, 0.25, 0.8) * flaw.choice((-1, 1))
    return mix(cloth, cloth * np.float32(tone), cover)


def _stain(cloth: Field, x: Field, y: Field, size: int, flaw: np.random.Generator) -> Field:
    """A liquid that dried: the cloth shows through, the rim is a little darker."""
    radius = between(flaw, 0.03, 0.12)
    distance = blob(x, y, _place(flaw), radius, flaw)
    cover = coverage(distance, size, softness=0.3 * radius)
    rim = np.exp(-((distance / (0.15 * radius)) ** 2)) * cover
    tint = 1 - between(flaw, 0.2, 0.6) * flaw.uniform(0.5, 1.0, 3).astype(np.float32)
    return mix(cloth, cloth * tint, np.clip(cover * 0.8 + rim * 0.2, 0, 1))


def _hole(cloth: Field, x: Field, y: Field, size: int, flaw: np.random.Generator) -> Field:
    """Broken threads: a ragged dark opening."""
    radius = between(flaw, 0.012, 0.035)
    cover = coverage(blob(x, y, _place(flaw), radius, flaw, rough=0.6), size, softness=0.004)
    return mix(cloth, colour(0.13, 0.12, 0.11), cover * np.float32(flaw.uniform(0.5, 1.0)))


_DRAW = {"hole": _hole, "scratch": _scratch, "stain": _stain}

"""The per-image overlap of the RD4AD evaluation."""

from __future__ import annotations

import brute_force
import numpy as np
import pytest

from adtool.metrics import pro_rd4ad


def by_definition(scores, mask):
    """200 thresholds from the minimum on; points with a false-positive rate below 0.3, stretched; trapezoids."""
    lowest, highest = float(scores.min()), float(scores.max())
    points = []
    for step in range(200):
        alarm = scores.astype(float) > lowest + step * (highest - lowest) / 200
        found = [np.mean([alarm[p] for p in region]) for region in brute_force.components(mask)]
        rate = alarm[~mask].mean()
        if rate < 0.3:
            points.append((rate, np.mean(found)))
    widest = max(rate for rate, _ in points)
    points = sorted((rate / widest, overlap) for rate, overlap in points)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:], strict=False))


def test_by_hand():
    # Scores 0..9, anomalous are 9 and 7. With falling threshold: 9 is found; 8 is false, rate 1/8; 7 is found; 6 is
    # false, rate 2/8; 5 would make it 3/8. Stretched: (0, 1/2) (1/2, 1/2) (1/2, 1) (1, 1).
    scores, mask = np.arange(10.0)[None], np.zeros((1, 10), bool)
    mask[0, [9, 7]] = True
    assert pro_rd4ad([scores], [mask]) == pytest.approx(0.75, abs=1e-12)


def test_agrees_with_its_definition():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 16, 16)).astype(np.float32)
    masks = rng.random((3, 16, 16)) < 0.05
    maps += masks * rng.random((3, 1, 1)).astype(np.float32) * 3
    expected = np.mean([by_definition(scores, mask) for scores, mask in zip(maps, masks, strict=True)])
    assert pro_rd4ad(maps, masks) == pytest.approx(expected, abs=1e-12)


def test_good_images_take_no_part():
    rng = np.random.default_rng(1)
    scores, mask = rng.normal(size=(8, 8)), np.eye(8, dtype=bool)
    alone = pro_rd4ad([scores], [mask])
    assert pro_rd4ad([scores, scores, scores], [mask, None, mask & False]) == alone
    assert pro_rd4ad([scores], [None]) is None
    assert pro_rd4ad([scores], [mask | True]) is None


def test_maps_without_a_curve():
    mask = np.zeros((4, 4), bool)
    mask[1, 1:3] = True
    assert pro_rd4ad([np.ones((4, 4))], [mask]) == 0.0  # constant: no threshold below which anything is found
    assert pro_rd4ad([mask.astype(float)], [mask]) == 1.0  # perfect and binary: all points at rate 0

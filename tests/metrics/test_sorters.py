"""The native sorter against its NumPy reference, and its speed."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from adtool.metrics import _reference, native, pixel_metrics, pixels

pytestmark = pytest.mark.skipif(not native(), reason="the native sorter is not built")


def made_maps(count, size, seed):
    """Smooth maps of noise, every second one with one to four round defects of various strength; their masks."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    maps, masks = [], []
    for i in range(count):
        mask = np.zeros((size, size), bool)
        for _ in range(rng.integers(1, 5) if i % 2 else 0):
            row, column, radius = rng.integers(0, size, 2).tolist() + [rng.integers(2, size // 8)]
            mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        noise = ndimage.gaussian_filter(rng.normal(size=(size, size)), 4) * 5
        defect = ndimage.gaussian_filter(mask.astype(float), 4) * rng.uniform(0.5, 3)
        maps.append((1 + noise + defect).astype(np.float32))
        masks.append(mask)
    return maps, masks


def assert_same_steps(fill):
    """What `fill` puts into both sorters gives the same counts, and the same overlaps to rounding."""
    found, expected = pixels.PixelSorter(), _reference.PixelSorter()
    fill(found)
    fill(expected)
    for got, want in zip(found.steps(), expected.steps(), strict=True):
        if np.asarray(want).dtype == np.float64:
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=0)
        else:
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [3, 1000, None])
def test_steps_equal_the_reference(dtype, levels):
    maps, masks = made_maps(6, 64, seed=0)

    def fill(sorter):
        for i, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
            values = scores if levels is None else np.round(scores * levels) / levels - 1
            sorter.add(values.astype(dtype), mask if i % 2 else None)

    assert_same_steps(fill)


def test_steps_of_channels_equal_the_reference():
    maps, masks = made_maps(6, 64, seed=1)

    def fill(sorter):
        for scores, mask in zip(maps, masks, strict=True):
            shifted = np.roll(mask, 5, axis=0)
            channels = [(m, 1 + int(m.sum()) // 3) for m in (mask, shifted) if m.any()]
            sorter.add_channels(scores, [m for m, _ in channels], [s for _, s in channels])

    assert_same_steps(fill)


@pytest.mark.parametrize("share", [0.5, 0.01, 1.0])
def test_more_scores_than_one_chunk_holds(share):
    rng = np.random.default_rng(2)  # 4.4 million: two chunks of normal pixels where few are anomalous, with ties across
    scores = np.round(rng.normal(size=(2100, 2100)), 4).astype(np.float32)
    mask = rng.random(scores.shape) < share
    assert_same_steps(lambda sorter: sorter.add(scores, mask))


def test_mixed_precision_equals_the_reference():
    rng = np.random.default_rng(3)
    scores, masks = rng.integers(0, 9, (2, 40, 40)) / 8, rng.random((2, 40, 40)) < 0.2

    def fill(sorter):
        sorter.add(scores[0] + 1e-12 * (scores[1] > 0.5), masks[0])
        sorter.add(scores[1].astype(np.float32), masks[1])

    assert_same_steps(fill)


def test_native_sorter_refuses_what_does_not_fit():
    sorter = pixels.PixelSorter()
    with pytest.raises(ValueError, match="height, width"):
        sorter.add(np.zeros(4, np.float32), None)
    with pytest.raises(ValueError, match="same"):
        sorter.add(np.zeros((2, 2), np.float32), np.zeros((2, 3), bool))
    with pytest.raises(ValueError, match="one saturation"):
        sorter.add_channels(np.zeros((2, 2), np.float32), [np.ones((2, 2), bool)], [])
    with pytest.raises(TypeError):
        sorter.add(np.zeros((2, 2), np.int32), None)


@pytest.mark.slow
def test_is_six_times_faster_than_scikit_learn():
    maps, masks = made_maps(100, 256, seed=4)
    labels, scores = np.stack(masks).ravel(), np.stack(maps).ravel()
    ours, theirs = [], []
    for _ in range(3):
        start = time.perf_counter()
        found = pixel_metrics(maps, masks)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        expected = roc_auc_score(labels, scores)
        theirs.append(time.perf_counter() - start)
        assert found["pixel_auroc"] == pytest.approx(expected, abs=1e-12)
        assert found["aupro"] is not None
    assert statistics.median(theirs) >= 6 * statistics.median(ours), (theirs, ours)

"""Pixel AUROC, AP and F1-max, AUPRO and sPRO of anomaly maps."""

from __future__ import annotations

import subprocess
import sys

import brute_force
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adtool.errors import AdtoolError
from adtool.metrics import PixelScores, aupro, pixel_metrics, spro

pytestmark = pytest.mark.usefixtures("sorter")

LIMITS = [0.05, 0.1, 0.3, 1.0]

sizes = st.tuples(st.integers(1, 5), st.integers(1, 6))


def image(size):
    """A map with many ties and a mask."""
    return st.tuples(arrays(np.float32, size, elements=st.integers(0, 4)), arrays(bool, size))


images = st.lists(sizes.flatmap(image), min_size=1, max_size=3)


def has_both(masks):
    return any(mask.any() for mask in masks) and not all(mask.all() for mask in masks)


def test_aupro_by_hand():
    # A region of two pixels scored 3 and 1 among 14 normal pixels scored 2: (0,0) (0,.5) (1,.5) (1,1).
    scores, mask = np.full((4, 4), 2.0), np.zeros((4, 4), bool)
    mask[1, 1:3] = True
    scores[1, 1:3] = 3, 1
    assert aupro([scores], [mask], limit=0.3) == pytest.approx(0.5, abs=1e-15)
    assert aupro([scores], [mask], limit=1.0) == pytest.approx(0.5, abs=1e-15)


def test_aupro_interpolates_at_the_limit():
    # One region of one pixel scored 1; normal pixels 2, 1, 1, 0: (0,0) (.25,0) (.75,1) (1,1).
    scores, mask = [[2.0, 1.0, 1.0, 0.0, 1.0]], [[0, 0, 0, 0, 1]]
    assert aupro([scores], [mask], limit=0.25) == 0.0
    assert aupro([scores], [mask], limit=0.5) == pytest.approx(0.25 * 0.5 / 2 / 0.5, abs=1e-15)
    assert aupro([scores], [mask], limit=1.0) == pytest.approx(0.25 + 0.25, abs=1e-15)


def test_aupro_weighs_every_region_alike():
    # A region of one pixel is found before all normal pixels (scored 0), one of nine pixels after them.
    scores = np.zeros((5, 5))
    scores[0, 0], scores[2:, 2:] = 2, -1
    mask = scores != 0
    assert aupro([scores], [mask], limit=1.0) == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize("limit", LIMITS)
def test_aupro_of_a_constant_map_is_half_the_limit(limit):
    mask = np.eye(6, dtype=bool)
    assert aupro(np.full((1, 6, 6), 0.7), mask[None], limit) == pytest.approx(limit / 2, abs=1e-15)


@pytest.mark.parametrize("limit", LIMITS)
def test_a_perfect_map_scores_one(limit):
    rng = np.random.default_rng(0)
    mask = rng.random((9, 9)) < 0.3
    scores = rng.random((9, 9)) + 2 * mask
    assert aupro([scores], [mask], limit) == pytest.approx(1.0, abs=1e-15)
    assert pixel_metrics([scores], [mask])["pixel_auroc"] == 1.0


def test_touching_diagonals_are_one_region():
    scores, mask = np.zeros((4, 4)), np.zeros((4, 4), bool)
    mask[1, 1] = mask[2, 2] = True
    scores[1, 1], scores[2, 2] = 1, -1
    assert PixelScores().curve().regions == 0
    pixels = PixelScores()
    pixels.add(scores, mask)
    assert pixels.curve().regions == 1
    assert aupro([scores], [mask], 1.0) == pytest.approx(0.5, abs=1e-15)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_regions_are_the_components_of_the_mask(mask):
    # A region found first adds 1 to the sum of overlaps: its pixels get the region's number as score.
    regions, scores = brute_force.components(mask), np.zeros(mask.shape)
    for number, region in enumerate(regions):
        for position in region:
            scores[position] = number + 1
    pixels = PixelScores()
    pixels.add(scores, mask)
    assert pixels.curve().regions == len(regions)
    assert pixels.curve().overlap_gain == pytest.approx(np.ones(len(regions)), abs=1e-12)


@settings(derandomize=True, deadline=None)
@given(images)
def test_agrees_with_a_sweep_over_every_threshold(images):
    maps, masks = zip(*images, strict=True)
    if not has_both(masks):
        return
    found = pixel_metrics(maps, masks, limits=LIMITS)
    labels, scores = np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])
    assert found["pixel_auroc"] == pytest.approx(brute_force.auroc(labels, scores), abs=1e-12)
    assert found["pixel_ap"] == pytest.approx(brute_force.average_precision(labels, scores), abs=1e-12)
    assert (found["pixel_f1_max"], found["pixel_threshold"]) == brute_force.f1_max(labels, scores)
    for limit in LIMITS:
        expected = brute_force.aupro(maps, masks, limit)
        assert aupro(maps, masks, limit) == pytest.approx(expected, abs=1e-12)
        assert found["aupro" if limit == LIMITS[0] else f"aupro@{limit:g}"] == pytest.approx(expected, abs=1e-12)


@settings(derandomize=True, deadline=None)
@given(images)
def test_order_of_images_and_increasing_transforms_change_nothing(images):
    maps, masks = zip(*images, strict=True)
    before = pixel_metrics(maps, masks, limits=LIMITS)
    after = pixel_metrics([np.exp(m) - 5 for m in reversed(maps)], list(reversed(masks)), limits=LIMITS)
    del before["pixel_threshold"], after["pixel_threshold"]
    assert after == pytest.approx(before, abs=1e-12)


def test_good_images_count_as_normal_pixels():
    scores, mask = np.array([[2.0, 0.0]]), np.array([[True, False]])
    with_good = pixel_metrics([scores, np.array([[3.0, 1.0, 1.0]])], [mask, None])
    assert with_good["pixel_auroc"] == 3 / 4
    assert with_good == pixel_metrics([scores, [[3.0, 1.0, 1.0]]], [mask, [[0, 0, 0]]])


def test_undefined_metrics_are_none():
    nothing = dict.fromkeys(["pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_threshold", "aupro"])
    assert pixel_metrics([], []) == nothing
    assert pixel_metrics([np.ones((2, 2))], [None]) == nothing
    assert aupro([np.ones((2, 2))], [np.ones((2, 2))]) is None
    assert spro([np.ones((2, 2))], [[]]) is None


def test_takes_stacks_tensors_generators_and_numbers_as_masks():
    rng = np.random.default_rng(2)
    maps, masks = rng.normal(size=(3, 8, 7)).astype(np.float32), rng.random((3, 8, 7)) < 0.2
    expected = pixel_metrics(list(maps), list(masks))
    assert pixel_metrics(maps[:, None], masks[:, None]) == expected
    assert pixel_metrics(torch.tensor(maps)[:, None], torch.tensor(masks)[:, None]) == expected
    assert pixel_metrics((m for m in maps), (255 * m.astype(np.uint8) for m in masks)) == expected
    assert pixel_metrics(np.asfortranarray(maps), np.asfortranarray(masks)) == expected
    assert pixel_metrics([torch.tensor(m) for m in maps], [torch.tensor(m).float() for m in masks]) == expected
    assert pixel_metrics(maps.astype(np.float64), masks) == expected


def test_float32_and_float64_maps_mix_exactly():
    tiny = 1e-12  # lost in float32
    maps = [np.array([[1.0 + tiny, 1.0]]), np.array([[1.0, 2.0]], np.float32)]
    masks = [np.array([[True, False]]), np.array([[False, False]])]
    # 1 + 1e-12 exceeds both ones and not the 2
    assert pixel_metrics(maps, masks)["pixel_auroc"] == 2 / 3


def test_a_curve_may_be_read_between_images():
    rng = np.random.default_rng(3)
    maps, masks = rng.normal(size=(2, 9, 9)), rng.random((2, 9, 9)) < 0.2
    pixels = PixelScores()
    for end in (1, 2):
        pixels.add(maps[end - 1], masks[end - 1])
        assert pixels.curve().overlap(0.3) == aupro(maps[:end], masks[:end])
    assert pixels.curve().auroc() == pixel_metrics(maps, masks)["pixel_auroc"]


def test_wrong_input_names_the_image():
    good, bad = np.zeros((2, 2)), np.array([[0.0, np.nan], [0.0, 0.0]])
    with pytest.raises(AdtoolError, match="image 1: the map is nan at row 0, column 1"):
        aupro([good, bad], [None, None])
    with pytest.raises(AdtoolError, match="image 0: the map is inf"):
        aupro([good + np.inf], [None])
    with pytest.raises(AdtoolError, match=r"image 0: map is \(2, 2\) but its mask \(3, 2\)"):
        aupro([good], [np.zeros((3, 2))])
    with pytest.raises(AdtoolError, match="image 1: the map has shape"):
        aupro([good, np.zeros(4)], [None, None])
    with pytest.raises(AdtoolError, match="image 1: there is a map but no mask"):
        aupro([good, good], [None])
    for limit in (0, -0.1, 1.5, np.nan):
        with pytest.raises(AdtoolError, match="limit"):
            aupro([good], [None], limit)


@pytest.mark.parametrize(
    ("entry", "printed"), [("None", "False 0.75"), ("types.ModuleType('broken')", "cannot be loaded")]
)
def test_without_native_code_the_reference_answers_and_says_so(entry, printed):
    code = (
        f"import sys, types; sys.modules['adtool.metrics._exact'] = {entry}\n"
        "try: from adtool.metrics import auroc, native; print(native(), auroc([0, 0, 1, 1], [1, 4, 3, 8]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed in answer
    assert "AdtoolError" in answer or entry == "None"


def ten_pixels(found):
    """A map of 40 pixels and a channel of 10 of them, `found` of which lie above every normal pixel, the rest below."""
    scores, channel = np.zeros((4, 10)), np.zeros((4, 10), bool)
    channel[1] = True
    scores[1, :found], scores[1, found:] = 1, -1
    return scores, channel


@pytest.mark.parametrize("limit", LIMITS)
def test_spro_is_one_once_saturated(limit):
    scores, channel = ten_pixels(found=5)
    assert spro([scores], [[(channel, 5)]], limit) == pytest.approx(1.0, abs=1e-15)
    assert spro([scores], [[(channel, 3)]], limit) == pytest.approx(1.0, abs=1e-15)


def test_spro_below_saturation_is_the_share_found():
    scores, channel = ten_pixels(found=4)
    assert spro([scores], [[(channel, 5)]], 0.3) == pytest.approx(0.8, abs=1e-15)
    assert spro([scores], [[(channel, 1000)]], 0.3) == pytest.approx(0.4, abs=1e-15)  # more than the area: all of it


@pytest.mark.parametrize("saturation", [1, 5, 10])
def test_spro_of_a_constant_map_is_half_the_limit(saturation):
    _, channel = ten_pixels(found=0)
    assert spro([np.ones((4, 10))], [[(channel, saturation)]], 0.05) == pytest.approx(0.025, abs=1e-15)


def test_overlapping_channels_each_count_their_pixels():
    # Channels {a, b} and {b, c}; only b is above the normal pixel: each is half found.
    scores = np.array([[0.0, 2.0, 0.0, 1.0]])
    channels = [(np.array([[1, 1, 0, 0]]), 2), (np.array([[0, 1, 1, 0]]), 2)]
    assert spro([scores], [channels], 1.0) == pytest.approx(0.5, abs=1e-15)
    pixels = PixelScores()
    pixels.add_channels(scores, channels)
    assert (pixels.curve().anomalous, pixels.curve().normals) == (3, 1)  # the shared pixel counts once
    assert pixels.curve().auroc() == 1 / 3


@st.composite
def channelled(draw):
    """A map and up to three channels, each with a saturation between 1 and more than its area."""
    size = draw(sizes)
    masks = draw(st.lists(arrays(bool, size).filter(np.any), max_size=3))
    scores = draw(arrays(np.float32, size, elements=st.integers(0, 4)))
    return scores, [(mask, draw(st.integers(1, int(mask.sum()) + 1))) for mask in masks]


@settings(derandomize=True, deadline=None)
@given(st.lists(channelled(), min_size=1, max_size=3))
def test_spro_agrees_with_a_sweep_over_every_threshold(images):
    maps, channels = zip(*images, strict=True)
    unions = [np.any([mask for mask, _ in found], axis=0) if found else np.zeros(m.shape, bool) for m, found in images]
    if not has_both(unions):
        return
    plain = [
        [({tuple(p) for p in np.argwhere(mask).tolist()}, min(pixels, int(mask.sum()))) for mask, pixels in found]
        for found in channels
    ]
    pixels = PixelScores()
    for scores, found in images:
        pixels.add_channels(scores, found)
    for limit in [0.01, *LIMITS]:
        expected = brute_force.overlap_area(maps, plain, limit)
        assert spro(maps, channels, limit) == pytest.approx(expected, abs=1e-12)
        assert pixels.curve().overlap(limit) == pytest.approx(expected, abs=1e-12)
    labels, scores = np.concatenate([u.ravel() for u in unions]), np.concatenate([m.ravel() for m in maps])
    assert pixels.curve().auroc() == pytest.approx(brute_force.auroc(labels, scores), abs=1e-12)


def test_full_saturation_with_one_component_per_channel_is_aupro():
    rng = np.random.default_rng(4)
    maps, masks, channels = rng.normal(size=(2, 12, 12)), np.zeros((2, 12, 12), bool), [[], []]
    for i, rows, columns in [
        (0, slice(1, 4), slice(1, 5)),
        (0, slice(7, 9), slice(6, 12)),
        (1, slice(0, 2), slice(0, 1)),
    ]:
        channel = np.zeros((12, 12), bool)
        channel[rows, columns] = True
        masks[i] |= channel
        channels[i].append((channel, int(channel.sum())))
    for limit in LIMITS:
        assert spro(maps, channels, limit) == pytest.approx(aupro(maps, masks, limit), abs=1e-14)


def test_wrong_channels_name_the_image():
    scores, channel = ten_pixels(found=5)
    with pytest.raises(AdtoolError, match="image 1: mask of channel 1 marks no pixel"):
        spro([scores, scores], [[], [(channel, 5), (channel & False, 5)]])
    with pytest.raises(AdtoolError, match="image 0: channel 0 saturates at 0 pixels"):
        spro([scores], [[(channel, 0)]])
    with pytest.raises(AdtoolError, match="image 0: map is"):
        spro([scores], [[(channel[:2], 5)]])

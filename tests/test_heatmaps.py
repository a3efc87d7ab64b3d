"""Heat maps, float maps and masks: colours and places worked out by hand, resizing against PyTorch's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adtool import heatmaps
from adtool.errors import AdtoolError

WHITE = np.full((4, 6, 3), 255, dtype=np.uint8)


def flat(value: float) -> np.ndarray:
    return np.full((2, 2), value, dtype=np.float32)


@pytest.mark.parametrize(
    ("value", "colour"),
    [
        (1.0, (0, 0, 143)),  # the low end: dark blue
        (0.0, (0, 0, 143)),  # below it: the same
        (3.0, (160, 0, 0)),  # the high end: dark red
        (99.0, (160, 0, 0)),  # above it: the same
    ],
)
def test_overlay_is_seven_tenths_colour_and_three_tenths_image(value: float, colour: tuple[int, int, int]) -> None:
    pixels = np.asarray(heatmaps.overlay(WHITE, flat(value), low=1.0, high=3.0))
    expected = 0.7 * np.array(colour) + 0.3 * 255
    assert pixels.shape == WHITE.shape
    assert np.abs(pixels.astype(float) - expected).max() <= 1


def test_palette_runs_from_blue_over_green_to_red() -> None:
    palette = heatmaps.palette().astype(int)
    quarter, middle, three_quarters = palette[64], palette[128], palette[192]
    assert quarter[2] == 255 and quarter[0] == 0
    assert abs(middle[0] - middle[2]) <= 4 and middle[1] == 255
    assert three_quarters[0] == 255 and three_quarters[2] == 0


def test_overlay_has_the_image_resolution_and_the_heat_where_the_map_has_it() -> None:
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    anomaly_map = np.zeros((4, 4), dtype=np.float32)
    anomaly_map[0, 3] = 1.0  # upper right
    pixels = np.asarray(heatmaps.overlay(image, anomaly_map, 0.0, 1.0)).astype(int)
    redness = pixels[..., 0] - pixels[..., 2]
    assert pixels.shape == (40, 80, 3)
    assert redness[0, -1] > 100
    assert redness[-1, 0] < -90 and redness[0, 0] < -90 and redness[-1, -1] < -90


def test_overlay_of_a_model_whose_good_maps_are_flat_shows_any_excess_in_red() -> None:
    pixels = np.asarray(heatmaps.overlay(WHITE, flat(0.5), low=0.25, high=0.25))
    assert (pixels[..., 0] > pixels[..., 2]).all()


@pytest.mark.parametrize("size", [(31, 17), (4, 60), (8, 8)])
def test_resize_map_is_bilinear_between_pixel_centres(size: tuple[int, int]) -> None:
    anomaly_map = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    if min(size) < 8:  # shrinking is antialiased, as images are
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(anomaly_map)[None, None], size, mode="bilinear", antialias=True
        )
    else:
        expected = torch.nn.functional.interpolate(torch.from_numpy(anomaly_map)[None, None], size, mode="bilinear")
    np.testing.assert_allclose(heatmaps.resize_map(anomaly_map, size), expected[0, 0].numpy(), atol=1e-6)


def test_write_map_keeps_float32_values_exactly(tmp_path: Path) -> None:
    anomaly_map = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32) * 1e-3
    heatmaps.write_map(tmp_path / "a" / "b.tiff", anomaly_map, (5, 7))
    with Image.open(tmp_path / "a" / "b.tiff") as picture:
        assert picture.mode == "F" and picture.format == "TIFF"
        np.testing.assert_array_equal(np.asarray(picture), anomaly_map)


def test_write_mask_marks_what_exceeds_the_threshold(tmp_path: Path) -> None:
    anomaly_map = np.array([[0.1, 0.5], [0.50001, 0.9]], dtype=np.float32)
    heatmaps.write_mask(tmp_path / "m.png", anomaly_map, (2, 2), 0.5)
    with Image.open(tmp_path / "m.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), [[0, 0], [255, 255]])


def test_full_disk_is_said_in_words_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / ".h.png.partial").symlink_to("/dev/full")
    (tmp_path / ".m.tiff.partial").symlink_to("/dev/full")
    with pytest.raises(AdtoolError, match=r"h\.png: cannot be written \(No space left on device\)"):
        heatmaps.write_heatmap(tmp_path / "h.png", WHITE, flat(0), 0, 1)
    with pytest.raises(AdtoolError, match=r"m\.tiff: cannot be written \(No space left on device\)"):
        heatmaps.write_map(tmp_path / "m.tiff", flat(0), (2, 2))
    assert list(tmp_path.iterdir()) == []

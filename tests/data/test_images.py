"""Pixels in, pixels out: values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adtool.data import Dataset, Sample, Saturation
from adtool.data.images import image_size, load, read_channels, read_image, read_mask, resize, to_float
from adtool.errors import AdtoolError, ImageError

RAMP = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40  # 0 40 80 / 120 160 200
COLOURS = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=2)


def save(path: Path, picture: Image.Image | np.ndarray, **options: object) -> Path:
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "a.PNG"])
def test_read_image_gives_rgb_as_stored(tmp_path: Path, name: str) -> None:
    image = read_image(save(tmp_path / name, COLOURS))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLOURS)


def test_read_image_reads_lossless_webp(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.webp", COLOURS, lossless=True)), COLOURS)


def test_read_image_reads_jpeg_nearly_as_drawn(tmp_path: Path) -> None:
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    difference = read_image(save(tmp_path / "a.jpg", flat, quality=95)).astype(int) - flat
    assert np.abs(difference).max() <= 3


def test_read_image_goes_by_content_not_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", COLOURS, format="PNG")
    np.testing.assert_array_equal(read_image(path), COLOURS)


def test_grey_is_repeated_three_times(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", RAMP)), np.stack([RAMP] * 3, axis=2))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_divided_by_257(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 128, 129, 257], [385, 386, 65406, 65535]], np.uint16)
    # 128 / 257 = 0.498, 129 / 257 = 0.502, 385 / 257 = 1.498, 386 / 257 = 1.502, 65406 / 257 = 254.498
    expected = [[0, 0, 1, 1], [1, 2, 254, 255]]
    np.testing.assert_array_equal(read_image(save(tmp_path / name, values))[..., 1], expected)


def test_big_endian_sixteen_bits_are_read(tmp_path: Path) -> None:
    picture = Image.frombytes("I;16B", (2, 1), bytes([0x01, 0x01, 0xFF, 0xFF]))
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.tif", picture))[..., 0], [[1, 255]])


def test_thirty_two_bits_within_sixteen_are_read_and_beyond_refused(tmp_path: Path) -> None:
    small = save(tmp_path / "small.tif", np.array([[0, 257]], np.int32))
    np.testing.assert_array_equal(read_image(small)[..., 0], [[0, 1]])
    with pytest.raises(ImageError, match="beyond 16 bits"):
        read_image(save(tmp_path / "large.tif", np.array([[0, 65536]], np.int32)))


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="32-bit floats of unknown range; expected 8 or 16 bits"):
        read_image(save(tmp_path / "a.tif", np.zeros((2, 2), np.float32)))


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.array([[(10, 20, 30, 255), (10, 20, 30, 0), (0, 100, 200, 51)]], np.uint8)
    # alpha 51 is a fifth: 0.2 * 0 + 0.8 * 255 = 204, 0.2 * 100 + 204 = 224, 0.2 * 200 + 204 = 244
    expected = [[(10, 20, 30), (255, 255, 255), (204, 224, 244)]]
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", pixels)), expected)


def test_grey_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[(0, 0), (100, 51)]], np.uint8), "LA")
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", picture))[..., 0], [[255, 224]])


def test_palette_gives_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([9, 8, 7, 60, 50, 40, 1, 2, 3])
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", picture)), [[(9, 8, 7), (60, 50, 40), (1, 2, 3)]])


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_transparent_palette_entry_is_white(tmp_path: Path, transparency: int | bytes) -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([9, 8, 7, 60, 50, 40, 1, 2, 3])
    path = save(tmp_path / "a.png", picture, transparency=transparency)
    np.testing.assert_array_equal(read_image(path), [[(9, 8, 7), (255, 255, 255), (1, 2, 3)]])


def test_two_colours_are_black_and_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[True, False]]))
    assert picture.mode == "1"
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", picture))[..., 2], [[255, 0]])


def test_cmyk_is_converted(tmp_path: Path) -> None:
    inks = np.array([[(255, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 0)]], np.uint8)
    path = save(tmp_path / "a.tif", Image.fromarray(inks, "CMYK"))
    np.testing.assert_array_equal(read_image(path), [[(0, 255, 255), (0, 0, 0), (255, 255, 255)]])


STORED_FOR_UPRIGHT = {
    1: RAMP,
    2: RAMP[:, ::-1],
    3: RAMP[::-1, ::-1],
    4: RAMP[::-1],
    5: RAMP.T,
    6: np.rot90(RAMP),  # a viewer turns it clockwise
    7: RAMP[::-1, ::-1].T,
    8: np.rot90(RAMP, -1),
}


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp"])
@pytest.mark.parametrize("orientation", sorted(STORED_FOR_UPRIGHT))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.kron(STORED_FOR_UPRIGHT[orientation], np.ones((8, 8), np.uint8))  # blocks survive JPEG
    options = {"lossless": True} if name.endswith("webp") else {}
    path = save(tmp_path / name, Image.fromarray(stored), exif=exif, **options)
    image = read_image(path)
    assert image.shape == (16, 24, 3) and image_size(path) == (16, 24)
    assert np.abs(image[4::8, 4::8, 0].astype(int) - RAMP).max() <= (3 if name == "a.jpg" else 0)


def test_image_size_needs_only_the_header(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (50, 70), np.uint8)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:200])
    assert image_size(tmp_path / "cut.png") == (50, 70)


def test_one_pixel_image_is_read_and_enlarged(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[77]], np.uint8))
    assert load(path, (5, 3)).tolist() == [[[77] * 3] * 5] * 3


def test_resize_averages_when_it_shrinks() -> None:
    # to half the width: a triangle of width 4 around 1 and 3, that is (3 a + 3 b + c) / 7 and (b + 3 c + 3 d) / 7
    image = np.array([[0, 70, 140, 210]], np.uint8)
    assert resize(image, (1, 2)).tolist() == [[50, 160]]


def test_resize_scales_each_direction_by_itself() -> None:
    image = np.zeros((8, 4, 3), np.uint8)
    image[:4] = 200
    resized = resize(image, (2, 12))
    assert resized.shape == (2, 12, 3)
    assert (resized[0] > 150).all() and (resized[1] < 50).all()


def test_resize_to_nothing_is_an_error() -> None:
    with pytest.raises(AdtoolError, match="at least one pixel"):
        resize(RAMP, (0, 4))


@pytest.mark.parametrize("pixels", [RAMP, COLOURS])
@pytest.mark.parametrize("size", [(2, 3), (5, 4), (1, 1)])
def test_load_is_resize_of_read_image(tmp_path: Path, pixels: np.ndarray, size: tuple[int, int]) -> None:
    path = save(tmp_path / "a.png", pixels)
    tensor = load(Sample(path), size)
    assert tensor.shape == (3, *size) and tensor.dtype == torch.uint8 and tensor.is_contiguous()
    np.testing.assert_array_equal(tensor.permute(1, 2, 0), resize(read_image(path), size))


def test_to_float_maps_255_to_one() -> None:
    batch = to_float(torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1))
    assert batch.dtype == torch.float32
    assert batch.flatten().tolist() == [0.0, pytest.approx(0.2), 1.0]


def marked(tmp_path: Path, *masks: np.ndarray, image: tuple[int, int] = (4, 4), suffix: str = ".png") -> Sample:
    """An anomalous sample with these masks."""
    path = save(tmp_path / "image.png", np.zeros(image, np.uint8))
    files = [save(tmp_path / f"mask{place}{suffix}", mask) for place, mask in enumerate(masks)]
    return Sample(path, "test", 1, "crack", tuple(files))


def test_mask_is_the_union_of_all_non_zero_values(tmp_path: Path) -> None:
    one, other = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    one[0, 1], other[2, 3] = 1, 255
    mask = read_mask(marked(tmp_path, one, other))
    assert mask.dtype == np.bool_
    assert np.argwhere(mask).tolist() == [[0, 1], [2, 3]]


def test_mask_of_colours_counts_any_colour(tmp_path: Path) -> None:
    mask = np.zeros((4, 4, 3), np.uint8)
    mask[1, 1, 2] = 9
    assert np.argwhere(read_mask(marked(tmp_path, mask))).tolist() == [[1, 1]]


def test_mask_painted_on_transparent_ground_counts_the_paint(tmp_path: Path) -> None:
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[..., :3], mask[3, 0, 3] = 255, 255
    assert np.argwhere(read_mask(marked(tmp_path, mask))).tolist() == [[3, 0]]


def test_mask_of_palette_numbers_counts_the_numbers(tmp_path: Path) -> None:
    sample = marked(tmp_path)
    picture = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8), "P")
    picture.putpalette([50, 50, 50, 0, 0, 0, 1, 1, 1])
    path = save(tmp_path / "mask.png", picture)
    mask = read_mask(Sample(sample.path, "test", 1, "crack", (path,)), (2, 2))
    assert mask.tolist() == [[False, True], [True, False]]


def test_ringing_of_a_jpeg_mask_is_no_mark(tmp_path: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[12:20, 12:20] = 255
    found = read_mask(marked(tmp_path, mask, image=(32, 32), suffix=".jpg"))
    np.testing.assert_array_equal(found, mask > 0)


def test_mask_of_other_size_is_brought_to_the_image_by_nearest_neighbour(tmp_path: Path) -> None:
    mask = np.zeros((2, 2), np.uint8)
    mask[0, 1] = 3
    found = read_mask(marked(tmp_path, mask))
    assert np.argwhere(found).tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_mask_at_a_size_keeps_to_zero_and_one(tmp_path: Path) -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :2] = 255
    found = read_mask(marked(tmp_path, mask), (2, 6))
    assert found.tolist() == [[True] * 3 + [False] * 3] * 2


def test_mask_of_a_turned_image_is_turned_only_when_drawn_on_the_stored_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    image = save(tmp_path / "image.jpg", np.zeros((16, 24), np.uint8), exif=exif)  # upright 24 x 16
    stored, upright = np.zeros((16, 24), np.uint8), np.zeros((24, 16), np.uint8)
    stored[15, 0] = upright[0, 0] = 255  # lower left turns to upper left
    for name, mask in (("stored.png", stored), ("upright.png", upright)):
        found = read_mask(Sample(image, "test", 1, "x", (save(tmp_path / name, mask),)))
        assert found.shape == (24, 16) and np.argwhere(found).tolist() == [[0, 0]], name


def test_good_image_has_an_empty_mask_and_a_bare_defective_one_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", RAMP)
    mask = read_mask(Sample(path, "test", 0))
    assert mask.shape == (2, 3) and not mask.any()
    with pytest.raises(ImageError, match="no ground-truth mask"):
        read_mask(Sample(path, "test", 1, "crack"))


RULES = {7: Saturation("cut", 7, 0.5, True), 9: Saturation("pin", 9, 3, False), 11: Saturation("dot", 11, 0.01, True)}


def channel(value: int, pixels: int) -> np.ndarray:
    mask = np.zeros((4, 4), np.uint8)
    mask.flat[:pixels] = value
    return mask


def read(sample: Sample) -> list[tuple[int, int]]:
    dataset = Dataset(sample.path.parent, "loco", "x", (sample,), RULES)
    return [(int(mask.sum()), saturation) for mask, saturation in read_channels(sample, dataset)]


def test_channels_have_their_saturation_area(tmp_path: Path) -> None:
    # relative: half of 5 is 2; absolute: 3 of 8, but all of 2; never below 1
    sample = marked(tmp_path, channel(7, 5), channel(9, 8), channel(9, 2), channel(11, 4))
    assert read(sample) == [(5, 2), (8, 3), (2, 2), (4, 1)]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (channel(5, 3), "pixel value 5 has no saturation rule; defects_config.json knows: 7, 9, 11"),
        (channel(0, 0), "0 and one other value; found only 0"),
        (np.maximum(channel(7, 3), channel(9, 1)), "0 and one other value; found"),
        (np.full((2, 2), 7, np.uint8), r"2 x 2 pixels; expected those of image.png, 4 x 4"),
    ],
)
def test_wrong_channel_is_an_error_that_names_it(tmp_path: Path, mask: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read(marked(tmp_path, mask))
    assert caught.value.path.name == "mask0.png"


def test_good_image_has_no_channels(tmp_path: Path) -> None:
    assert read(Sample(save(tmp_path / "a.png", RAMP), "test", 0)) == []

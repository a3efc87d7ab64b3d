"""Bad files: each is an ImageError that names the file and says what to do; no warning escapes."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from adtool.data.decode import MAX_PIXELS, decode, header, silence_remarks
from adtool.data.images import load
from adtool.errors import ImageError

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def refused(path: Path, words: str) -> None:
    """Reading the file is an ImageError with its name and these words."""
    with pytest.raises(ImageError, match=words) as caught:
        load(path, (8, 8))
    assert caught.value.path == path and str(path) in str(caught.value)


def png_header(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that announces a size."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"\0" * 100))
    packed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "a.png", "cannot be opened: No such file or directory; expected an image file")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is not a regular file")


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    refused(tmp_path / "a.png", "is not a regular file")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    refused(tmp_path / "a.png", r"is empty \(0 bytes\)")


def test_text_named_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello, world")
    refused(tmp_path / "a.png", r"is not an image \(it starts with b'hello, w'\); expected PNG, JPEG, BMP, TIFF, WEBP")


def test_other_formats_are_not_decoded(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png", format="GIF")
    refused(tmp_path / "a.png", "is not an image")


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif", "a.webp"])
def test_truncated_file(tmp_path: Path, name: str, share: float) -> None:
    Image.fromarray(NOISE).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    refused(tmp_path / name, "is damaged or cut short")


@pytest.mark.parametrize("kept", range(4, 60, 7))
def test_file_cut_in_its_header(tmp_path: Path, kept: int) -> None:
    for name in ("a.jpg", "a.png", "a.bmp", "a.tif", "a.webp"):
        Image.fromarray(NOISE).save(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:kept])
        refused(tmp_path / name, "is damaged or cut short")


def test_damaged_png_data(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(bytes(content))
    refused(tmp_path / "a.png", "is damaged or cut short")


def test_truncated_files_are_never_padded(tmp_path: Path) -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_header_of_900_megapixels_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(30_000, 30_000))
    refused(tmp_path / "a.png", f"too large an image .*at most {MAX_PIXELS} pixels are decoded; scale it down")
    with pytest.raises(ImageError, match="too large"):
        header(tmp_path / "a.png")


def test_own_limit_holds_when_pillow_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "a.png").write_bytes(png_header(30_000, 30_000))
    refused(tmp_path / "a.png", f"is 30000 x 30000 pixels; at most {MAX_PIXELS}")


def test_memory_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: Image.Image) -> None:
        raise MemoryError

    Image.fromarray(NOISE).save(tmp_path / "a.bmp")
    monkeypatch.setattr(ImageFile.ImageFile, "load", exhausted)
    refused(tmp_path / "a.bmp", "needs more memory than there is")


def test_name_with_null_byte(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be opened"):
        decode(Path("a\0.png"))


def test_odd_metadata_is_no_reason_to_refuse_and_no_remark_escapes(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\xff\xff"  # announces five entries, breaks off
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", exif=exif)
    assert heard(tmp_path / "a.jpg", silent=False) == 1
    assert heard(tmp_path / "a.jpg", silent=True) == 0


def test_large_picture_within_the_limit_causes_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    assert heard(tmp_path / "a.png", silent=False) == 1
    assert heard(tmp_path / "a.png", silent=True) == 0


def heard(path: Path, silent: bool) -> int:
    """Warnings while a good file is decoded."""
    with warnings.catch_warnings(record=True) as remarks:
        warnings.resetwarnings()
        if silent:
            silence_remarks()
        assert decode(path).size == (64, 64)
    return len(remarks)

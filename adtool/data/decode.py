"""Image files in: the first frame, upright, or an `ImageError` that names the file.

Only the decoders of `FORMATS` are reached, a truncated file is an error (never a half-grey picture), and the size is
checked on the header, before memory is taken.
"""

from __future__ import annotations

import logging
import stat
import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from adtool.errors import ImageError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""What is decoded, whatever the file's name ends in."""

MAX_PIXELS = 178_956_970
"""Largest width x height that is decoded (537 MB as RGB); the size at which Pillow itself refuses."""

Size = tuple[int, int]
"""Height and width in pixels."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation (tag 274) -> what turns the stored picture upright."""

_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_TOO_LARGE = f"at most {MAX_PIXELS} pixels are decoded; scale it down or cut it into tiles"


def silence_remarks() -> None:
    """Keep Pillow's remarks on odd metadata and on large pictures (`MAX_PIXELS` decides on those) off stderr."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    logging.getLogger("PIL").addHandler(logging.NullHandler())


silence_remarks()


def decode(path: Path) -> Image.Image:
    """The picture in its own mode, upright."""
    _check_file(path)
    # by handle, not by name: a named file may be mapped into memory, which garbles a turned grey TIFF (Pillow 13)
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as picture:
            orientation = _orientation(picture)
            _check_size(path, picture)
            picture.load()
    except Exception as error:  # decoders raise anything on a broken file
        raise _named(path, error) from error
    if orientation not in TURNS:
        return picture
    turned = picture.transpose(TURNS[orientation])
    turned.format = picture.format
    return turned


def header(path: Path) -> tuple[Size, Size, int]:
    """Upright size, stored size and EXIF orientation; no pixel is decoded."""
    _check_file(path)
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as picture:
            orientation = _orientation(picture)
            _check_size(path, picture)
            width, height = picture.size
    except Exception as error:  # decoders raise anything on a broken file
        raise _named(path, error) from error
    upright = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
    return upright, (height, width), orientation


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation still to be applied: 1 for TIFF, which Pillow turns itself, and for unknown values."""
    if picture.format == "TIFF":
        return 1
    # not picture.getexif(): for PNG that decodes the whole picture in search of a late chunk
    orientation = Image.Image.getexif(picture).get(274, 1)
    return orientation if orientation in TURNS else 1


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(path, f"cannot be opened: {reason}; expected an image file; check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(path, "is not a regular file; expected an image file")
    if status.st_size == 0:
        raise ImageError(path, "is empty (0 bytes); expected an image; copy it again or remove it")


def _check_size(path: Path, picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ImageError(path, f"is {width} x {height} pixels; {_TOO_LARGE}")


def _named(path: Path, error: Exception) -> ImageError:
    """What a decoder's exception means to the person who owns the file."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(path, f"the header announces too large an image ({error}); {_TOO_LARGE}")
    if isinstance(error, UnidentifiedImageError):
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(_SIGNATURES):
            return ImageError(path, "is damaged or cut short (its header is not whole); copy it again or remove it")
        known = ", ".join(FORMATS)
        return ImageError(path, f"is not an image (it starts with {start!r}); expected {known}; convert or remove it")
    if isinstance(error, MemoryError):
        return ImageError(path, "needs more memory than there is; scale it down or cut it into tiles")
    if isinstance(error, OSError) and error.strerror:
        return ImageError(path, f"cannot be opened: {error.strerror}; expected an image file")
    detail = " ".join(str(error).split()) or type(error).__name__
    return ImageError(path, f"is damaged or cut short ({detail}); copy it again or remove it")

"""Images and masks as arrays: 8-bit RGB at any size, and masks at the same size.

Transparency is laid on white, 16 bits are scaled by 1/257, grey is repeated three times. What cannot be read is an
`ImageError` (see `decode`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from adtool.data import Dataset, Sample, cifar
from adtool.data.decode import TURNS, Size, decode, header
from adtool.errors import AdtoolError, ImageError

Source = Sample | Path | str

_EIGHT_BITS = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)
"""16-bit value -> the nearest integer to value / 257."""


def read_image(source: Source) -> NDArray[np.uint8]:
    """The image at its own size, (H, W, 3) RGB; ImageError when it cannot be read."""
    return np.array(_picture(source).convert("RGB"))


def resize(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """An (H, W, 3) or (H, W) image at `size` (height, width): antialiased bilinear, each way by its own factor."""
    return np.array(_resized(Image.fromarray(image), size))


def load(source: Source, size: Size) -> torch.Tensor:
    """The image at `size` (height, width) as (3, H, W) uint8; the same pixels as `resize(read_image(source), size)`."""
    pixels = np.asarray(_resized(_picture(source), size))
    if pixels.ndim == 2:
        return torch.from_numpy(np.repeat(pixels[None], 3, axis=0))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def to_float(batch: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) uint8 -> float32 in [0, 1]."""
    return batch.to(torch.float32).div_(255)


def image_size(source: Source) -> Size:
    """Height and width in pixels once upright, from the header alone."""
    if isinstance(source, Sample) and source.index is not None:
        return cifar.SIZE
    return header(_path(source))[0]


def read_mask(sample: Sample, size: Size | None = None) -> NDArray[np.bool_]:
    """Where the sample is defective, (H, W): the union of its masks, at `size` or else at the image's own size.

    A mask of another size than its image is resized (nearest neighbour). Good samples have an empty mask; an anomalous
    one without a mask file is an ImageError.
    """
    if not sample.mask_paths and sample.label != 0:
        raise ImageError(sample.path, "has no ground-truth mask; leave it out of pixel metrics")
    union = np.zeros(size or image_size(sample), np.bool_)
    for path in sample.mask_paths:
        union |= _scaled(_turned(_mask_values(path), sample), union.shape) > 0
    return union


def read_channels(sample: Sample, dataset: Dataset) -> list[tuple[NDArray[np.bool_], int]]:
    """The sample's defect channels at original resolution, each with its saturation area in pixels.

    Bergmann et al., IJCV 130 (2022), section 4: the area is a share of the channel when relative, else at most the
    channel. An empty channel, two values in one channel, a value the rules do not know and another size than the
    image's are ImageErrors.
    """
    return [_channel(path, sample, dataset) for path in sample.mask_paths]


def _channel(path: Path, sample: Sample, dataset: Dataset) -> tuple[NDArray[np.bool_], int]:
    values = _mask_values(path)
    found = [int(value) for value in np.unique(values[values != 0])]
    if len(found) != 1:
        raise ImageError(path, f"a defect channel holds 0 and one other value; found {found or 'only 0'}")
    rule = dataset.saturation.get(found[0])
    if rule is None:
        known = ", ".join(map(str, sorted(dataset.saturation))) or "none"
        raise ImageError(path, f"pixel value {found[0]} has no saturation rule; defects_config.json knows: {known}")
    if values.shape != image_size(sample):
        height, width = image_size(sample)
        raise ImageError(path, f"{_by(values)} pixels; expected those of {sample.path.name}, {width} x {height}")
    area = int(np.count_nonzero(values))
    saturation = int(rule.threshold * area) if rule.relative else min(int(rule.threshold), area)
    return values > 0, max(saturation, 1)


def _mask_values(path: Path) -> NDArray[Any]:
    """A mask's values (H, W), 0 where nothing is marked: grey and palette numbers stay, colours give their largest."""
    picture = decode(path)
    if picture.mode in ("L", "P", "F") or picture.mode.startswith("I"):
        values = np.asarray(picture)
    else:
        values = np.asarray(_opaque(picture, path, "black").convert("RGB")).max(axis=2)
    if picture.format == "JPEG":  # the ringing around edges is no mark
        return np.where(values > 127, values, 0)
    return values


def _turned(mask: NDArray[Any], sample: Sample) -> NDArray[Any]:
    """The mask, turned with its image when it was drawn on the picture as stored."""
    if sample.index is not None:
        return mask
    upright, stored, orientation = header(sample.path)
    if mask.shape == upright or mask.shape != stored:
        return mask
    return np.asarray(Image.fromarray(mask).transpose(TURNS[orientation]))


def _scaled(mask: NDArray[Any], size: Size) -> NDArray[Any]:
    if mask.shape == size:
        return mask
    marks = Image.fromarray((mask > 0).astype(np.uint8))
    return np.asarray(marks.resize((size[1], size[0]), Image.Resampling.NEAREST))


def _picture(source: Source) -> Image.Image:
    """The upright picture of mode "L" or "RGB"."""
    if isinstance(source, Sample) and source.index is not None:
        return Image.fromarray(cifar.read_row(source.path, source.index))
    path = _path(source)
    picture = decode(path)
    mode = picture.mode
    if mode.startswith("I"):
        return Image.fromarray(_EIGHT_BITS[_sixteen_bits(picture, path)])
    if mode == "F":
        raise ImageError(path, "pixels are 32-bit floats of unknown range; expected 8 or 16 bits; convert it to PNG")
    return _opaque(picture, path, "white")


def _opaque(picture: Image.Image, path: Path, background: str) -> Image.Image:
    """The picture as "L" or "RGB", what is transparent laid on a background."""
    mode = picture.mode
    is_transparent = mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    if mode in ("L", "RGB") and not is_transparent:
        return picture
    try:
        if not is_transparent:
            return picture.convert("L" if mode == "1" else "RGB")
        paint = (picture.convert("LA") if mode == "La" else picture).convert("RGBA")
    except ValueError as error:
        raise ImageError(path, f"colours of kind {mode} are not read; expected grey or RGB; convert it") from error
    opaque = Image.new("RGB", picture.size, background)
    opaque.paste(paint, mask=paint.getchannel("A"))
    return opaque


def _sixteen_bits(picture: Image.Image, path: Path) -> NDArray[Any]:
    values = np.asarray(picture)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(path, "pixels go beyond 16 bits; expected 0 to 65535; convert it to a 16-bit PNG")
    return values


def _resized(picture: Image.Image, size: Size) -> Image.Image:
    height, width = size
    if height < 1 or width < 1:
        raise AdtoolError(f"size {height} x {width}: an image needs at least one pixel each way")
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=None)


def _by(values: NDArray[Any]) -> str:
    return f"{values.shape[1]} x {values.shape[0]}"


def _path(source: Source) -> Path:
    return source.path if isinstance(source, Sample) else Path(source)

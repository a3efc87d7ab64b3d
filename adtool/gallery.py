"""What a model that restores images makes of a data set's test images, as one picture to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice, zip_longest
from pathlib import Path

import torch
from torch import Tensor

from adtool.checkpoint import LoadedModel
from adtool.data import Dataset, Sample
from adtool.data.images import load, read_mask, to_float
from adtool.errors import AdtoolError, ImageError
from adtool.heatmaps import overlay
from adtool.models._detector import Report, silent
from adtool.preview import write_rows

COUNT = 12
"""Images in a gallery."""
UNKNOWN = 0.5
"""Grey of the truth about an anomalous image without a mask."""


def write_gallery(
    path: Path,
    loaded: LoadedModel,
    dataset: Dataset,
    *,
    count: int = COUNT,
    device: torch.device | str = "cpu",
    report: Report = silent,
) -> list[str]:
    """Write a PNG with the first `count` test images, every type of defect in turn, and name its columns.

    The columns are the image, its restorations, the residual of the last one, the heat map and the mask. The residual
    is white where it is largest in the whole picture; the heat map has the colours of `adtool score`, or without a
    calibration those from the smallest to the largest value here. Images that cannot be read are passed over.
    AdtoolError for a model that restores nothing.
    """
    found = list(islice(_readable(dataset.split("test"), loaded.model.config.size), count))
    if not found:
        raise AdtoolError(f"{dataset.root}: category {dataset.category} has no test images for a gallery")
    pixels, truth = (torch.stack(part) for part in zip(*found, strict=True))
    parts = _pictures(loaded, to_float(pixels), device, report)
    parts["residual"] /= parts["residual"].max().clamp(min=torch.finfo().tiny)
    parts |= {"heat map": _heat(loaded, pixels, parts["heat map"]), "truth": truth}
    write_rows(path, [picture.expand(-1, 3, -1, -1) for picture in parts.values()])
    return list(parts)


def _pictures(loaded: LoadedModel, images: Tensor, device: torch.device | str, report: Report) -> dict[str, Tensor]:
    """Every column but the truth, by name, on the CPU; one image after the other."""
    rows = []
    with torch.inference_mode():
        for done, image in enumerate(torch.split(images.to(device), 1), 1):
            restored = loaded.model.restorations(image)
            residual = (image - list(restored.values())[-1]).abs().mean(1, keepdim=True)
            rows.append(
                {"image": image, **restored, "residual": residual, "heat map": loaded.model.predict(image).maps}
            )
            report("gallery", done, len(images))
    return {name: torch.cat([row[name] for row in rows]).float().cpu() for name in rows[0]}


def _readable(samples: Iterable[Sample], size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels (3, H, W) uint8 and truth (1, H, W) of the samples that can be read, every defect type in turn."""
    types: dict[str, list[Sample]] = {}
    for sample in samples:
        types.setdefault(sample.defect_type, []).append(sample)
    for sample in chain.from_iterable(zip_longest(*types.values())):
        try:
            if sample is not None:
                yield load(sample, size), _truth(sample, size)
        except ImageError:
            continue


def _truth(sample: Sample, size: tuple[int, int]) -> Tensor:
    if sample.label != 0 and not sample.mask_paths:
        return torch.full((1, *size), UNKNOWN)
    return torch.from_numpy(read_mask(sample, size))[None].float()


def _heat(loaded: LoadedModel, images: Tensor, maps: Tensor) -> Tensor:
    """Heat maps (N, 3, H, W) in [0, 1] of images (N, 3, H, W) uint8 and maps (N, 1, H, W)."""
    low, high = float(maps.min()), float(maps.max())
    if loaded.calibration is not None:
        low, high = loaded.calibration.map_low, loaded.calibration.map_high
    pixels = images.permute(0, 2, 3, 1).contiguous()  # (N, H, W, 3)
    overlays = [overlay(image.numpy(), one.numpy(), low, high) for image, one in zip(pixels, maps[:, 0], strict=True)]
    heat = torch.frombuffer(bytearray().join(one.tobytes() for one in overlays), dtype=torch.uint8)
    return to_float(heat.view(pixels.shape).permute(0, 3, 1, 2))

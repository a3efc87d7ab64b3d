"""A detector small enough to know its answers by hand: how far each pixel is from the grey it was told is good.

Stands in for a file in adtool/models: `install()` makes `adtool.models.load("toy")` return this module.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adtool import checkpoint, models
from adtool.calibration import Calibration
from adtool.models._detector import Detector, DetectorConfig, Prediction

GOOD_GREY = 100
CALIBRATION = Calibration.fit(
    scores=[0.01 * k for k in range(1, 20)], map_medians=[0.0] * 19, map_maxima=[0.01 * k for k in range(1, 20)],
    false_alarm_rate=0.1,
)  # fmt: skip
"""19 held-out images at 0.01 ... 0.19; the threshold is the 18th, 0.18."""


@dataclass(frozen=True)
class Config(DetectorConfig):
    PAPER: ClassVar[str] = "Nobody, How far from grey, 2024, https://example.org"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"default": {}}
    height: int = 16
    width: int = 16


class Model(Detector):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("grey", torch.tensor(GOOD_GREY / 255))

    def predict(self, images: Tensor) -> Prediction:
        time.sleep(float(os.environ.get("TOY_SECONDS", 0)))
        maps = (images - self.grey).abs().mean(dim=1, keepdim=True)  # (N, 1, H, W)
        return Prediction(maps, maps.amax(dim=(1, 2, 3)))


def install() -> None:
    """Make the toy known by name, besides the real models."""
    load = models.load

    def load_or_toy(name: str) -> Any:
        import toy_detector

        return toy_detector if name == "toy" else load(name)

    models.load = load_or_toy  # type: ignore[assignment]


def write_model(path: Path, calibration: Calibration | None = CALIBRATION, **config: int) -> Path:
    """A model file of the toy."""
    meta = {
        "model": "toy",
        "preset": "default",
        "seed": 0,
        "calibration": None if calibration is None else calibration.to_json(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save_model(path, Model(Config(**config)), meta)
    return path


def write_image(path: Path, grey: int = GOOD_GREY, size: tuple[int, int] = (16, 16), spot: int | None = None) -> Path:
    """A plain picture of (height, width); `spot` is the grey of its upper left quarter."""
    pixels = np.full((*size, 3), grey, dtype=np.uint8)
    if spot is not None:
        pixels[: size[0] // 2, : size[1] // 2] = spot
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


if __name__ == "__main__":  # the command line with the toy known: python tests/toy_detector.py score ...
    import sys

    sys.modules["toy_detector"] = sys.modules["__main__"]
    install()
    from adtool.cli import main

    main(prog_name="adtool")

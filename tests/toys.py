"""Small detectors for the tests of training, and images to train them on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from adtool.models._detector import Batches, Detector, DetectorConfig, Prediction, Report, Stage, silent


@dataclass(frozen=True)
class Config(DetectorConfig):
    """Switches of a small autoencoder."""

    PRESETS = {"default": {}, "long": {"epochs": 1000}}

    height: int = 16
    width: int = 16
    epochs: int = 3
    batch_size: int = 4
    learning_rate: float = 1e-2
    patience: int | None = 5
    max_steps: int | None = None
    scales: tuple[int, ...] = (1, 2)


class Model(Detector):
    """A denoising autoencoder with all that a resumed training must restore: moments, schedule, noise, statistics."""

    variable_buffers = ("bank",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config: Config = config
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
        self.decoder = nn.ConvTranspose2d(8, 3, 2, 2)
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("bank", torch.empty(0, 8))
        self.judge = nn.Linear(8, 1)  # which only training needs

    def discard(self) -> None:
        if hasattr(self, "judge"):
            del self.judge

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images - self.mean)) + self.mean

    def stages(self) -> list[Stage]:
        adam = torch.optim.Adam(self.parameters(), self.config.learning_rate, betas=(0.5, 0.999))
        schedule = torch.optim.lr_scheduler.MultiStepLR(adam, [5, 9], gamma=0.5)
        return [
            Stage(
                "autoencoder",
                self.losses,
                [adam],
                self.config.epochs,
                self.config.batch_size,
                schedules=[schedule],
                validate=lambda images: (self(images) - images).square().mean(),
                patience=self.config.patience,
                max_steps=self.config.max_steps,
            )
        ]

    def losses(self, images: Tensor) -> Iterator[Tensor]:
        noisy = images + 0.1 * torch.randn_like(images)
        yield (self(noisy) - images).square().mean()

    def prepare(self, batches: Batches, report: Report = silent) -> None:
        self.mean.copy_(torch.cat(list(batches)).mean((0, 2, 3), keepdim=True))

    def finish(self, batches: Batches, report: Report = silent) -> None:
        self.bank = torch.cat([self.encoder(images).mean((2, 3)) for images in batches])

    def predict(self, images: Tensor) -> Prediction:
        maps = (self(images) - images).square().mean(1, keepdim=True)
        return Prediction(maps, maps.amax((1, 2, 3)))


class Scripted(Detector):
    """One number `value` and any stages one likes."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))
        self.scripted: list[Stage] = []

    def stages(self) -> list[Stage]:
        return self.scripted

    def climbing(self, *, epochs: int = 1, rate: float = 1.0, worse: bool = False, **changes: Any) -> Stage:
        """Batches of 2, each step adds `rate` to `value`; the loss is -value, or value if `worse`."""
        optimizer = torch.optim.SGD([self.value], rate, maximize=worse)
        sign = 1 if worse else -1
        return Stage("climb", lambda images: iter([sign * self.value]), [optimizer], epochs, 2, **changes)


class Batched:
    """`number` random images in memory, batched as ImageBatches does it."""

    def __init__(self, number: int, batch_size: int = 4) -> None:
        self.images = torch.rand(number, 3, 16, 16, generator=torch.Generator().manual_seed(7))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.images.split(self.batch_size))

    def shuffled(self, seed: int, epoch: int, batch_size: int) -> Iterator[Tensor]:
        order = np.random.default_rng((seed, epoch)).permutation(len(self))
        return self.chosen(order[: len(order) - len(order) % batch_size], batch_size)

    def chosen(self, order: Sequence[int], batch_size: int) -> Iterator[Tensor]:
        for start in range(0, len(order), batch_size):
            yield self.images[order[start : start + batch_size]]


def write_pictures(folder: Path, number: int, size: Sequence[int] = (16, 16)) -> Path:
    """`number` small grey-ish PNG files in `folder`."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(number)
    for index in range(number):
        pixels = (120 + 8 * random.standard_normal((*size, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    return folder


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters as they are now."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def changed(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """Whether any parameter is another than in `before`."""
    return any(not torch.equal(parameter, before[name]) for name, parameter in module.named_parameters())

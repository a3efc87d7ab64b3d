"""A detector that learns from simulated defects, as small as that can be.

Stands in for a file in adtool/models, as `toys` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.defects import Simulated, simulate
from adtool.layers.simulation import Simulation
from adtool.models._detector import Detector, DetectorConfig, Pairs, Prediction, Stage


@dataclass(frozen=True)
class Config(DetectorConfig):
    """Switches of a segmentation by one convolution."""

    PAPER: ClassVar[str] = "Nobody, Where it was painted, 2024, https://example.org"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"default": {}, "tiny": {"height": 16, "width": 16}}

    height: int = 32
    width: int = 32
    epochs: int = 3
    logical: bool = True
    source: str = "mixed"
    category: str = ""
    anomaly_source: str = ""


class Model(Detector):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config: Config = config
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 1, 3, 1, 1))

    def preview(self, pairs: Pairs) -> Simulated:
        config = self.config
        simulation = Simulation(logical=config.logical, source=config.source, category=config.category)
        return simulate(*pairs, simulation, self.textures)

    def stages(self) -> list[Stage]:
        adam = torch.optim.Adam(self.parameters(), 1e-2)
        return [Stage("segment", self.losses, [adam], self.config.epochs, 4, paired=True)]

    def losses(self, pairs: Pairs) -> Iterator[Tensor]:
        images, masks = self.preview(pairs)
        yield F.binary_cross_entropy_with_logits(self.net(images), masks)

    def predict(self, images: Tensor) -> Prediction:
        maps = self.net(images).sigmoid()
        return Prediction(maps, maps.amax((1, 2, 3)))

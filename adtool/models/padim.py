"""PaDiM (Defard et al., ICPR 2021, https://arxiv.org/abs/2011.08785): a Gaussian of good features at every position.

Backbone stages are brought to the finest one's grid and concatenated, a seeded random subset of channels is kept,
and every grid position gets the mean and covariance (plus 0.01 I, Eq. 1) of its good features. The map is the
Mahalanobis distance (Eq. 2). Nothing is trained by gradient.

Where we differ: `standardise` (off in `paper`) gives channels unit variance first, so that the regulariser means
the same for each. The paper reports 97.5 pixel AUROC (percent) over MVTec AD for WideResNet-50-2 with 550 channels,
96.7 for ResNet-18 with 100.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.errors import AdtoolError
from adtool.layers.features import StageFeatures
from adtool.models._detector import Batches, Detector, DetectorConfig, Prediction, Report, silent
from adtool.ops.gaussian_blur import gaussian_blur


@dataclass(frozen=True)
class Config(DetectorConfig):
    """Every switch; class defaults are the paper's ResNet-18 row."""

    PAPER: ClassVar[str] = "Defard et al. 2021, https://arxiv.org/abs/2011.08785"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"height": 224, "width": 224},
        "default": {"backbone": "efficientnet_lite0", "strides": (8, 16, 32), "standardise": True},
        "small": {
            "height": 128,
            "width": 128,
            "backbone": "efficientnet_lite0",
            "strides": (8, 16, 32),
            "standardise": True,
        },
    }

    backbone: str = "resnet18"
    strides: tuple[int, ...] = (4, 8, 16)
    """Backbone stages used; the finest gives the grid."""
    channels: int = 100
    """Randomly kept channels d (Section III-B)."""
    standardise: bool = False
    regulariser: float = 0.01
    """epsilon of Eq. 1."""
    sigma: float = 4.0
    """Gaussian smoothing of the map, pixels at 224-256 px; scales with the input."""
    seed: int = 0
    """Of the choice of channels."""


class Model(Detector):
    """PaDiM; see the module's text."""

    config: Config
    mean: Tensor
    whiten: Tensor
    chosen: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.features = StageFeatures(config.backbone, config.strides)
        total = sum(self.features.channels)
        if config.channels > total:
            raise AdtoolError(f"--set channels={config.channels}: backbone {config.backbone} has {total} channels here")
        rows, columns = (-(-side // config.strides[0]) for side in config.size)
        count, d = rows * columns, config.channels
        generator = torch.Generator().manual_seed(config.seed)
        self.register_buffer("chosen", torch.randperm(total, generator=generator)[:d].sort().values)
        self.register_buffer("mean", torch.zeros(count, 1, d))
        self.register_buffer("whiten", torch.zeros(count, d, d))

    @property
    def backbones(self) -> dict[str, nn.Module]:
        return {"backbone": self.features.backbone}

    def embed(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> chosen channels (N, d, h, w) on the finest stage's grid."""
        stages = self.features(images)
        grid = stages[0].shape[-2:]
        same = [stage if stage.shape[-2:] == grid else F.interpolate(stage, grid, mode="nearest") for stage in stages]
        return torch.cat(same, dim=1)[:, self.chosen]

    def _positions(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (h w, N, d)."""
        return self.embed(images).flatten(2).permute(2, 0, 1)

    def finish(self, batches: Batches, report: Report = silent) -> None:
        """Mean and covariance of every position, kept as a whitening matrix: |(x - mean) whiten| is Mahalanobis."""
        with torch.inference_mode():
            if self.config.standardise:
                self.features.standardise(batches)
            count, total, outer = 0, self.mean.double(), self.whiten.double()
            for images in batches:
                rows = self._positions(images)
                wide = rows.double()
                total += wide.sum(1, keepdim=True)
                outer += wide.transpose(1, 2) @ wide
                count += rows.shape[1]
                report("Gaussians", count, 0)
            mean = total / count
            outer -= count * mean.transpose(1, 2) @ mean
            covariance = outer / max(count - 1, 1)
            identity = torch.eye(covariance.shape[1], dtype=torch.float64, device=covariance.device)
            lower = torch.linalg.cholesky(covariance + self.config.regulariser * identity)
            whiten = torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False).transpose(1, 2)
        self.mean.copy_(mean)
        self.whiten.copy_(whiten)

    def predict(self, images: Tensor) -> Prediction:
        rows = self._positions(images)
        distance = torch.linalg.vector_norm((rows - self.mean) @ self.whiten, dim=2)  # (h w, N), Eq. 2
        stride = self.config.strides[0]
        grid = distance.T.reshape(len(images), 1, -(-images.shape[2] // stride), -1)
        maps = F.interpolate(grid, images.shape[-2:], mode="bilinear")
        maps = gaussian_blur(maps, self.config.sigma * images.shape[-2] / 256)
        return Prediction(maps, maps.amax((1, 2, 3)))

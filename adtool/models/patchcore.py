"""PatchCore (Roth et al., CVPR 2022, https://arxiv.org/abs/2106.08265): distance to a memory of good patches.

Patch features of good images go into a bank, thinned to a coreset that covers them (Algorithm 1). A patch's anomaly
is its distance to the nearest bank row; an image's is its largest patch distance, raised where that patch's
neighbourhood in the bank is sparse (Eq. 7). Nothing is trained by gradient.

Where we differ: patch features are standardised (`adtool.layers.patches`); of very many good patches a seeded share
of every image enters the coreset selection (`max_patches`), which bounds memory and time; `bank_limit` bounds
scoring time. The paper reports 99.1 / 98.1 (image / pixel AUROC in percent) over MVTec AD with the `paper` preset
at 224 px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.patches import PatchFeatures
from adtool.models._detector import Batches, Detector, DetectorConfig, Prediction, Report, silent
from adtool.ops.gaussian_blur import gaussian_blur
from adtool.ops.greedy_coreset import greedy_coreset
from adtool.ops.nearest_patch import nearest_patch


@dataclass(frozen=True)
class Config(DetectorConfig):
    """Every switch; class defaults are the paper's, but for the sizes that bound memory and time."""

    PAPER: ClassVar[str] = "Roth et al. 2022, https://arxiv.org/abs/2106.08265"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"height": 224, "width": 224},
        "default": {"backbone": "efficientnet_lite0", "strides": (8, 16, 32), "balance": True, "coreset": 0.01},
        "small": {
            "height": 128,
            "width": 128,
            "backbone": "efficientnet_lite0",
            "strides": (8, 16, 32),
            "balance": True,
            "coreset": 0.05,
        },
    }

    backbone: str = "wide_resnet50_2"
    strides: tuple[int, ...] = (8, 16)
    """Backbone stages used; the finest gives the grid."""
    neighbourhood: int = 3
    """Side p of the patch neighbourhood that is averaged."""
    balance: bool = False
    """Every stage weighs the same, whatever its channels."""
    coreset: float = 0.1
    """Share of the patches kept in the bank."""
    projection: int = 128
    """Dimension of the random projection in which the coreset is selected."""
    max_patches: int = 200_000
    """Patches that enter the selection; of more, a seeded share of every image."""
    bank_limit: int = 20_000
    reweight: int = 9
    """b of Eq. 7: bank neighbours that judge an image's score; 0 leaves the largest distance as it is."""
    sigma: float = 4.0
    """Gaussian smoothing of the map, pixels at 224-256 px as in the paper; scales with the input."""
    seed: int = 0
    """Of the coreset's start, the projection and the share of patches."""


class Model(Detector):
    """PatchCore; see the module's text."""

    config: Config
    bank: Tensor
    variable_buffers = ("bank",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.features = PatchFeatures(config.backbone, config.strides, config.neighbourhood)
        self.register_buffer("bank", torch.zeros(0, self.features.dimension))

    @property
    def backbones(self) -> dict[str, nn.Module]:
        return {"backbone": self.features.stages.backbone}

    def finish(self, batches: Batches, report: Report = silent) -> None:
        """Standardise, collect patches, select the bank (Algorithm 1)."""
        config = self.config
        with torch.inference_mode():
            self.features.stages.standardise(batches, balance=config.balance)
            patches = self._collect(batches, report)
            wanted = min(max(round(config.coreset * self._seen), 1), config.bank_limit, len(patches))
            index = greedy_coreset(patches, wanted, config.seed, config.projection, report)
        self.bank = patches[index].clone()

    def _collect(self, batches: Batches, report: Report) -> Tensor:
        """Patches (P, D) of all good images; of more than `max_patches` a seeded share of every image."""
        images = sum(batch.shape[0] for batch in batches)
        generator = torch.Generator().manual_seed(self.config.seed)
        parts, done = [], 0
        for batch in batches:
            rows = self.patches(batch)  # (N, h w, D)
            grid = rows.shape[1]
            self._seen = images * grid
            keep = min(grid, max(1, self.config.max_patches // images))
            for image in rows:
                chosen = torch.randperm(grid, generator=generator)[:keep].sort().values if keep < grid else slice(None)
                parts.append(image[chosen])
            done += batch.shape[0]
            report("patches", done, images)
        return torch.cat(parts)

    def patches(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> patch features (N, h w, D), row by row of the grid."""
        features: Tensor = self.features(images)
        return features.flatten(2).transpose(1, 2).contiguous()

    def predict(self, images: Tensor) -> Prediction:
        features = self.features(images)
        count, _, rows, columns = features.shape
        patches = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
        distance, index = nearest_patch(patches, self.bank, 1)
        grid = distance.view(count, 1, rows, columns)
        maps = F.interpolate(grid, images.shape[-2:], mode="bilinear")
        maps = gaussian_blur(maps, self.config.sigma * images.shape[-2] / 256)
        return Prediction(maps, self._score(patches, distance.view(count, -1), index.view(count, -1)))

    def _score(self, patches: Tensor, distance: Tensor, index: Tensor) -> Tensor:
        """Eq. 6-7: the largest distance s* of an image, times 1 - exp(s*) / sum over b neighbours of exp(distance)."""
        largest, at = distance.max(dim=1)
        b = min(self.config.reweight, self.bank.shape[0])
        if b < 2:
            return largest
        worst = patches.view(*distance.shape, -1)[torch.arange(len(at), device=at.device), at]  # m^test,*
        nearest = self.bank[index.gather(1, at[:, None]).squeeze(1)]  # m*
        _, neighbours = nearest_patch(nearest, self.bank, b)
        to_neighbours = torch.linalg.vector_norm(self.bank[neighbours] - worst[:, None], dim=2)  # (N, b)
        share = torch.exp(largest - torch.logsumexp(to_neighbours, dim=1))
        return (1 - share) * largest

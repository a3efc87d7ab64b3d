"""PatchCore (Roth et al., CVPR 2022, https://arxiv.org/abs/2106.08265): distance to a memory of good patches.

Patch features of good images go into a bank, thinned to a coreset that covers them (Algorithm 1). A patch's anomaly
is its distance to the bank; an image's is its largest patch distance, raised where that patch's neighbourhood in the
bank is sparse (Eq. 7). Nothing is trained by gradient.

Where we differ: patch features are standardised (`adtool.layers.patches`); of very many good patches a seeded share
of every image enters the selection (`max_patches`), which bounds memory and time. Switches that the paper does not
have, off in `paper`: `mirrored` features, the mean distance to several `neighbours`, a bank topped up with `common`
rows drawn at random, and `context`, a second bank of one coarser stage whose largest distance joins the image score
alone (each bank's distance in units of what good patches have), which sees what is missing or misplaced.
The paper reports 99.1 / 98.1 (image / pixel AUROC in percent) over MVTec AD with the `paper` preset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.memory_bank import MemoryBank, sampled
from adtool.layers.patches import PatchFeatures
from adtool.models._detector import Batches, Detector, DetectorConfig, Prediction, Report, silent
from adtool.ops.gaussian_blur import gaussian_blur

CONTEXT_ROWS = 1000
CONTEXT_NEIGHBOURS = 5


@dataclass(frozen=True)
class Config(DetectorConfig):
    """Every switch; class defaults are the paper's, but for what bounds memory and time."""

    PAPER: ClassVar[str] = "Roth et al. 2022, https://arxiv.org/abs/2106.08265"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"height": 224, "width": 224},
        "default": {
            "backbone": "efficientnet_lite0",
            "mirrored": True,
            "neighbours": 20,
            "coreset": 2000,
            "common": 2000,
            "context": 32,
            "reweight": 0,
        },
        "small": {
            "height": 128,
            "width": 128,
            "backbone": "efficientnet_lite0",
            "neighbours": 9,
            "coreset": 1000,
            "common": 1000,
            "context": 32,
            "reweight": 0,
        },
    }

    backbone: str = "wide_resnet50_2"
    strides: tuple[int, ...] = (8, 16)
    """Backbone stages of the map; the finest gives the grid."""
    neighbourhood: int = 3
    """Side p of the patch neighbourhood that is averaged."""
    mirrored: bool = False
    """Average each feature with that of the mirrored image: two passes of the backbone."""
    coreset: float = 0.1
    """Rows of the bank chosen by greedy coreset: a share of the good patches, or from 1 on a number."""
    common: int = 0
    """Rows of the bank drawn at random on top."""
    neighbours: int = 1
    """Nearest rows whose mean distance is a patch's anomaly."""
    context: int | None = None
    """Stride of the stage whose own bank joins the image score."""
    projection: int = 128
    """Dimension of the random projection in which the coreset is selected."""
    max_patches: int = 200_000
    """Patches that enter the selection; of more, a seeded share of every image."""
    reweight: int = 9
    """b of Eq. 7: bank neighbours that judge an image's score; 0 leaves the largest distance as it is."""
    sigma: float = 4.0
    """Gaussian smoothing of the map, pixels at 256 px; scales with the input."""
    seed: int = 0
    """Of the coreset's start, the projection and the random draws."""


class Model(Detector):
    """PatchCore; see the module's text."""

    config: Config
    variable_buffers = ("bank.rows", "context_bank.rows")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.deep = () if config.context is None else (config.context,)
        self.features = PatchFeatures(
            config.backbone, [*config.strides, *self.deep], config.neighbourhood, mirrored=config.mirrored
        )
        channels = self.features.stages.channels
        self.bank = MemoryBank(sum(channels[: len(config.strides)]))
        self.context_bank = MemoryBank(channels[-1] if self.deep else 0)

    @property
    def backbones(self) -> dict[str, nn.Module]:
        return {"backbone": self.features.stages.backbone}

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N, 3, H, W) -> patch features of the map (N, D, h, w) and of the context (N, D', h', w')."""
        pooled = self.features(images)
        count = len(self.config.strides)
        return self.features.join(pooled[:count]), pooled[-1] if self.deep else None

    def finish(self, batches: Batches, report: Report = silent) -> None:
        """Standardise, then fill the banks (Algorithm 1)."""
        config = self.config
        with torch.inference_mode():
            images, seen = self.features.stages.standardise(batches), 0
            fine, deep = [], []
            for batch in batches:
                patches, context = self.embed(batch)
                seen += len(batch)
                report("patches", seen, images)
                per_image = max(1, config.max_patches // images)
                fine.append(sampled([_rows(patches)], per_image, config.seed + seen))
                if context is not None:
                    deep.append(sampled([_rows(context)], per_image, config.seed + seen))
            total = images * patches.shape[2] * patches.shape[3]
            rows = round(config.coreset if config.coreset >= 1 else config.coreset * total)
            wanted = max(rows, 1), config.common, config.neighbours
            self.bank.fill(torch.cat(fine), *wanted, config.projection, config.seed, report)
            if deep:
                wanted = CONTEXT_ROWS, 0, CONTEXT_NEIGHBOURS
                self.context_bank.fill(torch.cat(deep), *wanted, config.projection, config.seed, report)

    def predict(self, images: Tensor) -> Prediction:
        features, context = self.embed(images)
        count, _, rows, columns = features.shape
        patches = _rows(features).flatten(0, 1)
        distance, index = self.bank.distance(patches, self.config.neighbours)
        grid = distance.view(count, 1, rows, columns)
        maps = F.interpolate(grid, images.shape[-2:], mode="bilinear")
        maps = gaussian_blur(maps, self.config.sigma * images.shape[-2] / 256)
        scores = self._score(patches, distance.view(count, -1), index.view(count, -1))
        if context is not None:
            deep, _ = self.context_bank.distance(_rows(context).flatten(0, 1), CONTEXT_NEIGHBOURS)
            scores = scores / self.bank.unit + deep.view(count, -1).amax(1) / self.context_bank.unit
        return Prediction(maps, scores)

    def _score(self, patches: Tensor, distance: Tensor, index: Tensor) -> Tensor:
        """Eq. 6-7: the largest distance s* of an image, times 1 - exp(s*) / sum over b neighbours of exp(distance)."""
        largest, at = distance.max(dim=1)
        if self.config.reweight < 2:
            return largest
        worst = patches.view(*distance.shape, -1)[torch.arange(len(at), device=at.device), at]  # m^test,*
        near = self.bank.neighbourhood(index.gather(1, at[:, None]).squeeze(1), self.config.reweight)  # N_b(m*)
        to_neighbours = torch.linalg.vector_norm(near - worst[:, None], dim=2)  # (N, b)
        return (1 - torch.exp(largest - torch.logsumexp(to_neighbours, dim=1))) * largest


def _rows(features: Tensor) -> Tensor:
    """(N, D, h, w) -> (N, h w, D)."""
    return features.flatten(2).transpose(1, 2).contiguous()

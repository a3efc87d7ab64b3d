"""Masked reverse distillation (Qi, Chai & Ye 2024, https://doi.org/10.62762/CJIF.2024.734267).

A frozen ImageNet teacher gives features F_E at three scales. A bottleneck compresses them (MSFF fuses the scales,
SCSAtt attends, OCE embeds), a mirrored decoder brings them back as F_D, and the feature mask module (FMM) hides
random positions of F_D and regenerates the teacher's features F_G from the rest. Trained on good images only; the
anomaly map is the cosine distance between F_E and F_G, summed over scales (Eq. 12).

Where we differ: the group-norm gate of SCConv is soft unless `hard_gate` (the paper's hard gate gives the norm no
gradient); the mask rate, unstated in the paper, is 0.5; no mask at test time; teachers that are no ResNet set the
decoder's width and blocks by `decoder_channels` and `block`. Off in `paper`: `standardise` gives every teacher channel
zero mean and unit variance first, `balance` weighs the scales' maps. The paper reports 99.1 / 98.5 / 95.9 (image
AUROC, pixel AUROC, PRO in percent) over MVTec AD with the `paper` preset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.errors import AdtoolError
from adtool.layers.backbones import Backbone
from adtool.layers.feature_mask import MaskGeneration, checkerboard, random_mask
from adtool.layers.features import StageFeatures
from adtool.layers.residual import chain, convolution_norm_relu
from adtool.layers.scconv import SCConv
from adtool.models._detector import Batches, Detector, DetectorConfig, Prediction, Report, Stage, silent
from adtool.ops.cosine_distance import cosine_distance
from adtool.ops.cosine_map import cosine_map
from adtool.ops.gaussian_blur import gaussian_blur
from adtool.ops.simam import simam


@dataclass(frozen=True)
class Config(DetectorConfig):
    """Every switch; class defaults are the paper's."""

    PAPER: ClassVar[str] = "Qi, Chai & Ye 2024, https://doi.org/10.62762/CJIF.2024.734267"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "default": {
            "backbone": "efficientnet_lite0",
            "strides": (8, 16, 32),
            "decoder_channels": (64, 128, 256),
            "block": "basic",
            "depths": (2, 2, 2),
            "max_steps": 250,
            "schedule": "cosine",
            "balance": True,
        },
        "small": {
            "height": 128,
            "width": 128,
            "backbone": "efficientnet_lite0",
            "decoder_channels": (64, 128, 256),
            "block": "basic",
            "depths": (2, 2, 2),
            "batch_size": 8,
            "max_steps": 200,
            "schedule": "cosine",
            "balance": True,
        },
    }

    backbone: str = "wide_resnet50_2"
    strides: tuple[int, ...] = (4, 8, 16)
    """Strides of the teacher's stages F1, F2, F3 (each twice the one before)."""
    scales: tuple[int, ...] = (1, 2, 3)
    """Which of them enter the fusion, the loss and the score (Table 7)."""
    standardise: bool = False
    scconv: bool = True
    """Table 6."""
    simam: bool = True
    """Table 6."""
    hard_gate: bool = False
    fmm: bool = True
    """Table 5."""
    mask_rate: float = 0.5
    """lambda_M of Eq. 11: the share of positions hidden."""
    test_mask: str = "none"
    """"none", "bypass" (compare F_E with F_D) or "complementary" (mean over masks that hide each position once)."""
    decoder_channels: tuple[int, ...] | None = None
    """Channels of F_D at each stride; None mirrors the teacher."""
    block: str = "bottleneck"
    """"bottleneck" or "basic" residual blocks."""
    bottleneck_ratio: int = 2
    """Output over inner channels of a bottleneck block; 4 mirrors a plain ResNet-50."""
    depths: tuple[int, ...] = (6, 4, 3)
    """Decoder blocks D1, D2, D3 by stride, finest first."""
    oce_depth: int = 3
    loss: str = "pixel"
    """"pixel" (Eq. 13) or "flat" (one cosine over each image's whole feature tensor, as RD4AD)."""
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-5
    """Twice lambda_R of Eq. 14; batch norms and biases are excluded."""
    batch_size: int = 16
    epochs: int = 200
    max_steps: int | None = None
    schedule: str = "constant"
    """"constant", or "cosine" down to 2 % of the learning rate at `max_steps`."""
    patience: int | None = 20
    balance: bool = False
    """Weigh each scale's map by one over its mean distance on good images, so that no scale drowns the others."""
    sigma: float = 4.0
    """Gaussian smoothing of the map, pixels at 256 px; scales with the input."""
    image_score: str = "max"
    """"max" of the smoothed map, or "mean" of the unsmoothed one (CIFAR-10)."""


def _ratio(config: Config) -> int | None:
    return config.bottleneck_ratio if config.block == "bottleneck" else None


class Bottleneck(nn.Module):
    """MSFF, SCSAtt and OCE (Eq. 1): teacher features, finest first -> (N, 2 C, h/2, w/2), h x w the coarsest grid."""

    def __init__(self, teacher: dict[int, int], widths: dict[int, int], config: Config) -> None:
        super().__init__()
        deepest = max(widths)
        self.reduce = nn.ModuleList()
        for scale, channels in teacher.items():
            hops = [channels, *(width for at, width in widths.items() if at > scale)]
            self.reduce.append(nn.Sequential(*[convolution_norm_relu(a, b, 3, 2) for a, b in pairwise(hops)]))
        fused = widths[deepest]
        inputs = sum(channels if scale == deepest else fused for scale, channels in teacher.items())
        self.fuse = convolution_norm_relu(inputs, fused, 1)
        self.scconv = SCConv(fused, hard=config.hard_gate) if config.scconv else nn.Identity()
        self.mix = convolution_norm_relu(fused, fused, 1)
        self.attends = config.simam
        self.embed = chain(fused, 2 * fused, config.oce_depth, "down", _ratio(config))

    def forward(self, features: list[Tensor]) -> Tensor:
        reduced = [reduce(scale) for reduce, scale in zip(self.reduce, features, strict=True)]
        hidden = self.mix(self.scconv(self.fuse(torch.cat(reduced, dim=1))))
        embedded: Tensor = self.embed(simam(hidden) if self.attends else hidden)
        return embedded


class Model(Detector):
    """Masked reverse distillation; see the module's text."""

    config: Config
    weights: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.teacher = StageFeatures(config.backbone, [config.strides[scale - 1] for scale in config.scales])
        channels = self.teacher.channels
        teacher = dict(zip(config.scales, channels, strict=True))
        with torch.device("meta"):  # its channels alone are wanted
            mirrored = config.decoder_channels or Backbone(config.backbone, config.strides).channels
        widths = {scale: mirrored[scale - 1] for scale in range(config.scales[0], config.scales[-1] + 1)}
        self.bottleneck = Bottleneck(teacher, widths, config)
        self.decoder = nn.ModuleList()  # coarsest first
        inputs = 2 * widths[config.scales[-1]]
        for scale, width in reversed(widths.items()):
            self.decoder.append(chain(inputs, width, config.depths[scale - 1], "up", _ratio(config)))
            inputs = width
        self.decoded = [scale in teacher for scale in widths]
        self.masks = nn.ModuleList(MaskGeneration(widths[scale], c, config.fmm) for scale, c in teacher.items())
        self.register_buffer("weights", torch.ones(len(config.scales)))
        self._initialise()

    @property
    def backbones(self) -> dict[str, nn.Module]:
        return {"teacher": self.teacher.backbone}

    def _initialise(self) -> None:
        for layer in (*self.bottleneck.modules(), *self.decoder.modules()):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def prepare(self, batches: Batches, report: Report = silent) -> None:
        """Mean and standard deviation of each teacher channel over the good images, where `standardise` asks for it."""
        if self.config.standardise:
            self.teacher.standardise(batches)

    def teach(self, images: Tensor) -> list[Tensor]:
        """F_E: frozen teacher features, finest first, standardised where the config says so."""
        with torch.no_grad():
            features: list[Tensor] = self.teacher(images)
        return features

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        """F_D: the student's features from F_E through the bottleneck (Eq. 1), finest first."""
        hidden = self.bottleneck(features)
        decoded: list[Tensor] = []
        for blocks in self.decoder:
            hidden = blocks(hidden)
            decoded.insert(0, hidden)
        return [scale for scale, wanted in zip(decoded, self.decoded, strict=True) if wanted]

    def regenerate(self, decoded: list[Tensor], mode: str) -> list[Tensor]:
        """F_G from F_D: `mode` is "sample" (random masks), "none", "complementary" or "bypass"."""
        generated = []
        for module, scale in zip(self.masks, decoded, strict=True):
            fmm = cast(MaskGeneration, module)
            if mode == "bypass" or not self.config.fmm:
                generated.append(fmm.align(scale))
            elif mode == "sample":
                generated.append(fmm(scale, random_mask(scale, self.config.mask_rate)))
            elif mode == "complementary":
                seen = checkerboard(scale)
                generated.append(fmm(scale, seen) * (1 - seen) + fmm(scale, 1 - seen) * seen)
            else:
                generated.append(fmm(scale))
        return generated

    def _loss(self, images: Tensor, mode: str) -> Tensor:
        taught = self.teach(images)
        generated = self.regenerate(self.decode(taught), mode)
        if self.config.loss == "flat":
            pairs = zip(taught, generated, strict=True)
            return torch.stack([1 - F.cosine_similarity(e.flatten(1), g.flatten(1)).mean() for e, g in pairs]).sum()
        return cosine_distance(taught, generated).sum()  # Eq. 13

    def stages(self) -> list[Stage]:
        config = self.config
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.Adam(groups, lr=config.learning_rate, betas=config.betas)

        def losses(images: Tensor) -> Iterator[Tensor]:
            yield self._loss(images, "sample")

        return [
            Stage(
                "distil",
                losses,
                [optimizer],
                schedules=_schedules(optimizer, config),
                epochs=config.epochs,
                batch_size=config.batch_size,
                validate=lambda images: self._loss(images, config.test_mask),
                patience=config.patience,
                max_steps=config.max_steps,
            )
        ]

    def finish(self, batches: Batches, report: Report = silent) -> None:
        """Mean distance of each scale over the good images, where `balance` asks for it."""
        if not self.config.balance:
            return
        total, images = torch.zeros_like(self.weights), 0
        with torch.inference_mode():
            for batch in batches:
                taught = self.teach(batch)
                generated = self.regenerate(self.decode(taught), self.config.test_mask)
                total += cosine_distance(taught, generated) * len(batch)
                images += len(batch)
                report("scales", images, 0)
        self.weights.copy_(images / total.clamp_min(1e-12))

    def predict(self, images: Tensor) -> Prediction:
        taught = self.teach(images)
        generated = self.regenerate(self.decode(taught), self.config.test_mask)
        size = (images.shape[2], images.shape[3])
        if self.config.balance:
            weighed = zip(self.weights, taught, generated, strict=True)
            raw = torch.stack([weight * cosine_map([e], [g], size) for weight, e, g in weighed]).sum(0)
        else:
            raw = cosine_map(taught, generated, size)  # Eq. 12, summed over scales
        maps = gaussian_blur(raw, self.config.sigma * size[0] / 256)
        scores = maps.amax((1, 2, 3)) if self.config.image_score == "max" else raw.mean((1, 2, 3))
        return Prediction(maps, scores)


def _schedules(optimizer: torch.optim.Optimizer, config: Config) -> list[torch.optim.lr_scheduler.LRScheduler]:
    if config.max_steps is None or config.schedule == "constant":
        return []
    floor = 0.02 * config.learning_rate
    return [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.max_steps, floor)]


def _check(config: Config) -> None:
    choices: dict[str, tuple[str, ...]] = {
        "block": ("bottleneck", "basic"),
        "loss": ("pixel", "flat"),
        "image_score": ("max", "mean"),
        "test_mask": ("none", "bypass", "complementary"),
        "schedule": ("constant", "cosine"),
    }
    if config.schedule == "cosine" and config.max_steps is None:
        raise AdtoolError("--set schedule=cosine: needs max_steps, the step at which it ends")
    for name, allowed in choices.items():
        if (value := getattr(config, name)) not in allowed:
            raise AdtoolError(f"--set {name}={value}: expected one of {', '.join(allowed)}")
    if not config.scales or list(config.scales) != sorted(set(config.scales) & set(range(1, len(config.strides) + 1))):
        raise AdtoolError(f"--set scales={config.scales}: expected some of 1..{len(config.strides)}, ascending")
    unit = 2 * config.strides[config.scales[-1] - 1]
    if config.height % unit or config.width % unit:
        raise AdtoolError(
            f"image size {config.height}x{config.width}: both sides must be multiples of {unit} for masked-rd"
        )

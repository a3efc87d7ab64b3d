"""Self-supervised learning with a self-attentive graph (Yang, Liu, Yang & Wu 2023, https://arxiv.org/abs/2305.00398).

A first network restores good images of which a grid of cells and large rectangles are hidden, against a discriminator:
its encoder learns what lies where. A second one keeps that encoder and learns to segment simulated defects, structural
ones and logical ones (a part of another good image, turned). Between encoder and decoder the SG block relates distant
parts of the image by attention and by a graph; its result also enters every later stage of the decoder.

Where we differ, and what the paper leaves open: images are in [-1, 1] for both networks; z of the SG block is 2;
channels of the decoder, auxiliary heads and discriminator are those that give the paper's 20 M parameters and 23 GFLOP;
the second network's auxiliary loss is the focal loss; its rate rises over the first tenth of the steps and falls as a
cosine, and gradients are clipped to norm 5. Without attention the graph compares the features themselves.
`default` and `small` use Adam, train on random views and leave the first network out, which a short training does not
repay. Their logical defects fade in and keep the light of the image, since a network that can tell an edge learns
nothing else; many are the image's own parts, moved, bent or recoloured. The encoder of `default` is a published network
that stays as it is, and its losses are the focal ones alone.
The paper reports 98.5 / 97.5 (image, pixel AUROC in percent) over MVTec AD and 90.3 (image AUROC) over MVTec LOCO AD
with the `paper` preset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adtool.errors import AdtoolError
from adtool.layers.backbones import Backbone
from adtool.layers.defects import Simulated, simulate
from adtool.layers.encoders import LearntEncoder, PublishedEncoder
from adtool.layers.folded import Folded
from adtool.layers.inpainting import Inpainting
from adtool.layers.inpainting_masks import hidden_pixels
from adtool.layers.layout import shared_layout
from adtool.layers.losses import focal_loss, l1_loss
from adtool.layers.schedules import warm_up_cosine
from adtool.layers.sg_block import SGBlock
from adtool.layers.simulation import SLSG, simulation_of
from adtool.layers.unet import AuxiliaryHead, Decoder
from adtool.layers.views import random_views
from adtool.models._detector import Batches, Detector, Pairs, Prediction, Report, Stage, silent
from adtool.models._simulator import SimulatorConfig
from adtool.ops.top_mean import top_mean

OURS: dict[str, Any] = (
    {"optimizer": "adam", "learning_rate": 1e-3, "final_rate": 1e-5, "least_layout": 0.1, "foreground": "none"}
    | {"turned": 0.2, "own": 0.6, "bent": 0.33, "recoloured": 0.33, "rectangular": 0.5}
    | {"logical_jitter": 0.0, "logical_delta": (0.8, 1.0), "feather": 6.0, "least_change": 0.05}
)
"""What `default` and `small` share."""


@dataclass(frozen=True)
class Config(SimulatorConfig):
    """Every switch; class defaults are the paper's. Tables are its own."""

    PAPER: ClassVar[str] = "Yang, Liu, Yang & Wu 2023, https://arxiv.org/abs/2305.00398"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "default": OURS
        | {"channels": 32, "encoder_init": "frozen", "steps": 700, "l1_weight": 0.0, "views": 0.5}
        | {"pretrain_steps": 1000, "discriminator_channels": 32},
        "small": OURS
        | {"height": 128, "width": 128, "channels": 24, "last_stride": 1, "encoder_init": "random", "steps": 1000}
        | {"views": 1.0, "mask_patch": 4, "pretrain_steps": 200, "discriminator_channels": 16},
    }

    channels: int = 64
    """Of the encoder's first convolution; all others follow."""
    last_stride: int = 2
    """1 leaves the deepest features at a sixteenth of the image instead of a thirty-second."""
    mask_patch: int = 8
    """Side of a cell of the grid mask (Table 4, as the next three)."""
    mask_unit: str = "pixels"
    """"pixels", or "cells": mask_patch is how many cells there are along a side of the image."""
    mask_ratio: float = 0.8
    mask_large: bool = True
    encoder_init: str = "inpainting"
    """"inpainting", "imagenet" or "random" (Table 4): the last two leave the first stage out, as does "frozen" (ours):
    the published weights of `backbone`, of which nothing is trained."""
    backbone: str = "efficientnet_lite0"
    bottleneck: int = 128
    """Channels to which the deepest features of the backbone are brought."""
    freeze_encoder: bool = False
    structural: bool = True
    """Table 5, as the next three."""
    logical: bool = True
    foreground: str = "auto"
    shape: str = "perlin"
    """"perlin" or "rectangles"."""
    least_layout: float = 0.0
    """Good images with less of a layout in common are a texture: no logical defects, and no object (ours)."""
    skip: bool = True
    """Table 6, as the next four: the deepest features for every stage of the decoder."""
    attention: bool = True
    gcn: bool = True
    eliminate_ps: bool = True
    neighbours: int = 9
    key_reduction: int = 2
    focal_weight: float = 0.4
    """alpha_4 to alpha_6 of Eq. 11 (Table 7)."""
    l1_weight: float = 0.6
    auxiliary_weight: float = 0.3
    gamma: float = 4.0
    adversarial_weight: float = 1.0
    """alpha_1 to alpha_3 of Eq. 10."""
    restoration_weight: float = 0.8
    deep_restoration_weight: float = 1.0
    discriminator_channels: int = 64
    pretrain_epochs: int = 40
    pretrain_steps: int | None = None
    """A number of steps in place of the epochs."""
    pretrain_batch_size: int = 6
    generator_rate: float = 1e-3
    discriminator_rate: float = 6e-4
    betas: tuple[float, float] = (0.5, 0.999)
    optimizer: str = "sgd"
    """"sgd", or "adam" (ours): from random weights it needs a fraction of the steps."""
    steps: int = 3500
    batch_size: int = 8
    """Half of them with a simulated defect."""
    learning_rate: float = 0.04
    final_rate: float = 1e-4
    warm_up: float = 0.1
    """The share of the steps over which the rate rises."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    """Momentum and decay are those of "sgd"; "adam" has its customary ones."""
    clip: float = 5.0
    top_pixels: int = 100
    """How many pixels make the image score, at 256 x 256; scales with the area."""


class Model(Detector):
    """The two networks around one encoder; see the module's text."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        base = config.channels
        stride, published = 16 * config.last_stride, config.encoder_init == "imagenet"
        self.encoder: LearntEncoder | PublishedEncoder = LearntEncoder(base, stride, published=published)
        if config.encoder_init == "frozen":
            self.encoder = PublishedEncoder(config.backbone, stride, config.bottleneck)
        channels = self.encoder.widths
        self.sg_block: nn.Module = nn.Identity()
        if config.attention or config.gcn:
            grid = config.height // stride, config.width // stride
            switches = {name: getattr(config, name) for name in ("attention", "gcn", "eliminate_ps")}
            self.sg_block = SGBlock(channels[-1], grid, config.neighbours, config.key_reduction, **switches)
        self.segmenter = Decoder(channels, 1, deep_skips=config.skip)
        self.segmenter_head = AuxiliaryHead(channels[-1], 2 * base, 1)
        if config.encoder_init == "inpainting":
            weights = config.adversarial_weight, config.restoration_weight, config.deep_restoration_weight
            self.inpainting = Inpainting(channels, config.discriminator_channels, weights)
        if published:
            self.published = Backbone("resnet18", (2, 4, 8, 16, 32))
        self._folded = Folded(self.encoder), Folded(self.segmenter)
        self.simulation = simulation_of(config, SLSG)

    @property
    def backbones(self) -> dict[str, nn.Module]:
        place = {"frozen": "encoder.backbone", "imagenet": "published"}.get(self.config.encoder_init)
        return {place: self.get_submodule(place)} if place else {}

    def prepare(self, batches: Batches, report: Report = silent) -> None:
        """Start from published weights, where they are asked for, and see what logical defects can be."""
        if self.config.encoder_init == "imagenet":
            self.encoder.load_state_dict(self.published.network.state_dict())
        share = shared_layout(batches) if self.config.least_layout and self.config.structural else 1.0
        if share < self.config.least_layout:
            self.simulation = replace(self.simulation, logical=False, foreground="none")
            self.notices += (f"good images share {share:.0%} of what they show, as textures do: no logical defects",)

    def discard(self) -> None:
        for name in ("inpainting", "segmenter_head", "published"):
            self._modules.pop(name, None)

    def hidden(self, seeds: Tensor) -> Tensor:
        """What the first stage hides of images with these seeds: (N, 1, H, W), 1 where hidden."""
        config = self.config
        switches = {"cells": config.mask_unit == "cells", "large": config.mask_large}
        return hidden_pixels(seeds, config.size, config.mask_patch, config.mask_ratio, **switches)

    def segment(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 1, H, W) of images in [0, 1], and X'."""
        encoder, segmenter = self.encoder, self.segmenter
        if not (self.training or torch.is_grad_enabled()):
            encoder, segmenter = (part() for part in self._folded)  # type: ignore[assignment]
        levels = encoder.levels(images)
        deepest = self.sg_block(levels[-1])
        return segmenter(levels, deepest), deepest

    def restoration_losses(self, pairs: Pairs) -> Iterator[Tensor]:
        """The discriminator's loss (Eq. 9), then the generator's (Eq. 8 and 10); hidden pixels are grey."""
        levels = self.encoder.levels(torch.where(self.hidden(pairs.seeds) > 0, 0.5, pairs.images))
        yield from self.inpainting.losses(levels, 2 * pairs.images - 1)

    def _viewed(self, pairs: Pairs) -> Tensor:
        """The images, or views of some."""
        return random_views(pairs.images, pairs.seeds, scale=(1.0, 1.1), turn=3, share=self.config.views)

    def preview(self, pairs: Pairs) -> Simulated:
        """Every image with a simulated defect."""
        return simulate(self._viewed(pairs), pairs.others, pairs.seeds, self.simulation, self.textures)

    def segmentation_losses(self, pairs: Pairs) -> Iterator[Tensor]:
        """Eq. 11, for a batch whose second half has simulated defects."""
        config = self.config
        if config.freeze_encoder:
            self.encoder.eval().requires_grad_(False)
        intact = len(pairs.images) // 2
        good, rest = (Pairs(*(part[half] for part in pairs)) for half in (slice(intact), slice(intact, None)))
        defective = self.preview(rest)
        images = torch.cat([self._viewed(good), defective.images])
        masks = torch.cat([torch.zeros_like(good.images[:, :1]), defective.masks])
        logits, deepest = self.segment(images)
        deep = self.segmenter_head(deepest, config.size)
        yield (
            config.focal_weight * focal_loss(logits, masks, config.gamma)
            + config.l1_weight * l1_loss(logits, masks)
            + config.auxiliary_weight * focal_loss(deep, masks, config.gamma)
        )

    def stages(self) -> list[Stage]:
        first = [self._restoration()] if self.config.encoder_init == "inpainting" else []
        return [*first, self._segmentation()]

    def _restoration(self) -> Stage:
        config = self.config
        generator = [*self.encoder.parameters(), *self.inpainting.generator()]
        judge = self.inpainting.discriminator.parameters()
        return Stage(
            "restore",
            self.restoration_losses,
            [
                torch.optim.Adam(judge, lr=config.discriminator_rate, betas=config.betas),
                torch.optim.Adam(generator, lr=config.generator_rate, betas=config.betas),
            ],
            epochs=config.pretrain_steps or config.pretrain_epochs,  # an epoch has a step at least
            max_steps=config.pretrain_steps,
            batch_size=config.pretrain_batch_size,
            paired=True,
        )

    def _segmentation(self) -> Stage:
        config = self.config
        parts = [self.sg_block, self.segmenter, self.segmenter_head] + [self.encoder] * (not config.freeze_encoder)
        learnt = [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(learnt, config.learning_rate)
        if config.optimizer == "sgd":
            optimizer = torch.optim.SGD(learnt, config.learning_rate, config.momentum, 0, config.weight_decay)
        floor = config.final_rate / config.learning_rate
        return Stage(
            "segment",
            self.segmentation_losses,
            [optimizer],
            epochs=config.steps,
            max_steps=config.steps,
            batch_size=config.batch_size,
            schedules=[warm_up_cosine(optimizer, config.steps, config.warm_up, floor)],
            paired=True,
            clip=config.clip,
        )

    def predict(self, images: Tensor) -> Prediction:
        maps = self.segment(images)[0].float().sigmoid()
        pixels = round(self.config.top_pixels * images.shape[2] * images.shape[3] / 256**2)
        return Prediction(maps, top_mean(maps, max(1, pixels)))


def _check(config: Config) -> None:
    config.one_of(
        mask_unit=("pixels", "cells"),
        encoder_init=("inpainting", "imagenet", "random", "frozen"),
        optimizer=("sgd", "adam"),
        last_stride=(1, 2),
    )
    config.at_least(1, "mask_patch", "channels", "bottleneck", "neighbours", "steps", "batch_size")
    config.at_least(1, "pretrain_batch_size", "top_pixels")
    config.shares("mask_ratio", "least_layout")
    config.check_simulation()
    if config.encoder_init == "imagenet" and config.channels != 64:
        raise AdtoolError(f"--set channels={config.channels}: the weights of encoder_init=imagenet have 64")
    unit = 16 * config.last_stride
    if config.height % unit or config.width % unit:
        raise AdtoolError(f"image size {config.height}x{config.width}: slsg needs both in multiples of {unit}")

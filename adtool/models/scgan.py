"""SCGAN (Dai, Zhang, Fan, Wu & Zhao 2023, https://doi.org/10.1109/ACCESS.2023.3339780).

A generator learns to restore good images on which patches of themselves were pasted (CopyPaste): an encoder with
multi-scale channel attention to a code of 100 numbers, a decoder without skips, and a second encoder that sees the
restoration and is to find the same code; a discriminator judges restorations. An image is as anomalous as it differs
from its restoration, and its code from that of the restoration. The network is that of GANomaly.

Where the paper is silent or at odds with itself: the target is the clean image, since another one would teach to keep
patches; Eq. 4 is a mean of squares, as the text says (`enc_norm`); the discriminator learns by binary cross-entropy,
and is drawn anew when it has collapsed, as in the code of GANomaly; channels, the code's size, 256 px and the map's
smoothing are ours. Patches are taken from the clean image; unless `jitter` says otherwise, their colours are jittered
on MVTec AD's textures alone. For images of 512 px set height and width. The scale of Eq. 12 from 0 to 1 changes no
ranking; in use, scores are scaled by the calibration on held-out good images. Training keeps the weights that restore
held-out good images best. `default` and `small` have a code at every place of a grid, since a hundred numbers hold no
weave; they jitter the colours of every patch, and score the largest differences, relative to those of good images at
the same place. Their networks are narrower and their training is shorter, at a higher rate that decays as a cosine.
The paper reports an image AUROC of 95.1 over MVTec AD (textures 97.1, objects 94.0) and 96.9 over BTAD, 91.4 without
attention and SSIM, 92.8 with attention and 93.1 with SSIM alone; it has no pixel AUROC (percent).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from adtool.errors import AdtoolError
from adtool.layers.copy_paste import FILLS, Pasting, paste
from adtool.layers.dcgan import Decoder, Discriminator, Encoder, depth_of, redraw_collapsed
from adtool.layers.defects import Simulated
from adtool.layers.foreground import TEXTURES
from adtool.layers.losses import flat_error, ssim_loss
from adtool.layers.residual_scale import ResidualScale
from adtool.layers.views import random_views
from adtool.models._detector import Batches, Detector, DetectorConfig, Pairs, Prediction, Report, Stage, silent
from adtool.ops.gaussian_blur import gaussian_blur
from adtool.ops.top_mean import top_mean

ENLARGED, SCALE = 1.125, (0.9, 1.1)
"""How much larger than a crop an image is for random views, and by what factors it is scaled then."""

OURS: dict[str, Any] = {"batch_size": 16, "learning_rate": 5e-4, "schedule": "cosine", "jitter": "on"}
OURS |= {"score_pixels": "top", "residual": "relative"}
"""What `default` and `small` share."""


@dataclass(frozen=True)
class Config(DetectorConfig):
    """Every switch; class defaults are the paper's."""

    PAPER: ClassVar[str] = "Dai, Zhang, Fan, Wu & Zhao 2023, https://doi.org/10.1109/ACCESS.2023.3339780"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "default": OURS | {"depth": 4, "base": 32, "cap": 256, "max_steps": 2000},
        "small": OURS
        | {"height": 128, "width": 128, "depth": 3, "base": 16, "cap": 128, "latent": 64, "max_steps": 1500},
    }

    category: str = ""
    """Of the data set, where it has one: patches on MVTec AD's textures are jittered."""
    augment: bool = False
    """Train on random views of the images (ours): turned freely where the category is a texture, else by 5 degrees."""
    fill: str = "copy"
    """What patches hold: a "copy" of another place, or "black", "color" or "confetti" (Table 6)."""
    patches: int = 30
    """Table 3."""
    patch_area: float = 0.01
    jitter: str = "auto"
    """Whether a copy's colours change: "on", "off", or "auto", on textures alone (Table 6)."""
    jitter_strength: float = 0.1
    base: int = 64
    """Channels of the finest level of every part."""
    cap: int = 0
    """Most channels of any level; 0 is without end."""
    latent: int = 100
    depth: int | None = None
    """Halvings before the code (ours); None is down to 4 pixels and one code for an image, fewer a code at every place
    of the grid that is left."""
    mscam: bool = True
    """Attention in the first encoder (Tables 4 and 5)."""
    loss_ssim: bool = True
    """Tables 4 and 5."""
    enc_weight: float = 1.0
    """alpha_1 to alpha_4 of Eq. 10 (Fig. 10)."""
    con_weight: float = 40.0
    adv_weight: float = 1.0
    ssim_weight: float = 40.0
    enc_norm: str = "mse"
    """Eq. 4 as "mse", or as printed the norm, "l2"."""
    adv: str = "log"
    """Eq. 6, "log", or GANomaly's distance of the discriminator's features, "fm"."""
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    batch_size: int = 64
    epochs: int = 400
    max_steps: int | None = None
    """A number of steps in place of the epochs."""
    schedule: str = "constant"
    """"constant", or "cosine" down to 2 % of the learning rate at `max_steps`."""
    score_beta: float = 0.8
    """Share of the image's difference in the score, beside that of the codes (Eq. 11, Fig. 11)."""
    score_pixels: str = "all"
    """The image's difference is the mean of "all" pixels, or of the map's largest, "top": 100 at 256 x 256."""
    residual: str = "plain"
    """The image's difference as it is, "plain", or "relative" to that of good images at the same place (ours)."""
    sigma: float = 4.0
    """Gaussian smoothing of the map, pixels at 256 px; scales with the input."""


class Model(Detector):
    """SCGAN; see the module's text."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        part = (config.size, config.base, config.cap)
        self.encoder = Encoder(*part, config.latent, depth=config.depth, biased=False, attention=config.mscam)
        self.decoder = Decoder(*part, config.latent, "none", depth=config.depth, biased=False)
        self.second_encoder = Encoder(*part, config.latent, depth=config.depth, biased=False)
        self.discriminator = Discriminator(*part, biased=False)
        jittered = config.category in TEXTURES if config.jitter == "auto" else config.jitter == "on"
        strength = config.jitter_strength if jittered else 0.0
        self.scale = ResidualScale(config.size) if config.residual == "relative" else None
        self.pasting = Pasting(config.patches, config.patch_area, config.fill, strength)

    def discard(self) -> None:
        self._modules.pop("discriminator", None)

    def preview(self, pairs: Pairs) -> Simulated:
        return self.views(pairs)[1]

    def views(self, pairs: Pairs) -> tuple[Tensor, Simulated]:
        """Good images, or random views of them, and the same with patches."""
        images, _, seeds = pairs
        if self.config.augment:
            turn = 180 if self.config.category in TEXTURES else 5
            images = random_views(images, seeds, enlarged=ENLARGED, scale=SCALE, turn=turn)
        return images, paste(images, seeds, self.pasting)

    def restore(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Restorations of (N, 3, H, W) images, both in [-1, 1], and of each the difference of the two codes (N,)."""
        code = self.encoder(images)
        restored = self.decoder(code)
        difference = (code - self.second_encoder(restored)).float().flatten(1)
        squares = difference.square()
        return restored, squares.sum(1).sqrt() if self.config.enc_norm == "l2" else squares.mean(1)

    def _generator_loss(self, clean: Tensor, restored: Tensor, codes: Tensor) -> Tensor:
        """L_total (Eq. 10)."""
        config = self.config
        seen, judged = self.discriminator.judge_frozen(restored)
        if config.adv == "fm":
            with torch.no_grad():
                wanted, _ = self.discriminator.judge(clean)
            adversarial = F.mse_loss(seen, wanted)
        else:
            adversarial = F.softplus(-judged).mean()
        loss = config.enc_weight * codes.mean() + config.con_weight * F.l1_loss(restored, clean)
        loss = loss + config.adv_weight * adversarial
        return loss + config.ssim_weight * ssim_loss(clean, restored) if config.loss_ssim else loss

    def _losses(self, pairs: Pairs) -> Iterator[Tensor]:
        """L_total, then the discriminator's."""
        if len(pairs.images) < 2:
            raise AdtoolError("training scgan: found one good image, expected at least two; add pictures of good parts")
        images, pasted = self.views(pairs)
        clean = _scaled(images)
        restored, codes = self.restore(_scaled(pasted.images))
        yield self._generator_loss(clean, restored, codes)
        real, fake = (self.discriminator.judge(images)[1] for images in (clean, restored.detach()))
        loss = (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
        yield loss
        self.notices += redraw_collapsed(self.discriminator, loss)

    def _validate(self, pairs: Pairs) -> Tensor:
        """How far good images are from their restorations, in [-1, 1]."""
        clean = _scaled(pairs.images)
        return F.l1_loss(self.restore(clean)[0].float(), clean)

    def stages(self) -> list[Stage]:
        config = self.config
        generator = [*self.encoder.parameters(), *self.decoder.parameters(), *self.second_encoder.parameters()]
        trained = (generator, list(self.discriminator.parameters()))
        optimizers = [torch.optim.Adam(parameters, config.learning_rate, config.betas) for parameters in trained]
        decay = partial(CosineAnnealingLR, T_max=config.max_steps or 1, eta_min=0.02 * config.learning_rate)
        return [
            Stage(
                "restore",
                self._losses,
                optimizers,
                epochs=config.max_steps or config.epochs,
                max_steps=config.max_steps,
                batch_size=config.batch_size,
                schedules=[decay(each) for each in optimizers if config.schedule == "cosine"],
                validate=self._validate,
                untaught=lambda pairs: flat_error(_scaled(pairs.images)),
                min_delta=0.0,
                paired=True,
            )
        ]

    def finish(self, batches: Batches, report: Report = silent) -> None:
        """Measure how far good images are from their restorations, where that is the unit."""
        if self.scale is not None:
            self.scale.fit(batches, lambda batch: self._residual(batch)[0], report)

    def _residual(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """How images differ from their restorations (N, 1, H, W), and the codes of the two (N,)."""
        shown = _scaled(images)
        restored, codes = self.restore(shown)
        return (shown - restored).abs().float().mean(1, keepdim=True), codes

    def predict(self, images: Tensor) -> Prediction:
        config = self.config
        residual, codes = self._residual(images)
        if self.scale is not None:
            residual = self.scale(residual)
        maps = gaussian_blur(residual, config.sigma * config.height / 256)
        content = residual.mean((1, 2, 3))
        if config.score_pixels == "top":
            content = top_mean(maps, max(1, round(100 * config.height * config.width / 256**2)))
        return Prediction(maps, config.score_beta * content + (1 - config.score_beta) * codes)

    def restorations(self, images: Tensor) -> dict[str, Tensor]:
        restored, _ = self.restore(_scaled(images))
        return {"restored": (restored + 1) / 2}


def _scaled(images: Tensor) -> Tensor:
    """Images in [-1, 1], channels innermost: a tenth faster on a CPU."""
    return (2 * images - 1).contiguous(memory_format=torch.channels_last)


def _check(config: Config) -> None:
    config.one_of(
        fill=FILLS,
        jitter=("auto", "on", "off"),
        enc_norm=("mse", "l2"),
        adv=("log", "fm"),
        schedule=("constant", "cosine"),
        score_pixels=("all", "top"),
        residual=("plain", "relative"),
    )
    config.shares("score_beta")
    config.at_least(0, "cap")
    config.at_least(1, "latent", "base", "epochs", "max_steps")
    config.at_least(2, "batch_size")
    if config.schedule == "cosine" and config.max_steps is None:
        raise AdtoolError("--set schedule=cosine: needs to know when training ends; set max_steps too")
    height, width = config.size
    most = depth_of(config.size)
    if config.depth is not None and not 1 <= config.depth <= most:
        raise AdtoolError(f"--set depth={config.depth}: expected 1 to {most} halvings of {height}x{width} pixels")
    unit = 1 << most
    if min(height, width) < 16 or height % unit or width % unit:
        raise AdtoolError(
            f"image size {height}x{width}: both sides must be at least 16 and multiples of {unit} for scgan"
        )

"""WADS (Wang, Zhang, Cao & Yang 2024, https://doi.org/10.3934/era.2024169).

A generator restores images with simulated defects to good ones: an encoder to a code of 200 numbers and a decoder that
sees of the encoder's features only the deepest. A segmentation network (ResNet-50 and a feature pyramid) compares an
image with its restoration and tells anomalous pixels; what it says of a whole image is held near a prior share of
anomalous pixels by a Kullback-Leibler divergence. Both are trained in one step, by turns with a discriminator.

Where the paper is silent or at odds with itself, class defaults read it so: the target of the restoration is the clean
image, SSIM is maximised, the focal exponent is 2 and not the prior's rho, the discriminator's judgement is a
probability, and the prior is of the area that is predicted, which on images without a defect it only pushes down. The
others are switches (`lat`, `adv`, `kl_mode`, `focal_gamma`, `seg_input`). Batch size, pyramid head and image scores
are ours. `default` and `small` have narrower networks and a shorter training at a higher learning rate, which decays as
a cosine. They compare the features of a published network that stays as it is; defects are filled with textures, with
the image's own tiles or with another good image, as it lies, moved or turned, or are the image darker or lighter, and
fade in; half of the images are shown in a random view; maps are smoothed.
The paper reports a pixel AUROC of 93.0 over MVTec AD, 84.9 without SSIM, 90.7 without the prior and 87.0 with local
binary patterns in place of the segmentation network (percent); it has no image AUROC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from adtool.errors import AdtoolError
from adtool.layers.dcgan import Discriminator, Generator, depth_of
from adtool.layers.defects import Simulated, simulate
from adtool.layers.foreground import TEXTURES
from adtool.layers.fpn import PairSegmentation, PublishedPairSegmentation
from adtool.layers.lbp import pattern_distance
from adtool.layers.losses import focal_loss, sparsity_loss, ssim_loss
from adtool.layers.simulation import WADS, simulation_of
from adtool.layers.views import random_views
from adtool.models._detector import Detector, Pairs, Prediction, Stage
from adtool.models._simulator import SimulatorConfig
from adtool.ops.gaussian_blur import gaussian_blur
from adtool.ops.top_mean import top_mean

DEFAULT: dict[str, Any] = {
    "source": "mixed",
    "logical": True,
    "turned": 0.34,
    "shaded": 0.35,
    "feather": 12.0,
    "logical_delta": (0.3, 1.0),
    "least_change": 0.03,
    "jitter": 0.2,
    "redraws": 10,
    "views": 0.5,
    "enlarged": 1.0,
    "scale": (1.0, 1.1),
    "g_base": 32,
    "g_cap": 256,
    "latent": 128,
    "seg_backbone": "efficientnet_lite0",
    "seg_width": 64,
    "batch_size": 16,
    "max_steps": 600,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "sigma": 4.0,
}


@dataclass(frozen=True)
class Config(SimulatorConfig):
    """Every switch; class defaults are the paper's."""

    PAPER: ClassVar[str] = "Wang, Zhang, Cao & Yang 2024, https://doi.org/10.3934/era.2024169"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "default": {**DEFAULT, "height": 256, "width": 256, "batch_size": 8, "max_steps": 700},
        "small": {**DEFAULT, "g_base": 16, "g_cap": 128, "latent": 64, "seg_width": 32},
    }

    height: int = 128
    width: int = 128
    source: str = "texture"
    """What defects are filled with: "texture", "self" (the image's own tiles, changed and shuffled), or "mixed"."""
    logical: bool = False
    """Whether every second defect is filled with another good image (ours)."""
    jitter: float = 0.0
    """By what share brightness and contrast of what fills a defect change at most (ours)."""
    redraws: int = 0
    """How often a mask of less than 16 pixels is drawn again (ours)."""
    intact: float = 0.5
    """Share of the images shown without a defect."""
    augment: bool = True
    """Train on random views of the images."""
    views: float = 1.0
    """Share of the images that are shown in a view."""
    enlarged: float = 1.125
    """How much larger than a crop an image is (144 to 128 pixels)."""
    scale: tuple[float, float] = (0.9, 1.1)
    turn: float | None = None
    """Degrees, either way; None is 180 for MVTec AD's textures and 5 otherwise."""
    g_base: int = 64
    """Channels of the finest level of generator and discriminator."""
    g_cap: int = 512
    """Most channels of any level."""
    latent: int = 200
    g_skip: str = "deepest"
    """Which levels of the encoder the decoder sees beside the code: "none", "deepest" or "all"."""
    seg_kind: str = "fpn"
    """"fpn", or "lbp": distance of local binary patterns, nothing trained (Table 4)."""
    seg_input: str = "concat"
    """"concat": six channels; "siamese": the distance of two images' features."""
    seg_backbone: str = ""
    """A published network, which stays as it is, in place of the next three (ours)."""
    seg_block: str = "bottleneck"
    """"bottleneck" or "basic" residual blocks."""
    seg_depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    seg_base: int = 64
    """Channels of the first convolution, which the layers' follow."""
    seg_width: int = 256
    """Channels of the pyramid."""
    loss_ssim: bool = True
    """Table 4."""
    loss_kl: bool = True
    """Table 4."""
    kl_mode: str = "area"
    """The prior is of an image's "area" or of every "pixel"."""
    rho: float = 0.1
    """The prior share of anomalous pixels (Eq. 3.6)."""
    focal_gamma: float = 2.0
    """Eq. 3.7 has rho there."""
    lat: str = "pair"
    """Whose codes are to be alike (Eq. 3.3): clean and defective image, "pair"; image and restoration, "recon"; or
    "disc": the discriminator's features of clean image and restoration."""
    adv: str = "soft"
    """What the discriminator should say of restorations: what it says of clean images, "soft", or 1, "hard"."""
    adv_weight: float = 1.0
    con_weight: float = 20.0
    lat_weight: float = 1.0
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    batch_size: int = 64
    max_steps: int = 218_750
    """700 epochs of 20,000 views."""
    schedule: str = "constant"
    """"constant", or "cosine" down to 2 % of the learning rate at `max_steps`."""
    sigma: float = 0.0
    """Gaussian smoothing of the map, not of the image score, pixels at 256 px; scales with the input."""
    image_score: str = "top"
    """"top": mean of the largest pixels, 100 at 256 x 256; "mean": the largest mean over a window, 21 pixels at 256."""


class Model(Detector):
    """WADS; see the module's text."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        part = (config.size, config.g_base, config.g_cap)
        self.generator = Generator(*part, config.latent, config.g_skip)
        self.segmentation: PairSegmentation | PublishedPairSegmentation | None = None
        siamese = config.seg_input == "siamese"
        if config.seg_kind == "fpn" and config.seg_backbone:
            self.segmentation = PublishedPairSegmentation(config.seg_backbone, config.seg_width, siamese=siamese)
        elif config.seg_kind == "fpn":
            switches = {"bottleneck": config.seg_block == "bottleneck", "siamese": siamese}
            self.segmentation = PairSegmentation(config.seg_depths, config.seg_base, config.seg_width, **switches)
        self.discriminator = Discriminator(*part)

    @property
    def backbones(self) -> dict[str, nn.Module]:
        published = self.segmentation
        return {"backbone": published.encoder} if isinstance(published, PublishedPairSegmentation) else {}

    def discard(self) -> None:
        self._modules.pop("discriminator", None)

    def preview(self, pairs: Pairs) -> Simulated:
        return self.views(pairs)[1]

    def views(self, pairs: Pairs) -> tuple[Tensor, Simulated]:
        """Views of good images, and the same with simulated defects."""
        config = self.config
        images, others, seeds = pairs
        if config.augment:
            turn = config.turn if config.turn is not None else 180 if config.category in TEXTURES else 5
            enlarged, scale, share = config.enlarged, config.scale, config.views
            images = random_views(images, seeds, turn=turn, enlarged=enlarged, scale=scale, share=share)
        return images, simulate(images, others, seeds, simulation_of(config, WADS), self.textures)

    def _generator_loss(self, clean: Tensor, shown: Tensor, real: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Restored images and L_G (Eqs. 3.3, 3.4); `real` is the discriminator's judgement of the clean ones."""
        config, count = self.config, len(shown)
        code, features = self.generator.encode(torch.cat([shown, clean]) if config.lat == "pair" else shown)
        restored = self.generator.decoder(code[:count], [level[:count] for level in features])
        seen, fake = self.discriminator.judge_frozen(restored)
        if config.lat == "pair":
            latent = F.mse_loss(code[:count], code[count:])
        elif config.lat == "recon":
            latent = F.mse_loss(self.generator.encoder(restored), code)
        else:
            latent = F.mse_loss(seen, real[0].detach())
        target = real[1].detach().sigmoid() if config.adv == "soft" else torch.ones_like(fake)
        adversarial = F.binary_cross_entropy_with_logits(fake, target)
        content = F.mse_loss(restored, clean)
        if config.loss_ssim:
            content = content + ssim_loss(clean, restored)
        loss = config.adv_weight * adversarial + config.con_weight * content + config.lat_weight * latent
        return restored, loss

    def _segmentation_loss(self, shown: Tensor, restored: Tensor, masks: Tensor) -> Tensor:
        """L_seg (Eq. 3.7 and what follows); nothing without a network to train."""
        config = self.config
        if self.segmentation is None:
            return restored.new_zeros(())
        logits = self.segmentation(shown, restored)
        loss = focal_loss(logits, masks, config.focal_gamma)
        if config.loss_kl:
            loss = loss + sparsity_loss(logits, masks.amax((1, 2, 3)) == 0, config.rho, config.kl_mode)
        return loss

    def _losses(self, pairs: Pairs) -> Iterator[Tensor]:
        """L_G + L_seg, then L_D (Eq. 3.5)."""
        images, simulated = self.views(pairs)
        clean, shown = 2 * images - 1, 2 * simulated.images - 1
        real = self.discriminator.judge(clean)
        restored, loss = self._generator_loss(clean, shown, real)
        yield loss + self._segmentation_loss(shown, restored, simulated.masks)
        _, fake = self.discriminator.judge(restored.detach())
        yield (F.softplus(-real[1]).mean() + F.softplus(fake).mean()) / 2

    def stages(self) -> list[Stage]:
        config = self.config
        trained = [list(self.generator.parameters()), list(self.discriminator.parameters())]
        if self.segmentation is not None:
            trained[0] += [part for part in self.segmentation.parameters() if part.requires_grad]
        optimizers = [torch.optim.Adam(parameters, config.learning_rate, config.betas) for parameters in trained]
        decay = partial(CosineAnnealingLR, T_max=config.max_steps, eta_min=0.02 * config.learning_rate)
        return [
            Stage(
                "restore and segment",
                self._losses,
                optimizers,
                epochs=config.max_steps,
                max_steps=config.max_steps,
                batch_size=config.batch_size,
                schedules=[decay(each) for each in optimizers if config.schedule == "cosine"],
                paired=True,
            )
        ]

    def predict(self, images: Tensor) -> Prediction:
        config = self.config
        shown = 2 * images - 1
        restored = self.generator(shown)
        if self.segmentation is None:
            maps = pattern_distance(images, (restored + 1) / 2)
        else:
            maps = self.segmentation(shown, restored).sigmoid()
        maps = maps.float()
        return Prediction(gaussian_blur(maps, config.sigma * config.height / 256), self._score(maps))

    def _score(self, maps: Tensor) -> Tensor:
        height, width = self.config.size
        if self.config.image_score == "top":
            return top_mean(maps, max(1, round(100 * height * width / 256**2)))
        reach = round(10 * height / 256)
        return F.avg_pool2d(maps, 2 * reach + 1, 1, reach).amax((1, 2, 3))


def _check(config: Config) -> None:
    config.one_of(
        source=("mixed", "texture", "self"),
        g_skip=("none", "deepest", "all"),
        seg_kind=("fpn", "lbp"),
        seg_input=("concat", "siamese"),
        seg_block=("bottleneck", "basic"),
        kl_mode=("area", "pixel"),
        lat=("pair", "recon", "disc"),
        adv=("soft", "hard"),
        schedule=("constant", "cosine"),
        image_score=("top", "mean"),
    )
    config.shares("intact")
    config.at_least(0, "redraws", "jitter")
    config.check_simulation()
    config.at_least(1, "latent", "batch_size", "max_steps", "g_base", "g_cap", "seg_base", "seg_width")
    if not 0 < config.rho < 1:
        raise AdtoolError(f"--set rho={config.rho}: expected a share between 0 and 1")
    unit = max(32, 1 << depth_of(config.size))
    if config.height % unit or config.width % unit:
        raise AdtoolError(f"image size {config.height}x{config.width}: both sides must be multiples of {unit} for wads")

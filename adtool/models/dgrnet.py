"""DGRNet (Gu, Ren & Duan 2024, https://doi.org/10.5755/j01.itc.53.2.36018).

Two generators restore an image: an autoencoder with attention (CBAM) and one deep skip, trained against a discriminator
as Skip-GANomaly is, and a diffusion model that noises the image to a step t* and leads it back. An image is as
anomalous as it differs from the restoration of both, and the discriminator's features of the two from each other.

Where the paper is silent or at odds with itself: fusion is the mean, since the sum it prints leaves the range of
images; the diffusion U-Net has half the width of Dhariwal & Nichol's; t* is 250 of 1000 and steps up to 500 are learnt;
the score has Skip-GANomaly's weights; attention is behind every level of the encoder but the code; losses are L1, means
of squares and binary cross-entropy; the rate falls over the second half of training; a collapsed discriminator is drawn
anew, as in GANomaly's code, and the best weights on held-out good images are kept. An image's noise follows from its
pixels, so its score does not depend on its batch. The paper's ablations are `fuse=ae` with `cbam=false skip=all` (1)
and `fuse=ae` (2); the presets `skip-ganomaly` and `ganomaly` are its ancestors. `default` and `small` have narrower
networks, a shorter training, t* at 6 % of the chain and two or three steps back, weigh both restorations by what they
miss of good images, and score the map's largest pixels alone, relative to good images at the same place. The paper
reports an image AUROC of 60.0 (percent) over MVTec AD, 55.0 and 42.6 in its ablations 2 and 1, no pixel AUROC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import lcm
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Adam

from adtool.errors import AdtoolError
from adtool.layers.adversarial_autoencoder import AdversarialAutoencoder, Weights
from adtool.layers.dcgan import depth_of, redraw_collapsed
from adtool.layers.diffusion import FEWEST, Diffusion
from adtool.layers.diffusion_restorer import DiffusionRestorer
from adtool.layers.diffusion_unet import DiffusionUNet
from adtool.layers.fusion import WAYS, Fusion
from adtool.layers.losses import flat_error
from adtool.layers.residual_scale import ResidualScale
from adtool.layers.schedules import constant_then_linear
from adtool.models._detector import Batches, Detector, DetectorConfig, Prediction, Report, Stage, silent
from adtool.ops.gaussian_blur import gaussian_blur
from adtool.ops.top_mean import top_mean

NARROW: dict[str, Any] = {"ddpm_blocks": 1, "ddpm_attention": (16,), "ddpm_groups": 8, "ddpm_rate": 2e-4}
NARROW |= {"ddpm_batch_size": 8, "ae_rate": 1e-3, "ae_batch_size": 16, "ddim_eta": 1.0, "fuse": "weighed"}
NARROW |= {"adv_weight": 0.02, "lat_weight": 0.02, "score_features": 0.0, "score_pixels": "top", "residual": "relative"}
"""What `default` and `small` share. With the paper's weights the autoencoder stays grey in a short training."""
LINEAGE: dict[str, Any] = {"fuse": "ae", "cbam": False, "con_weight": 50.0}
LINEAGE |= {"ae_rate": 2e-4, "ae_schedule": "constant", "ae_batch_size": 64, "ae_epochs": 15}
"""What the models it descends from share."""


@dataclass(frozen=True)
class Config(DetectorConfig):
    """Every switch; class defaults are the paper's. `ae_`: autoencoder, `ddpm_`: diffusion; steps replace epochs."""

    PAPER: ClassVar[str] = "Gu, Ren & Duan 2024, https://doi.org/10.5755/j01.itc.53.2.36018"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "default": NARROW
        | {"ae_base": 32, "ae_cap": 256, "d_base": 32, "d_cap": 512, "ae_steps": 1500, "ddpm_steps": 1500}
        | {"ddpm_reduction": 2, "ddpm_base": 32, "ddpm_multipliers": (1, 2, 2, 4)}
        | {"ema": 0.999, "t_train_max": 250, "t_star": (60,), "ddim_stride": 20},
        "small": NARROW
        | {"height": 128, "width": 128, "chain_steps": 100, "t_train_max": 25, "t_star": (6,), "ddim_stride": 3}
        | {"ae_base": 16, "ae_cap": 128, "d_base": 16, "d_cap": 128, "latent": 64, "cbam_reduction": 8, "ae_steps": 300}
        | {"ddpm_base": 16, "ddpm_multipliers": (1, 2, 2), "ddpm_steps": 500},
        "skip-ganomaly": LINEAGE | {"skip": "all", "d_lat": True},
        "ganomaly": LINEAGE
        | {"autoencoder": "ganomaly", "skip": "none", "ae_cap": 0, "adv_weight": 0.0}
        | {"score_residual": 0.0, "score_features": 0.0, "score_codes": 1.0},
    }

    fuse: str = "mean"
    """What is compared with the image: of both restorations the "mean", the "sum" cut off at black and white, "max_res"
    (of each pixel the one farther off), "weighed" by what they miss of good images (ours), or "ae" or "ddpm" alone."""
    autoencoder: str = "skip-ganomaly"
    """The U-Net of "skip-ganomaly", or encoder, decoder and second encoder of "ganomaly"."""
    cbam: bool = True
    """Ablation 1 is without, with skip "all"; Ablation 2 as here; both with fuse "ae"."""
    cbam_reduction: int = 16
    skip: str = "deepest"
    """Levels of the encoder that the decoder sees beside the code: "none", "deepest" or "all"."""
    ae_base: int = 64
    ae_cap: int = 512
    """Most channels of a level, as `d_cap`; 0 is without end."""
    d_base: int = 64
    d_cap: int = 0
    latent: int = 100
    """Of the discriminator's features, or of GANomaly's code."""
    adv_weight: float = 1.0
    con_weight: float = 40.0
    lat_weight: float = 1.0
    enc_weight: float = 1.0
    """Of the two codes' difference; GANomaly's alone."""
    d_lat: bool = False
    """Add L_lat to the discriminator's loss, as the code of Skip-GANomaly does; its features then tend to collapse."""
    ae_rate: float = 2e-3
    """Ten times what its ancestors have, as printed."""
    betas: tuple[float, float] = (0.5, 0.999)
    ae_schedule: str = "linear"
    """"linear": constant in the first half, then down to nothing; or "constant"."""
    ae_batch_size: int = 100
    ae_epochs: int = 50
    ae_steps: int | None = None
    ddpm_reduction: int = 1
    """The diffusion model sees images so many times smaller; its restorations are enlarged again."""
    ddpm_base: int = 128
    ddpm_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    ddpm_blocks: int = 2
    ddpm_attention: tuple[int, ...] = (32, 16, 8)
    """Shorter sides of the maps with attention, pixels."""
    ddpm_head: int = 64
    ddpm_groups: int = 32
    ddpm_rate: float = 1e-4
    ddpm_batch_size: int = 32
    ddpm_epochs: int = 100
    ddpm_steps: int | None = None
    ema: float = 0.0
    """Predict with a moving average of the weights with this decay, such as 0.9999; 0 is without."""
    chain_steps: int = 1000
    t_train_max: int = 500
    t_star: tuple[int, ...] = (250,)
    """Steps to which an image is noised; of several the restorations' mean is taken."""
    variance: str = "small"
    """Of the noise of a step back: the posterior's, "small", or beta, "large"."""
    ddim_stride: int = 0
    """Steps back at a time by DDIM; 0 goes one by one as DDPM."""
    ddim_eta: float = 0.0
    noise_seed: int = 0
    denoise_batch: int = 0
    """Most images in the diffusion model at a time; 0 is 4 on a CPU and 16 elsewhere."""
    score_residual: float = 0.9
    score_features: float = 0.1
    score_codes: float = 0.0
    score_pixels: str = "all"
    """The score's residual: mean square of "all" pixels, or "top", the mean of the map's largest, 100 at 256 x 256."""
    residual: str = "plain"
    """The residual as it is, "plain", or "relative" to that of good images at the same place (ours)."""
    sigma: float = 4.0
    """Gaussian smoothing of the map, pixels at 256 px; scales with the input."""


class Model(Detector):
    """DGRNet; see the module's text."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.good_images = 1
        channels = (config.ae_base, config.ae_cap), (config.d_base, config.d_cap), config.latent
        weights = Weights(config.adv_weight, config.con_weight, config.lat_weight, config.enc_weight, config.d_lat)
        switches: dict[str, Any] = {"skip": config.skip, "reduction": config.cbam_reduction if config.cbam else 0}
        switches |= {"code": config.autoencoder == "ganomaly", "weights": weights}
        self.adversarial = AdversarialAutoencoder(config.size, *channels, **switches)
        self.restorer = _restorer(config) if config.fuse != "ae" else None
        self.fusion = Fusion(config.fuse if config.fuse in WAYS else "mean", config.size)
        self.scale = ResidualScale(config.size) if config.residual == "relative" and config.fuse != "weighed" else None

    def prepare(self, batches: Batches, report: Report = silent) -> None:
        """Count the good images: in epochs alone one does not know when the rate is to fall."""
        if self.config.ae_schedule == "linear" and self.config.ae_steps is None:
            self.good_images = sum(len(batch) for batch in batches)

    def finish(self, batches: Batches, report: Report = silent) -> None:
        """Measure how far good images are from their restorations, where that is the unit."""
        self.fusion.fit(batches, lambda each: (seen := _scaled(each), *self._restored(seen)[0].values()), report)
        if self.scale is not None:
            self.scale.fit(batches, lambda each: (seen := _scaled(each)) - self._restored(seen)[0].popitem()[1], report)

    def discard(self) -> None:
        if not self.config.score_features:
            self.adversarial._modules.pop("discriminator", None)
        if self.restorer is not None:
            self.restorer.discard()

    def _restored(self, shown: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """Restorations by name, the one that counts last, in [-1, 1], and GANomaly's code of the images."""
        config = self.config
        restored, code = self.adversarial.restored(shown)
        parts = {"restored": restored}
        if self.restorer is not None and config.fuse != "ae":
            parts["denoised"] = denoised = self.restorer.restored(shown, config.t_star, config.denoise_batch)
            if config.fuse != "ddpm":
                parts["fused"] = self.fusion(shown, restored, denoised)
        return parts, code

    def restorations(self, images: Tensor) -> dict[str, Tensor]:
        return {name: (part + 1) / 2 for name, part in self._restored(_scaled(images))[0].items()}

    def predict(self, images: Tensor) -> Prediction:
        config, shown = self.config, _scaled(images)
        parts, code = self._restored(shown)
        restored = parts.popitem()[1]
        residual = (shown - restored).float()
        if config.fuse == "weighed":
            residual = self.fusion.residual(shown, parts["restored"], parts["denoised"])
        elif self.scale is not None:
            residual = self.scale(residual)
        maps = gaussian_blur(residual.abs().mean(1, keepdim=True), config.sigma * config.height / 256)
        difference = residual.square().mean((1, 2, 3))
        if config.score_pixels == "top":
            difference = top_mean(maps, max(1, round(100 * maps[0].numel() / 256**2)))
        scores = config.score_residual * difference
        if config.score_features:
            scores = scores + config.score_features * self.adversarial.feature_distance(shown, restored)
        if config.score_codes and code is not None:
            scores = scores + config.score_codes * self.adversarial.code_distance(code, restored)
        return Prediction(maps, scores)

    def _restoration_losses(self, images: Tensor) -> Iterator[Tensor]:
        """L_G (Eqs. 4 to 7), then L_D."""
        for loss in self.adversarial.losses(_scaled(images)):
            yield loss
        self.notices += redraw_collapsed(self.adversarial.discriminator, loss)

    def stages(self) -> list[Stage]:
        return [self._restoration()] if self.restorer is None else [self._restoration(), self._denoising(self.restorer)]

    def _restoration(self) -> Stage:
        config = self.config
        optimizers = [Adam(parameters, config.ae_rate, config.betas) for parameters in self.adversarial.learnt()]
        steps = config.ae_steps or config.ae_epochs * max(1, self.good_images // config.ae_batch_size)
        return Stage(
            "restore",
            self._restoration_losses,
            optimizers,
            config.ae_steps or config.ae_epochs,  # an epoch has a step at least
            config.ae_batch_size,
            max_steps=config.ae_steps,
            schedules=[constant_then_linear(each, steps) for each in optimizers if config.ae_schedule == "linear"],
            validate=lambda images: self.adversarial.error(_scaled(images)),
            untaught=lambda images: flat_error(_scaled(images)),
            min_delta=0.0,
        )

    def _denoising(self, restorer: DiffusionRestorer) -> Stage:
        config = self.config
        optimizer = Adam(restorer.learnt(), config.ddpm_rate)
        optimizer.register_step_post_hook(restorer.follow)
        return Stage(
            "denoise",
            lambda images: iter([restorer.loss(_scaled(images))]),
            [optimizer],
            config.ddpm_steps or config.ddpm_epochs,
            config.ddpm_batch_size,
            max_steps=config.ddpm_steps,
            validate=lambda images: restorer.error(_scaled(images)),
            min_delta=0.0,
        )


def _scaled(images: Tensor) -> Tensor:
    return (2 * images - 1).contiguous(memory_format=torch.channels_last)


def _restorer(config: Config) -> DiffusionRestorer:
    parts = ("base", "multipliers", "blocks", "attention", "head", "groups")
    sizes: dict[str, Any] = {name: getattr(config, f"ddpm_{name}") for name in parts}
    network = DiffusionUNet([side // config.ddpm_reduction for side in config.size], **sizes)
    steps: dict[str, Any] = {"stride": config.ddim_stride, "eta": config.ddim_eta, "variance": config.variance}
    diffusion = Diffusion(config.chain_steps, **steps, seed=config.noise_seed)
    return DiffusionRestorer(network, diffusion, config.t_train_max, config.ddpm_reduction, config.ema)


def _check(config: Config) -> None:
    config.one_of(fuse=(*WAYS, "ae", "ddpm"), skip=("none", "deepest", "all"), variance=("small", "large"))
    config.one_of(autoencoder=("skip-ganomaly", "ganomaly"), ae_schedule=("linear", "constant"))
    config.one_of(score_pixels=("all", "top"), residual=("plain", "relative"))
    config.at_least(FEWEST, "chain_steps")
    config.at_least(1, *(f"{of}_{name}" for of in ("ae", "ddpm") for name in ("base", "batch_size", "epochs", "steps")))
    config.at_least(1, *(f"ddpm_{name}" for name in ("reduction", "blocks", "head", "groups")))
    config.at_least(1, "d_base", "latent", "cbam_reduction")
    config.at_least(0, "ae_cap", "d_cap", "ddim_stride", "noise_seed", "denoise_batch")
    if config.autoencoder == "ganomaly" and config.cbam:
        raise AdtoolError("--set cbam=true: the encoder of autoencoder=ganomaly has no attention; set cbam=false")
    if config.autoencoder != "ganomaly" and config.score_codes:
        raise AdtoolError(f"--set score_codes={config.score_codes}: only autoencoder=ganomaly has codes to compare")
    if config.fuse == "weighed" and config.residual != "relative":
        raise AdtoolError(f"--set residual={config.residual}: fuse=weighed measures good images; set residual=relative")
    unit = max(32, 1 << depth_of(config.size))
    if config.fuse != "ae":
        _check_diffusion(config)
        unit = lcm(unit, config.ddpm_reduction << len(config.ddpm_multipliers) - 1)
    if any(side % unit for side in config.size):
        raise AdtoolError(f"image size {config.height}x{config.width}: dgrnet needs both in multiples of {unit}")


def _check_diffusion(config: Config) -> None:
    starts = config.t_star or (0,)
    if not 1 <= min(starts) <= max(starts) <= config.t_train_max <= config.chain_steps:
        raise AdtoolError(f"--set t_star={starts}: expected steps from 1 to t_train_max, and that up to chain_steps")
    if min(config.ddpm_multipliers, default=0) < 1:
        raise AdtoolError(f"--set ddpm_multipliers={config.ddpm_multipliers}: expected one from 1 for each level")
    config.shares("ema", "ddim_eta")
    if config.ddpm_base % config.ddpm_groups or config.ddpm_base % 2:
        raise AdtoolError(f"--set ddpm_base={config.ddpm_base}: expected an even multiple of ddpm_groups")

"""Images restored by a diffusion model: noised to a step t* and led back, smaller than they are if need be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.content_keys import content_keys
from adtool.layers.diffusion import Diffusion
from adtool.layers.diffusion_unet import DiffusionUNet
from adtool.layers.draws import uniform, whole
from adtool.layers.ema import MovingAverage

SLOTS, MOST_SLOTS = {"cpu": 4}, 16
"""Images in the network at a time: on a CPU as many as keep its threads at work; the maps of more leave the caches."""
WATCHED = 0x77617463
"""Stream of the steps to which held-out images are noised."""


class DiffusionRestorer(nn.Module):
    """`network` predicts noise in images (N, 3, H / reduction, W / reduction); all images are in [-1, 1].

    It learns steps 1 to `t_max`. With a decay `ema` the moving average of its weights predicts. The noise of an image
    that is restored follows from its pixels.
    """

    def __init__(self, network: DiffusionUNet, diffusion: Diffusion, t_max: int, reduction: int, ema: float) -> None:
        super().__init__()
        self.network: DiffusionUNet | None = network
        self.diffusion, self.t_max, self.reduction = diffusion, t_max, reduction
        self.average = MovingAverage(network, ema) if ema else None

    @property
    def predictor(self) -> DiffusionUNet:
        """What predicts: the average, where there is one."""
        network = self.average.network if self.average is not None else self.network
        assert isinstance(network, DiffusionUNet)
        return network

    def learnt(self) -> list[nn.Parameter]:
        assert self.network is not None
        return list(self.network.parameters())

    def follow(self, *_: object) -> None:
        """Average over the weights there are now; hook of an optimiser's step."""
        if self.average is not None and self.network is not None:
            self.average.follow(self.network)

    def discard(self) -> None:
        """Keep what predicts."""
        if self.average is not None:
            self.network = None

    def loss(self, images: Tensor) -> Tensor:
        """Mean square of what is missed of the noise, at random steps."""
        assert self.network is not None
        number = len(images)
        t = torch.randint(1, self.t_max + 1, (number,), device="cpu").to(images.device)
        keys = torch.randint(1 << 62, (number,), device="cpu").to(images.device)
        return self.diffusion.loss(self.network, self._reduced(images), t, keys)

    def error(self, images: Tensor) -> Tensor:
        """The same, at steps and with noise that follow from the images."""
        keys = content_keys(images)
        t = 1 + whole(uniform(keys, WATCHED, 1)[:, 0], self.t_max)
        return self.diffusion.loss(self.predictor, self._reduced(images), t, keys)

    def restored(self, images: Tensor, starts: Sequence[int], slots: int = 0) -> Tensor:
        """(N, 3, H, W), the mean over chains from all of `starts`; `slots` images at most are in the network.

        0 is as many as suit the device.
        """
        smaller = self._reduced(images)
        slots = slots or SLOTS.get(images.device.type, MOST_SLOTS)
        found = self.diffusion.restored(self.predictor, smaller, content_keys(images), starts, slots).mean(0)
        if self.reduction == 1:
            return found
        return F.interpolate(found, images.shape[2:], mode="bilinear", align_corners=False)

    def _reduced(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, self.reduction) if self.reduction > 1 else images

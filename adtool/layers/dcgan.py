"""Strided convolutional encoder and decoder of GANs (Radford et al. 2016; Akcay et al. 2018, "GANomaly")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.ms_cam import MSCAM

SLOPE = 0.2
"""Of the leaky ReLU in encoders."""
COLLAPSED = 1e-5
"""A discriminator with less loss teaches nothing any more (Akcay et al. 2018)."""


def depth_of(size: Sequence[int]) -> int:
    """How many halvings leave 4 pixels, or up to 7, of the shorter side."""
    return min(size).bit_length() - 3


def grid_of(size: Sequence[int]) -> tuple[int, int]:
    """(height, width) after all halvings."""
    return size[0] >> depth_of(size), size[1] >> depth_of(size)


def channels_of(size: Sequence[int], base: int, cap: int, depth: int | None = None) -> list[int]:
    """Channels of every level, finest first: doubled at each halving up to `cap`, without end where that is 0."""
    return [min(base << level, cap or base << level) for level in range(depth or depth_of(size))]


class Encoder(nn.Module):
    """Images (N, C, H, W) to a code (N, code, 1, 1), by 4x4 convolutions of stride 2 and one over the rest.

    Both sides of `size` are multiples of 2^depth. With a `depth` of its own, every place of the grid that so many
    halvings leave has a code, (N, code, H / 2^depth, W / 2^depth). Convolutions that no norm follows have a bias if
    `biased`; with `attention` every level ends in multi-scale channel attention.
    """

    def __init__(
        self,
        size: Sequence[int],
        base: int,
        cap: int,
        code: int,
        inputs: int = 3,
        *,
        depth: int | None = None,
        biased: bool = True,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for level, channels in enumerate(channels_of(size, base, cap, depth)):
            conv = nn.Conv2d(inputs, channels, 4, 2, 1, bias=biased and level == 0)
            norm = nn.BatchNorm2d(channels) if level else nn.Identity()
            parts = [conv, norm, nn.LeakyReLU(SLOPE), *([MSCAM(channels)] if attention else [])]
            self.levels.append(nn.Sequential(*parts))
            inputs = channels
        self.code = nn.Conv2d(inputs, code, 1 if depth else grid_of(size), bias=biased)
        self.apply(initialise)

    def features(self, images: Tensor) -> list[Tensor]:
        """Of every level, finest first."""
        found = []
        for level in self.levels:
            images = level(images)
            found.append(images)
        return found

    def forward(self, images: Tensor) -> Tensor:
        code: Tensor = self.code(self.features(images)[-1])
        return code


class Decoder(nn.Module):
    """A code (N, code, 1, 1) to images in [-1, 1], doubled by transposed convolutions.

    `skip` says which levels of the encoder are joined to their mirror images: "none", "deepest" or "all". `depth` is
    the encoder's. The last convolution has a bias if `biased`.
    """

    def __init__(
        self,
        size: Sequence[int],
        base: int,
        cap: int,
        code: int,
        skip: str = "deepest",
        outputs: int = 3,
        *,
        depth: int | None = None,
        biased: bool = True,
    ) -> None:
        super().__init__()
        channels = channels_of(size, base, cap, depth)
        deepest = len(channels) - 1
        self.start = _raised(nn.ConvTranspose2d(code, channels[-1], 1 if depth else grid_of(size), bias=False))
        self.joined = [
            skip == "all" or (skip == "deepest" and level == deepest) for level in reversed(range(deepest + 1))
        ]
        """Deepest first."""
        self.levels = nn.ModuleList()
        for level, joined in zip(reversed(range(deepest + 1)), self.joined, strict=True):
            inputs = channels[level] * (2 if joined else 1)
            narrowed = channels[level - 1] if level else outputs
            conv = nn.ConvTranspose2d(inputs, narrowed, 4, 2, 1, bias=biased and not level)
            self.levels.append(_raised(conv) if level else conv)
        self.apply(initialise)

    def forward(self, code: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        """Images from a code and, where any level is joined, the encoder's features, finest first."""
        hidden = self.start(code)
        for place, (level, joined) in enumerate(zip(self.levels, self.joined, strict=True), 1):
            hidden = level(torch.cat([hidden, features[-place]], 1) if joined else hidden)
        return F.tanh(hidden)


class Generator(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] to restored ones, through a code and the levels that `skip` names."""

    def __init__(self, size: Sequence[int], base: int, cap: int, code: int, skip: str = "deepest") -> None:
        super().__init__()
        self.encoder = Encoder(size, base, cap, code)
        self.decoder = Decoder(size, base, cap, code, skip)

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Code and features of every level."""
        features = self.encoder.features(images)
        return self.encoder.code(features[-1]), features

    def forward(self, images: Tensor) -> Tensor:
        restored: Tensor = self.decoder(*self.encode(images))
        return restored


class Discriminator(Encoder):
    """Images (N, 3, H, W) to features of the deepest level and logits (N, 1), above 0 for what looks real."""

    def __init__(self, size: Sequence[int], base: int, cap: int, *, biased: bool = True) -> None:
        super().__init__(size, base, cap, code=1, biased=biased)

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        deepest = self.features(images)[-1]
        return deepest, self.code(deepest).flatten(1)

    def judge_frozen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The same, with gradients that reach the images but no parameter."""
        self.requires_grad_(False)
        judged = self.judge(images)
        self.requires_grad_(True)
        return judged


def redraw_collapsed(discriminator: nn.Module, loss: Tensor) -> tuple[str, ...]:
    """Draw the weights of a discriminator with that loss anew if it has collapsed, and say so.

    Norms keep their running statistics and the optimiser its moments, as in the authors' code of GANomaly.
    """
    value = float(loss.detach())
    if value >= COLLAPSED:
        return ()
    discriminator.apply(initialise)
    return (f"the discriminator collapsed (loss {value:.2g}, below {COLLAPSED:g}); its weights were drawn anew",)


def _raised(conv: nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())


def initialise(layer: nn.Module) -> None:
    """Weights from N(0, 0.02), those of batch norms from N(1, 0.02), biases 0."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    if isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1, 0.02)
        nn.init.zeros_(layer.bias)

"""Autoencoder and discriminator of Skip-GANomaly (Akcay et al. 2019, https://arxiv.org/abs/1901.08954), with CBAM."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adtool.layers.cbam import CBAM
from adtool.layers.dcgan import SLOPE, Discriminator, channels_of, grid_of, initialise

DEEPEST = 8
"""Most halvings, which leave one pixel of 256."""


def halvings(size: Sequence[int]) -> int:
    """How often both sides can be halved, at most DEEPEST times."""
    common = math.gcd(*size)
    return min(DEEPEST, (common & -common).bit_length() - 1)


class UNetAutoencoder(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] to restored ones, through 4x4 convolutions of stride 2 down to a code.

    Channels double from `base` up to `cap`, or without end where it is 0. `skip` says which levels of the encoder the
    decoder sees beside the code: "none", the "deepest" above the code, or "all". `reduction` is that of CBAM behind
    every level of the encoder but the code; 0 leaves it out.
    """

    def __init__(
        self, size: Sequence[int], base: int = 64, cap: int = 512, skip: str = "deepest", reduction: int = 16
    ) -> None:
        super().__init__()
        depth = halvings(size)
        widths = channels_of(size, base, cap, depth)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            conv = nn.Conv2d(widths[level - 1] if level else 3, width, 4, 2, 1, bias=False)
            self.encoder.append(_lowered(conv, first=level == 0, code=level == depth - 1, reduction=reduction))
        joined = {"none": (), "deepest": (depth - 2,), "all": tuple(range(depth - 1))}[skip]
        self.joined = [level in joined for level in range(depth)]
        """Finest first, as the encoder; the decoder's levels are in the order of its way up."""
        for level in reversed(range(depth)):
            inputs = widths[level] * (2 if self.joined[level] else 1)
            conv_up = nn.ConvTranspose2d(inputs, widths[level - 1] if level else 3, 4, 2, 1, bias=level == 0)
            last: nn.Module = nn.BatchNorm2d(conv_up.out_channels) if level else nn.Tanh()
            self.decoder.append(nn.Sequential(nn.ReLU(), conv_up, last))
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        features = [images]
        for level in self.encoder:
            features.append(level(features[-1]))
        hidden = features[-1]
        for level, joined in zip(self.decoder, reversed(self.joined), strict=True):
            skipped = features.pop()
            hidden = level(torch.cat([hidden, skipped], 1) if joined else hidden)
        return hidden


def _lowered(conv: nn.Conv2d, *, first: bool, code: bool, reduction: int) -> nn.Sequential:
    """One level of the encoder."""
    layers: list[nn.Module] = [conv] if first else [nn.LeakyReLU(SLOPE), conv]
    if not first and not code:
        layers.append(nn.BatchNorm2d(conv.out_channels))
    if reduction and not code:
        layers.append(CBAM(conv.out_channels, reduction))
    return nn.Sequential(*layers)


class FeatureDiscriminator(Discriminator):
    """Images (N, 3, H, W) in [-1, 1] to features (N, latent) and, from these, logits (N, 1), above 0 for real ones."""

    def __init__(self, size: Sequence[int], base: int, cap: int, latent: int) -> None:
        super().__init__(size, base, cap, biased=False)
        self.code = nn.Conv2d(self.code.in_channels, latent, grid_of(size), bias=False)
        self.verdict = nn.Conv2d(latent, 1, 3, 1, 1)
        self.code.apply(initialise)
        self.verdict.apply(initialise)

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen = self(images)
        return seen.flatten(1), self.verdict(seen).flatten(1)

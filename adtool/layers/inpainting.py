"""How slsg's encoder learns what good images look like: restoring hidden parts against a discriminator.

L_D = 1/2 D(G(x_m))^2 + 1/2 (D(x) - 1)^2                                           Yang et al. 2023, Eq. 9
L_R = a1 1/2 (D(G(x_m)) - 1)^2 + a2 |G(x_m) - x| + a3 (aux(x_m) - x)^2             Eq. 8 and 10, means
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from adtool.layers.gan import PatchDiscriminator, discriminator_loss, generator_loss
from adtool.layers.unet import AuxiliaryHead, Decoder


class Inpainting(nn.Module):
    """The decoder of GPT-Net with its auxiliary head, and D-Net with so many channels in its first convolution.

    `channels` are those of the encoder's levels, finest first; `weights` are a1, a2 and a3.
    """

    def __init__(self, channels: Sequence[int], judge: int, weights: tuple[float, float, float]) -> None:
        super().__init__()
        self.weights = weights
        self.decoder = Decoder(channels, 3)
        self.head = AuxiliaryHead(channels[-1], 2 * channels[0], 3)
        self.discriminator = PatchDiscriminator(judge)

    def generator(self) -> list[nn.Parameter]:
        """All parameters but the discriminator's."""
        return [*self.decoder.parameters(), *self.head.parameters()]

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Encoder levels of masked images -> images in [-1, 1] of `size`: restored, and from the deepest alone."""
        return self.decoder(levels, levels[-1]).tanh(), self.head(levels[-1], size).tanh()

    def losses(self, levels: Sequence[Tensor], images: Tensor) -> Iterator[Tensor]:
        """The discriminator's loss, and after its step the generator's, for images in [-1, 1]."""
        restored, deep = self(levels, (images.shape[2], images.shape[3]))
        yield discriminator_loss(self.discriminator(images), self.discriminator(restored.detach()))
        self.discriminator.requires_grad_(False)  # it has had its step
        adversarial = generator_loss(self.discriminator(restored))
        self.discriminator.requires_grad_(True)
        parts = adversarial, (restored - images).abs().mean(), (deep - images).square().mean()
        yield sum((weight * part for weight, part in zip(self.weights, parts, strict=True)), images.new_zeros(()))

"""An autoencoder trained against a discriminator whose features also compare images: GANomaly and Skip-GANomaly.

Akcay et al. 2018, https://arxiv.org/abs/1805.06725, and 2019, https://arxiv.org/abs/1901.08954. Images are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.dcgan import Discriminator, Encoder, Generator
from adtool.layers.skip_ganomaly import FeatureDiscriminator, UNetAutoencoder


class Weights(NamedTuple):
    """Of the terms of the generator's loss, and whether the discriminator's has L_lat too."""

    adversarial: float
    content: float
    latent: float
    code: float
    judge_latent: bool


class AdversarialAutoencoder(nn.Module):
    """Autoencoder and discriminator of Skip-GANomaly, or with `code` GANomaly's, which also has a second encoder.

    `autoencoder` and `judge` are (base, cap) channels; `reduction` is that of CBAM in Skip-GANomaly's encoder, 0 for
    none.
    """

    def __init__(
        self,
        size: Sequence[int],
        autoencoder: tuple[int, int],
        judge: tuple[int, int],
        latent: int,
        *,
        skip: str,
        reduction: int,
        code: bool,
        weights: Weights,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.second_encoder: Encoder | None = None
        if code:
            self.generator: nn.Module = Generator(size, *autoencoder, latent, skip)
            self.second_encoder = Encoder(size, *autoencoder, latent)
            self.discriminator = Discriminator(size, *judge)
        else:
            self.generator = UNetAutoencoder(size, *autoencoder, skip, reduction)
            self.discriminator = FeatureDiscriminator(size, *judge, latent)

    def restored(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Restorations of (N, 3, H, W), and GANomaly's code of the images."""
        if not isinstance(self.generator, Generator):
            return self.generator(images), None
        code, features = self.generator.encode(images)
        return self.generator.decoder(code, features), code

    def code_distance(self, code: Tensor, restored: Tensor) -> Tensor:
        """Mean square by which the code of a restoration differs from that of the image, (N,)."""
        assert self.second_encoder is not None
        difference: Tensor = code - self.second_encoder(restored)
        return difference.float().square().mean((1, 2, 3))

    def feature_distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Mean square by which the discriminator's features differ, (N,)."""
        seen, wanted = (self.discriminator.judge(x)[0].float().flatten(1) for x in (images, others))
        distance: Tensor = (seen - wanted).square().mean(1)
        return distance

    def error(self, images: Tensor) -> Tensor:
        """Mean of |x - x'|."""
        restored, _ = self.restored(images)
        return F.l1_loss(restored.float(), images)

    def losses(self, images: Tensor) -> Iterator[Tensor]:
        """The generator's loss, then the discriminator's."""
        weights = self.weights
        restored, code = self.restored(images)
        wanted, real = self.discriminator.judge(images)
        seen, fake = self.discriminator.judge_frozen(restored)
        loss = weights.content * F.l1_loss(restored, images) + weights.latent * F.mse_loss(seen, wanted.detach())
        loss = loss + weights.adversarial * F.softplus(-fake).mean()
        yield loss if code is None else loss + weights.code * self.code_distance(code, restored).mean()
        seen, fake = self.discriminator.judge(restored.detach())
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        yield loss + F.mse_loss(seen, wanted) if weights.judge_latent else loss

    def learnt(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the generator's side and of the discriminator."""
        parts = [self.generator] + ([self.second_encoder] if self.second_encoder is not None else [])
        return [p for part in parts for p in part.parameters()], list(self.discriminator.parameters())

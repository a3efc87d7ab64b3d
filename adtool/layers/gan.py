"""A Markov discriminator (Isola et al. 2017, the 70x70 PatchGAN) and least-squares losses (Mao et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn


def _group(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    norm = nn.BatchNorm2d(outputs)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return [_convolution(inputs, outputs, stride, bias=False), norm, nn.LeakyReLU(0.2)]


def _convolution(inputs: int, outputs: int, stride: int, *, bias: bool = True) -> nn.Conv2d:
    convolution = nn.Conv2d(inputs, outputs, 4, stride, 1, bias=bias)
    nn.init.normal_(convolution.weight, 0.0, 0.02)
    return convolution


class PatchDiscriminator(nn.Module):
    """Images (N, inputs, H, W) -> (N, 1, H/8 - 2, W/8 - 2): how real each patch of 70 pixels looks, no sigmoid."""

    def __init__(self, base: int = 64, inputs: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(inputs, base, 2), nn.LeakyReLU(0.2)]
        layers += _group(base, 2 * base, 2) + _group(2 * base, 4 * base, 2) + _group(4 * base, 8 * base, 1)
        self.body = nn.Sequential(*layers, _convolution(8 * base, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        judged: Tensor = self.body(images)
        return judged


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """1/2 (D(x) - 1)^2 + 1/2 D(G)^2, means over patches and batch."""
    return ((real.float() - 1).square().mean() + fake.float().square().mean()) / 2


def generator_loss(fake: Tensor) -> Tensor:
    """1/2 (D(G) - 1)^2, mean over patches and batch."""
    return (fake.float() - 1).square().mean() / 2

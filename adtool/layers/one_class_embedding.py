"""Bottleneck of masked reverse distillation (Qi, Chai & Ye 2024, Eq. 1): MSFF fuses, SCSAtt attends, OCE embeds."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from adtool.layers.residual import chain, convolution_norm_relu
from adtool.layers.scconv import SCConv
from adtool.ops.simam import simam


class OneClassEmbedding(nn.Module):
    """Teacher features, finest first -> (N, 2 C, h/2, w/2), where h x w is the coarsest grid and C its width.

    `teacher` has the channels of each scale, `widths` those of every scale between the finest and the coarsest. `ratio`
    is that of bottleneck residual blocks, None for basic ones; without `scconv` and `attends` SCSAtt is a convolution.
    """

    def __init__(
        self,
        teacher: dict[int, int],
        widths: dict[int, int],
        depth: int,
        ratio: int | None,
        *,
        scconv: bool = True,
        hard_gate: bool = False,
        attends: bool = True,
    ) -> None:
        super().__init__()
        deepest = max(widths)
        self.reduce = nn.ModuleList()
        for scale, channels in teacher.items():
            hops = [channels, *(width for at, width in widths.items() if at > scale)]
            self.reduce.append(nn.Sequential(*[convolution_norm_relu(a, b, 3, 2) for a, b in pairwise(hops)]))
        fused = widths[deepest]
        inputs = sum(channels if scale == deepest else fused for scale, channels in teacher.items())
        self.fuse = convolution_norm_relu(inputs, fused, 1)
        self.scconv = SCConv(fused, hard=hard_gate) if scconv else nn.Identity()
        self.mix = convolution_norm_relu(fused, fused, 1)
        self.attends = attends
        self.embed = chain(fused, 2 * fused, depth, "down", ratio)

    def forward(self, features: list[Tensor]) -> Tensor:
        reduced = [reduce(scale) for reduce, scale in zip(self.reduce, features, strict=True)]
        hidden = self.mix(self.scconv(self.fuse(torch.cat(reduced, dim=1))))
        embedded: Tensor = self.embed(simam(hidden) if self.attends else hidden)
        return embedded

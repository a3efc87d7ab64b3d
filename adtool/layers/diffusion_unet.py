"""The network that predicts the noise of a diffusion model (Dhariwal & Nichol 2021, "Diffusion Models Beat GANs").

Residual blocks scaled and shifted by the step, attention at chosen resolutions, resampling within blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.layers.batch_invariant import Conv2d, GroupNorm, UpConv2d

PERIOD = 10_000
"""The longest wave of the embedding of steps, over 2 pi."""


def step_embedding(t: Tensor, channels: int) -> Tensor:
    """(N, channels) float32: cosines, then sines of t (N,) at frequencies from 1 down to 1 / PERIOD."""
    half = channels // 2
    rates = torch.exp(-math.log(PERIOD) / half * torch.arange(half, device=t.device, dtype=torch.float32))
    angles = t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ResidualBlock(nn.Module):
    """(N, inputs, H, W) -> (N, outputs, H', W'): h = silu(norm(conv(silu(norm(x)))) (1 + scale) + shift), conv(h) + x.

    With `resample` "down" or "up" both ways are halved (mean) or doubled (repeated) first. The last convolution starts
    at zero.
    """

    def __init__(self, inputs: int, outputs: int, groups: int, resample: str = "") -> None:
        super().__init__()
        self.resample = resample
        self.norms = nn.ModuleList([GroupNorm(groups, width, silu=True) for width in (inputs, outputs)])
        first = UpConv2d(inputs, outputs) if resample == "up" else Conv2d(inputs, outputs, 3, 1, 1)
        self.convs = nn.ModuleList([first, _zero(Conv2d(outputs, outputs, 3, 1, 1))])
        self.along = nn.Identity() if inputs == outputs else Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """`modulation` (N, 2 outputs): scale and shift."""
        hidden = self.norms[0](x)
        if self.resample == "down":
            x, hidden = F.avg_pool2d(x, 2), F.avg_pool2d(hidden, 2)
        if self.resample == "up":
            x = F.interpolate(x, scale_factor=2.0)  # and `hidden` by its convolution
        hidden = self.norms[1](self.convs[0](hidden), modulation)
        result: Tensor = self.convs[1](hidden)
        return result.add_(self.along(x))


class Attention(nn.Module):
    """(N, C, H, W) to the same shape: every place attends to every other, in heads of `head` channels.

    Where C is no multiple of `head` there is one head.
    """

    def __init__(self, channels: int, groups: int, head: int) -> None:
        super().__init__()
        self.heads = 1 if channels % head else channels // head
        self.norm = GroupNorm(groups, channels)
        self.qkv = Conv2d(channels, 3 * channels, 1)
        self.out = _zero(Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        number, channels, height, width = x.shape
        parts = self.qkv(self.norm(x)).reshape(number, 3, self.heads, channels // self.heads, height * width)
        queries, keys, values = (part.transpose(2, 3).contiguous() for part in parts.unbind(1))  # (N, heads, HW, d)
        seen = F.scaled_dot_product_attention(queries, keys, values)
        attended: Tensor = x + self.out(seen.transpose(2, 3).reshape(x.shape))
        return attended


class DiffusionUNet(nn.Module):
    """Noise (N, 3, H, W) predicted in x (N, 3, H, W), H and W multiples of 2^(levels - 1).

    Level i has base * multipliers[i] channels and `blocks` residual blocks, one more on the way up; those whose map's
    shorter side is in `attention` have attention behind each.
    """

    def __init__(
        self,
        size: Sequence[int],
        base: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
        blocks: int = 2,
        attention: Sequence[int] = (32, 16, 8),
        head: int = 64,
        groups: int = 32,
    ) -> None:
        super().__init__()
        widths = [base * multiplier for multiplier in multipliers]
        deepest = len(widths) - 1
        self.base = base
        self.first = Conv2d(3, widths[0], 3, 1, 1)
        self.down, self.up, self.attentions = nn.ModuleList(), nn.ModuleList(), nn.ModuleDict()
        skipped, channels = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            for _ in range(blocks):
                self.down.append(ResidualBlock(channels, width, groups))
                self._attend(f"down{len(self.down) - 1}", width, level, size, attention, head, groups)
                skipped.append(channels := width)
            if level < deepest:
                self.down.append(ResidualBlock(width, width, groups, "down"))
                skipped.append(width)
        self.middle = nn.ModuleList([ResidualBlock(channels, channels, groups) for _ in range(2)])
        self.attentions["middle"] = Attention(channels, groups, head)
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(ResidualBlock(channels + skipped.pop(), width, groups))
                self._attend(f"up{len(self.up) - 1}", width, level, size, attention, head, groups)
                channels = width
            if level:
                self.up.append(ResidualBlock(width, width, groups, "up"))
        self.last = nn.Sequential(GroupNorm(groups, channels, silu=True), _zero(Conv2d(channels, 3, 3, 1, 1)))
        self.embed = nn.Sequential(nn.Linear(base, 4 * base), nn.SiLU(), nn.Linear(4 * base, 4 * base), nn.SiLU())
        self.widths = [2 * block.convs[1].out_channels for block in (*self.down, *self.middle, *self.up)]
        self.modulate = nn.Linear(4 * base, sum(self.widths))

    def _attend(
        self, name: str, width: int, level: int, size: Sequence[int], attention: Sequence[int], head: int, groups: int
    ) -> None:
        if min(size) >> level in attention:
            self.attentions[name] = Attention(width, groups, head)

    def modulations(self, t: Tensor) -> Tensor:
        """Scales and shifts of all blocks for steps t (N,), one row each: all that the network is told of the step."""
        rows: Tensor = self.modulate(self.embed(step_embedding(t, self.base)))
        return rows

    def forward(self, x: Tensor, modulations: Tensor) -> Tensor:
        rows = iter(torch.split(modulations, self.widths, dim=1))
        x = self.first(x.contiguous(memory_format=torch.channels_last))
        skipped = [x]
        for place, block in enumerate(self.down):
            x = self._attended(f"down{place}", block(x, next(rows)))
            skipped.append(x)
        x = self.attentions["middle"](self.middle[0](x, next(rows)))
        x = self.middle[1](x, next(rows))
        for place, block in enumerate(self.up):
            if not block.resample:
                x = torch.cat([x, skipped.pop()], dim=1)
            x = self._attended(f"up{place}", block(x, next(rows)))
        predicted: Tensor = self.last(x)
        return predicted

    def _attended(self, name: str, x: Tensor) -> Tensor:
        return self.attentions[name](x) if name in self.attentions else x


def _zero(conv: Conv2d) -> Conv2d:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv

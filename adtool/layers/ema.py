"""The exponential moving average of a network's weights, which diffusion models predict with."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of a network without gradients whose weights follow it: mean <- d mean + (1 - d) weights.

    d is `decay`, or (1 + n) / (10 + n) after n steps where that is less, so that the first weights are soon forgotten.
    """

    steps: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Take one step of training into account; buffers are copied."""
        share = 1 - ((1 + self.steps) / (10 + self.steps)).clamp(max=self.decay)
        self.steps += 1
        for mean, weights in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(weights, share.to(mean.dtype))
        for kept, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(buffer)

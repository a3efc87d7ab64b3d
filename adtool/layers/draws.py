"""Random numbers of a sample that follow from its seed alone, whatever else is in its batch.

Philox4x32-10 with the counter (number / 4, stream, seed low, seed high): what one part of a sample draws is told from
what another part draws by the stream.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adtool.ops.philox_normal import WORD, philox

KEY = 0x73616D70, 0x6C65
"""Sets these numbers apart from the noise of the diffusion operators."""


def uniform(seeds: Tensor, stream: int, count: int) -> Tensor:
    """(N, count) float32 in [0, 1), multiples of 2^-24, for seeds (N,) int64."""
    blocks = torch.arange((count + 3) // 4, device=seeds.device)
    own = seeds[:, None]
    words = philox((blocks, torch.full_like(blocks, stream), own & WORD, own >> 32 & WORD), KEY)
    return (torch.stack(words, dim=2).flatten(1)[:, :count] >> 8).float() * 2.0**-24


def between(numbers: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Numbers in [0, 1) scaled to [low, high]."""
    return numbers * (high - low) + low


def whole(numbers: Tensor, choices: int | Tensor) -> Tensor:
    """Numbers in [0, 1) as int64 in 0 ... choices - 1, each as likely."""
    return (numbers * choices).long()

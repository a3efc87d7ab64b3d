"""The SG block of slsg (Yang et al. 2023, section 3.3): self-attention and a graph of what belongs together far apart.

    W_d = softmax(f(X) g(X)^T / sqrt(d)),  Z = W_d h(X)                                     Eq. 2 and 3
    W_s = cos(f(X), g(X)^T) - cos(P, P^T),  N_i = the k nodes with the largest W_s(i, .)    Eq. 4 and 5
    v'_i = max_{j in N_i} (x_j - x_i) per channel                                           Eq. 6
    X' = u([Z, V'])                                                                         Eq. 7

f, g, h and u are 1x1 convolutions, P a sine and cosine encoding of the nodes' places. Neighbours are chosen, so that f
and g learn through W_d alone; without attention nothing would train them, and nodes are compared as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.ops.topk_max_relative import topk_max_relative


def position_encoding(height: int, width: int, channels: int) -> Tensor:
    """P (H W, C): sines and cosines of the row in the first half of the channels, of the column in the second.

    The frequencies are 10000^(-k / (C / 4)) for k below C / 4; a ValueError unless C is a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"channels: expected a multiple of 4, got {channels}")
    frequencies = 10000.0 ** -(torch.arange(channels // 4) / (channels // 4))

    def axis(length: int) -> Tensor:  # (length, C / 2)
        angles = torch.arange(length)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    rows, columns = axis(height), axis(width)
    return torch.cat([rows.repeat_interleave(width, 0), columns.repeat(height, 1)], dim=1)


def _nodes(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N, C), read as it lies."""
    return features.flatten(2).mT


class SGBlock(nn.Module):
    """X (B, C, H, W) -> X' of the same shape, for the one (H, W) = `size` it is built for.

    `reduction` is z: f and g have C / z channels. `k` neighbours are at most all other nodes. `attention`, `gcn` (at
    least one) and `eliminate_ps`, the subtraction in Eq. 5, are the switches of the paper's Table 6.
    """

    position: Tensor | None

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        k: int = 9,
        reduction: int = 2,
        *,
        attention: bool = True,
        gcn: bool = True,
        eliminate_ps: bool = True,
    ) -> None:
        super().__init__()
        if not (attention or gcn):
            raise ValueError("attention, gcn: expected at least one of them")
        self.attention, self.gcn = attention, gcn
        self.k = max(1, min(k, size[0] * size[1] - 1))
        if attention:
            self.query = nn.Conv2d(channels, channels // reduction, 1)  # f
            self.key = nn.Conv2d(channels, channels // reduction, 1)  # g
            self.value = nn.Conv2d(channels, channels, 1)  # h
        self.update = nn.Conv2d(channels * (attention + gcn), channels, 1)  # u
        encoding = position_encoding(*size, channels) if gcn and eliminate_ps else None
        self.register_buffer("position", encoding, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        nodes = query = key = _nodes(features)
        found = []
        if self.attention:
            query, key = _nodes(self.query(features)), _nodes(self.key(features))
            found.append(F.scaled_dot_product_attention(query, key, _nodes(self.value(features))))  # Z
        if self.gcn:
            found.append(topk_max_relative(query, key, self.position, nodes, self.k))  # V'
        hidden = torch.cat([one.mT.reshape(features.shape) for one in found], dim=1)
        updated: Tensor = self.update(hidden)
        return updated

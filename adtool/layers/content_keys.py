"""A number for each image that follows from its pixels alone: the key of whatever is random about it.

Two multilinear hashes (Carter & Wegman 1979) over the field of 2^31 - 1 elements, sum_i c_i w_i, where w_i are the bits
of pixel i and c_i random numbers of its place. Sums of integers have no rounding, so batch, threads and device do not
matter. Different images share a key with a chance of 2^-62.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adtool.ops.philox_normal import WORD, philox

PRIME = 2**31 - 1
KEY = 0x636F6E74, 0x656E74
"""Of the random coefficients."""


def content_keys(images: Tensor) -> Tensor:
    """(N,) int64 from 0 to 2^62 for images (N, C, H, W), from their values in float32."""
    words = images.float().contiguous().view(torch.int32).flatten(1).long() & WORD
    places = torch.arange(words.shape[1], device=images.device)
    nothing = torch.zeros_like(places)
    drawn = philox((places, nothing, nothing, nothing), KEY)[:2]
    first, second = ((words * (own >> 1) % PRIME).sum(1) % PRIME for own in drawn)  # products are below 2^63
    return first << 31 | second

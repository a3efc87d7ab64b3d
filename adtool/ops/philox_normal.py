"""Standard normal noise that depends on where it is used alone, not on batch, device or what was drawn before.

Philox4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3") turns a counter and a key of 32-bit
words into four random words; Box and Muller's transform turns two words into two normals:

    key = (seed low, seed high),  counter = (element / 4, t, sample_id low, sample_id high)
    u1 = (2 floor(w1 / 4) + 1) / 2^31 in (0, 1], rounded to float32,  u2 = w2 / 2^32
    z1 = sqrt(-2 ln u1) cos(2 pi u2),  z2 = sqrt(-2 ln u1) sin(2 pi u2)

The elements of a sample (C, H, W) are counted in that order, however they lie in memory. dgrnet's diffusion draws this
noise at every step: a picture's reconstruction is the same in any batch. Every function here is a fixed sequence of
correctly rounded float32 operations, which the native kernels repeat one by one: the bits are the same everywhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401
from adtool.ops._layout import dense_format

NO_GRADIENT = "noise depends on no number that is learnt"

WORD = 0xFFFFFFFF
ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
# Polynomials of least relative error, lowest power first; they are those of csrc/philox.h.
LOG = (-2.0, 0.999999762, -0.666683733, 0.500041485, -0.399136662, 0.331247866, -0.299045324, 0.287336856, -0.174447134)
"""-2 ln(1 + f) / f for 1 + f in [sqrt(1/2), sqrt(2)], to 2.6e-8."""
SIN = (0.785398185, -0.0807454363, 0.00249000103, -3.5950452e-05)
"""sin(pi/4 x) / x in powers of x^2 for x in [-1, 1], to 3.2e-9."""
COS = (1.0, -0.308425128, 0.0158543233, -0.000325936504, 3.52876168e-06)
"""cos(pi/4 x) in powers of x^2 for x in [-1, 1], to 5.6e-11."""
TWO_LN2 = 2 * math.log(2)
SQRT_HALF_BITS = 0x3F3504F3
"""sqrt(1/2) as float32."""

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "small": [(3, 3, 5, 7), (2, 1), (2, 3, 20, 36)],  # in single elements, and in packs of several blocks of threads
    "paper": [(16, 3, 256, 256), (64, 3, 128, 128)],
}
"""Example inputs of the diffusion operators."""
NOISE_FLOPS = 46
"""Operations of a normal: a fourth of ten rounds of six, and half of a Box-Muller transform of 61."""

torch.library.define("adtool::philox_normal", "(Tensor like, Tensor t, int seed, Tensor sample_id) -> Tensor")


def _product(words: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits, by halves, since 64-bit integers are signed."""
    low, high = (words & 0xFFFF) * multiplier, (words >> 16) * multiplier
    middle = high + (low >> 16)
    return middle >> 16, ((middle & 0xFFFF) << 16) | (low & 0xFFFF)


def philox(counter: tuple[Tensor, ...], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Four random words for each counter of four; words are int64 tensors of values below 2^32, in shapes that fit."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _product(c0, MULTIPLIERS[0])
        high1, low1 = _product(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + KEY_STEPS[0]) & WORD, (k1 + KEY_STEPS[1]) & WORD
    return c0, c1, c2, c3


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    series = coefficients[-1] * x + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        series = series * x + coefficient
    return series


def _radius(word: Tensor) -> Tensor:
    """sqrt(-2 ln u1), float32: u1 = 2^exponent (1 + f)."""
    u = ((word >> 1) | 1).to(torch.int32).float() * 2.0**-31
    bits = u.view(torch.int32)
    exponent = (bits - SQRT_HALF_BITS) >> 23
    f = (bits - (exponent << 23)).view(torch.float32) - 1
    squared = f * _polynomial(LOG, f) - exponent.float() * TWO_LN2
    return squared.double().sqrt().float()  # correctly rounded; PyTorch's square root of float32 is not


def _direction(word: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi u2, float32: the nearest quarter turn, and x eighths of a turn from there, x in [-1, 1]."""
    quarter = (word + (1 << 29)) >> 30
    x = (((word << 2) + (1 << 31) & WORD) - (1 << 31)).to(torch.int32).float() * 2.0**-31
    square = x * x
    sin, cos = x * _polynomial(SIN, square), _polynomial(COS, square)
    odd = quarter % 2 == 1
    first, second = torch.where(odd, sin, cos), torch.where(odd, cos, sin)
    return torch.where((quarter + 1) & 2 != 0, -first, first), torch.where(quarter & 2 != 0, -second, second)


def normals(words: tuple[Tensor, ...]) -> Tensor:
    """Words (w0, w1, w2, w3) to float32 normals, stacked along a new last axis."""
    pairs = [(_radius(words[i]), _direction(words[i + 1])) for i in (0, 2)]
    return torch.stack([radius * part for radius, direction in pairs for part in direction], dim=-1)


def noise(shape: torch.Size, t: Tensor, seed: int, sample_id: Tensor) -> Tensor:
    """Normals of a contiguous (N, ...) shape, float32."""
    elements = math.prod(shape[1:])
    block = torch.arange((elements + 3) // 4, device=t.device)
    per_sample = (word[:, None] & WORD for word in (t, sample_id, sample_id >> 32))
    words = philox((block, *per_sample), (seed & WORD, seed >> 32 & WORD))
    return normals(words).flatten(1)[:, :elements].reshape(shape)


def reference(like: Tensor, t: Tensor, seed: int, sample_id: Tensor) -> Tensor:
    """The formulas above."""
    z = noise(like.shape, t, seed, sample_id).to(like.dtype)
    return z.contiguous(memory_format=dense_format(like))


def _shape(like: Tensor, t: Tensor, seed: int, sample_id: Tensor) -> Tensor:
    return torch.empty_like(like, memory_format=dense_format(like))


torch.library.impl("adtool::philox_normal", "default", reference)
torch.library.register_fake("adtool::philox_normal", _shape)


def check_samples(name: str, x: Tensor, t: Tensor, seed: int, sample_id: Tensor) -> None:
    """A ValueError unless x is (N, ...) floating point, t and sample_id (N,) int64 and seed fits 64 bits."""
    if x.dim() < 1 or not x.is_floating_point():
        raise ValueError(f"{name}: expected floating-point (N, ...), got {x.dtype} {tuple(x.shape)}")
    for argument, value in (("t", t), ("sample_id", sample_id)):
        if value.shape != x.shape[:1] or value.dtype != torch.int64:
            found = f"{value.dtype} {tuple(value.shape)}"
            raise ValueError(f"{argument}: expected int64 ({x.shape[0]},), one for each sample of {name}, got {found}")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed: expected 0 to 2^63 - 1, got {seed}")


def philox_normal(like: Tensor, t: Tensor, seed: int, sample_id: Tensor) -> Tensor:
    """Noise of the shape, dtype and memory format of `like` (N, ...), drawn for (seed, sample_id, t, element).

    t and sample_id are (N,) int64; t is taken modulo 2^32. Other dtypes are the float32 numbers, converted.
    """
    check_samples("like", like, t, seed, sample_id)
    z: Tensor = torch.ops.adtool.philox_normal(like.detach(), t, seed, sample_id)
    return z


def eager(like: Tensor, t: Tensor, seed: int, sample_id: Tensor) -> Tensor:
    """What one writes without this operator, for comparison: noise of PyTorch's generator, which no key selects."""
    return torch.randn_like(like)


def flops(like: Tensor, t: Tensor, seed: int, sample_id: Tensor) -> tuple[int, int]:
    """Operations forward; there is no backward."""
    return NOISE_FLOPS * like.numel(), 0


def min_bytes(like: Tensor, t: Tensor, seed: int, sample_id: Tensor) -> int:
    """Bytes read and written: the keys and the noise, nothing of `like`."""
    return t.nbytes + sample_id.nbytes + like.nbytes


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, the `paper`'s shapes for benchmarks."""
    shapes = SHAPES[size]
    numbers = [torch.arange(shape[0], device=device) for shape in shapes]
    likes = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]
    return [(like, 7 * number - 3, 1, number) for like, number in zip(likes, numbers, strict=True)]

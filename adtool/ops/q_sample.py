"""Forward noising of a diffusion model in closed form, every sample to a step t of its own (dgrnet Eq. 1).

    x_t = sqrt(abar_t) x + sqrt(1 - abar_t) z      z: philox_normal(x, -t, seed, sample_id)

x and x_t are (N, ...), t and sample_id (N,) int64; (sqrt(abar_t), sqrt(1 - abar_t)) is row t of the schedule,
(T + 1, 2). Training predicts z from x_t and draws it by that call. Its step is -t, so that a chain that begins with
`q_sample` and goes back with `denoise_step`, which draws for t, uses no noise twice. The gradient
is sqrt(abar_t) dL/dx_t.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401
from adtool.ops._layout import dense_format
from adtool.ops.denoise_step import as_rows, rows_of
from adtool.ops.philox_normal import NOISE_FLOPS, SHAPES, check_samples, noise

torch.library.define("adtool::q_sample", "(Tensor x, Tensor t, Tensor schedule, int seed, Tensor sample_id) -> Tensor")


def forward_schedule(alpha_bar: Tensor) -> Tensor:
    """Rows (sqrt(abar_t), sqrt(1 - abar_t)), (T + 1, 2) float64, for alpha_bar (T + 1,) from 1 downwards."""
    if alpha_bar.dim() != 1 or not bool(((alpha_bar >= 0) & (alpha_bar <= 1)).all()):
        raise ValueError(f"alpha_bar: expected (T + 1,) numbers from 0 to 1, got {tuple(alpha_bar.shape)}")
    return torch.stack([alpha_bar.double(), 1 - alpha_bar.double()], dim=1).sqrt()


def reference(x: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor) -> Tensor:
    """The formula above."""
    signal, sigma = rows_of(schedule, t, x)
    z = noise(x.shape, -t, seed, sample_id)
    return (signal * x.to(schedule.dtype) + sigma * z).to(x.dtype).contiguous(memory_format=dense_format(x))


def _shape(x: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=dense_format(x))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, t, schedule, _, _ = inputs
    ctx.save_for_backward(t, schedule)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    t, schedule = ctx.saved_tensors
    signal = schedule[t, 0].view(-1, *[1] * (grad.dim() - 1))
    return (signal * grad.to(schedule.dtype)).to(grad.dtype), None, None, None, None


torch.library.impl("adtool::q_sample", "default", reference)
torch.library.register_fake("adtool::q_sample", _shape)
torch.library.register_autograd("adtool::q_sample", _gradient, setup_context=_save)


def q_sample(x: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor) -> Tensor:
    """Samples x (N, ...) noised to their steps t (N,) int64; same dtype and memory format as x.

    schedule is (T + 1, 2): give it as float32, or float64 for float64 samples, to save a conversion at every call. A
    step beyond it is an error on the CPU and NaN on a GPU, which is not waited for.
    """
    check_samples("x", x, t, seed, sample_id)
    noisy: Tensor = torch.ops.adtool.q_sample(x, t, as_rows(schedule, 2, x), seed, sample_id)
    return noisy


def eager(x: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor) -> Tensor:
    """What one writes without this operator, for comparison: the formula, with noise of PyTorch's generator."""
    rows = schedule.detach()[t]  # constants: the operator gives them no gradient either
    signal, sigma = rows.view(-1, 2, *[1] * (x.dim() - 1)).unbind(1)
    return signal * x + sigma * torch.randn_like(x)


def flops(x: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor) -> tuple[int, int]:
    """Operations forward (the noise, two products and a sum) and backward (a product)."""
    return (NOISE_FLOPS + 3) * x.numel(), x.numel()


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, the `paper`'s shapes for benchmarks."""
    schedule = forward_schedule(torch.linspace(1, 0.01, 101, dtype=torch.float64))
    schedule = schedule.to(device, torch.promote_types(dtype, torch.float32))
    generator = torch.Generator().manual_seed(0)
    cases = []
    for shape in SHAPES[size]:
        x, number = torch.randn(shape, generator=generator).to(device, dtype), torch.arange(shape[0], device=device)
        cases.append((x, number * 37 % 101, schedule, 1, number))
    return cases

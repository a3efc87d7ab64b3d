"""One reverse step of a diffusion model in which every sample stands at a step t of its own.

    x0     = clamp(b x + c eps, -clip, clip)      the clean sample, as the predicted noise eps has it
    x_prev = a x0 + d x + s z                     z: philox_normal(x, t, seed, sample_id)

x, eps and x_prev are (N, ...), t and sample_id (N,) int64; (a, b, c, d, s) is row t of the schedule, (T + 1, 5).
Samples of t = 0 are finished and stay as they are. The schedule says what the step is: `ddpm_schedule` (Ho et al. 2020,
"Denoising Diffusion Probabilistic Models", Algorithm 2; dgrnet Eq. 2), with x0 clipped as by Dhariwal and Nichol 2021,
or `ddim_schedule` (Song et al. 2021, "Denoising Diffusion Implicit Models", Eq. 12). Gradient, with
m = [|b x + c eps| <= clip]:

    dL/dx = g (a m b + d),  dL/deps = g a m c
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from adtool.ops import _native  # noqa: F401
from adtool.ops._layout import dense_format
from adtool.ops.philox_normal import NOISE_FLOPS, SHAPES, check_samples, noise

torch.library.define(
    "adtool::denoise_step",
    "(Tensor x, Tensor eps, Tensor t, Tensor schedule, int seed, Tensor sample_id, float clip) -> Tensor",
)
torch.library.define(
    "adtool::denoise_step_backward",
    "(Tensor grad, Tensor x, Tensor eps, Tensor t, Tensor schedule, float clip) -> (Tensor, Tensor)",
)


def ddpm_schedule(alpha_bar: Tensor, variance: str = "small") -> Tensor:
    """Steps from t to t - 1, (T + 1, 5) float64; alpha_bar (T + 1,) is 1 at t = 0 and falls.

    `variance` of the noise: "small" is the posterior's, beta_t (1 - abar_{t-1}) / (1 - abar_t), "large" is beta_t.
    """
    _check_alpha_bar(alpha_bar)
    if variance not in ("small", "large"):
        raise ValueError(f"variance: expected small or large, got {variance}")
    now, previous = alpha_bar[1:].double(), alpha_bar[:-1].double()
    alpha = now / previous
    beta = 1 - alpha
    x0, x = previous.sqrt() * beta / (1 - now), alpha.sqrt() * (1 - previous) / (1 - now)
    squared = beta * (1 - previous) / (1 - now) if variance == "small" else beta
    noisy = torch.arange(1, len(alpha_bar), device=alpha_bar.device) > 1  # the last step adds none
    return _rows(now, x0, x, squared.sqrt() * noisy)


def ddim_schedule(alpha_bar: Tensor, stride: int = 1, eta: float = 0.0) -> Tensor:
    """Steps from t to max(t - stride, 0), (T + 1, 5) float64; eta: 0 for no noise, 1 for as much as `ddpm_schedule`."""
    _check_alpha_bar(alpha_bar)
    if stride < 1:
        raise ValueError(f"stride: expected at least 1, got {stride}")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta: expected 0 to 1, got {eta}")
    steps = torch.arange(1, len(alpha_bar), device=alpha_bar.device)
    now, previous = alpha_bar[1:].double(), alpha_bar.double()[(steps - stride).clamp(min=0)]
    s = eta * ((1 - previous) / (1 - now) * (1 - now / previous)).sqrt()
    along_eps = (1 - previous - s.square()).clamp(min=0).sqrt() / (1 - now).sqrt()
    return _rows(now, previous.sqrt() - along_eps * now.sqrt(), along_eps, s)


def _rows(now: Tensor, a: Tensor, d: Tensor, s: Tensor) -> Tensor:
    """Rows of steps 1 to T behind that of step 0, which leaves x as it is."""
    steps = torch.stack([a, 1 / now.sqrt(), -(1 / now - 1).sqrt(), d, s], dim=1)
    return torch.cat([steps.new_tensor([[0, 0, 0, 1, 0]]), steps])


def _check_alpha_bar(alpha_bar: Tensor) -> None:
    if alpha_bar.dim() != 1 or len(alpha_bar) < 2 or not alpha_bar.is_floating_point():
        raise ValueError(f"alpha_bar: expected (T + 1,) numbers, got {alpha_bar.dtype} {tuple(alpha_bar.shape)}")
    if alpha_bar[0] != 1 or not bool((alpha_bar.diff() < 0).all()) or not alpha_bar[-1] > 0:
        raise ValueError("alpha_bar: expected 1 at t = 0 and numbers that fall from there, all above 0")


def rows_of(schedule: Tensor, t: Tensor, x: Tensor) -> list[Tensor]:
    """The columns of each sample's row, each in a shape that goes with x (N, ...)."""
    if t.numel() and not 0 <= int(t.min()) <= int(t.max()) < len(schedule):
        raise ValueError(f"t: expected 0 to {len(schedule) - 1}, the last row of the schedule, got {t.tolist()}")
    return [column.view(-1, *[1] * (x.dim() - 1)) for column in schedule[t].unbind(1)]


def reference(x: Tensor, eps: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor, clip: float) -> Tensor:
    """The formula above, line by line."""
    a, b, c, d, s = rows_of(schedule, t, x)
    wide, z = x.to(schedule.dtype), noise(x.shape, t, seed, sample_id)
    x0 = (b * wide + c * eps.to(schedule.dtype)).clamp(-clip, clip)
    previous = (a * x0 + d * wide + s * z).to(x.dtype)
    return torch.where(t.view(a.shape) == 0, x, previous).contiguous(memory_format=dense_format(x))


def _shape(x: Tensor, eps: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor, clip: float) -> Tensor:
    return torch.empty_like(x, memory_format=dense_format(x))


def reference_backward(
    grad: Tensor, x: Tensor, eps: Tensor, t: Tensor, schedule: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """The gradient of the formula to x and eps; an x0 that was cut off passes nothing on."""
    a, b, c, d, _ = rows_of(schedule, t, x)
    wide = grad.to(schedule.dtype)
    inside = (b * x.to(schedule.dtype) + c * eps.to(schedule.dtype)).abs() <= clip
    through = torch.where(inside, wide * a, 0)
    still, layout = t.view(a.shape) == 0, dense_format(x)
    along_x = torch.where(still, wide, through * b + wide * d).to(x.dtype)
    along_eps = torch.where(still, 0, through * c).to(eps.dtype)
    return along_x.contiguous(memory_format=layout), along_eps.contiguous(memory_format=layout)


def _shape_backward(
    grad: Tensor, x: Tensor, eps: Tensor, t: Tensor, schedule: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    layout = dense_format(x)
    return torch.empty_like(x, memory_format=layout), torch.empty_like(x, memory_format=layout)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, eps, t, schedule, _, _, ctx.clip = inputs
    ctx.save_for_backward(x, eps, t, schedule)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, eps, t, schedule = ctx.saved_tensors
    along_x, along_eps = torch.ops.adtool.denoise_step_backward(grad, x, eps, t, schedule, ctx.clip)
    return along_x, along_eps, None, None, None, None, None


torch.library.impl("adtool::denoise_step", "default", reference)
torch.library.impl("adtool::denoise_step_backward", "default", reference_backward)
torch.library.register_fake("adtool::denoise_step", _shape)
torch.library.register_fake("adtool::denoise_step_backward", _shape_backward)
torch.library.register_autograd("adtool::denoise_step", _gradient, setup_context=_save)


def denoise_step(
    x: Tensor, eps: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor, clip: float = math.inf
) -> Tensor:
    """x_prev (N, ...) of samples x and the noise eps predicted in them; same dtype and memory format as x.

    t and sample_id are (N,) int64, schedule is (T + 1, 5): give it as float32, or float64 for float64 samples, to save
    a conversion at every step. A step beyond it is an error on the CPU and NaN on a GPU, which is not waited for.
    """
    check_samples("x", x, t, seed, sample_id)
    if eps.shape != x.shape or eps.dtype != x.dtype:
        expected, found = f"{x.dtype} {tuple(x.shape)}", f"{eps.dtype} {tuple(eps.shape)}"
        raise ValueError(f"eps: expected what x is, {expected}, got {found}")
    if not clip > 0:
        raise ValueError(f"clip: expected a bound above 0, or infinity for none, got {clip}")
    rows = as_rows(schedule, 5, x)
    previous: Tensor = torch.ops.adtool.denoise_step(x, eps, t, rows, seed, sample_id, clip)
    return previous


def as_rows(schedule: Tensor, columns: int, x: Tensor) -> Tensor:
    """The schedule in the type that x is computed with; a ValueError if it has another number of columns."""
    if schedule.dim() != 2 or schedule.shape[1] != columns or not schedule.is_floating_point():
        raise ValueError(f"schedule: expected (T + 1, {columns}), got {schedule.dtype} {tuple(schedule.shape)}")
    return schedule.to(torch.promote_types(x.dtype, torch.float32))


def eager(x: Tensor, eps: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor, clip: float) -> Tensor:
    """What one writes without this operator, for comparison: the formula, with noise of PyTorch's generator."""
    rows = schedule.detach()[t]  # constants: the operator gives them no gradient either
    a, b, c, d, s = rows.view(-1, 5, *[1] * (x.dim() - 1)).unbind(1)
    x0 = (b * x + c * eps).clamp(-clip, clip)
    return a * x0 + d * x + s * torch.randn_like(x)


def flops(
    x: Tensor, eps: Tensor, t: Tensor, schedule: Tensor, seed: int, sample_id: Tensor, clip: float
) -> tuple[int, int]:
    """Operations forward (the noise and ten more) and backward (which elements were clipped, five, and six more)."""
    return (NOISE_FLOPS + 10) * x.numel(), 11 * x.numel()


def inputs(device: str, dtype: torch.dtype, size: str = "small") -> list[tuple[Any, ...]]:
    """Arguments of the operator: `small` ones for tests, the `paper`'s shapes for benchmarks."""
    schedule = ddpm_schedule(torch.linspace(1, 0.01, 101, dtype=torch.float64))
    schedule = schedule.to(device, torch.promote_types(dtype, torch.float32))
    generator = torch.Generator().manual_seed(0)
    cases = []
    for shape in SHAPES[size]:
        x, eps = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
        number = torch.arange(shape[0], device=device)
        cases.append((x, eps, number * 37 % 101, schedule, 1, number, 1.0))
    return cases

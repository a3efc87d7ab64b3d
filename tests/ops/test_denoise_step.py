from __future__ import annotations

import math

import pytest
import torch

from adtool.ops._native import kernel_of
from adtool.ops.denoise_step import ddim_schedule, ddpm_schedule, denoise_step, reference, reference_backward
from adtool.ops.philox_normal import philox_normal
from adtool.ops.q_sample import forward_schedule, q_sample

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(3, 3, 5, 7), (2, 1), (3,), (2, 20000), (2, 40, 3, 3), (2, 20, 20, 31), (2, 3, 16, 16)]
BETA = torch.linspace(1e-3, 0.2, 50, dtype=torch.float64)
ALPHA_BAR = torch.cat([torch.ones(1, dtype=torch.float64), (1 - BETA).cumprod(0)])
native_only = pytest.mark.skipif(kernel_of("denoise_step", "cpu") != "native", reason="the native library is not built")


def samples(shape, dtype=torch.float64, seed=0):
    """x, eps, t from 0 to 50, and numbers of the samples."""
    generator = torch.Generator().manual_seed(seed)
    x, eps = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    t = torch.randint(0, 51, shape[:1], generator=generator)
    return x, eps, t, torch.arange(shape[0]) + 100


def each(t, column):
    return column[t].view(-1, 1, 1, 1)


def test_one_step_by_hand():
    # x0 = clamp(2 * 1 - 1 * 0.5, -1, 1) = 1, x_prev = 3 * 1 + 0.25 * 1; then nothing to clip: x0 = 0.6
    schedule = torch.tensor([[9.0, 9, 9, 9, 9], [3, 2, -1, 0.25, 0]])
    x, eps, t = torch.tensor([[1.0], [0.5], [7.0]]), torch.tensor([[0.5], [0.4], [1.0]]), torch.tensor([1, 1, 0])
    found = denoise_step(x, eps, t, schedule, 0, torch.arange(3), 1.0)
    torch.testing.assert_close(found, torch.tensor([[3.25], [1.925], [7.0]]))


def test_ddpm_step_without_clipping_is_algorithm_2():
    x, eps, t, number = samples((6, 3, 4, 5))
    t = torch.tensor([1, 2, 3, 20, 49, 50])
    alpha, bar = each(t - 1, 1 - BETA), each(t, ALPHA_BAR)
    mean = (x - (1 - alpha) / (1 - bar).sqrt() * eps) / alpha.sqrt()
    z = philox_normal(x, t, 7, number) * (t > 1).view(-1, 1, 1, 1)
    small = ((1 - each(t - 1, ALPHA_BAR)) / (1 - bar) * (1 - alpha)).sqrt()
    found = denoise_step(x, eps, t, ddpm_schedule(ALPHA_BAR), 7, number)
    torch.testing.assert_close(found, mean + small * z)
    found = denoise_step(x, eps, t, ddpm_schedule(ALPHA_BAR, "large"), 7, number)
    torch.testing.assert_close(found, mean + (1 - alpha).sqrt() * z)


def test_ddpm_step_with_clipping_is_the_posterior_of_the_clipped_sample():
    x, eps, _, number = samples((4, 3, 4, 5))
    t = torch.tensor([1, 5, 30, 50])
    bar, before, beta = each(t, ALPHA_BAR), each(t - 1, ALPHA_BAR), each(t - 1, BETA)
    x0 = ((x - (1 - bar).sqrt() * eps) / bar.sqrt()).clamp(-1, 1)
    mean = before.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - before) / (1 - bar) * x
    z = philox_normal(x, t, 7, number) * (t > 1).view(-1, 1, 1, 1)
    found = denoise_step(x, eps, t, ddpm_schedule(ALPHA_BAR), 7, number, clip=1.0)
    torch.testing.assert_close(found, mean + ((1 - before) / (1 - bar) * beta).sqrt() * z)


@pytest.mark.parametrize("clip", [math.inf, 1.0])
@pytest.mark.parametrize("stride, eta", [(1, 0.0), (7, 0.0), (7, 0.5), (60, 1.0)])
def test_ddim_step_is_equation_12(stride, eta, clip):
    x, eps, _, number = samples((4, 3, 4, 5))
    t = torch.tensor([1, 5, 30, 50])
    bar, before = each(t, ALPHA_BAR), each((t - stride).clamp(min=0), ALPHA_BAR)
    x0 = ((x - (1 - bar).sqrt() * eps) / bar.sqrt()).clamp(-clip, clip)
    eps = (x - bar.sqrt() * x0) / (1 - bar).sqrt()
    sigma = eta * ((1 - before) / (1 - bar) * (1 - bar / before)).sqrt()
    expected = before.sqrt() * x0 + (1 - before - sigma**2).sqrt() * eps + sigma * philox_normal(x, t, 7, number)
    found = denoise_step(x, samples((4, 3, 4, 5))[1], t, ddim_schedule(ALPHA_BAR, stride, eta), 7, number, clip)
    torch.testing.assert_close(found, expected)


def test_ddim_of_stride_1_and_full_noise_is_ddpm():
    torch.testing.assert_close(ddim_schedule(ALPHA_BAR, 1, 1.0), ddpm_schedule(ALPHA_BAR))


def test_perfect_predictions_lead_back_to_the_sample():
    x0, _, _, number = samples((2, 3, 4, 5))
    t = torch.full((2,), 50)
    x = q_sample(x0, t, forward_schedule(ALPHA_BAR), 3, number)
    while t[0] > 0:
        eps = (x - each(t, ALPHA_BAR).sqrt() * x0) / (1 - each(t, ALPHA_BAR)).sqrt()
        x = denoise_step(x, eps, t, ddim_schedule(ALPHA_BAR, 9), 3, number)
        t = (t - 9).clamp(min=0)
    torch.testing.assert_close(x, x0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_native_step_has_the_bits_of_the_reference(shape, dtype):
    x, eps, t, number = samples(shape, dtype)
    schedule = ddpm_schedule(ALPHA_BAR)
    t[0] = 50
    rows = schedule.to(torch.promote_types(dtype, torch.float32))
    for clip in (1.0, math.inf):
        expected = reference(x, eps, t, rows, 5, number, clip)
        assert torch.equal(denoise_step(x, eps, t, schedule, 5, number, clip), expected)


def test_step_accepts_any_layout_of_either_tensor(layout):
    x, eps, t, number = samples((2, 20, 19, 23), torch.float32)
    schedule = ddpm_schedule(ALPHA_BAR)
    expected = denoise_step(x, eps, t, schedule, 5, number, 1.0)
    assert torch.equal(denoise_step(layout(x), layout(eps), t, schedule, 5, number, 1.0), expected)
    assert torch.equal(denoise_step(layout(x), eps, t, schedule, 5, number, 1.0), expected)
    assert torch.equal(denoise_step(x, layout(eps), t, schedule, 5, number, 1.0), expected)


def test_step_keeps_the_memory_format():
    x, eps, t, number = samples((2, 3, 4, 5))
    last = x.contiguous(memory_format=torch.channels_last)
    found = denoise_step(last, eps, t, ddpm_schedule(ALPHA_BAR), 5, number)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_step_of_a_sample_ignores_its_batch_and_the_threads(layout, set_threads):
    x, eps, t, number = samples((5, 3, 65, 67), torch.float32)
    x, eps, schedule = layout(x), layout(eps), ddpm_schedule(ALPHA_BAR)
    set_threads(1)
    whole = denoise_step(x, eps, t, schedule, 5, number)
    set_threads(3)
    assert torch.equal(whole, denoise_step(x, eps, t, schedule, 5, number))
    order = torch.tensor([3, 0, 4])
    assert torch.equal(whole[order], denoise_step(x[order], eps[order], t[order], schedule, 5, number[order]))


def test_finished_samples_stay_as_they_are_whatever_is_predicted():
    x, eps, _, number = samples((2, 3, 4, 5), torch.float32)
    eps[0] = math.nan
    found = denoise_step(x, eps, torch.tensor([0, 1]), ddpm_schedule(ALPHA_BAR), 5, number, 1.0)
    assert torch.equal(found[0], x[0]) and not (found[1] == x[1]).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_in_its_element(bad):
    x, eps, t, number = samples((2, 3, 4, 5), torch.float32)
    t += 1 - t.sign()
    eps[1, 0, 2, 2] = bad
    schedule = ddpm_schedule(ALPHA_BAR)
    found, clipped = (denoise_step(x, eps, t, schedule, 5, number, clip) for clip in (math.inf, 1.0))
    assert (~found.isfinite()).nonzero().tolist() == [[1, 0, 2, 2]]
    assert clipped[1, 0, 2, 2].isnan() == math.isnan(bad)
    assert torch.equal(clipped, reference(x, eps, t, schedule.float(), 5, number, 1.0)) or math.isnan(bad)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (3, 0, 4, 4), (2, 3, 0, 4), (0,)])
def test_step_of_nothing_is_nothing(shape):
    x, eps, t, number = samples(shape)
    x.requires_grad_()
    found = denoise_step(x, eps, t, ddpm_schedule(ALPHA_BAR), 5, number)
    found.sum().backward()
    assert found.shape == x.grad.shape == shape


@pytest.mark.parametrize("clip", [math.inf, 1.0])
def test_gradient_is_the_derivative(clip):
    x, eps, _, number = samples((3, 2, 3))
    t = torch.tensor([0, 1, 30])
    schedule = ddpm_schedule(ALPHA_BAR)
    leaves = (x.requires_grad_(), eps.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: denoise_step(a, b, t, schedule, 5, number, clip), leaves)


def test_gradient_of_one_step_by_hand(layout):
    # the first is cut off: 0.25 g; the second is not: (3 * 2 + 0.25) g and 3 * -1 g; the third is done
    schedule = torch.tensor([[9.0, 9, 9, 9, 9], [3, 2, -1, 0.25, 0]])
    x, eps, t = torch.tensor([1.0, 0.5, 7.0]), torch.tensor([0.5, 0.4, 1.0]), torch.tensor([1, 1, 0])
    grad, x, eps = (
        layout(part.view(3, 1, 1, 1).expand(3, 2, 5, 4)) for part in (torch.tensor([4.0, 2.0, 3.0]), x, eps)
    )
    for backward in (torch.ops.adtool.denoise_step_backward, reference_backward):
        along_x, along_eps = backward(grad, x, eps, t, schedule, 1.0)
        assert along_x[:, 1, 2, 3].tolist() == [1.0, 12.5, 3.0] and along_eps[:, 1, 2, 3].tolist() == [0.0, -6.0, 0.0]
        assert torch.equal(along_x, along_x[:, :1, :1, :1].expand_as(x)) and along_x.stride() == along_eps.stride()


def test_gradient_is_none_through_a_clipped_sample():
    x, eps = torch.full((1, 1), 100.0, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    schedule = ddpm_schedule(ALPHA_BAR)
    denoise_step(x, eps, torch.tensor([30]), schedule, 5, torch.tensor([0]), 1.0).sum().backward()
    assert eps.grad.item() == 0 and x.grad.item() == pytest.approx(schedule[30, 3].item(), rel=1e-6)


def test_step_compiles_without_graph_breaks():
    x, eps, t, number = samples((2, 3, 4, 5), torch.float32)
    schedule = ddpm_schedule(ALPHA_BAR).float()

    def step(x, eps):
        return 2 * denoise_step(x, eps, t, schedule, 5, number, 1.0)

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x, eps), step(x, eps))
    x.requires_grad_()
    ours, theirs = (torch.autograd.grad(f(x, eps).sum(), x)[0] for f in (compiled, step))
    torch.testing.assert_close(ours, theirs)


def test_schedules_start_with_a_step_that_does_nothing():
    for schedule in (ddpm_schedule(ALPHA_BAR), ddim_schedule(ALPHA_BAR, 5)):
        assert schedule.shape == (51, 5) and schedule.dtype == torch.float64
        assert schedule[0].tolist() == [0, 0, 0, 1, 0]
        assert schedule[1, 4] == 0  # the last step adds no noise


@pytest.mark.parametrize(
    "bad", [torch.ones(5), torch.tensor([0.9, 0.5]), torch.tensor([1.0, 0.5, 0.0]), torch.ones(2, 2), torch.ones(1)]
)
def test_a_schedule_needs_numbers_that_fall_from_1(bad):
    for schedule in (ddpm_schedule, ddim_schedule):
        with pytest.raises(ValueError, match="^alpha_bar: expected"):
            schedule(bad)


@pytest.mark.parametrize(
    "name, make",
    [
        ("variance", lambda: ddpm_schedule(ALPHA_BAR, "learned")),
        ("stride", lambda: ddim_schedule(ALPHA_BAR, 0)),
        ("eta", lambda: ddim_schedule(ALPHA_BAR, 1, 1.5)),
    ],
)
def test_a_schedule_names_what_it_cannot_be_made_with(name, make):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        make()


@pytest.mark.parametrize(
    "name, change",
    [
        ("x", {"x": torch.zeros(2, 3, dtype=torch.int64)}),
        ("eps", {"eps": torch.zeros(2, 4)}),
        ("eps", {"eps": torch.zeros(2, 3, dtype=torch.float64)}),
        ("t", {"t": torch.zeros(2)}),
        ("sample_id", {"sample_id": torch.zeros(3, dtype=torch.int64)}),
        ("schedule", {"schedule": torch.zeros(51, 4)}),
        ("seed", {"seed": -1}),
        ("clip", {"clip": 0.0}),
        ("clip", {"clip": math.nan}),
    ],
)
def test_arguments_that_do_not_fit_are_named(name, change):
    x, eps, t, number = samples((2, 3), torch.float32)
    good = {"x": x, "eps": eps, "t": t, "schedule": ddpm_schedule(ALPHA_BAR), "seed": 1, "sample_id": number}
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        denoise_step(**good | change)


@pytest.mark.parametrize("step", [-1, 51])
def test_steps_beyond_the_schedule_are_refused(step):
    x, eps, _, number = samples((2, 3), torch.float32)
    t, schedule = torch.tensor([3, step]), ddpm_schedule(ALPHA_BAR).float()
    for answer in (torch.ops.adtool.denoise_step, reference):
        with pytest.raises(
            (RuntimeError, ValueError), match="t: expected .*0 to 50, the last row of the schedule, got"
        ):
            answer(x, eps, t, schedule, 1, number, 1.0)


@native_only
def test_the_native_kernel_checks_what_it_is_given():
    x, eps, t, number = samples((2, 3), torch.float32)
    schedule, step = ddpm_schedule(ALPHA_BAR).float(), torch.ops.adtool.denoise_step
    with pytest.raises(RuntimeError, match=r"eps: expected the shape of x \(2, 3\), got \(2, 4\)"):
        step(x, torch.zeros(2, 4), t, schedule, 1, number, 1.0)
    with pytest.raises(RuntimeError, match="eps: expected the element type of x"):
        step(x, eps.double(), t, schedule, 1, number, 1.0)
    with pytest.raises(RuntimeError, match=r"schedule: expected \(T \+ 1, 5\), got \(51, 4\)"):
        step(x, eps, t, schedule[:, :4], 1, number, 1.0)
    with pytest.raises(RuntimeError, match="schedule: expected float64 for float64 samples, float32 for all others"):
        step(x, eps, t, schedule.double(), 1, number, 1.0)
    with pytest.raises(RuntimeError, match="clip: expected a bound above 0"):
        step(x, eps, t, schedule, 1, number, -1.0)

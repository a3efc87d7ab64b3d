from __future__ import annotations

import math

import pytest
import torch

from adtool.ops._native import kernel_of
from adtool.ops.philox_normal import philox_normal
from adtool.ops.q_sample import forward_schedule, q_sample, reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(3, 3, 5, 7), (2, 1), (3,), (2, 20000), (2, 40, 3, 3), (2, 20, 20, 31)]
ALPHA_BAR = torch.linspace(1, 0, 51, dtype=torch.float64)
SCHEDULE = forward_schedule(ALPHA_BAR)
native_only = pytest.mark.skipif(kernel_of("q_sample", "cpu") != "native", reason="the native library is not built")


def samples(shape, dtype=torch.float64):
    """x, t from 0 to 50, and numbers of the samples."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(0, 51, shape[:1], generator=generator), torch.arange(shape[0]) + 100


def test_schedule_by_hand():
    expected = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(forward_schedule(torch.tensor([1, 0.64, 0], dtype=torch.float64)), expected)


def test_noised_samples_are_the_closed_form():
    x, t, number = samples((4, 3, 4, 5))
    signal, sigma = (part[t].view(-1, 1, 1, 1) for part in (ALPHA_BAR.sqrt(), (1 - ALPHA_BAR).sqrt()))
    expected = signal * x + sigma * philox_normal(x, -t, 7, number)
    torch.testing.assert_close(q_sample(x, t, SCHEDULE, 7, number), expected)


def test_ends_of_the_chain_are_the_sample_and_its_noise():
    x, _, number = samples((2, 3, 4, 5), torch.float32)
    found = q_sample(x, torch.tensor([0, 50]), SCHEDULE, 7, number)
    assert torch.equal(found[0], x[0])
    assert torch.equal(found[1], philox_normal(x, torch.tensor([0, -50]), 7, number)[1])


def test_the_way_back_draws_other_noise():
    x, t = torch.zeros(1, 1000), torch.tensor([50])
    forward, back = q_sample(x, t, SCHEDULE, 7, t), philox_normal(x, t, 7, t)
    assert abs((forward * back).mean()) < 0.15


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_native_kernel_has_the_bits_of_the_reference(shape, dtype):
    x, t, number = samples(shape, dtype)
    rows = SCHEDULE.to(torch.promote_types(dtype, torch.float32))
    assert torch.equal(q_sample(x, t, SCHEDULE, 5, number), reference(x, t, rows, 5, number))


def test_any_layout_gives_the_same_samples(layout):
    x, t, number = samples((2, 20, 19, 23), torch.float32)
    assert torch.equal(q_sample(layout(x), t, SCHEDULE, 5, number), q_sample(x, t, SCHEDULE, 5, number))
    last = x.contiguous(memory_format=torch.channels_last)
    assert q_sample(last, t, SCHEDULE, 5, number).is_contiguous(memory_format=torch.channels_last)


def test_a_sample_ignores_its_batch_and_the_threads(layout, set_threads):
    x, t, number = samples((5, 3, 65, 67), torch.float32)
    x = layout(x)
    set_threads(1)
    whole = q_sample(x, t, SCHEDULE, 5, number)
    set_threads(3)
    assert torch.equal(whole, q_sample(x, t, SCHEDULE, 5, number))
    assert torch.equal(whole[2:4], q_sample(x[2:4], t[2:4], SCHEDULE, 5, number[2:4]))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_in_its_element(bad):
    x, t, number = samples((2, 3, 4, 5), torch.float32)
    x[1, 0, 2, 2] = bad
    assert (~q_sample(x, t, SCHEDULE, 5, number).isfinite()).nonzero().tolist() == [[1, 0, 2, 2]]


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (3, 0, 4, 4), (0,)])
def test_noising_nothing_gives_nothing(shape):
    x, t, number = samples(shape)
    assert q_sample(x, t, SCHEDULE, 5, number).shape == shape


def test_gradient_is_the_derivative():
    x, t, number = samples((3, 2, 3))
    assert torch.autograd.gradcheck(lambda x: q_sample(x, t, SCHEDULE, 5, number), (x.requires_grad_(),))


def test_q_sample_compiles_without_graph_breaks():
    x, t, number = samples((2, 3, 4, 5), torch.float32)
    rows = SCHEDULE.float()
    compiled = torch.compile(lambda x: 2 * q_sample(x, t, rows, 5, number), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), 2 * q_sample(x, t, rows, 5, number))


@pytest.mark.parametrize("bad", [torch.tensor([1.0, 1.5]), torch.ones(2, 2), torch.tensor([1.0, math.nan])])
def test_a_schedule_needs_numbers_from_0_to_1(bad):
    with pytest.raises(ValueError, match="^alpha_bar: expected"):
        forward_schedule(bad)


@pytest.mark.parametrize(
    "name, change",
    [
        ("x", {"x": torch.tensor(1.0)}),
        ("t", {"t": torch.zeros(3, dtype=torch.int64)}),
        ("sample_id", {"sample_id": torch.zeros(2)}),
        ("schedule", {"schedule": torch.zeros(51, 5)}),
        ("schedule", {"schedule": torch.zeros(51, 2, dtype=torch.int64)}),
        ("seed", {"seed": 1 << 63}),
    ],
)
def test_arguments_that_do_not_fit_are_named(name, change):
    x, t, number = samples((2, 3), torch.float32)
    good = {"x": x, "t": t, "schedule": SCHEDULE, "seed": 1, "sample_id": number}
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        q_sample(**good | change)


@pytest.mark.parametrize("step", [-1, 51])
def test_steps_beyond_the_schedule_are_refused(step):
    x, _, number = samples((2, 3), torch.float32)
    for answer in (torch.ops.adtool.q_sample, reference):
        with pytest.raises(
            (RuntimeError, ValueError), match="t: expected .*0 to 50, the last row of the schedule, got"
        ):
            answer(x, torch.tensor([3, step]), SCHEDULE.float(), 1, number)


@native_only
def test_the_native_kernel_checks_what_it_is_given():
    x, t, number = samples((2, 3), torch.float32)
    with pytest.raises(RuntimeError, match=r"schedule: expected \(T \+ 1, 2\), got \(51, 5\)"):
        torch.ops.adtool.q_sample(x, t, torch.zeros(51, 5), 1, number)
    with pytest.raises(RuntimeError, match=r"t: expected \(2,\), one for each sample, got \(3\)"):
        torch.ops.adtool.q_sample(x, torch.zeros(3, dtype=torch.int64), SCHEDULE.float(), 1, number)

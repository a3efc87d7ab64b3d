import pytest
import torch
import torch.nn.functional as F

from adtool.ops import group_norm as file
from adtool.ops.group_norm import eager, group_norm, inputs, reference

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("answer", [group_norm, file.reference])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_group_by_hand(answer, layout):
    """Channels 1, 3 and 5, 7 of one group: mean 4, variance 5; the second channel doubled and raised by 1."""
    x = torch.tensor([1.0, 3, 5, 7]).view(1, 2, 1, 2).contiguous(memory_format=layout)
    weight, bias = torch.tensor([1.0, 2]), torch.tensor([0.0, 1])
    found = answer(x, 1, weight, bias, None, 0.0).flatten()
    unit = 5**-0.5
    torch.testing.assert_close(found, torch.tensor([-3 * unit, -unit, 2 * unit + 1, 6 * unit + 1]))


@pytest.mark.parametrize("answer", [group_norm, file.reference])
def test_scales_shifts_and_silu_by_hand(answer):
    """Of -1 and 1: first channel times 3 plus 1, then v sigmoid(v)."""
    x = torch.tensor([-1.0, 1, -1, 1]).view(1, 2, 1, 2)
    rows = torch.tensor([[2.0, 0, 1, -1]])
    plain = answer(x, 2, torch.ones(2), torch.zeros(2), rows, 0.0).flatten()
    assert plain.tolist() == [-2, 4, -2, 0]
    ended = answer(x, 2, torch.ones(2), torch.zeros(2), rows, 0.0, silu=True).flatten()
    torch.testing.assert_close(ended, torch.tensor([-0.2384058, 3.9280552, -0.2384058, 0.0]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 48, 37, 41), (1, 8, 128, 96), (3, 24, 4, 4), (1, 600, 9, 3), (2, 6, 1, 1)])
def test_it_is_pytorchs_chain(shape, layout):
    x = (3 * drawn(*shape) + 2).contiguous(memory_format=layout)
    weight, bias, rows = drawn(shape[1], seed=1), drawn(shape[1], seed=2), drawn(shape[0], 2 * shape[1], seed=3)
    for silu in (False, True):
        for told in (None, rows):
            ours = group_norm(x, 2, weight, bias, told, silu=silu)
            torch.testing.assert_close(ours, eager(x, 2, weight, bias, told, silu=silu), rtol=1e-4, atol=1e-5)
            assert ours.stride() == x.stride()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mean_far_from_zero_costs_no_digits(layout):
    """The variance of values around 4096 that differ by a thousandth of that, against float64."""
    x = (4096 + 4 * drawn(2, 8, 50, 50)).contiguous(memory_format=layout)
    found = group_norm(x, 2, torch.ones(8), torch.zeros(8))
    torch.testing.assert_close(found.double(), F.group_norm(x.double(), 2), rtol=0, atol=2e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("silu", [False, True])
def test_neither_batch_nor_threads_change_a_sample(layout, silu):
    before = torch.get_num_threads()
    found = []
    x = drawn(7, 40, 50, 30).contiguous(memory_format=layout)
    weight, bias, rows = drawn(40, seed=1), drawn(40, seed=2), drawn(7, 80, seed=3)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for size in (1, 3, 7):
                parts = [slice(start, start + size) for start in range(0, 7, size)]
                found.append(torch.cat([group_norm(x[p], 8, weight, bias, rows[p], silu=silu) for p in parts]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(other, found[0]) for other in found[1:])


def test_far_from_zero_silu_is_its_limit():
    x = torch.tensor([-1.0, 1]).view(1, 1, 1, 2)
    found = group_norm(x, 1, torch.tensor([300.0]), torch.zeros(1), eps=0.0, silu=True).flatten()
    assert found[1] == 300 and -1e-30 < found[0] <= 0


@pytest.mark.parametrize("answer", [group_norm, file.reference])
def test_what_is_not_finite_spoils_its_group_alone(answer):
    for bad in (float("nan"), float("inf")):
        x = drawn(2, 4, 3, 3)
        x[0, 1, 2, 2] = bad
        found = answer(x, 2, torch.ones(4), torch.zeros(4), None, 1e-5, silu=True)
        assert found[0, :2].isnan().all() and found[0, 2:].isfinite().all() and found[1].isfinite().all()


@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (2, 4, 0, 3)])
def test_nothing_in_nothing_out(shape):
    for answer in (group_norm, reference):
        assert answer(torch.empty(shape), 2, torch.ones(4), torch.zeros(4), None).shape == shape


def test_half_precision_is_normed_with_numbers_of_float32():
    x = drawn(1, 4, 5, 5).half()
    found = group_norm(x, 2, torch.full((4,), 1.0 + 2**-13), torch.zeros(4))
    assert found.dtype == torch.half
    torch.testing.assert_close(found, F.group_norm(x.float(), 2).half())


X, W = torch.zeros(2, 4, 3, 3), torch.zeros(4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((X[0], 2, W, W), r"x: expected floating-point \(N, C, H, W\)"),
        ((X.int(), 2, W, W), "got torch.int32"),
        ((X, 3, W, W), "groups: expected a divisor of the 4 channels, got 3"),
        ((X, 0, W, W), "got 0"),
        ((X, 2, W[:3], W), r"weight: expected \(4,\)"),
        ((X, 2, W, W[None]), r"bias: expected \(4,\), one for each channel, got \(1, 4\)"),
        ((X, 2, W, W, torch.zeros(2, 4)), r"modulation: expected \(2, 8\), got \(2, 4\)"),
    ],
)
def test_what_does_not_fit_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        group_norm(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((X[0], 2, W, W, None), "x: expected"),
        ((X, 3, W, W, None), "groups: expected a divisor"),
        ((X, 2, W[:3], W, None), r"weight: expected \(4\), got \(3\)"),
        ((X, 2, W, W.double(), None), "bias: expected float64 for float64"),
        ((X, 2, W, W, torch.zeros(2, 4)), r"modulation: expected \(2, 8\), got \(2, 4\)"),
    ],
)
def test_the_kernel_refuses_it_too(arguments, words):
    with pytest.raises(RuntimeError, match=words):
        torch.ops.adtool.group_norm(*arguments)


def test_its_example_inputs_are_of_every_kind():
    cases = inputs("cpu", torch.float32)
    assert {(rows is not None, silu) for *_, rows, _, silu in cases} == {
        (a, b) for a in (True, False) for b in (True, False)
    }

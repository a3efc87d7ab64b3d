"""Every operator with a CUDA kernel: the emulated kernel, the CPU's and the reference in float64 agree."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from emulated import NAMES, ORDERS, emulated, has_kernel, library
from op_cases import LAYOUTS, cases, dtypes, in_float64, module, operator, results

NOISY = ["philox_normal", "denoise_step", "q_sample"]
EVERY = [(name, dtype, layout) for name in NAMES for dtype in dtypes(name) for layout in LAYOUTS]


@pytest.mark.parametrize(("name", "dtype", "layout"), EVERY, ids=lambda part: str(part))
def test_emulated_kernel_agrees_with_the_cpu_and_the_reference(name, dtype, layout):
    launches = library().adtool_emulation_launches()
    for arguments in cases(name, dtype, layout):
        on_cpu, exact = results(name, operator(name), arguments), in_float64(name, arguments)
        runs = []
        for order in ORDERS:
            with emulated(order):
                runs.append(results(name, operator(name), arguments))
        ours = runs[0]
        torch.testing.assert_close(ours, on_cpu)
        assert [y is not None and y.stride() for y in ours] == [y is not None and y.stride() for y in on_cpu]
        for mine, expected in zip(ours, exact, strict=True):
            if mine is not None:  # the reference's schedule has a gradient, the operator's has none
                torch.testing.assert_close(mine, expected.to(mine.dtype))
        for other in runs[1:]:
            torch.testing.assert_close(other, ours, rtol=0, atol=0)
    assert library().adtool_emulation_launches() >= launches + len(ORDERS), "the CPU's kernel answered"


@pytest.mark.parametrize("dtype", dtypes("max_relative"))
def test_of_equal_neighbours_the_first_takes_the_gradient(dtype):
    """The reference differentiated by autograd shares it among them, so that the CPU's kernel alone tells."""
    for x, index in cases("max_relative", dtype, "contiguous"):
        arguments = (x.round(), index)
        on_cpu = results("max_relative", operator("max_relative"), arguments)
        with emulated("forward"):
            ours = results("max_relative", operator("max_relative"), arguments)
        torch.testing.assert_close(ours, on_cpu, rtol=0, atol=0)


@pytest.mark.parametrize("layout", ["contiguous", "shifted"])
@pytest.mark.parametrize("dtype", dtypes("top_mean"))
def test_the_largest_are_found_among_equal_ones_and_what_is_not_finite(dtype, layout):
    """Maps of more pixels than the threads take at once."""
    x = torch.randn(7, 1, 92, 100, generator=torch.Generator().manual_seed(0)).to(dtype)
    x[1], x[2], x[3] = x[1].round(), 0.5, x[3].round().div(4).trunc()  # many zeros of either sign
    x[4, 0, 30, :3] = torch.tensor([torch.nan, torch.inf, -torch.nan])
    x[5, 0, :91], x[5, 0, 91, 7:9] = -torch.inf, torch.inf
    x[6] = torch.where(x[6] > 0, torch.nan, -torch.inf)
    for n in (1, 3, 700, 9200):
        leaves = LAYOUTS[layout](x)
        on_cpu = results("top_mean", operator("top_mean"), (leaves, n))
        with emulated("forward"):
            ours = results("top_mean", operator("top_mean"), (leaves, n))
        torch.testing.assert_close(ours[0], on_cpu[0], equal_nan=True)
        torch.testing.assert_close(ours[1], on_cpu[1], rtol=0, atol=0)


@pytest.mark.parametrize("sigma", [0.0, 0.13, 0.9, 30.0])
@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (1, 1, 3, 40), (1, 3, 68, 8)])
def test_the_blur_reaches_as_far_as_on_the_cpu(shape, sigma):
    """Beyond the border again and again; what is not finite gets no further either."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    marked = x.clone()
    marked.view(-1)[x.numel() // 2] = torch.nan
    marked.view(-1)[x.numel() // 3] = torch.inf
    for maps in (x, marked):
        with emulated("forward"):
            ours = operator("gaussian_blur")(maps, sigma)
        torch.testing.assert_close(ours, operator("gaussian_blur")(maps, sigma), equal_nan=True)


@pytest.mark.parametrize("name", ["gaussian_blur", "top_mean"])
def test_a_map_ignores_its_batch(name):
    x = torch.rand(5, 1, 36, 40, generator=torch.Generator().manual_seed(0))
    argument = {"gaussian_blur": 2.0, "top_mean": 50}[name]
    with emulated("random:2"):
        whole = operator(name)(x, argument)
        assert torch.equal(whole, torch.cat([operator(name)(x[i : i + 1], argument) for i in range(5)]))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", NOISY)
def test_noise_has_the_bits_of_the_cpu_and_the_reference(name, order):
    for dtype, layout in [(dtype, layout) for dtype in dtypes(name) for layout in LAYOUTS]:
        for arguments in cases(name, dtype, layout):
            with emulated(order):
                ours = operator(name)(*arguments)
            assert torch.equal(ours, operator(name)(*arguments))
            assert torch.equal(ours, module(name).reference(*arguments))


@pytest.mark.parametrize("step", [-1, 101, 1 << 40])
@pytest.mark.parametrize("name", ["denoise_step", "q_sample"])
def test_a_sample_whose_step_the_schedule_does_not_have_is_nan(name, step):
    """On a device nobody waits to be told so."""
    arguments = list(next(cases(name, torch.float32, "contiguous")))
    place = next(i for i, x in enumerate(arguments) if isinstance(x, torch.Tensor) and x.dtype == torch.int64)
    expected = operator(name)(*arguments)
    arguments[place] = arguments[place].clone()
    arguments[place][1] = step
    with emulated("forward"):
        found = operator(name)(*arguments)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


def rows(count, depth, dtype=torch.float32, seed=0):
    return torch.randn(count, depth, generator=torch.Generator().manual_seed(seed)).to(dtype)


def searches():
    """Patches, bank and k where float32 says too little, or other lists than those of most patches are needed."""
    apart = 1 + rows(60, 9, seed=1)
    yield 1 + rows(20, 9), torch.cat([apart, torch.nextafter(apart, apart.flip(0)), apart]), 2
    yield 1 + 1e-6 * rows(20, 9), 1 + 1e-6 * rows(300, 9, seed=1), 3
    long = torch.tensor([[0.0, 0.0], [1e20, 1.0], [1e20, 3.0], [2e19, 1e19]])
    yield long, long, 3
    strange = rows(140, 4, seed=1)
    strange[0, 1], strange[7, 3], strange[133, 0] = float("nan"), float("-inf"), float("inf")
    yield torch.cat([strange[5:10], rows(3, 4) * float("inf")]), strange, 140
    yield rows(7, 5), rows(200, 5, seed=1), 60
    yield rows(7, 0), rows(200, 0), 3
    yield rows(3, 24)[:, 3:20], rows(30, 24, seed=1)[::2, 3:20], 2
    yield rows(0, 5), rows(3, 5), 1
    yield rows(400, 3), rows(30, 3, seed=1), 2  # two turns, the first of three blocks


@pytest.mark.parametrize("case", range(9))
def test_emulated_search_is_exact(case):
    arguments = list(searches())[case]
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        given = [x.to(dtype) for x in arguments[:2]]
        expected = operator("nearest_patch")(*given, arguments[2])
        with emulated("random:2"):
            found = operator("nearest_patch")(*given, arguments[2])
        assert torch.equal(found[1], expected[1])
        torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=0, equal_nan=True)


def selections():
    """Patches, the first pick and how many: ties, values that are not finite, and more than one turn of every block."""
    yield torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0)), 14, 36
    yield torch.ones(6, 3), 4, 6
    strange = rows(50, 4)
    strange[7, 1], strange[9, 2], strange[30, 0] = float("nan"), float("inf"), float("nan")
    yield strange, 3, 20
    many = rows(9650, 3)
    many[9640], many[9000] = 10, -8  # what block 1 sees in its second turn, and what is left by block 281
    yield many, 1, 4
    yield rows(300, 16), 0, 12
    yield 1000 + 1e-2 * rows(90, 17), 5, 60
    yield rows(40, 30)[::2, 3:20], 1, 10


@pytest.mark.parametrize("case", range(7))
def test_emulated_picks_are_those_of_the_reference(case):
    patches, first, n = list(selections())[case]
    for dtype in (torch.float32, torch.float64, torch.float16):
        with emulated("random:2"):
            picks = operator("greedy_coreset")(patches.to(dtype), first, n)
        assert torch.equal(picks, module("greedy_coreset").reference(patches.to(dtype), first, n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_emulated_steps_go_on_from_any_state(dtype):
    """Of the CPU's kernel, which has not shown every patch every pick, of the reference, and of their own."""
    patches, coreset = rows(200, 5, dtype), module("greedy_coreset")
    state = coreset._start(patches, 7)
    for step, count, order in [("cpu", 9, ""), ("own", 4, "forward"), ("own", 1, "reverse"), ("own", 0, "forward")] * 2:
        with emulated(order) if step == "own" else nullcontext():
            state = operator("greedy_coreset_step")(patches, *state, count), *state[1:]
    state = coreset.reference_step(patches, *state, 3), *state[1:]
    with emulated("forward"):
        picked = operator("greedy_coreset_step")(patches, *state, 20)
        seeded = coreset.greedy_coreset(patches, 52, 0)
    assert torch.equal(seeded, coreset.reference(patches, int(seeded[0]), 52))
    assert torch.equal(picked, coreset.reference(patches, 7, len(picked)))
    to_picks = (patches[:, None].double() - patches[picked[:-1]].double()).square().sum(2).amin(1).to(dtype)
    to_picks[picked] = -1
    torch.testing.assert_close(state[1], to_picks, rtol=1e-6, atol=0)
    assert state[2].eq(len(picked) - 1).all()


def test_a_pick_that_is_no_row_is_passed_over():
    """On a device nobody waits to be told so; where every patch is a pick, the next one is none."""
    patches, (_, distance, seen) = rows(5, 2), module("greedy_coreset")._start(rows(5, 2), 0)
    seen[2] = -3
    with emulated("forward"):
        picks = operator("greedy_coreset_step")(patches, torch.tensor([-1, 3, 1 << 40]), distance.clone(), seen, 1)
        none = operator("greedy_coreset_step")(patches, torch.tensor([3]), distance.fill_(-1), seen, 1)
    assert picks[3] == module("greedy_coreset").reference(patches, 3, 2)[1]
    assert none.tolist() == [3, 5]


@pytest.mark.parametrize("name", NAMES)
def test_every_compiled_kernel_runs_for_some_input(name):
    """Instances that no test reaches prove nothing: `inputs` has a case for each."""
    for _, dtype, layout in [each for each in EVERY if each[0] == name]:
        for arguments in cases(name, dtype, layout):
            with emulated("forward"):
                results(name, operator(name), arguments)
    idle = library().adtool_emulation_idle_kernels(f"/{name}.cu".encode()).decode().splitlines()
    assert idle == []


@pytest.mark.parametrize("name", NAMES)
def test_operators_with_a_cuda_kernel_are_emulated(name):
    library()
    assert has_kernel(f"adtool_emulated::{name}", "CPU")


def test_an_error_in_a_kernel_becomes_a_python_exception():
    """And the library goes on: a tensor the binding refuses, then one it takes."""
    library()
    with pytest.raises(RuntimeError, match=r"x: expected \(N, C, H, W\)"):
        torch.ops.adtool_emulated.simam(torch.zeros(3), 1e-4)
    assert torch.ops.adtool_emulated.simam(torch.zeros(1, 1, 2, 2), 1e-4).eq(0).all()

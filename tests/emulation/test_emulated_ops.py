"""Every operator with a CUDA kernel: the emulated kernel, the CPU's and the reference in float64 agree."""

from __future__ import annotations

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

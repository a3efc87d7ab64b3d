"""Every operator with a CUDA kernel: the emulated kernel, the CPU's and the reference in float64 agree."""

from __future__ import annotations

import pytest
import torch
from emulated import NAMES, ORDERS, emulated, has_kernel, library
from op_cases import LAYOUTS, cases, dtypes, in_float64, operator, results

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
        assert [y.stride() for y in ours] == [y.stride() for y in on_cpu]
        torch.testing.assert_close(ours, [y.to(mine.dtype) for y, mine in zip(exact, ours, strict=True)])
        for other in runs[1:]:
            torch.testing.assert_close(other, ours, rtol=0, atol=0)
    assert library().adtool_emulation_launches() >= launches + len(ORDERS), "the CPU's kernel answered"


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

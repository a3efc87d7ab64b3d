"""Every operator with a CUDA kernel: the emulated kernel, the CPU's and the reference in float64 agree."""

from __future__ import annotations

import importlib

import pytest
import torch
from emulated import NAMES, ORDERS, emulated, has_kernel, library
from torch.utils._pytree import tree_leaves, tree_map_only

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def shifted(x):
    """The same values, one element behind a 16-byte boundary, where kernels cannot load packs."""
    return torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)


LAYOUTS = {"contiguous": torch.Tensor.contiguous, "channels_last": channels_last, "shifted": shifted}


def cases(name, dtype, layout):
    """Arguments of the operator, the tensors laid out so."""
    module = importlib.import_module(f"adtool.ops.{name}")
    if dtype not in getattr(module, "DTYPES", DTYPES):
        pytest.skip(f"{name} does not store {dtype}")
    for arguments in module.inputs("cpu", dtype):
        yield tree_map_only(torch.Tensor, lambda x: LAYOUTS[layout](x) if x.is_floating_point() else x, arguments)


def leaves(arguments):
    return [x for x in tree_leaves(arguments) if isinstance(x, torch.Tensor) and x.is_floating_point()]


def results(name, call, arguments):
    """Outputs, and the gradient of a weighed sum of them to every floating-point tensor."""
    differentiable = not hasattr(importlib.import_module(f"adtool.ops.{name}"), "NO_GRADIENT")
    arguments = tree_map_only(torch.Tensor, torch.Tensor.detach, arguments)
    for x in leaves(arguments) if differentiable else []:
        x.requires_grad_()
    outputs = [y for y in tree_leaves(call(*arguments)) if isinstance(y, torch.Tensor)]
    if not differentiable:
        return outputs
    weights = [(torch.arange(y.numel()).view(y.shape) % 15 - 7) / 8 for y in leaves(outputs)]  # exact in every dtype
    total = sum((y.double() * weight).sum() for y, weight in zip(leaves(outputs), weights, strict=True))
    return [y.detach() for y in outputs] + list(torch.autograd.grad(total, leaves(arguments)))


def operator(name):
    return getattr(torch.ops.adtool, name).default


def in_float64(name, arguments):
    """The reference's results, floating-point arguments made float64 first."""
    exact = tree_map_only(torch.Tensor, lambda x: x.double() if x.is_floating_point() else x, arguments)
    return results(name, importlib.import_module(f"adtool.ops.{name}").reference, exact)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_emulated_kernel_agrees_with_the_cpu_and_the_reference(name, dtype, layout):
    launches = library().adtool_emulation_launches()
    for arguments in cases(name, dtype, layout):
        on_cpu, exact = results(name, operator(name), arguments), in_float64(name, arguments)
        runs = []
        for order in ORDERS:
            with emulated(order):
                runs.append(results(name, operator(name), arguments))
        assert all(map(torch.equal, runs[0], runs[1])) and all(map(torch.equal, runs[0], runs[2])), "order matters"
        torch.testing.assert_close(runs[0], on_cpu)
        assert [y.stride() for y in runs[0]] == [y.stride() for y in on_cpu]
        rounded = [y.to(ours.dtype) for y, ours in zip(exact, runs[0], strict=True)]
        torch.testing.assert_close(runs[0], rounded)
    assert library().adtool_emulation_launches() >= launches + len(ORDERS), "the CPU's kernel answered"


@pytest.mark.parametrize("name", NAMES)
def test_every_compiled_kernel_has_run(name):
    library()
    for dtype in getattr(importlib.import_module(f"adtool.ops.{name}"), "DTYPES", DTYPES):
        for layout in LAYOUTS:
            for arguments in cases(name, dtype, layout):
                with emulated("forward"):
                    results(name, operator(name), arguments)
    idle = library().adtool_emulation_idle_kernels(f"/{name}.cu".encode()).decode().splitlines()
    assert idle == [], f"{len(idle)} kernels of {name}.cu run for none of inputs()"


@pytest.mark.parametrize("name", NAMES)
def test_operators_with_a_cuda_kernel_are_emulated(name):
    library()
    assert has_kernel(f"adtool_emulated::{name}", "CPU")

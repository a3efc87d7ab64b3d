"""Every file of adtool/ops is an operator and has all its parts; adding one adds it here."""

from __future__ import annotations

import ast
import importlib
import os
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only, tree_unflatten

from adtool import ops
from adtool.ops._native import kernel_of, native_info

FOLDER = Path(ops.__file__).parent
NAMES = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
CSRC = Path(__file__).parents[2] / "csrc"
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]

pytestmark = pytest.mark.parametrize("name", NAMES)
CUDA_ASKED = os.environ.get("ADTOOL_CUDA") == "1"
native_only = pytest.mark.skipif(not native_info()["built"], reason="the native library is not built")


def module(name):
    return importlib.import_module(f"adtool.ops.{name}")


def op(name):
    return getattr(torch.ops.adtool, name).default


def cases(name, dtype):
    if dtype not in getattr(module(name), "DTYPES", DTYPES):
        pytest.skip(f"{name} does not store {dtype}")
    return module(name).inputs("cpu", dtype)


def backward_of(name):
    return f"{name}_backward" if hasattr(module(name), "reference_backward") else None


def test_op_has_its_parts(name):
    file = module(name)
    assert file.__doc__ and len(file.__doc__.splitlines()) > 3, "formula, shapes and origin"
    for part in (name, "reference", "inputs"):
        assert callable(getattr(file, part, None)), f"{name}.py has no {part}()"
    assert getattr(file, name).__doc__
    assert (Path(__file__).parent / f"test_{name}.py").exists()


def test_op_imports_only_torch_and_other_ops(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in imports}
    ours = {name for name in names if name.split(".")[0] == "adtool"}
    assert all(name.startswith("adtool.ops") for name in ours), ours


def test_op_has_a_reference_for_every_device(name):
    for kernel in filter(None, (name, backward_of(name))):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"adtool::{kernel}", "CompositeExplicitAutograd")


def test_op_has_a_gradient_or_says_why_not(name):
    differentiable = torch._C._dispatch_has_kernel_for_dispatch_key(f"adtool::{name}", "Autograd")
    assert differentiable != bool(getattr(module(name), "NO_GRADIENT", ""))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of torch 2.14's opcheck itself
def test_op_passes_opcheck(name):
    differentiable = not hasattr(module(name), "NO_GRADIENT")
    for arguments in cases(name, torch.float32):
        leaves = tree_map_only(
            torch.Tensor, lambda x: x.requires_grad_(differentiable and x.is_floating_point()), arguments
        )
        torch.library.opcheck(op(name), leaves)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fake_results_have_the_shape_of_real_ones(name, dtype):
    for arguments in cases(name, dtype):
        real, _ = tree_flatten(op(name)(*arguments))
        with FakeTensorMode() as mode:
            fake, _ = tree_flatten(op(name)(*tree_map_only(torch.Tensor, mode.from_tensor, arguments)))
        described = [[(x.shape, x.dtype, x.stride()) for x in results] for results in (real, fake)]
        assert described[0] == described[1]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_op_agrees_with_its_reference(name, dtype):
    for ours, theirs in zip(cases(name, dtype), cases(name, dtype), strict=True):
        torch.testing.assert_close(op(name)(*ours), module(name).reference(*theirs))


@native_only
def test_native_kernel_answers_on_the_cpu(name):
    for kernel in filter(None, (name, backward_of(name))):
        assert kernel_of(kernel, "cpu") == "native"


@pytest.mark.skipif(not (native_info()["cuda"] or CUDA_ASKED), reason="the native library is built without CUDA")
def test_cuda_kernel_is_registered(name):
    if not (CSRC / "cuda" / f"{name}.cpp").exists():
        pytest.skip(f"{name} has no CUDA kernel")
    for kernel in filter(None, (name, backward_of(name))):
        assert kernel_of(kernel, "cuda") == "native"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_op_on_the_gpu_agrees_with_its_reference(name, dtype):
    for arguments in cases(name, dtype):
        ours = op(name)(*tree_map_only(torch.Tensor, torch.Tensor.cuda, arguments))
        torch.testing.assert_close(tree_map(torch.Tensor.cpu, ours), module(name).reference(*arguments))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_of_two_devices_are_refused(name):
    if not (CSRC / "cuda" / f"{name}.cpp").exists():
        pytest.skip(f"{name} has no CUDA kernel")
    values, structure = tree_flatten(module(name).inputs("cuda", torch.float32)[0])
    tensors = [i for i, value in enumerate(values) if isinstance(value, torch.Tensor)]
    for stray in tensors if len(tensors) > 1 else []:
        mixed = [value.cpu() if i == stray else value for i, value in enumerate(values)]
        with pytest.raises(RuntimeError, match="device"):
            op(name)(*tree_unflatten(mixed, structure))

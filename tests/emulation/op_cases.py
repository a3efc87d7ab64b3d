"""The example inputs of operators with a CUDA kernel, laid out in several ways, and what comes of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _shifted(x: Tensor) -> Tensor:
    """The same values, one element behind a 16-byte boundary, where kernels cannot load packs."""
    return torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": Tensor.contiguous,
    "channels_last": _channels_last,
    "shifted": _shifted,
}


def module(name: str) -> ModuleType:
    return importlib.import_module(f"adtool.ops.{name}")


def operator(name: str) -> Any:
    return getattr(torch.ops.adtool, name).default


def dtypes(name: str) -> tuple[torch.dtype, ...]:
    """What the operator stores."""
    every = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    return tuple(getattr(module(name), "DTYPES", every))


def cases(name: str, dtype: torch.dtype, layout: str) -> Iterator[tuple[Any, ...]]:
    """Arguments of the operator, every floating-point tensor laid out so."""
    for arguments in module(name).inputs("cpu", dtype):
        yield tree_map_only(Tensor, lambda x: LAYOUTS[layout](x) if x.is_floating_point() else x, arguments)


def results(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Tensor | None]:
    """Outputs, and the gradient of a weighed sum of them to every floating-point tensor; None where there is none."""
    differentiable = not hasattr(module(name), "NO_GRADIENT")
    arguments = tree_map_only(Tensor, Tensor.detach, arguments)
    for x in _floating(arguments) if differentiable else []:
        x.requires_grad_()
    outputs = [y for y in tree_leaves(call(*arguments)) if isinstance(y, Tensor)]
    if not differentiable:
        return outputs
    weights = [(torch.arange(y.numel()).view(y.shape) % 15 - 7) / 8 for y in outputs]  # exact in every dtype
    total = sum((y.double() * weight).sum() for y, weight in zip(outputs, weights, strict=True) if y.requires_grad)
    return [y.detach() for y in outputs] + list(torch.autograd.grad(total, _floating(arguments), allow_unused=True))


def in_float64(name: str, arguments: tuple[Any, ...]) -> list[Tensor | None]:
    """The reference's results, floating-point arguments made float64 first."""
    exact = tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, arguments)
    return results(name, module(name).reference, exact)


def _floating(arguments: Any) -> list[Tensor]:
    return [x for x in tree_leaves(arguments) if isinstance(x, Tensor) and x.is_floating_point()]

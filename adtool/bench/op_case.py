"""One operator on one set of arguments, in every way that it is timed, and what its work comes to.

An operator's file says what is special to it: `eager(...)` where the reference is no fair opponent, `flops(...)` =
(forward, backward), `min_bytes(...)` where a forward pass moves anything but its arguments and results once, and
`NOT_COMPILED = "why"`.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map_only

from adtool import timing
from adtool.errors import AdtoolError


@dataclass(frozen=True)
class Case:
    """One operator on one set of arguments, forward alone or with its gradient to every floating-point argument."""

    op: str
    arguments: tuple[Any, ...]
    backward: bool
    device: torch.device

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"adtool.ops.{self.op}")

    @property
    def passes(self) -> str:
        return "forward_backward" if self.backward else "forward"

    @property
    def shape(self) -> str:
        """The arguments as text: tensors by their shape, numbers by name."""
        named = zip(_operator(self.op)._schema.arguments, self.arguments, strict=False)
        return " ".join(_text(argument.name, value) for argument, value in named if value is not None)

    def function(self, variant: str) -> Callable[..., Any]:
        """What a variant runs; an AdtoolError with the reason where torch.compile cannot take it."""
        if variant == "native":
            native: Callable[..., Any] = _operator(self.op)
            return native
        function: Callable[..., Any] = getattr(self.module, "eager", self.module.reference)
        if variant == "eager":
            return function
        if reason := getattr(self.module, "NOT_COMPILED", None):
            raise AdtoolError(reason)
        return _compiled(function, self.device)

    def call(self, variant: str) -> timing.Call:
        """The variant with its arguments, called once; what it raises at its first call is an AdtoolError."""
        function = self.function(variant)
        call = self._differentiated(function) if self.backward else partial(_without_gradient, function, self.arguments)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own, while it compiles
                call()
        except RuntimeError as error:  # torch.compile's errors are RuntimeErrors, a missing C++ compiler's too
            if variant != "compiled":
                raise
            raise AdtoolError(f"torch.compile: {' '.join(str(error).split())[:200]}") from error
        return call

    def _differentiated(self, function: Callable[..., Any]) -> timing.Call:
        """The function and the gradient of its results to its arguments, from fixed gradients of the results."""
        arguments = _leaves(self.arguments)
        wanted = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.requires_grad]
        generator = torch.Generator().manual_seed(1)
        results, _ = self._traffic
        grads = [
            torch.randn(result.shape, generator=generator).to(self.device, result.dtype)
            for result in results
            if result.requires_grad
        ]

        def call() -> tuple[Tensor | None, ...]:
            found = tree_leaves(function(*arguments))
            outputs = [result for result in found if isinstance(result, Tensor) and result.requires_grad]
            return torch.autograd.grad(outputs, wanted, grads, allow_unused=True)

        return call

    @property
    def flops(self) -> int | None:
        """Operations that the formulas need, where the operator states them."""
        if not hasattr(self.module, "flops"):
            return None
        forward, backward = self.module.flops(*self.arguments)
        return int(forward + backward if self.backward else forward)

    @property
    def min_bytes(self) -> int:
        """Bytes that have to be read or written.

        Forward: arguments and results. Backward: what forward saved, the results' gradients, the arguments' gradients.
        """
        results, saved = self._traffic
        given = [leaf for leaf in tree_leaves(self.arguments) if isinstance(leaf, Tensor)]
        stated = getattr(self.module, "min_bytes", None)
        forward = int(stated(*self.arguments)) if stated else _size(given) + _size(results)
        if not self.backward:
            return forward
        return forward + _size(saved) + _size([r for r in results if r.requires_grad]) + self._gradient_bytes

    @property
    def fresh_bytes(self) -> int:
        """Bytes of the results, and of the arguments' gradients: memory that every call has to take."""
        return _size(self._traffic[0]) + (self._gradient_bytes if self.backward else 0)

    @property
    def _gradient_bytes(self) -> int:
        leaves = tree_leaves(self.arguments)
        return _size([leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()])

    @cached_property
    def _traffic(self) -> tuple[list[Tensor], list[Tensor]]:
        """Results of the operator, and what it saves for the backward pass, without memory or values."""
        saved: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            saved.append(tensor)
            return tensor

        arguments = _leaves(self.arguments) if self.backward else self.arguments
        with FakeTensorMode() as mode, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            fake = tree_map_only(Tensor, mode.from_tensor, arguments)
            results = tree_leaves(_operator(self.op)(*fake))
        return [result for result in results if isinstance(result, Tensor)], saved


def _operator(name: str) -> Any:
    importlib.import_module(f"adtool.ops.{name}")
    return getattr(torch.ops.adtool, name).default


def _text(name: str, value: Any) -> str:
    if isinstance(value, Tensor):
        return f"({','.join(map(str, value.shape))})"
    if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
        return "+".join(_text(name, item) for item in value)
    return f"{name}={value}".replace(" ", "")


def _without_gradient(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    with torch.inference_mode():
        return function(*arguments)


def _compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    torch.compiler.reset()  # of other shapes of the same function, which would count as recompilations
    # on a CPU the noise of PyTorch's own generator is drawn many times faster than that of compiled code
    return torch.compile(function, fullgraph=True, dynamic=False, options={"fallback_random": device.type == "cpu"})


def _leaves(arguments: Any) -> Any:
    """The same arguments, every floating-point tensor wanting a gradient; memory is shared."""
    return tree_map_only(Tensor, lambda x: x.detach().requires_grad_(x.is_floating_point()), arguments)


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

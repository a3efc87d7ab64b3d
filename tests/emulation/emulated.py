"""The emulated operators in this process: `torch.ops.adtool_emulated`, and a mode that puts them in adtool's place."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from compiled import BINDINGS, ROOT, built
from torch.utils._python_dispatch import TorchDispatchMode

NAMES = [source.stem for source in BINDINGS]
ORDERS = ("forward", "reverse", "random:1")
has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key


@cache
def library(target: str = "emulated.so") -> ctypes.CDLL:
    """Loaded once, one in a process; its operators get the schemas of adtool's own."""
    path = str(built(target))
    for file in (ROOT / "adtool/ops").glob("[!_]*.py"):
        importlib.import_module(f"adtool.ops.{file.stem}")
    for name in torch._C._dispatch_get_all_op_names():
        if name.startswith("adtool::"):
            op = name.removeprefix("adtool::")
            torch.library.define(f"adtool_emulated::{op}", signature(getattr(torch.ops.adtool, op).default._schema))
    torch.ops.load_library(path)
    loaded = ctypes.CDLL(path)
    loaded.adtool_emulation_launches.restype = ctypes.c_int64
    loaded.adtool_emulation_idle_kernels.restype = ctypes.c_char_p
    return loaded


def signature(schema: torch.FunctionSchema) -> str:
    return "(" + str(schema).split("(", 1)[1]


class Emulated(TorchDispatchMode):
    """Operators of adtool that have a CUDA kernel run it emulated; gradients that autograd records are no exception."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if function.namespace == "adtool" and has_kernel(f"adtool_emulated::{function._opname}", "CPU"):
            self.ran(function, arguments)
            function = getattr(torch.ops.adtool_emulated, function._opname).default
        return function(*arguments, **(options or {}))

    def ran(self, function: Any, arguments: tuple[Any, ...]) -> None:
        """Called before each of them."""


@contextmanager
def emulated(order: str) -> Iterator[None]:
    """The emulated kernels in place of the CPU's, threads and blocks taking turns in this order.

    New tensors are filled with NaN, so that an element that a kernel forgets shows.
    """
    assert library().adtool_emulation_order(order.encode()), order
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with Emulated():
            yield
    finally:
        torch.use_deterministic_algorithms(before)

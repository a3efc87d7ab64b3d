"""The native library `adtool._C`, if it was built: importing it registers its kernels with the dispatcher.

Every operator has a reference in plain PyTorch as its default kernel for every device. A native kernel takes a device's
own key, which the dispatcher prefers, so nothing here or in an operator chooses between the two.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from functools import partial
from types import ModuleType
from typing import Any

import torch

CAPABILITIES = ("baseline", "avx2", "avx512")
"""CPU instruction sets, lowest first; ADTOOL_CPU_CAPABILITY names the highest one to use."""


def _load() -> tuple[ModuleType | None, str | None]:
    wish = os.environ.get("ADTOOL_CPU_CAPABILITY")
    if wish is not None and wish not in CAPABILITIES:
        raise ValueError(f"ADTOOL_CPU_CAPABILITY={wish}: expected one of {', '.join(CAPABILITIES)}")
    try:
        return importlib.import_module("adtool._C"), None
    except ModuleNotFoundError:
        return None, None
    except ImportError as error:  # built, but not for this torch or this machine
        warnings.warn(f"native code not loaded, PyTorch references answer: {error}", RuntimeWarning, stacklevel=2)
        return None, str(error)


_library, _error = _load()


def native_info() -> dict[str, Any]:
    """What is loaded: `built`, the `cpu` instruction set in use, the `cuda` architectures, and the loading `error`."""
    if _library is None:
        return {"built": False, "cpu": None, "cuda": None, "error": _error}
    cuda = _library.cuda.split(";") if _library.cuda else None
    return {"built": True, "cpu": _library.cpu, "cuda": cuda, "error": None}


def kernel_of(op: str, device: str) -> str | None:
    """Which kernel answers `torch.ops.adtool.<op>` on a device type ("cpu", "cuda"): "native", "reference" or None.

    A file's name begins the names of its operators: `simam_backward` is one of simam.py.
    """
    words = op.split("_")
    names = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    file = next((name for name in names if importlib.util.find_spec(f"adtool.ops.{name}")), None)
    if file is None:
        return None
    importlib.import_module(f"adtool.ops.{file}")
    if not hasattr(torch.ops.adtool, op):
        return None
    has_kernel = partial(torch._C._dispatch_has_kernel_for_dispatch_key, f"adtool::{op}")
    if has_kernel(device.upper()):
        return "native"
    return "reference" if has_kernel("CompositeExplicitAutograd") else None

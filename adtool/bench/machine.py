"""The machine a report is about: processor, threads, the rates at which it copies and multiplies, and memory in use."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import platform
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from adtool import __version__, timing

COPIED = 1 << 28
"""Bytes moved by the copy that states the machine's bandwidth: more than its caches hold."""
RATE_ROUNDS = 7


def describe(device: torch.device) -> dict[str, Any]:
    """What a report compares before it compares times."""
    return {
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "adtool": __version__,
        "torch": torch.__version__,
    }


def rates(device: torch.device) -> dict[str, float]:
    """Bytes moved per second by a copy between two tensors in memory, float32 operations per second of a product."""
    calls = {"copy": timing.copy(COPIED, device), "product": timing.product(device)}
    times = timing.interleaved(calls, device=device, repeats=RATE_ROUNDS)
    return {
        "copy_bytes_per_s": COPIED / times["copy"].median,
        "sgemm_flops_per_s": timing.product_flops(device) / times["product"].median,
    }


def processor() -> str:
    """The processor's name."""
    listed = Path("/proc/cpuinfo")
    for line in listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_resident(call: Callable[[], Any]) -> int:
    """Bytes of memory this process holds at most while `call` runs, all that was loaded before included.

    Where the system forgets no earlier peak (Linux does), it is the peak since the process started.
    """
    _return_free_memory()
    forgotten = _forget_peak()
    call()
    if not forgotten:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def _return_free_memory() -> None:
    """Give what was freed earlier back to the system, where the C library can: it would count as in use."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5: the highest resident size
    except OSError:
        return False
    return True

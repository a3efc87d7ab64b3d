"""What adtool asks of the libraries beneath torch: how long threads wait awake, and what becomes of freed memory.

Both leave alone what the environment already says.
"""

from __future__ import annotations

import ctypes
import os

SPINS = 2000
"""Looks, some tens of microseconds, that a thread takes for its next work before it sleeps.

Waking it takes as long as many an operator; a thread that never sleeps is in the way of those that decode images.
"""
KEPT_BYTES = 1 << 30
"""Free memory that stays with the process."""
BLOCK_BYTES = 32 << 20
"""Blocks up to this size come from that memory; the most that glibc allows."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def wait_briefly() -> None:
    """Let OpenMP's threads spin for a moment before they sleep; to be called before torch is loaded.

    GNU's OpenMP, which torch has on Linux, counts spins; others know the policy alone.
    """
    if "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ:
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": str(SPINS)}


def keep_freed_memory() -> None:
    """Have glibc's malloc keep freed memory for the next tensor; other allocators are left as they are.

    Otherwise a forward pass may give every tensor back to the system and ask for it again page by page, for up to a
    third of its time.
    """
    chosen = "MALLOC_TRIM_THRESHOLD_" in os.environ or "MALLOC_MMAP_THRESHOLD_" in os.environ
    if chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, BLOCK_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)

"""Ctrl-C that waits until work in hand is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Interrupt:
    """Whether a person has asked to stop."""

    requested: bool = False


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Note the first Ctrl-C instead of raising KeyboardInterrupt; a second one stops at once.

    Outside the main thread, which alone receives signals, nothing is changed.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number: int, frame: Any) -> None:
        interrupt.requested = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)

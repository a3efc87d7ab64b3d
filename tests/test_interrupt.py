"""Ctrl-C that waits."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from adtool.interrupt import Interrupt, deferred


def test_the_first_ctrl_c_is_noted_and_the_second_stops() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        with deferred() as interrupt:
            assert not interrupt.requested
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupt.requested
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second Ctrl-C was not obeyed")
    assert signal.getsignal(signal.SIGINT) is handler


def test_other_threads_leave_signals_alone() -> None:
    seen: list[Interrupt] = []

    def work() -> None:
        with deferred() as interrupt:
            seen.append(interrupt)

    handler = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not seen[0].requested
    assert signal.getsignal(signal.SIGINT) is handler

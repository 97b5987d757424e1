"""A bound on the time of a case from outside: for a library that does not keep to its limit, or never comes back."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager


class Overdue(BaseException):
    """The time is up. No `except Exception` of a library may swallow that."""


@contextmanager
def limited(seconds: float) -> Generator[None]:
    """Raise `Overdue` in the block after so many seconds, as soon as Python code runs again.

    Caveat: only in the main thread of a process, and where the system has timers (not on Windows); elsewhere nothing is
    bounded, nor is compiled code that never calls back. A timer that runs already goes on afterwards.
    """
    there = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not there or not 0.0 < seconds < 1e9:
        yield
        return

    def stop(*_: object) -> None:
        raise Overdue(f"no end after {seconds:.3g} s")

    began, before = time.monotonic(), signal.signal(signal.SIGALRM, stop)
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        if left > 0.0:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), again)

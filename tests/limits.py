"""A limit of processor time: a hang is a failure of one test, however busy the machine is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Hang(BaseException):
    """The processor time is used up; no `except Exception` may swallow that."""


@contextmanager
def processor_seconds(limit: float) -> Iterator[None]:
    """Raise `Hang` after so many seconds of processor time in the block."""

    def stop(*_: object) -> None:
        raise Hang(f"no end after {limit} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)

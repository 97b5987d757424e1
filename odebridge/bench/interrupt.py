"""Ctrl-C in work that is spread over processes: what the pool of workers says while it falls apart is of no use to anybody."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet_after_ctrl_c() -> Generator[None]:
    """In here, once Ctrl-C was pressed, threads die without a traceback and warnings are not shown.

    KeyboardInterrupt is raised as ever. Caveat: in the main thread only; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped = threading.Event()
    hook, shown, before = threading.excepthook, warnings.showwarning, signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        stopped.set()
        raise KeyboardInterrupt

    def died(given: Any) -> None:
        if not stopped.is_set():
            hook(given)

    def warned(*given: Any, **more: Any) -> None:
        if not stopped.is_set():
            shown(*given, **more)

    signal.signal(signal.SIGINT, stop)
    threading.excepthook, warnings.showwarning = died, warned
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        threading.excepthook, warnings.showwarning = hook, shown

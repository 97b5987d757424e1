"""The folder that keeps compiled kernels, for the owner alone: what is there is run."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from odebridge.integrate.engine.scalars import Unsupported

LONG = 3.0  # seconds of compiling after which the user is told what took so long


def cache_folder() -> Path:
    """Where kernels are kept: ODEBRIDGE_CACHE, else odebridge in the user's cache folder."""
    given = os.environ.get("ODEBRIDGE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "odebridge"


def kept(made_of: Iterable[str], suffix: str, make: Callable[[Path], Path]) -> Path:
    """The file made of these words, from the folder, else from `make(work)`, which returns its path in the folder `work`."""
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:24]
    folder = cache_folder()
    if os.name == "posix" and folder.exists() and folder.stat().st_mode & stat.S_IWOTH:
        raise Unsupported(
            f"everybody may write to {folder}, and what is there is run; take that right away, or set ODEBRIDGE_CACHE"
        )
    path = folder / f"{key}{suffix}"
    if not path.exists():
        _made(path, make)
    return path


def _made(path: Path, make: Callable[[Path], Path]) -> None:
    began = time.monotonic()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as work:
            make(Path(work)).replace(path)  # whole or not at all, whoever else is at it
    except OSError as error:
        raise Unsupported(f"kernels cannot be kept in {path.parent} ({error.strerror}); set ODEBRIDGE_CACHE") from error
    took = time.monotonic() - began
    if took > LONG:
        print(f"odebridge: compiled a kernel in {took:.0f} s; it is kept and will not be compiled again.", file=sys.stderr)

"""C++ text to a function that can be called: the compiler that is there, and a folder that keeps what it has made."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from odebridge.integrate.engine.scalars import Unsupported

# -fno-defer-pop: vectors of one number are passed on the stack, and GCC 12 leaves them there until the loop over tries ends.
FLAGS = ("-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fno-defer-pop", "-shared", "-fPIC", "-w")
SHORT = 1500  # lines of a kernel up to which -O3 is worth its seconds
LONG = 3.0  # seconds of compiling after which the user is told what took so long


def cache_folder() -> Path:
    """Where kernels are kept: ODEBRIDGE_CACHE, else odebridge in the user's cache folder."""
    given = os.environ.get("ODEBRIDGE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "odebridge"


@cache
def compiler() -> str | None:
    """The C++ compiler: CXX, else the first of g++, clang++ and c++ on the path."""
    names = [n for n in (os.environ.get("CXX"), "g++", "clang++", "c++") if n]
    return next((found for n in names if (found := shutil.which(n))), None)


@cache
def _machine() -> str:
    """What a kernel built with -march=native depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        words = sorted({line for line in text.splitlines() if line.startswith(("flags", "Features", "model name"))})
    except OSError:
        words = [platform.processor()]
    version = subprocess.run([compiler() or "c++", "--version"], capture_output=True, text=True, check=False).stdout
    return "\n".join([platform.machine(), version, *words])


@cache
def _native() -> tuple[str, ...]:
    return ("-mcpu=native",) if platform.machine() in ("arm64", "aarch64") else ("-march=native",)


def built(text: str, width: int) -> Any:
    """The kernel's `run` for `width` trajectories side by side, from the folder or from the compiler."""
    tool = compiler()
    if tool is None:
        raise Unsupported("there is no C++ compiler; install g++ or clang, or set CXX")
    flags = (*FLAGS, "-O3" if text.count("\n") < SHORT else "-O2", *_native(), f"-DW={width}")
    key = hashlib.sha256("\n".join([text, *flags, _machine()]).encode()).hexdigest()[:24]
    folder = cache_folder()
    if os.name == "posix" and folder.exists() and folder.stat().st_mode & stat.S_IWOTH:
        raise Unsupported(
            f"everybody may write to {folder}, and what is there is run; take that right away, or set ODEBRIDGE_CACHE"
        )
    path = folder / f"{key}.so"
    if not path.exists():
        _compile(tool, flags, text, path)
    run = ctypes.CDLL(str(path)).run
    run.restype = None
    run.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 4 + [ctypes.c_void_p] * 2
    return run


def _compile(tool: str, flags: tuple[str, ...], text: str, path: Path) -> None:
    began = time.monotonic()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as work:
            source, out = Path(work) / "kernel.cpp", Path(work) / "kernel.so"
            source.write_text(text, encoding="utf-8")
            done = subprocess.run([tool, *flags, str(source), "-o", str(out)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                first = next((line for line in done.stderr.splitlines() if "error" in line), "no message")
                raise Unsupported(f"the compiler {Path(tool).name} refused the kernel ({first[-120:]})")
            out.replace(path)  # whole or not at all, whoever else is at it
    except OSError as error:
        raise Unsupported(f"kernels cannot be kept in {path.parent} ({error.strerror}); set ODEBRIDGE_CACHE") from error
    took = time.monotonic() - began
    if took > LONG:
        print(f"odebridge: compiled a kernel in {took:.0f} s; it is kept and will not be compiled again.", file=sys.stderr)

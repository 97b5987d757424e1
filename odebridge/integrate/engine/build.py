"""C++ text to a function that can be called: the compiler that is there, and a folder that keeps what it has made."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from odebridge.integrate.engine.folder import kept
from odebridge.integrate.engine.scalars import Unsupported

# -fno-defer-pop: vectors of one number are passed on the stack, and GCC 12 leaves them there until the loop over tries ends.
FLAGS = ("-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fno-defer-pop", "-shared", "-fPIC", "-w")
SHORT = 1500  # lines of a kernel up to which -O3 is worth its seconds
MISSING = "there is no C++ compiler; install g++ or clang, or set CXX"


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


def built(text: str, *defined: str) -> Any:
    """The kernel's `run`, from the folder or from the compiler. defined: macros, such as -DW=8 for eight trajectories."""
    tool = compiler()
    if tool is None:
        raise Unsupported(MISSING)
    flags = (*FLAGS, "-O3" if text.count("\n") < SHORT else "-O2", *_native(), *defined)

    def make(work: Path) -> Path:
        source, out = work / "kernel.cpp", work / "kernel.so"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run([tool, *flags, str(source), "-o", str(out)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            first = next((line for line in done.stderr.splitlines() if "error" in line), "no message")
            raise Unsupported(f"the compiler {Path(tool).name} refused the kernel ({first[-120:]})")
        return out

    run = ctypes.CDLL(str(kept([text, *flags, _machine()], ".so", make))).run
    run.restype = None
    run.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 4 + [ctypes.c_void_p] * 2
    return run

"""CUDA text to the machine code of a card: NVRTC, the compiler in a library that comes with PyTorch for CUDA, by ctypes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from odebridge.integrate.engine.folder import kept
from odebridge.integrate.engine.scalars import Unsupported

MISSING = "NVRTC, the CUDA compiler that comes with PyTorch for CUDA, is not found; pip install nvidia-cuda-nvrtc"
# A product and a sum in one rounding, as the kernels for the CPU: half the operations, and no further from the exact
# answer than the eager loop is. With false, steps would agree with those of a CPU without such instructions to the last bits.
FMAD = "--fmad=true"


@dataclass(frozen=True)
class Nvrtc:
    """The library and its version."""

    library: Any
    version: tuple[int, int]

    def check(self, code: int, doing: str) -> None:
        """Unsupported with a sentence where a call has failed."""
        if code:
            self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
            words = self.library.nvrtcGetErrorString(code) or b"unknown"
            raise Unsupported(f"NVRTC failed {doing} ({words.decode()})")

    def compile(self, text: str, options: list[str]) -> tuple[bytes, str]:
        """The cubin, and the compiler's log; Unsupported with the first error where it refuses the text."""
        lib, program = self.library, ctypes.c_void_p()
        source, given = text.encode(), (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
        code = lib.nvrtcCreateProgram(ctypes.byref(program), source, b"kernel.cu", 0, None, None)
        self.check(code, "to take the kernel")
        try:
            code = lib.nvrtcCompileProgram(program, len(options), given)
            log = self._read(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            if code:
                first = next((line for line in log.splitlines() if "error" in line), "no message")
                raise Unsupported(f"NVRTC refused the kernel ({first[-160:]})")
            return self._read(program, "CUBIN"), log
        finally:
            lib.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: Any, what: str) -> bytes:
        size = ctypes.c_size_t()
        self.check(getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), f"to say the size of {what}")
        out = ctypes.create_string_buffer(size.value)
        self.check(getattr(self.library, f"nvrtcGet{what}")(program, out), f"to hand over {what}")
        return out.raw


def _places() -> Iterator[str]:
    """Where the library may be: beside PyTorch in the version PyTorch was made with, then wherever the system finds it."""
    major = (torch.version.cuda or "").split(".")[0]
    near = Path(torch.__file__).parent
    for folder in (near.parent / "nvidia" / f"cu{major}" / "lib", near.parent / "nvidia" / "cuda_nvrtc" / "lib", near / "lib"):
        found = sorted(folder.glob("libnvrtc.so*")) + sorted(folder.glob("libnvrtc-*.so*"))
        yield from map(str, (f for f in found if "builtins" not in f.name))
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")):
        if home:
            yield from map(str, sorted((Path(home) / "lib64").glob("libnvrtc.so*")))
    yield from (f"libnvrtc.so.{v}" for v in (major, "13", "12") if v)
    yield "libnvrtc.so"


@cache
def nvrtc() -> Nvrtc | None:
    """The library; None where there is none."""
    for place in _places():
        try:
            for part in Path(place).parent.glob("libnvrtc-builtins*") if "/" in place else ():
                ctypes.CDLL(str(part))  # which it would look for in the system's folders only
            library = ctypes.CDLL(place)
        except OSError:
            continue
        major, minor = ctypes.c_int(), ctypes.c_int()
        if library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)) == 0:
            return Nvrtc(library, (major.value, minor.value))
    return None


def cubin(text: str, arch: str, *defined: str) -> bytes:
    """Machine code of a kernel for an architecture such as "sm_90", from the folder or from the compiler."""
    tool = nvrtc()
    if tool is None:
        raise Unsupported(MISSING)
    options = [f"--gpu-architecture={arch}", "--std=c++17", FMAD, "--disable-warnings", *defined]

    def make(work: Path) -> Path:
        out = work / "kernel.cubin"
        out.write_bytes(tool.compile(text, options)[0])
        return out

    return kept([text, *options, f"nvrtc {tool.version}"], ".cubin", make).read_bytes()

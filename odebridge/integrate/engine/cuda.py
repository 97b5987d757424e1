"""The CUDA driver by ctypes: a cubin becomes a function that is launched in PyTorch's own context."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import Tensor

from odebridge.integrate.engine.scalars import Unsupported

PROCESSORS = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
LOCAL, REGISTERS = 3, 4  # CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, CU_FUNC_ATTRIBUTE_NUM_REGS


@dataclass
class Cuda:
    """The driver's library; None and a reason where there is none."""

    library: Any
    missing: str | None = None
    contexts: dict[int, ctypes.c_void_p] = field(default_factory=dict)

    def call(self, name: str, *given: Any, doing: str) -> None:
        """One call of the driver; Unsupported with a sentence where it fails."""
        code = getattr(self.library, name)(*given)
        if code:
            words = ctypes.c_char_p()
            self.library.cuGetErrorString(code, ctypes.byref(words))
            raise Unsupported(f"the CUDA driver failed {doing} ({(words.value or b'no message').decode()}, code {code})")

    def context(self, device: int) -> ctypes.c_void_p:
        """PyTorch's context of a device, the primary one."""
        if device not in self.contexts:
            handle, found = ctypes.c_int(), ctypes.c_void_p()
            self.call("cuInit", 0, doing="to start")
            self.call("cuDeviceGet", ctypes.byref(handle), device, doing=f"to find device {device}")
            self.call("cuDevicePrimaryCtxRetain", ctypes.byref(found), handle, doing="to hold the context of PyTorch")
            self.contexts[device] = found  # as long as the process lives: PyTorch never lets go of it either
        return self.contexts[device]

    def function(self, image: bytes, name: str, device: int, block: int) -> Function:
        """A function of a cubin, loaded on a device."""
        module, handle = ctypes.c_void_p(), ctypes.c_void_p()
        with _Current(self, device):
            self.call("cuModuleLoadData", ctypes.byref(module), image, doing="to load the kernel")
            self.call("cuModuleGetFunction", ctypes.byref(handle), module, name.encode(), doing="to find the kernel's function")
            number, per, processors = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
            self.call("cuDeviceGet", ctypes.byref(number), device, doing=f"to find device {device}")
            self.call(
                "cuOccupancyMaxActiveBlocksPerMultiprocessor", ctypes.byref(per), handle, block, ctypes.c_size_t(0),
                doing="to say how many threads fit",
            )  # fmt: skip
            self.call(
                "cuDeviceGetAttribute", ctypes.byref(processors), PROCESSORS, number, doing="to count its processors"
            )  # fmt: skip
        if per.value < 1:
            raise Unsupported("the kernel needs more of the card than it has")
        return Function(self, device, handle, module, block, per.value * processors.value)


class _Current:
    """A device's context, for the thread that asks and for as long as it asks."""

    def __init__(self, driver: Cuda, device: int) -> None:
        self.driver, self.context = driver, driver.context(device)

    def __enter__(self) -> None:
        self.driver.call("cuCtxPushCurrent_v2", self.context, doing="to enter the context of PyTorch")

    def __exit__(self, *_: object) -> None:
        old = ctypes.c_void_p()
        self.driver.call("cuCtxPopCurrent_v2", ctypes.byref(old), doing="to leave the context of PyTorch")


@dataclass(frozen=True)
class Function:
    """A loaded kernel, for blocks of so many threads."""

    driver: Cuda
    device: int
    handle: ctypes.c_void_p
    module: ctypes.c_void_p
    block: int
    resident: int  # blocks that run at a time

    def __call__(self, blocks: int, stream: int, *given: Tensor | int) -> None:
        """Launch on a stream. Tensors go as pointers, numbers as 64 bits."""
        values = [ctypes.c_void_p(v.data_ptr()) if isinstance(v, Tensor) else ctypes.c_int64(int(v)) for v in given]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.cast(ctypes.pointer(v), ctypes.c_void_p) for v in values))
        with _Current(self.driver, self.device):
            self.driver.call(
                "cuLaunchKernel", self.handle, blocks, 1, 1, self.block, 1, 1, 0, ctypes.c_void_p(stream), pointers, None,
                doing="to launch the kernel",
            )  # fmt: skip

    def needs(self) -> dict[str, int]:
        """Registers of a thread, and bytes of memory that it uses where they do not suffice."""
        found = {}
        with _Current(self.driver, self.device):
            for name, which in (("registers", REGISTERS), ("local", LOCAL)):
                value = ctypes.c_int()
                self.driver.call("cuFuncGetAttribute", ctypes.byref(value), which, self.handle, doing="to describe the kernel")
                found[name] = value.value
        return found


@cache
def cuda() -> Cuda:
    """The driver of this machine."""
    for name in ("libcuda.so.1", "libcuda.so", "nvcuda.dll"):
        try:
            return Cuda(ctypes.CDLL(name))
        except OSError:
            continue
    return Cuda(None, "the CUDA driver (libcuda) cannot be loaded")

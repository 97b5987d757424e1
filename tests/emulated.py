"""The CUDA text of kernels on the CPU: g++ with -DHOST takes it, and a loop stands for the threads. The rest is `Card`."""

import ctypes

import torch

from odebridge.integrate.engine import build
from odebridge.integrate.engine.card import Card


class Emulated(Card):
    """All of `Card` but the driver and the stream."""

    columns, numbers, rounds = 32_000_000, 4_000_000, 200_000

    @staticmethod
    def missing():
        return build.MISSING if build.compiler() is None else None

    def _made(self, kernel):
        return Function(build.built(kernel.source.text(self.target), "-DHOST"))

    def _stream(self):
        return 0


class Function:
    resident = 3

    def __init__(self, run):
        self.run = run
        run.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 4 + [ctypes.c_void_p] * 3

    def __call__(self, blocks, stream, *given):
        assert blocks <= self.resident
        assert all(v.is_contiguous() or v.dim() == 3 for v in given if isinstance(v, torch.Tensor))
        self.run(*(v.data_ptr() if isinstance(v, torch.Tensor) else v for v in given))

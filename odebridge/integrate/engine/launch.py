"""How so many tries of many trajectories are run: what all devices have in common, and the cores of the CPU."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from odebridge.integrate.engine import build
from odebridge.integrate.engine.kernels import Bound, Kernel

WIDE, NARROW = 8, 1


class Launcher(ABC):
    """A bound kernel on its device."""

    columns: int  # numbers of the lanes in work at a time; more lanes go in groups
    numbers: int  # that are noted between two looks
    rounds: int  # tries of all trajectories between two looks at the clock
    target = ""  # of the text

    def __init__(self, bound: Bound, b: int) -> None:
        """Unsupported, with a reason, where the kernel cannot be made for b trajectories."""
        self.bound, self.b = bound, b

    @staticmethod
    @abstractmethod
    def missing() -> str | None:
        """Why there are no kernels on this device here."""

    @abstractmethod
    def notes(self, tries: int, b: int) -> Tensor:
        """Room for what is noted of so many tries, as (tries, b, outs) whatever the order in memory."""

    @abstractmethod
    def run(self, buffer: Tensor, notes: Tensor, listed: Tensor, tries: int, everything: bool) -> Tensor:
        """So many tries of the listed columns; returns how many each of them had, (b,).

        notes: (tries, b, outs) with everything, else what is noted of the last try, (1, b, outs).
        """

    def tries(self, count: int, limited: bool) -> int:
        """Tries of each of `count` trajectories between two looks."""
        return max(16, min(self.rounds // count, 256 if limited else 10_000))


class Cores(Launcher):
    """The threads of PyTorch, each with a part of the list."""

    columns = 32_000_000  # 256 MB
    numbers = 4_000_000  # 32 MB
    rounds = 200_000  # a few hundredths of a second
    target = "cpu"

    def __init__(self, bound: Bound, b: int) -> None:
        """See Launcher."""
        super().__init__(bound, b)
        self.pointers = (ctypes.c_void_p * max(len(bound.uniforms), 1))(*(v.data_ptr() for v in bound.uniforms))
        self._function(b)

    @staticmethod
    def missing() -> str | None:
        """See Launcher."""
        return build.MISSING if build.compiler() is None else None

    def notes(self, tries: int, b: int) -> Tensor:
        """A trajectory's numbers side by side."""
        return torch.empty(tries, b, self.bound.kernel.source.outs, dtype=torch.float64, device="cpu")

    def _function(self, count: int) -> Any:
        width = WIDE if count > 2 else NARROW

        def make(kernel: Kernel) -> Any:
            return build.built(kernel.source.text(self.target), f"-DW={width}")

        return self.bound.kernel.run(width, make)

    def run(self, buffer: Tensor, notes: Tensor, listed: Tensor, tries: int, everything: bool) -> Tensor:
        """See Launcher."""
        count, stride = len(listed), buffer.shape[1]
        run = self._function(count)
        workers = min(torch.get_num_threads(), max(1, count // 256))
        used = torch.zeros(stride, dtype=torch.int64, device="cpu")

        def part(some: Tensor) -> None:
            run(
                buffer.data_ptr(), notes.data_ptr(), used.data_ptr(), some.data_ptr(), len(some), tries, everything, stride,
                self.pointers, self.bound.table.data_ptr(),
            )  # fmt: skip

        if workers == 1:
            part(listed)
        else:
            with ThreadPoolExecutor(workers) as pool:  # ctypes lets go of the interpreter
                list(pool.map(part, listed.tensor_split(workers)))
        return used

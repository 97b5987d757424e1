"""Kernels on a CUDA device: one launch, one thread a trajectory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from odebridge.integrate.engine import nvrtc
from odebridge.integrate.engine.cuda import Function, cuda
from odebridge.integrate.engine.kernels import Bound, Kernel
from odebridge.integrate.engine.launch import Launcher

BLOCK = 32  # threads of a block: a warp, so that one that has ended makes room at once


class Card(Launcher):
    """The current stream of a CUDA device."""

    columns = 128_000_000  # 1 GB
    numbers = 64_000_000  # 512 MB
    rounds = 100_000_000  # a try of a full card takes a nanosecond or less a trajectory: a tenth of a second
    target = "cuda"

    def __init__(self, bound: Bound, b: int) -> None:
        """See Launcher."""
        super().__init__(bound, b)
        self.device = bound.table.device
        self.pointers = torch.tensor([v.data_ptr() for v in bound.uniforms] or [0], dtype=torch.int64, device=self.device)
        self.function: Function = bound.kernel.run(("cuda", self.device), self._made)

    @staticmethod
    def missing() -> str | None:
        """See Launcher."""
        if nvrtc.nvrtc() is None:
            return nvrtc.MISSING
        return cuda().missing

    def _made(self, kernel: Kernel) -> Any:
        arch = "sm_{}{}".format(*torch.cuda.get_device_capability(self.device))
        image = nvrtc.cubin(kernel.source.text(self.target), arch, f"-DBLOCK={BLOCK}")
        function = cuda().function(image, "run", self.device.index or 0, BLOCK)
        function(1, self._stream(), *[0] * 11)  # of no trajectories: here what the card has no room for fails, not in the solve
        return function

    def _stream(self) -> int:
        return torch.cuda.current_stream(self.device).cuda_stream

    def notes(self, tries: int, b: int) -> Tensor:
        """Trajectories side by side."""
        room = torch.empty(tries, self.bound.kernel.source.outs, b, dtype=torch.float64, device=self.device)
        return room.transpose(1, 2)

    def run(self, buffer: Tensor, notes: Tensor, listed: Tensor, tries: int, everything: bool) -> Tensor:
        """See Launcher."""
        count, stride = len(listed), buffer.shape[1]
        used, taken = (torch.zeros(k, dtype=torch.int64, device=self.device) for k in (stride, 1))
        blocks = min(-(-count // BLOCK), self.function.resident)
        self.function(
            blocks, self._stream(), buffer, notes, used, listed, count, tries, everything,
            stride, self.pointers, self.bound.table, taken,
        )  # fmt: skip
        return used

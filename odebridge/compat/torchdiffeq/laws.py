"""Step laws with torchdiffeq's meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from odebridge.control.base import Controller
from odebridge.core.protocols import Observation, StepController


@dataclass(frozen=True)
class Elementary(Controller):
    """h' = h min(ifactor, max(safety e^(-1/k), dfactor)), k = order of the estimate + 1; never shorter after a kept step."""

    safety: float = 0.9
    ifactor: float = 10.0
    dfactor: float = 0.2

    @torch.no_grad()
    def __call__(self, seen: Observation, memory: None) -> tuple[Any, None]:
        """The next step."""
        if seen.error is None or seen.order is None or not isinstance(seen.h, Tensor):
            return seen.h, None
        factor = self.safety * (-seen.error.clamp_min(1e-300).log() / (seen.order + 1)).exp()
        lowest = torch.where(seen.error < 1.0, 1.0, self.dfactor)
        return seen.h * torch.minimum(torch.maximum(factor, lowest), torch.full_like(factor, self.ifactor)), None


@dataclass(frozen=True)
class Shortest(Controller):
    """No step is shorter than `lowest`; where such a step is rejected the solve ends with a sentence instead of keeping it."""

    controller: StepController
    lowest: float

    def start(self, x: Tensor, tol: Any) -> Any:
        """The inner memory."""
        return self.controller.start(x, tol)

    def __call__(self, seen: Observation, memory: Any) -> tuple[Any, Any]:
        """The inner answer, at least `lowest`; 0 where that was not good enough."""
        h, memory = self.controller(seen, memory)
        h = torch.clamp(h, min=self.lowest)
        if seen.accepted is None:
            return h, memory
        return torch.where(~seen.accepted & (seen.h <= self.lowest), 0.0, h), memory

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """As the inner controller."""
        return self.controller.accepts(error, memory)


@dataclass(frozen=True)
class Nodes(Controller):
    """Steps from node to node; every finite step is kept."""

    times: Tensor  # (k,) float64, rising

    def __call__(self, seen: Observation, memory: None) -> tuple[Any, None]:
        """The way to the next node, in the direction of the solve; beyond the last to the end."""
        t, t1 = torch.as_tensor(seen.t), torch.as_tensor(seen.t1)
        t = t.detach()
        near = 8.0 * torch.finfo(torch.float64).eps * t.abs()  # the clock has reached a node that is closer than that
        above = torch.searchsorted(self.times, (t + near).contiguous(), right=True).clamp_max(len(self.times) - 1)
        below = (torch.searchsorted(self.times, (t - near).contiguous()) - 1).clamp_min(0)
        way = (self.times[torch.where(t1 < t, below, above)] - t).abs()
        return torch.where(way > near, way, (t1.detach() - t).abs().clamp_min(1e-300)), None

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """Every try."""
        return torch.ones_like(error, dtype=torch.bool)

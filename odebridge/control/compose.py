"""Controllers made of controllers: wrap, never subclass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from odebridge.control.base import Controller
from odebridge.core.protocols import Observation, StepController
from odebridge.core.tolerance import Tolerance


class PerStep(nn.Module):
    """One controller for every step of a grid: block n of a network asks `controllers[n]`.

    ValueError for a step beyond the list. Memory: that of each. Grid only, since over a span steps have no number that means
    the same for all trajectories. Use: `PerStep([SE(16) for _ in blocks])`.
    """

    def __init__(self, controllers: Iterable[StepController]) -> None:
        super().__init__()
        laws = list(controllers)
        if not laws:
            raise ValueError("PerStep: give at least one controller.")
        self.controllers: Any = nn.ModuleList(laws) if all(isinstance(c, nn.Module) for c in laws) else laws  # type: ignore[arg-type]

    def start(self, x: Tensor, tol: Tolerance | None) -> tuple[Any, ...]:
        """The memory of every controller."""
        return tuple(c.start(x, tol) for c in self.controllers)

    def forward(self, seen: Observation, memory: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """The answer of controller number seen.n."""
        if not isinstance(seen.n, int):
            raise ValueError("PerStep works on a grid; over a span give one controller for all steps.")
        i, n = seen.n, len(memory)
        if i >= n:
            raise ValueError(f"PerStep: there are {n} controllers and the grid has more steps; give one for every step.")
        h, mine = self.controllers[i](seen, memory[i])
        return h, (*memory[:i], mine, *memory[i + 1 :])

    def accepts(self, error: Tensor, memory: tuple[Any, ...]) -> Tensor:
        """Scaled error at most 1."""
        return error <= 1.0


@dataclass(frozen=True)
class Bounded(Controller):
    """lowest <= h' <= highest for any controller over a span; either bound may be a (b,) tensor.

    Use: `Bounded(ob.control.PI, highest=0.1)`; `max_step=0.1` of `integrate` is the same.
    """

    controller: StepController
    lowest: Any = 0.0
    highest: Any = float("inf")

    def start(self, x: Tensor, tol: Tolerance | None) -> tuple[Any, Tensor, Tensor]:
        """The inner memory and the bounds, so that they travel with their trajectories."""

        def spread(v: Any) -> Tensor:
            return torch.as_tensor(v, dtype=torch.float64, device=x.device).expand(len(x)).clone()

        return self.controller.start(x, tol), spread(self.lowest), spread(self.highest)

    def __call__(self, seen: Observation, memory: tuple[Any, Tensor, Tensor]) -> tuple[Any, tuple[Any, Tensor, Tensor]]:
        """The inner answer, clipped."""
        inner, lowest, highest = memory
        h, inner = self.controller(seen, inner)
        return torch.clamp(h, lowest, highest), (inner, lowest, highest)

    def accepts(self, error: Tensor, memory: tuple[Any, Tensor, Tensor]) -> Tensor:
        """As the inner controller."""
        return self.controller.accepts(error, memory[0])


@dataclass(eq=False)  # not frozen: a stage makes one inside of a graph, which TorchDynamo cannot trace before torch 2.13
class Resumed(Controller):
    """Any controller, from a memory that it has left somewhere else, such as the part of a network before.

    Use: `Resumed(cell, memory)`.
    """

    controller: StepController
    memory: Any

    def start(self, x: Tensor, tol: Tolerance | None) -> Any:
        """The memory that was given."""
        return self.memory

    def __call__(self, seen: Observation, memory: Any) -> tuple[Any, Any]:
        """As the inner controller."""
        return self.controller(seen, memory)

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """As the inner controller."""
        return self.controller.accepts(error, memory)


@dataclass(frozen=True)
class Deadband(Controller):
    """h' = h while the inner answer lies in [low h, high h): an implicit method then keeps its factors, and BDF its spacing.

    The inner law's memory goes on as if its answer had been taken. After a rejection its answer stands.
    Source: 1 to 1.2 for Radau5 (Hairer & Wanner II, IV.8), 0.9 to 1.2 for FBDF of OrdinaryDiffEq.jl.
    """

    controller: StepController
    low: float = 1.0
    high: float = 1.2

    def start(self, x: Tensor, tol: Tolerance | None) -> Any:
        """The inner memory."""
        return self.controller.start(x, tol)

    def __call__(self, seen: Observation, memory: Any) -> tuple[Any, Any]:
        """The inner answer, or the present size if that is near."""
        h, memory = self.controller(seen, memory)
        if seen.accepted is None or not isinstance(seen.h, Tensor):
            return h, memory
        ratio = h / seen.h
        return torch.where(seen.accepted & (ratio >= self.low) & (ratio < self.high), seen.h, h), memory

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """As the inner controller."""
        return self.controller.accepts(error, memory)


class _Landing(NamedTuple):
    inner: Any
    wanted: Tensor  # what the inner controller would have taken, before the last clip (b,)


@dataclass(frozen=True)
class AtTimes(Controller):
    """Steps end at the given times: h' = min(h, next time - t) for any controller over a span.

    After a step that was cut short and kept, the inner answer is not held back by the cut: the size wanted before it counts.
    times: finite floats in any order. Use: `AtTimes(ob.control.PI34, (0.5, 1.0))` for a field that jumps there.
    """

    controller: StepController
    times: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.times) == 0:
            raise ValueError("AtTimes: give at least one time, or use the controller without it.")

    @cached_property
    def _nodes(self) -> Tensor:
        """The times, rising, with two infinite ones at either end."""
        times, end = sorted({float(t) for t in self.times}), math.inf
        return torch.tensor([-end, -end, *times, end, end], dtype=torch.float64, device="cpu")

    def start(self, x: Tensor, tol: Tolerance | None) -> _Landing:
        """Nothing was cut yet."""
        return _Landing(self.controller.start(x, tol), torch.zeros(len(x), dtype=torch.float64, device=x.device))

    def __call__(self, seen: Observation, memory: _Landing) -> tuple[Any, _Landing]:
        """The inner answer, or the way to the next time if that is shorter."""
        h, inner = self.controller(seen, memory.inner)
        t, t1 = torch.as_tensor(seen.t, device=seen.x.device), torch.as_tensor(seen.t1, device=seen.x.device)
        wanted = h if seen.accepted is None else torch.where(seen.accepted, torch.maximum(h, memory.wanted), h)
        nodes, backward = self._nodes.to(seen.x.device), t1 < t
        above = torch.searchsorted(nodes, t.contiguous(), right=True)
        # The next time and the one after it: a time closer than the clock can resolve has been reached.
        ways = [(nodes[torch.where(backward, above - 1 - j, above + j)] - t).abs() for j in (0, 1)]
        near = 4.0 * torch.finfo(torch.float64).eps * t.abs()
        cut = torch.where(ways[0] > near, ways[0], ways[1])
        return torch.minimum(wanted, cut), _Landing(inner, torch.where(wanted > cut, wanted, torch.zeros_like(cut)))

    def accepts(self, error: Tensor, memory: _Landing) -> Tensor:
        """As the inner controller."""
        return self.controller.accepts(error, memory.inner)

"""A classical law that a small gate corrects: how far to go, and how much error this place may have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from odebridge.control.base import Controller
from odebridge.control.classical import Filter
from odebridge.control.features import Past, features, squashed
from odebridge.control.linear import Coefficients, History, clip, linear_step
from odebridge.core.protocols import Observation
from odebridge.core.tolerance import Tolerance, row_sum

LARGEST = 0.03  # of the state: no step is kept whose error is larger, whatever the gate allows
PATIENCE = 2  # rejections in a row after which the classical law is alone until a try is kept


class Memory(NamedTuple):
    """What a learned law remembers between tries."""

    history: History
    past: Past
    allowed: Float[Tensor, " b"]  # exp(k m) / scale: the error that the try under way may have, in units of the threshold
    log_scale: Float[Tensor, " b"]  # of the filter, or of the classical law alone where the gate is silent
    ceiling: Float[Tensor, " b"]  # log of LARGEST / rtol: the largest error that may be allowed
    refused: Int[Tensor, " b"]  # tries rejected in a row
    silent: Bool[Tensor, " b"]  # outside what the gate was calibrated for: the classical law alone
    swarm: tuple[Tensor, Tensor] | None  # of a `Swarm`: coefficients (b, 13), weights (b, 2, f)


@dataclass(frozen=True, eq=False)
class Place:
    """Where the state is, component by component: ((sign(x) log(1 + |x| / size)) - middle) / spread, clipped to [-5, 5]."""

    size: Float[Tensor, " n"]
    middle: Float[Tensor, " n"]
    spread: Float[Tensor, " n"]

    @property
    def width(self) -> int:
        """How many columns."""
        return len(self.size)

    @property
    def components(self) -> int:
        """Of a state."""
        return len(self.size)

    def __call__(self, seen: Observation) -> Float[Tensor, "b n"]:
        """The columns that are added to the features."""
        v = seen.x.flatten(1).double()
        return (((v.sign() * (1.0 + v.abs() / self.size).log()) - self.middle) / self.spread).clamp(-5.0, 5.0)


@dataclass(frozen=True, eq=False)
class Pooled:
    """State beside slope, through one small layer for all components, pooled: what a StepNet (a reconstruction) sees.

    Column j is mean_i relu(a_j u_i + b_j v_i + c_j): u the columns of `place`, v what the slope at the step's end makes of them
    within one step, sign(v) log(1 + |v|). mix (H, 3): a, b, c, drawn once and not searched, so that the search stays as small
    for a hundred components as for ten. Caveat: which component it was is lost.
    """

    place: Place
    mix: Float[Tensor, "h 3"]

    @property
    def width(self) -> int:
        """How many columns."""
        return len(self.mix)

    @property
    def components(self) -> int:
        """Of a state."""
        return self.place.components

    def __call__(self, seen: Observation) -> Float[Tensor, "b h"]:
        """The columns that are added to the features."""
        u, h = self.place(seen), seen.h
        assert isinstance(h, Tensor)
        x, f = (v.flatten(1).double() for v in (seen.x, seen.slope))
        way = h.unsqueeze(1) * f / ((x.abs() + self.place.size) * self.place.spread)
        way = (way.sign() * (1.0 + way.abs()).log()).clamp(-5.0, 5.0)
        pooled = [row_sum((a * u + b * way + c).clamp_min(0.0)) / u.shape[1] for a, b, c in self.mix.tolist()]
        return torch.stack(pooled, 1)


def learned_step(
    c: Coefficients,
    gate: Callable[[Tensor], tuple[Tensor, Tensor]],
    place: Place | Pooled | None,
    seen: Observation,
    memory: Memory,
) -> tuple[Tensor, Memory]:
    """The next step of a filter under a gate: a pure function of tensors."""
    h = seen.h
    assert isinstance(h, Tensor)
    if seen.error is None or seen.order is None or seen.accepted is None:
        return h, memory._replace(history=memory.history._replace(size=h.log()))
    k = seen.order + 1
    log_error = clip(seen.error.log() + memory.log_scale, log_of(c.floor), torch.inf)
    table, past = features(seen, h.log(), k, log_error, memory.log_scale, memory.history, memory.past)
    if place is not None:
        table = torch.cat([table, place(seen)], 1)
    refused = torch.where(seen.accepted, 0, memory.refused + 1)
    off = memory.silent | (refused >= PATIENCE)
    d, m = gate(table)
    off = off | (d + m != d + m)  # a try that went wrong says nothing
    d, m = (torch.where(off, 0.0, squashed(v)) for v in (d, m))
    # At a loose tolerance e^k times as much is no small error any more, and a step that is none leads anywhere.
    m = torch.minimum(m, (memory.ceiling + memory.log_scale) / k)
    # The filter aims at the error that the gate allows: it sees errors relative to that.
    factor, history = linear_step(c, k, h, log_error - k * m, seen.accepted, memory.history, d)
    allowed = (k * m - memory.log_scale).exp()
    return h * factor, Memory(history, past, allowed, memory.log_scale, memory.ceiling, refused, memory.silent, memory.swarm)


def log_of(v: Any) -> Any:
    """The logarithm of a number or a tensor."""
    return v.log() if isinstance(v, Tensor) else math.log(v)


def remembered(
    x: Tensor, tol: Tolerance | None, log_scale: Tensor, silent: Tensor, swarm: tuple[Tensor, Tensor] | None = None
) -> Memory:
    """The memory at the start of a solve."""
    count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    ceiling = torch.full_like(log_scale, torch.inf) if tol is None else (LARGEST / tol.rtol.double()).log().clamp_min(0.0)
    return Memory(History.of_ones(x), Past.of(x, tol), (-log_scale).exp(), log_scale, ceiling, count, silent, swarm)


@dataclass(frozen=True, eq=False)
class LearnedStep(Controller):
    """log(h'/h) = linear filter(log e - k m, history) + d,  (d, m) = s(W features),  s(v) = v / (1 + |v|)."""

    linear: Filter
    weights: Float[Tensor, "2 f"]
    place: Place | Pooled | None = None
    alone: float = 1.0  # the scale of the filter where the gate is silent

    def start(self, x: Tensor, tol: Tolerance | None) -> Memory:
        """Nothing seen yet."""
        return self.begun(x, tol, torch.zeros(len(x), dtype=torch.bool, device=x.device))

    def begun(self, x: Tensor, tol: Tolerance | None, silent: Bool[Tensor, " b"]) -> Memory:
        """The same, with trajectories for which the classical law is alone."""
        ours, theirs = (
            torch.full((len(x),), math.log(v), dtype=torch.float64, device=x.device) for v in (self.linear.scale, self.alone)
        )
        return remembered(x, tol, torch.where(silent, theirs, ours), silent)

    def __call__(self, seen: Observation, memory: Memory) -> tuple[Any, Memory]:
        """The next step."""
        if not isinstance(seen.h, Tensor):
            return seen.h, memory

        def gate(table: Tensor) -> tuple[Tensor, Tensor]:
            return row_sum(table * self.weights[0]), row_sum(table * self.weights[1])

        return learned_step(self.linear.coefficients, gate, self.place, seen, memory)

    def accepts(self, error: Tensor, memory: Memory) -> Tensor:
        """Scaled error at most threshold exp(k m)."""
        return error <= self.linear.threshold * memory.allowed


@dataclass(frozen=True, eq=False)
class Swarm(Controller):
    """As many learned laws as trajectories, each with coefficients (b, 13) and weights (b, 2, f) of its own: for searches."""

    coefficients: Float[Tensor, "b 13"]
    weights: Float[Tensor, "b 2 f"]
    place: Place | Pooled | None = None

    @property
    def traces_as(self) -> Any:
        """All swarms are one program: what differs is in their memory."""
        return self.place

    def start(self, x: Tensor, tol: Tolerance | None) -> Memory:
        """The laws travel with their trajectories."""
        no = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return remembered(x, tol, Coefficients(*self.coefficients.unbind(1)).scale.log(), no, (self.coefficients, self.weights))

    def __call__(self, seen: Observation, memory: Memory) -> tuple[Any, Memory]:
        """The next step of each."""
        assert memory.swarm is not None
        coefficients, weights = memory.swarm

        def gate(table: Tensor) -> tuple[Tensor, Tensor]:
            return row_sum(table * weights[:, 0]), row_sum(table * weights[:, 1])

        return learned_step(Coefficients(*coefficients.unbind(1)), gate, self.place, seen, memory)

    def accepts(self, error: Tensor, memory: Memory) -> Tensor:
        """Each by its own threshold."""
        assert memory.swarm is not None
        return error <= Coefficients(*memory.swarm[0].unbind(1)).threshold * memory.allowed

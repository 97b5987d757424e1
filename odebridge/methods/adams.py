"""Adams methods: slopes of earlier steps instead of stages, at fixed steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from odebridge.core.protocols import Counts, Step, System
from odebridge.core.result import Result
from odebridge.core.shapes import merge, per_sample
from odebridge.core.tolerance import rms
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.implicit import on_own_terms
from odebridge.methods.weighted import advanced, hermite
from odebridge.tableaus import explicit

HIGHEST = 9  # the starting steps are of order 8, which is enough for one more
ROUNDS = 12


class Past(NamedTuple):
    """Slopes of earlier steps, the newest first."""

    slopes: tuple[Tensor, ...]  # (b, *s) each
    times: tuple[Tensor, ...]  # (b,) float64 each
    have: Int[Tensor, " b"]  # how many of them are there


def quadrature(nodes: Sequence[Float[Tensor, " b"]]) -> list[Float[Tensor, " b"]]:
    """Weights w_i with int_0^1 p(s) ds = sum_i w_i p(s_i) for polynomials p of degree below k = len(nodes), for distinct s_i.

    w_i is the integral of the Lagrange polynomial of node i, by Gauss's rule of exact degree, whose products lose no digits.
    Equal spacing (0, -1, -2, ...) gives the coefficients of Adams and Bashforth, (1, 0, -1, ...) those of Moulton.
    """
    k, like = len(nodes), nodes[0]
    points, shares = np.polynomial.legendre.leggauss((k + 1) // 2)
    at = torch.tensor(0.5 * (points + 1.0), dtype=like.dtype, device=like.device)
    s = torch.stack(list(nodes), -1)
    above = torch.ones(len(like), len(at), k, dtype=like.dtype, device=like.device)
    below = torch.ones(len(like), k, dtype=like.dtype, device=like.device)
    number = torch.arange(k, device=like.device)
    for m, node in enumerate(nodes):
        above = above * torch.where(number == m, 1.0, (at - node[:, None])[:, :, None])
        below = below * torch.where(number == m, 1.0, s - node[:, None])
    total = above[:, 0] * (0.5 * float(shares[0]))
    for q in range(1, len(at)):
        total = total + above[:, q] * (0.5 * float(shares[q]))
    return list((total / below).unbind(-1))


@dataclass(frozen=True)
class _Adams(ABC):
    """What both families share: the past, the starting steps, the interpolant."""

    order: int = 4
    law: str = "fixed"

    label: ClassVar[str]
    implicit: ClassVar[bool]
    traceable: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return self.label

    def __post_init__(self) -> None:
        if isinstance(self.order, bool) or not isinstance(self.order, int) or not 2 <= self.order <= HIGHEST:
            raise ValueError(f"order: of {self.name!r} must be a whole number from 2 to {HIGHEST}, got {self.order!r}.")

    @property
    def error_order(self) -> int | None:
        """There is no estimate."""
        return None

    @property
    def dense_order(self) -> int:
        """Order of the cubic Hermite interpolant, at most the method's own."""
        return min(3, self.order)

    @property
    def starter(self) -> ExplicitRK:
        """The Runge-Kutta method of the first steps: its error is made a few times only, so one order less would do."""
        return ExplicitRK(explicit.DOPRI5 if self.order <= 6 else explicit.DOPRI8)

    def start(self, field: System, t: Any, x: Tensor) -> Past:
        """No past yet."""
        earlier = self.order - 2 if self.implicit else self.order - 1
        never = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return Past((torch.zeros_like(x),) * earlier, (never,) * earlier, torch.zeros_like(never, dtype=torch.int64))

    def restart(self, memory: Past, mask: Bool[Tensor, " b"]) -> Past:
        """After a jump of the field the past says nothing."""
        return memory._replace(have=torch.where(mask, 0, memory.have))

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """Cubic Hermite."""
        return hermite(x0, step.x, slope0, slope1, h)

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Past) -> Step:
        """One step from (t, x) with slope = f(t, x); a Runge-Kutta step where the past is too short."""
        return self._made(field, t, x, dt, h, slope, memory, None)

    def _made(
        self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Past, rounds: Tensor | None
    ) -> Step:
        earlier = len(memory.slopes)
        ready = memory.have >= earlier
        clock = t.double() if isinstance(t, Tensor) else torch.full_like(memory.have, t, dtype=torch.float64)
        spent, trouble, found = torch.zeros_like(memory.have), torch.zeros_like(memory.have), torch.zeros_like(memory.have)
        x1 = x
        if bool(ready.any()):
            # Where the past is too short the nodes are any that do no harm.
            nodes = [torch.where(ready, (time - clock) / dt, -float(i)) for i, time in enumerate([clock, *memory.times])]
            x1, found, ok = self._multistep(field, t, x, dt, h, (slope, *memory.slopes), nodes, ready, rounds)
            spent, trouble = found, torch.where(ok, int(Result.OK), int(Result.NEWTON_FAILED))
        if not bool(ready.all()):
            first = self.starter.step(field, t, x, dt, h, slope, None)
            x1 = merge(ready, x1, first.x)
            spent = torch.where(ready, spent, int(first.cost.f_evals))
        if self.implicit and isinstance(
            dt, float
        ):  # nobody can try again on a grid: an iteration that failed must not look like a result
            x1 = merge(trouble == int(Result.OK), x1, torch.full_like(x1, torch.nan))
        past = Past((slope, *memory.slopes)[:earlier], (clock, *memory.times)[:earlier], (memory.have + 1).clamp_max(earlier))
        return Step(
            x1, memory=past, retry=memory, trouble=trouble, cost=Counts(f_evals=spent), found=found if self.implicit else None
        )

    @abstractmethod
    def _multistep(
        self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slopes: tuple[Tensor, ...], nodes: list[Tensor],
        ready: Bool[Tensor, " b"], rounds: Tensor | None,
    ) -> tuple[Tensor, Int[Tensor, " b"], Bool[Tensor, " b"]]:  # fmt: skip
        """State at the end, evaluations of f and whether all went well; of the trajectories that are ready."""


def _sum(weights: Sequence[Float[Tensor, " b"]], slopes: Sequence[Tensor]) -> Tensor:
    total = per_sample(weights[0], slopes[0]) * slopes[0]
    for w, k in zip(weights[1:], slopes[1:], strict=True):
        total = total + per_sample(w, k) * k
    return total


@dataclass(frozen=True)
class AdamsBashforth(_Adams):
    """x1 = x + h sum_(i<k) w_i f(t_(n-i), x_(n-i)),  w_i the integral over the step of the Lagrange polynomial of node i.

    Order k with one evaluation a step. The weights are those of the spacing that each trajectory has had, so that a shorter
    last step or an uneven grid costs nothing. The first k - 1 steps are Runge-Kutta steps (Dopri5, beyond order 6 Dopri8).
    Shapes: x (b, *s); dt a float or (b,); h anything that multiplies x. ValueError for an order outside 2..9.
    Source: Hairer, Norsett & Wanner I, III.1 and III.5. Caveat: no error estimate, and the higher the order the smaller the
    region of stability; spacings that grow fast from step to step make it worse.
    Use: `ob.integrate(f, x0, ob.Grid(ts), method="explicit_adams")`.
    """

    label: ClassVar[str] = "explicit_adams"
    implicit: ClassVar[bool] = False

    def _multistep(
        self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slopes: tuple[Tensor, ...], nodes: list[Tensor],
        ready: Bool[Tensor, " b"], rounds: Tensor | None,
    ) -> tuple[Tensor, Int[Tensor, " b"], Bool[Tensor, " b"]]:  # fmt: skip
        return (
            advanced(x, h, _sum(quadrature(nodes), slopes)),
            torch.zeros_like(ready, dtype=torch.int64),
            torch.ones_like(ready),
        )


@dataclass(frozen=True)
class AdamsMoulton(_Adams):
    """x1 = x + h (w_0 f(t1, x1) + sum_(0<i<k) w_i f(t_(n-i+1), x_(n-i+1))),  order k, by functional iteration.

    Predicted by Adams-Bashforth from the same slopes, then corrected until the error of the iteration is estimated below a
    thousandth of the first correction, which is about the local error, so that the order is that of the implicit formula.
    A trajectory whose corrections do not shrink, or not within 12 rounds, is in trouble: NEWTON_FAILED over a span, NaN on
    a grid. The gradient goes through the corrections that were made. Weights, first steps, shapes and errors as in
    `AdamsBashforth`. Source: Hairer, Norsett & Wanner I, III.1 and III.5. Caveat: it needs |h w_0 df/dx| well below 1,
    so it is not for stiff problems. Use: `ob.integrate(f, x0, ob.Grid(ts), method="implicit_adams")`.
    """

    label: ClassVar[str] = "implicit_adams"
    implicit: ClassVar[bool] = True

    def replay(
        self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Past, found: Int[Tensor, " b"]
    ) -> Step:
        """The step with as many corrections as it took when it was found."""
        return self._made(field, t, x, dt, h, slope, memory, found)

    def _multistep(
        self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slopes: tuple[Tensor, ...], nodes: list[Tensor],
        ready: Bool[Tensor, " b"], rounds: Tensor | None,
    ) -> tuple[Tensor, Int[Tensor, " b"], Bool[Tensor, " b"]]:  # fmt: skip
        z = advanced(x, h, _sum(quadrature(nodes), slopes))
        weights = quadrature([torch.ones_like(nodes[0]), *nodes])
        known, last = _sum(weights[1:], slopes), per_sample(weights[0], x)
        scale = on_own_terms(field, x).weights(x, z).detach()
        floor = 16.0 * torch.finfo(x.dtype).eps * rms(z.detach() / scale).double()
        active, made = ready, torch.zeros_like(ready, dtype=torch.int64)
        first = before = torch.ones_like(floor)
        ok = ~ready
        for k in range(ROUNDS):
            if rounds is not None:
                active = ready & (rounds > k)
            if not bool(active.any()):
                break
            new = advanced(x, h, known + last * field(t + dt, z))
            size = rms((new - z).detach() / scale).double()
            z, made = merge(active, new, z), made + active
            theta = size / before
            left = torch.where(theta < 1.0, theta / (1.0 - theta), torch.inf) * size
            done = size <= floor
            lost = ~torch.isfinite(size)
            if k == 0:
                first = size
            else:
                done = done | (left <= torch.maximum(1e-3 * first, floor))
                lost = lost | (theta >= 1.0)
            ok, active, before = ok | (active & done), active & ~done & ~lost, size
        return z, made, ok if rounds is None else torch.ones_like(ok)

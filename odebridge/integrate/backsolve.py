"""The adjoint equation solved backward from the end, from saved time to saved time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import vjp

from odebridge.control.catalogue import CONTROLLERS
from odebridge.core.names import lookup
from odebridge.core.result import Result, Solution, SolveError
from odebridge.core.shapes import leaves, per_sample, take, tree_map
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.dense import Interpolant, evaluate
from odebridge.integrate.leaves import hides_leaves, reached
from odebridge.integrate.loops import Attempt, attempt
from odebridge.integrate.save import Course, Recorder, Saved, coefficients
from odebridge.integrate.span import Limits, Task
from odebridge.integrate.system import BoundField, Tally
from odebridge.methods.catalogue import METHODS
from odebridge.methods.explicit_rk import ExplicitRK

if TYPE_CHECKING:
    from odebridge.integrate.adjoint import Adjoint

# Gauss's rule on [0, 1] of order 6.
NODES = ((0.5 - 0.15**0.5, 5 / 18), (0.5, 4 / 9), (0.5 + 0.15**0.5, 5 / 18))


@dataclass(frozen=True)
class Track:
    """The forward solve's dense output, asked row by row."""

    dense: Interpolant

    def __call__(self, ids: Int[Tensor, " k"], t: Float[Tensor, " k"]) -> Float[Tensor, "k *s"]:
        """States of the trajectories ids at t."""
        d = self.dense
        sign, ts = d.sign[ids], d.ts[ids]
        marks = torch.where(torch.isnan(ts), torch.inf, ts * sign[:, None]).contiguous()
        now = t.detach().double()
        last = (torch.isfinite(ts).sum(1) - 2).clamp_min(0)
        place = torch.searchsorted(marks, (now * sign)[:, None].contiguous(), right=True)[:, 0] - 1
        place = torch.minimum(place.clamp_min(0), last)
        s = (t.double() - d.ts[ids, place]) / (d.dts[ids, place] * sign)
        return evaluate(d.xs[ids, place], tuple(q[ids, place] for q in d.powers), s)


@dataclass(frozen=True)
class Adjoined:
    """(x, a)' = (f, -(df/dx)^T a), or a' alone along a track; x and a flat, (b, 2n) or (b, n). args: (ids, those of f)."""

    f: BoundField
    shape: torch.Size
    track: Track | None
    plain: bool = False  # nobody differentiates it: plain autograd, which a field may use inside of itself too

    def __call__(self, t: Tensor, z: Tensor, args: Any) -> Tensor:
        """The field."""
        ids, own = args
        x, a = self.split(ids, t, z)
        f = replace(self.f, args=own, tol=None, tally=None)
        if self.plain:
            slope, pulled = _pulled(f, t, x, a)
        else:
            slope, pull = vjp(lambda y: f(t, y), x)  # type: ignore[misc]
            pulled = pull(a)[0]
        back = -pulled.flatten(1)
        return back if self.track is not None else torch.cat([slope.flatten(1), back], 1)

    def split(self, ids: Tensor, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """X and a, (b, *s) each."""
        if self.track is not None:
            return self.track(ids, t).to(z.dtype), z.reshape(-1, *self.shape)
        x, a = z.chunk(2, 1)
        return x.reshape(-1, *self.shape), a.reshape(-1, *self.shape)


def _pulled(f: BoundField, t: Tensor, x: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The slope and (df/dx)^T a."""
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        slope = f(t, y)
    (pulled,) = torch.autograd.grad(slope, y, a, allow_unused=True) if slope.requires_grad else (None,)
    return slope.detach(), torch.zeros_like(x) if pulled is None else pulled


@dataclass
class Quadrature(Recorder):
    """Adds up int a^T df/dp dt over the kept steps: one backward pass of the field for each of Gauss's three nodes."""

    field: Adjoined
    task: Task
    ids: Tensor  # the trajectory of each lane
    scale: Tensor  # what the adjoints have been divided by (b,)
    shared: list[Tensor]
    totals: list[Tensor]  # of the shared tensors, then of those in args
    hiding: bool  # may the field use tensors that are not known

    def take(self, tried: Attempt) -> None:
        """The integral over the kept steps of one round."""
        index = tried.kept.nonzero()[:, 0]
        if len(index) == 0 or not (self.totals or self.hiding):
            return
        powers = tuple(q[index] for q in coefficients(self.task.method, tried, False))
        ids = self.ids[tried.ids[index]]
        for node, weight in NODES:
            t = tried.t0[index] + node * tried.dt[index]
            z = evaluate(tried.x0[index], powers, torch.full_like(t, node))
            x, a = self.field.split(ids, t, z)
            self._add(ids, t, x, a * per_sample(-weight * tried.dt[index] * self.scale[tried.ids[index]], a))

    def take_many(self, kept: Attempt) -> None:
        """A sum does not mind how many steps of a trajectory come at once."""
        self.take(kept)

    def _add(self, ids: Tensor, t: Tensor, x: Tensor, a: Tensor) -> None:
        with torch.enable_grad():
            own = tree_map(lambda v: v.detach().requires_grad_(v.is_floating_point()), take(self.field.f.args, ids))
            y = x.detach().requires_grad_()  # so that a field which differentiates itself makes no leaf of its own
            out = replace(self.field.f, args=own, tol=None)(t, y)
        if not out.requires_grad:
            return
        wanted = [*self.shared, *leaves(own)]
        if {id(v) for v in reached(out)} - {id(v) for v in (y, *wanted)}:
            raise RuntimeError(
                "gradient: the field uses a tensor that requires a gradient and was not used at the start of the solve, so "
                "Adjoint does not know it; make it a parameter of an nn.Module that is the field, pass it as args, or use "
                "ob.Replay()."
            )
        floating = [v for v in wanted if v.requires_grad]
        grads = iter(torch.autograd.grad(out, floating, a, retain_graph=True, allow_unused=True))
        for i, v in enumerate(wanted):
            grad = next(grads) if v.requires_grad else None
            if grad is not None and i < len(self.shared):
                self.totals[i] += grad
            elif grad is not None:
                self.totals[i].index_add_(0, ids, grad)

    def packed(self) -> Saved:
        """Nothing is saved."""
        return Saved()


class Backward:
    """From the gradients of x1 and xs to those of x0, t0, t1, the save times, args and shared tensors."""

    def __init__(self, policy: Adjoint, task: Task, sol: Solution, times: Tensor, xs: Tensor, shared: list[Tensor]) -> None:
        self.policy, self.shared, self.hiding = policy, shared, hides_leaves(task.f.field)
        own = policy.method is None
        method = policy.method if not isinstance(policy.method, str) else lookup("method", policy.method, METHODS)
        method = task.method if own else method
        law = task.controller if own else lookup("controller", method.law, CONTROLLERS)
        law = law if policy.controller is None else policy.controller
        limits = Limits(policy.max_steps, task.limits.time_limit, None)
        self.task = replace(task, method=method, controller=law, limits=limits, trying=policy.trying or attempt)
        if policy.first_step is not None:
            self.task = replace(self.task, first_step=policy.first_step)
        x0, t0, t1, _ = task.course
        # Times and states at which something enters: start, saved times, end. What a failed trajectory has not reached is
        # read as the last that it has, and gets no gradient.
        self.arrived = sol.result == int(Result.OK)
        ts = torch.cat([t0[:, None], times, t1[:, None]], 1)
        states = [x0, *xs.unbind(1), sol.x1]
        self.ts, self.xs, self.there = [t0], [x0], [torch.ones_like(self.arrived)]
        for t, x in zip(ts.unbind(1)[1:], states[1:], strict=True):
            there = torch.isfinite(x).flatten(1).all(1)
            self.there.append(there)
            self.ts.append(torch.where(there, t, self.ts[-1]))
            self.xs.append(torch.where(there.reshape(-1, *(1,) * (x.dim() - 1)), x, self.xs[-1]))
        self.track = Track(sol.dense) if isinstance(sol.dense, Interpolant) else None

    @torch.no_grad()
    def __call__(self, g1: Tensor, gs: Tensor) -> list[Any]:
        """Gradients of x0, t0, t1, times, args and shared tensors."""
        task, x0 = self.task, self.task.course.x0
        args = leaves(task.f.args)
        shared = [torch.zeros_like(v) for v in self.shared]
        rows = [torch.zeros_like(v) for v in args]
        totals = [*shared, *rows] if self.shared or any(v.is_floating_point() for v in rows) else []
        worst = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
        a, at = torch.zeros_like(x0), []
        incoming = [torch.zeros_like(x0), *gs.unbind(1), g1]
        for j in range(len(self.ts) - 1, -1, -1):
            g = torch.where(self._wide(self.there[j]), incoming[j], 0.0)
            at.append((g * task.f(self.ts[j], self.xs[j])).flatten(1).sum(1).double())
            a = a + g
            if j > 0:
                a, drift = self._between(j, a, totals)
                worst = torch.maximum(worst, drift)
        if self.track is None:
            self.policy.report(worst)
        at.reverse()
        start = -(a * task.f(self.ts[0], x0)).flatten(1).sum(1).double()
        times = torch.stack(at[1:-1], 1) if len(at) > 2 else torch.zeros(len(x0), 0, dtype=torch.float64, device=x0.device)
        return [a, start, at[-1], times, *rows, *shared]

    def _wide(self, mask: Tensor) -> Tensor:
        return mask.reshape(-1, *(1,) * (self.task.course.x0.dim() - 1))

    def _between(self, j: int, a: Tensor, totals: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The adjoint at time j - 1 from that at time j, and how far x has drifted on the way, in tolerances."""
        task, drift = self.task, torch.zeros(len(a), dtype=torch.float64, device=a.device)
        scale = a.flatten(1).abs().amax(1).double()
        ids = ((scale > 0.0) & (self.ts[j] != self.ts[j - 1])).nonzero()[:, 0]
        if len(ids) == 0:
            return a, drift
        shape, scale = a.shape[1:], scale[ids]
        field = Adjoined(task.f, shape, self.track, isinstance(task.method, ExplicitRK))
        t, t1 = self.ts[j][ids], self.ts[j - 1][ids]
        z = (a[ids] / per_sample(scale, a)).flatten(1)
        if self.track is None:
            z = torch.cat([self.xs[j][ids].flatten(1), z], 1)
        tol = self._tolerance(ids, z)
        f = BoundField(field, (ids, take(task.f.args, ids)), tol=tol, tally=Tally(len(ids)))
        quadrature = Quadrature(field, task, ids, scale, self.shared, totals, self.hiding)
        first = (
            task.first_step if not isinstance(task.first_step, Tensor) or task.first_step.dim() == 0 else task.first_step[ids]
        )
        course = Course(z, t, t1, torch.where(t1 < t, -1.0, 1.0).double())
        back = replace(task, f=f, course=course, tol=tol, save=quadrature, after=None, first_step=first, slope=f(t, z))
        sol = back.found()
        if sol.failures:
            raise SolveError(
                sol,
                "gradient: this was the solve backward in time. Use ob.Replay(), or a stiff method with "
                "ob.Adjoint(state='interpolated').",
            )
        end = sol.x1
        if self.track is None:
            x, end = end.chunk(2, 1)
            there = self.xs[j - 1][ids]
            gone = take(task.tol, ids).ratio(x.reshape(there.shape) - there, there, there)
            drift = drift.index_copy(0, ids, gone)
        return a.index_copy(0, ids, end.reshape(-1, *shape) * per_sample(scale, a)), drift

    def _tolerance(self, ids: Tensor, z: Tensor) -> Tolerance:
        """That of the forward solve for x, and the adjoint's, whose entries are at most 1, for a."""
        given, policy = take(self.task.tol._replace(atol=self._full()), ids), self.policy
        rtol = given.rtol if policy.rtol is None else torch.full_like(given.rtol, policy.rtol)
        of_a = 1e-3 * rtol if policy.atol is None else torch.full_like(rtol, policy.atol)
        of_a = of_a.clamp_min(torch.finfo(z.dtype).eps)[:, None].expand(len(z), given.atol[0].numel())
        return Tolerance(rtol, of_a if self.track is not None else torch.cat([given.atol.flatten(1), of_a], 1))

    def _full(self) -> Tensor:
        return self.task.tol.atol.expand(self.task.course.x0.shape)

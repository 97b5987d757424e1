"""Who owns the backward pass.

A rejected try that overflowed poisons the gradient through `torch.where` (0 * inf), so the loop that finds the steps runs
without a graph, and only the kept steps are walked again with one. The walked states are those found, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from odebridge.core.protocols import Method
from odebridge.core.shapes import every, per_sample, take, tree_map
from odebridge.integrate.events import Walked
from odebridge.integrate.jumps import Jumps
from odebridge.integrate.loops import After, Attempt, limited
from odebridge.integrate.save import Course, Recorder
from odebridge.integrate.system import BoundField


@dataclass(frozen=True)
class Replay:
    """Find the steps without a graph, then walk the kept ones with one: the exact gradient of the frozen-step map.

    Memory grows with the kept steps only. Gradients flow to x0, args, parameters and closures of the field, t0, t1 and save
    times; the step sizes are constants (Hairer, Norsett & Wanner I, II.6 on internal differentiation). Nothing is walked
    where nothing needs a gradient. Caveat: Rosenbrock methods differentiate J as well, so the field must be twice
    differentiable.
    """


@dataclass
class StepTape:
    """The kept steps of every trajectory, in order."""

    ids: list[Tensor] = field(default_factory=list)
    rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)  # t0, t1, dt, scaled error
    found: list[Any] = field(default_factory=list)  # what implicit methods have found by iteration

    def take(self, tried: Attempt) -> None:
        """Note the kept steps of one round."""
        index = tried.kept.nonzero()[:, 0]
        self.ids.append(tried.ids[index])
        self.rows.append((tried.t0[index], tried.t1[index], tried.dt[index], tried.error[index]))
        if tried.step.found is not None:
            self.found.append(take(tried.step.found, index))

    def searched(self) -> tuple[Any, Tensor] | None:
        """All that was found, one row per kept step, and the order that brings trajectory 0's steps first, in time."""
        if not self.found:
            return None
        return tree_map(lambda *parts: torch.cat(parts), *self.found), torch.cat(self.ids).argsort(stable=True)

    def tables(self, b: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Counts (b,) and tables (b, k) of t0, t1, dt and the scaled error, NaN beyond a trajectory's last step."""
        count = torch.zeros(b, dtype=torch.int64, device=like.device)
        columns = []
        for ids in self.ids:
            columns.append(count[ids])
            count = count.index_add(0, ids, torch.ones_like(ids))
        where = (torch.cat(self.ids), torch.cat(columns)) if self.ids else ()
        parts = [torch.cat(p) for p in zip(*self.rows, strict=True)] or [like.new_zeros(0)] * 4
        empty = like.new_full((b, int(count.max())), torch.nan)
        t0, t1, dt, error = (empty.index_put(where, p) if where else empty for p in parts)
        return count, t0, t1, dt, error


def walk(
    tape: StepTape,
    f: BoundField,
    course: Course,
    method: Method,
    after: After | None,
    recorder: Recorder,
    ends: bool,
    events: Walked | None = None,
    jumps: Jumps | None = None,
    stopped: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Walk the kept steps with a graph; returns the last states (b, *s) and the times (b,) at which they are.

    `ends`: the recorder needs slopes at step ends. `stopped` (b,): these trajectories have not reached t1.
    """
    b = len(course.x0)
    count, t0s, t1s, dts, errors = tape.tables(b, course.t0.detach())
    searched, first = tape.searched(), count.cumsum(0) - count
    ids, x, bound = torch.arange(b, device=count.device), course.x0, f
    memory, slope = method.start(f, course.t0, x), None
    parked: list[tuple[Tensor, Tensor, Tensor]] = []
    clock = course.t0
    for k in range(dts.shape[1]):
        on = count[ids] > k
        if not bool(on.all()):
            parked.append((ids[~on], x[~on], clock[~on]))
            index = on.nonzero()[:, 0]
            ids, x, memory, slope, clock = take((ids, x, memory, slope, clock), index)
            bound = f.take(ids)
        t, t_end, dt = t0s[ids, k], t1s[ids, k], dts[ids, k]
        last = count[ids] == k + 1 if stopped is None else (count[ids] == k + 1) & ~stopped[ids]
        if jumps is not None:
            bound = replace(bound, window=jumps.piece(t, course.sign[ids]).window)
            slope, memory = beyond(jumps.landed(t) & (k > 0), bound, method, t, x, slope, memory)
        # The ends of the span carry a graph by terms that are zero in value: the steps themselves are constants.
        if course.t0.requires_grad and k == 0:
            shift = course.t0[ids] - course.t0[ids].detach()
            t, dt = t + shift, dt - shift
        if course.t1.requires_grad:
            shift = torch.where(last, course.t1[ids] - course.t1[ids].detach(), 0.0)
            t_end, dt = t_end + shift, dt + shift
        slope0 = bound(t, x) if slope is None else slope
        if searched is None:
            step = method.step(bound, t, x, dt, per_sample(dt, x), slope0, memory)
        else:
            found = take(searched[0], searched[1][first[ids] + k])
            step = method.replay(bound, t, x, dt, per_sample(dt, x), slope0, memory, found)  # type: ignore[attr-defined]
        x1 = limited(after, step.x)
        slope = step.slope if after is None else None
        slope1 = slope if slope is not None else (_end_slope(bound, t_end, x1) if ends else slope0)
        everyone = torch.ones(len(ids), dtype=torch.bool, device=x.device)
        tried = Attempt(ids, everyone, t, t_end, dt, x, x1, slope0, slope1, step, errors[ids, k], x1)
        if events is not None:
            tried, _ = events.see(tried, k)
        recorder.take(tried)
        x, memory, clock = tried.x1, step.memory, tried.t1
    parked.append((ids, x, clock))
    order = torch.cat([i for i, _, _ in parked]).argsort()
    x1, clock = (torch.cat(v)[order] for v in list(zip(*parked, strict=True))[1:])
    if (course.t0.requires_grad or course.t1.requires_grad) and not bool((count > 0).all()):
        # A span of zero length has no step, but d x1 / d t1 = f all the same.
        shift = (course.t1 - course.t1.detach()) - (course.t0 - course.t0.detach())
        still = torch.where(count == 0, shift, 0.0)
        x1 = x1 + per_sample(still, x1) * f(course.t0.detach(), course.x0)
        clock = torch.where((count == 0) & (course.t0 == course.t1), course.t1, clock)
    return x1, clock


def beyond(
    landed: Tensor, f: BoundField, method: Method, t: Tensor, x: Tensor, slope: Tensor | None, memory: Any
) -> tuple[Tensor | None, Any]:
    """Slope and memory of the lanes that have landed on a jump of the field, anew on its other side."""
    if not bool(landed.any()):
        return slope, memory
    index = landed.nonzero()[:, 0]
    if slope is not None:
        slope = slope.index_put((index,), f.take(index)(t[index], x[index]))
    restart = getattr(method, "restart", None)
    return slope, memory if restart is None or memory is None else restart(memory, landed)


def _end_slope(f: BoundField, t: Tensor, x: Tensor) -> Tensor:
    """f(t, x), with no graph where it is not finite (a pole at the end of a span): 0 * inf would be nan behind any `where`."""
    slope = f(t, x)
    finite = every(torch.isfinite(slope))
    if bool(finite.all()):
        return slope
    index = finite.nonzero()[:, 0]
    return slope.detach().index_put((index,), f.take(index)(t[index], x[index]))

"""The kept steps of a solve, and the walk along them with a graph.

A rejected try that overflowed poisons the gradient through `torch.where` (0 * inf), so the loop that finds the steps runs
without a graph, and only the kept steps are walked again with one. The walked states are those found, to the bit.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from odebridge.core.protocols import Method
from odebridge.core.shapes import dual, every, per_sample, take, tree_map
from odebridge.integrate.events import Walked
from odebridge.integrate.jumps import Jumps
from odebridge.integrate.loops import After, Attempt, limited
from odebridge.integrate.save import Course, Recorder
from odebridge.integrate.system import BoundField

T = TypeVar("T")


@dataclass
class StepTape:
    """The kept steps of every trajectory, in order."""

    ids: list[Tensor] = field(default_factory=list)
    rows: list[tuple[Tensor, ...]] = field(default_factory=list)  # t0, t1, dt, scaled error
    states: list[Tensor] | None = None  # where each step began, if that is asked for
    found: list[Any] = field(default_factory=list)  # what implicit methods have found by iteration

    def take(self, tried: Attempt) -> None:
        """Note the kept steps of one round."""
        index = tried.kept.nonzero()[:, 0]
        self.ids.append(tried.ids[index])
        rows = (tried.t0[index], tried.t1[index], tried.dt[index], tried.error[index])
        self.rows.append(tuple(v.detach() for v in rows))  # a closure may bring tangents
        if self.states is not None:
            self.states.append(tried.x0[index].detach())
        if tried.step.found is not None:
            self.found.append(tree_map(Tensor.detach, take(tried.step.found, index)))

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


class Place(NamedTuple):
    """Where the trajectories are that have steps left."""

    ids: Int[Tensor, " b"]
    x: Float[Tensor, "b *s"]
    memory: Any
    slope: Tensor | None
    clock: Float[Tensor, " b"]


class Parked(NamedTuple):
    """Trajectories that have made their last step."""

    ids: Int[Tensor, " b"]
    x: Float[Tensor, "b *s"]
    clock: Float[Tensor, " b"]


@dataclass
class Path:
    """The kept steps of a solve as tables, and all it takes to make them again.

    `ends`: somebody needs slopes at the ends of steps. `stopped` (b,): these trajectories have not reached t1.
    """

    tape: StepTape
    f: BoundField
    course: Course
    method: Method
    after: After | None
    ends: bool
    jumps: Jumps | None = None
    stopped: Bool[Tensor, " b"] | None = None

    def __post_init__(self) -> None:
        b = len(self.course.x0)
        self.count, self.t0s, self.t1s, self.dts, self.errors = self.tape.tables(b, self.course.t0.detach())
        self.searched, self.first = self.tape.searched(), self.count.cumsum(0) - self.count

    @property
    def steps(self) -> int:
        """Of the trajectory with the most."""
        return self.dts.shape[1]

    def times(self, ids: Tensor, k: Any) -> tuple[Tensor, Tensor, Tensor]:
        """t0, t1 and dt of step k (a number or (b,)) of the trajectories ids.

        The ends of the span carry a graph by terms that are zero in value: the steps themselves are constants.
        """
        course, t, t_end, dt = self.course, self.t0s[ids, k], self.t1s[ids, k], self.dts[ids, k]
        if course.t0.requires_grad or dual(course.t0):
            start = torch.as_tensor(k, device=ids.device) == 0
            shift = torch.where(start, course.t0[ids] - course.t0[ids].detach(), 0.0)
            t, dt = t + shift, dt - shift
        if course.t1.requires_grad or dual(course.t1):
            last = self.count[ids] == k + 1
            last = last if self.stopped is None else last & ~self.stopped[ids]
            shift = torch.where(last, course.t1[ids] - course.t1[ids].detach(), 0.0)
            t_end, dt = t_end + shift, dt + shift
        return t, t_end, dt

    def step(self, f: BoundField, place: Place, t: Tensor, dt: Tensor, k: Any, slope: Tensor) -> Any:
        """Step k of every trajectory once more, with a graph, from what a search has found."""
        given = (f, t, place.x, dt, per_sample(dt, place.x), slope, place.memory)
        if self.searched is None:
            return self.method.step(*given)
        found = take(self.searched[0], self.searched[1][self.first[place.ids] + k])
        return self.method.replay(*given, found)  # type: ignore[attr-defined]

    def start(self) -> Place:
        """Everybody at the start."""
        course = self.course
        everyone = torch.arange(len(course.x0), device=self.count.device)
        return Place(everyone, course.x0, self.method.start(self.f, course.t0, course.x0), None, course.t0)

    def some(
        self, place: Place, begin: int, end: int, recorder: Recorder, events: Walked | None
    ) -> tuple[Place, list[Parked], Recorder, Walked | None]:
        """Steps begin, ..., end - 1. Recorder and events come back as copies, so that a checkpoint can do all of it again."""
        recorder, events, parked = forked(recorder), None if events is None else forked(events), []
        ids, x, memory, slope, clock = place
        bound = self.f if len(ids) == len(self.count) else self.f.take(ids)
        for k in range(begin, end):
            on = self.count[ids] > k
            if not bool(on.all()):
                off = (~on).nonzero()[:, 0]
                parked.append(Parked(ids[off], x[off], clock[off]))
                ids, x, memory, slope, clock = take((ids, x, memory, slope, clock), on.nonzero()[:, 0])
                bound = self.f.take(ids)
            t, t_end, dt = self.times(ids, k)
            if self.jumps is not None:
                bound = replace(bound, window=self.jumps.piece(t, self.course.sign[ids]).window)
                slope, memory = beyond(self.jumps.landed(t) & (k > 0), bound, self.method, t, x, slope, memory)
            slope0 = bound(t, x) if slope is None else slope
            step = self.step(bound, Place(ids, x, memory, slope0, clock), t, dt, k, slope0)
            x1 = limited(self.after, step.x)
            slope = step.slope if self.after is None else None
            slope1 = slope if slope is not None else (end_slope(bound, t_end, x1) if self.ends else slope0)
            everyone = torch.ones(len(ids), dtype=torch.bool, device=x.device)
            tried = Attempt(ids, everyone, t, t_end, dt, x, x1, slope0, slope1, step, self.errors[ids, k], x1)
            if events is not None:
                tried, _ = events.see(tried, k)
            recorder.take(tried)
            x, memory, clock = tried.x1, step.memory, tried.t1
        return Place(ids, x, memory, slope, clock), parked, recorder, events


def walk(
    path: Path, recorder: Recorder, events: Walked | None = None, segment: int = 0
) -> tuple[Tensor, Tensor, Recorder, Walked | None]:
    """Walk the kept steps; returns the last states (b, *s) and the times (b,) at which they are, and who has watched.

    segment: so many steps at a time are made again in the backward pass, only the states between them are kept; 0: none.
    """
    place, parked = path.start(), []
    stride = segment or max(path.steps, 1)
    for begin in range(0, path.steps, stride):
        given = (place, begin, min(begin + stride, path.steps), recorder, events)
        place, done, recorder, events = checkpoint(path.some, *given, use_reentrant=False) if segment else path.some(*given)
        parked += done
    parked.append(Parked(place.ids, place.x, place.clock))
    order = torch.cat([p.ids for p in parked]).argsort()
    x1, clock = (torch.cat(v)[order] for v in list(zip(*parked, strict=True))[1:])
    return *_unmoved(path, x1, clock), recorder, events


def _unmoved(path: Path, x1: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
    """A span of zero length has no step, but d x1 / d t1 = f all the same."""
    course, count = path.course, path.count
    moving = any(t.requires_grad or dual(t) for t in (course.t0, course.t1))
    if not moving or bool((count > 0).all()):
        return x1, clock
    shift = (course.t1 - course.t1.detach()) - (course.t0 - course.t0.detach())
    still = torch.where(count == 0, shift, 0.0)
    x1 = x1 + per_sample(still, x1) * path.f(course.t0.detach(), course.x0)
    return x1, torch.where((count == 0) & (course.t0 == course.t1), course.t1, clock)


def forked(watcher: T) -> T:
    """A copy whose lists can be added to."""
    twin = copy.copy(watcher)
    for name, value in vars(watcher).items():
        if isinstance(value, list):
            setattr(twin, name, [list(v) if isinstance(v, list) else v for v in value])
    return twin


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


def end_slope(f: BoundField, t: Tensor, x: Tensor) -> Tensor:
    """f(t, x), with no graph where it is not finite (a pole at the end of a span)."""
    return finite_only(f(t, x), f, t, x)


def finite_only(slope: Tensor, f: BoundField, t: Tensor, x: Tensor) -> Tensor:
    """The slope f(t, x), with no graph where it is not finite: 0 * inf would be nan behind any `where`."""
    finite = every(torch.isfinite(slope))
    if bool(finite.all()):
        return slope
    index = finite.nonzero()[:, 0]
    return slope.detach().index_put((index,), f.take(index)(t[index], x[index]))

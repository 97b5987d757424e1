"""What to keep of a solve. Each policy makes a recorder that sees every try and packs what was kept at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from odebridge.core.protocols import Method
from odebridge.core.shapes import per_sample, real_dtype, take
from odebridge.integrate.dense import Interpolant, at_nodes, evaluate
from odebridge.integrate.loops import Attempt


class Course(NamedTuple):
    """Where the trajectories start and which way they go."""

    x0: Tensor
    t0: Tensor
    t1: Tensor
    sign: Tensor


class Saved(NamedTuple):
    """What a recorder hands over; None where its policy keeps nothing of the kind."""

    ts: Tensor | None = None
    xs: Tensor | None = None
    hs: Tensor | None = None
    errors: Tensor | None = None
    dense: Callable[[Any], Tensor] | None = None


class Recorder(ABC):
    """Sees every try, packs what was kept."""

    @abstractmethod
    def take(self, tried: Attempt) -> None:
        """See one try of the running lanes."""

    def wanted(self, ids: Tensor, t1: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Which steps `take_many` must see: places (number, lane) in kept (tries, b), in the order of time; t1: their ends."""
        del ids, t1
        number, lane = kept.nonzero(as_tuple=True)
        return number, lane

    @abstractmethod
    def take_many(self, kept: Attempt) -> None:
        """See kept steps, any number of a trajectory, in the order of time; `powers` are there where they are needed."""

    @abstractmethod
    def packed(self) -> Saved:
        """What was kept, in the user's order, NaN beyond a trajectory's last."""


@dataclass(frozen=True)
class Last:
    """Keep the end state only (default): `sol.x1`, (b, *s). Use: `save=ob.Last()`."""


@dataclass(frozen=True)
class Every:
    """Keep every accepted step, the start included: ts (b, k), xs (b, k, *s), hs (b, k - 1).

    of: of(t, x), t (b,), x (b, *s) -> (b, ...) floating: what to keep of a state, a part or any function of it; xs holds
    that then. Use: `save=ob.Every(of=lambda t, x: x[:, :2])`.
    """

    of: Callable[[Tensor, Any], Tensor] | None = None


@dataclass(frozen=True)
class Dense:
    """Keep an interpolant of every step: `sol(t)` evaluates at any time. ts and xs are kept too, as with `Every`.

    t: a float, (k,) or (b, k); sol(t) is (b, *s) or (b, k, *s), NaN outside of what a trajectory reached.
    Use: `sol = ob.integrate(f, x0, (0.0, 9.0), save=ob.Dense()); sol(4.5)`.
    """


@dataclass(frozen=True)
class At:
    """Keep states at given times, a list or tensor (k,) or (b, k), sorted as the solve runs, by the method's interpolant.

    of: of(t, x) -> (b, ...) floating, what to keep of a state, as for `Every`.
    Use: `save=ob.At([0.5, 1.0], of=lambda t, x: x.square().sum(1))`.
    """

    times: Any
    of: Callable[[Tensor, Any], Tensor] | None = None


Save = Last | Every | Dense | At


class _Nothing(Recorder):
    def take(self, tried: Attempt) -> None:
        """Keep nothing."""

    def take_many(self, kept: Attempt) -> None:
        """Keep nothing."""

    def packed(self) -> Saved:
        """Nothing."""
        return Saved()


@dataclass
class _Steps(Recorder):
    """Every kept step, with its interpolant if asked."""

    course: Course
    method: Method
    interpolate: bool
    limited: bool
    of: Callable[[Tensor, Any], Tensor] | None = None
    count: Tensor = field(init=False)
    ids: list[Tensor] = field(default_factory=list)
    columns: list[Tensor] = field(default_factory=list)
    rows: list[tuple[Tensor, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.count = torch.zeros(len(self.course.x0), dtype=torch.int64, device=self.course.x0.device)

    def take(self, tried: Attempt) -> None:
        """Append the kept steps."""
        index = tried.kept.nonzero()[:, 0]
        ids = tried.ids[index]
        row = (tried.t1[index], part(self.of, tried.t1[index], tried.x1[index]), tried.dt[index], tried.error[index])
        if self.interpolate:
            row += tuple(q[index] for q in coefficients(self.method, tried, self.limited))
        self._append(ids, self.count[ids], row)

    def take_many(self, kept: Attempt) -> None:
        """Append them."""
        row = (
            kept.t1,
            part(self.of, kept.t1, kept.x1),
            kept.dt,
            kept.error,
            *((kept.powers or ()) if self.interpolate else ()),
        )
        self._append(kept.ids, self.count[kept.ids] + _occurrence(kept.ids), row)

    def _append(self, ids: Tensor, columns: Tensor, row: tuple[Tensor, ...]) -> None:
        self.ids.append(ids)
        self.columns.append(columns)
        self.rows.append(row)
        self.count = self.count.index_add(0, ids, torch.ones_like(ids))

    def packed(self) -> Saved:
        """Tables (b, k) of everything, padded with NaN."""
        b, k = len(self.count), int(self.count.max())
        first = (self.course.t0, part(self.of, self.course.t0, self.course.x0))
        if k == 0:
            empty = first[0].new_zeros(b, 0)
            ts, xs, dts, errors, powers = first[0][:, None], first[1][:, None], empty, empty, ()
        else:
            where = (torch.cat(self.ids), torch.cat(self.columns))

            def table(parts: list[Tensor]) -> Tensor:
                values = torch.cat(parts)
                return values.new_full((b, k, *values.shape[1:]), torch.nan).index_put(where, values)

            t_end, x_end, dts, errors, *powers = (table(list(parts)) for parts in zip(*self.rows, strict=True))
            ts = torch.cat([first[0][:, None], t_end], 1)
            xs = torch.cat([first[1][:, None], x_end], 1)
        dense = Interpolant(ts, xs, dts, tuple(powers), self.course.sign) if self.interpolate else None
        return Saved(ts, xs, dts.abs(), errors, dense)


@dataclass
class Times(Recorder):
    """States at given times."""

    course: Course
    method: Method
    times: Tensor  # (b, k) float64
    limited: bool
    of: Callable[[Tensor, Any], Tensor] | None = None
    done: Tensor = field(init=False)  # how many times of each trajectory are behind it
    ids: list[Tensor] = field(default_factory=list)
    columns: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.forward = (self.times * self.course.sign[:, None]).detach().contiguous()
        self.done = self._behind(self.course.t0, torch.arange(len(self.times), device=self.times.device))
        if self.times.requires_grad:  # times at the start are left to the first step, whose interpolant knows dx/dt there
            self.done = torch.where(self.course.t0 == self.course.t1, self.done, 0)
        rows = self._expand(torch.arange(len(self.times), device=self.times.device), torch.zeros_like(self.done), self.done)
        self.first = part(self.of, self.course.t0, self.course.x0)  # of the shape and dtype of all that is kept
        self._append(*rows, self.first[rows[0]])

    def _behind(self, t: Tensor, ids: Tensor) -> Tensor:
        mark = (t * self.course.sign[ids]).detach()[:, None]
        return torch.searchsorted(self.forward[ids], mark, right=True)[:, 0]

    @staticmethod
    def _expand(lanes: Tensor, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs (lane, column) for the columns start..stop of every lane."""
        hits = stop - start
        which = torch.repeat_interleave(lanes, hits)
        before = torch.repeat_interleave(hits.cumsum(0) - hits, hits)
        return which, torch.arange(len(which), device=lanes.device) - before + torch.repeat_interleave(start, hits)

    def _append(self, ids: Tensor, columns: Tensor, values: Tensor) -> None:
        if len(ids):
            self.ids.append(ids)
            self.columns.append(columns)
            self.values.append(values)

    def take(self, tried: Attempt) -> None:
        """Evaluate the interpolant at the times that the kept steps have passed."""
        # Several steps of one trajectory may come at once, so that each finds its own first time.
        begun = self._behind(tried.t0, tried.ids)
        start = torch.where(tried.t0.detach() == self.course.t0.detach()[tried.ids], self.done[tried.ids], begun)
        stop = torch.where(tried.kept, self._behind(tried.t1, tried.ids), start)
        index = (stop > start).nonzero()[:, 0]
        if len(index) == 0:
            return
        self.done = self.done.scatter_reduce(0, tried.ids[index], stop[index], "amax")
        tried = take(tried._replace(step=tried.step._replace(memory=None, retry=None, extra=None)), index)
        self._evaluate(tried, start[index], stop[index])

    def wanted(self, ids: Tensor, t1: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Those that pass a time: for every time that is left the first step that ends at or behind it."""
        ends = torch.where(kept, t1 * self.course.sign[ids], -torch.inf).cummax(0).values
        first = torch.searchsorted(ends.T.contiguous(), self.forward[ids])
        left = torch.arange(self.times.shape[1], device=t1.device) >= self.done[ids, None]
        lane, column = (left & (first < len(t1))).nonzero(as_tuple=True)
        passes = torch.zeros_like(kept)
        passes[first[lane, column], lane] = True
        number, lane = passes.nonzero(as_tuple=True)
        return number, lane

    def take_many(self, kept: Attempt) -> None:
        """The same for many steps: one goes on where the one before it ended."""
        start, stop = self._behind(kept.t0, kept.ids), self._behind(kept.t1, kept.ids)
        self.done = self.done.scatter_reduce(0, kept.ids, stop, "amax")
        index = (stop > start).nonzero()[:, 0]
        if len(index):
            self._evaluate(take(kept, index), start[index], stop[index])

    def _evaluate(self, tried: Attempt, start: Tensor, stop: Tensor) -> None:
        """The interpolants of the steps at the times start..stop of their trajectories."""
        local, columns = self._expand(torch.arange(len(start), device=start.device), start, stop)
        ids = tried.ids[local]
        t = self.times[ids, columns]
        s = (t - tried.t0[local]) / tried.dt[local]
        powers = coefficients(self.method, tried, self.limited)
        # index_select, since the backward pass of an index in brackets takes ten times as long.
        base, end, *powers = (v.index_select(0, local) for v in (tried.x0, tried.x1, *powers))
        x = evaluate(base, tuple(powers), s)
        x = at_nodes(x, t == tried.t1[local], end, base, tuple(powers), s)
        self._append(ids, columns, part(self.of, t, x))

    def packed(self) -> Saved:
        """Xs (b, k, *s)."""
        x0 = self.first
        xs = x0.new_full((*self.times.shape, *x0.shape[1:]), torch.nan)
        if self.ids:
            xs = xs.index_put((torch.cat(self.ids), torch.cat(self.columns)), torch.cat(self.values))
        ts = torch.where(torch.arange(self.times.shape[1], device=x0.device) < self.done[:, None], self.times, torch.nan)
        return Saved(ts, xs)


def _occurrence(ids: Tensor) -> Tensor:
    """How often each id has been there before its place."""
    order = ids.argsort(stable=True)
    ranked = ids[order]
    places = torch.arange(len(ids), device=ids.device)
    first = torch.where(torch.cat([ranked[:1] == ranked[:1], ranked[1:] != ranked[:-1]]), places, 0).cummax(0).values
    return torch.empty_like(ids).index_put((order,), places - first)


def coefficients(method: Method, tried: Attempt, limited: bool) -> tuple[Tensor, ...]:
    """The interpolant's powers of s. With a limiter its end is moved, by a straight line, to the state that was kept."""
    if tried.powers is not None:
        return tried.powers
    h = per_sample(tried.dt, tried.x0)
    chord = (tried.x1 - tried.x0) / h
    slope1 = torch.where(torch.isfinite(tried.slope1), tried.slope1, chord)  # f may be infinite at the end of the span
    powers = method.interpolant(tried.x0, tried.slope0, slope1, h, tried.step._replace(x=tried.x1))
    if not limited:
        return powers
    return (powers[0] + (tried.x1 - tried.x0 - sum(powers[1:], powers[0])), *powers[1:])


def part(of: Callable[[Tensor, Any], Tensor] | None, t: Tensor, x: Tensor) -> Tensor:
    """What is kept of the states x (k, *s) at t (k,), (k, ...)."""
    if of is None:
        return x
    out = of(t.to(real_dtype(x)), x)
    if not isinstance(out, Tensor) or out.dim() == 0 or len(out) != len(x):
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(f"save: of(t, x) must return a tensor with one row per trajectory, ({len(x)}, ...), got {got}.")
    if not (out.is_floating_point() or out.is_complex()):
        raise TypeError(f"save: of(t, x) returns {out.dtype}; what a trajectory does not reach is nan, so return floats.")
    return out


def recorder(save: Save | Recorder, course: Course, method: Method, limited: bool) -> Recorder:
    """The recorder of a policy for one solve; `limited`: a limiter moves the states after each step."""
    if isinstance(save, Recorder):
        return save
    if isinstance(save, At):
        return Times(course, method, save_times(save, course), limited, save.of)
    if isinstance(save, Last):
        return _Nothing()
    return _Steps(course, method, isinstance(save, Dense), limited, None if isinstance(save, Dense) else save.of)


def clock_values(name: str, value: Any, x0: Tensor) -> Tensor:
    """Numbers, nests of numbers or tensors as float64; tensors in a list keep their graph."""
    try:
        if isinstance(value, (tuple, list)) and any(isinstance(v, Tensor) for v in value):
            value = torch.stack([torch.as_tensor(v) for v in value])
        return torch.as_tensor(value, dtype=torch.float64, device=x0.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be numbers or a tensor of them, got {value!r} ({error}).") from error


def save_times(save: At, course: Course) -> Tensor:
    """The times of `At` as (b, k) float64, checked: finite, in the direction of the solve, inside the span."""
    times, b = clock_values("save: the times of At", save.times, course.x0), len(course.x0)
    if times.dim() not in (1, 2) or (times.dim() == 2 and len(times) != b):
        raise ValueError(f"save: the times of At must have shape (k,) or (b, k) with b={b}, got {tuple(times.shape)}.")
    shared = times.dim() == 1
    times = times[None] if shared else times  # looked at once, if they are the same for all
    bad = (~torch.isfinite(times)).nonzero()
    if len(bad):
        raise ValueError(f"save: At has the time {float(times[tuple(bad[0])])} at index {int(bad[0, 1])}; give finite times.")
    course = Course(*(v.detach() for v in course))
    sign = course.sign[:, None]
    signs = torch.stack([sign.amin(), sign.amax()])[:, None] if shared and b else sign
    forward = (times * signs).detach()
    bad = (forward[:, 1:] < forward[:, :-1]).nonzero()
    times = times.expand(b, -1) if shared else times
    if len(bad):
        i = int(bad[0, 1]) + 1
        raise ValueError(f"save: the times of At must be sorted in the direction of the solve; index {i} goes back.")
    # Times in single precision may miss the ends by a rounding of theirs: they mean the ends.
    if isinstance(save.times, Tensor) and save.times.dtype == torch.float32:
        for end in (course.t0, course.t1):
            near = (times - end[:, None]).abs() <= torch.finfo(torch.float32).eps * end.abs()[:, None]
            times = torch.where(near, end[:, None], times)
    if times.shape[1] == 0:
        return times
    forward = (times[:, [0, -1]] * sign).detach()  # they are sorted
    outside = bool(((forward[:, :1] < course.t0[:, None] * sign) | (forward[:, 1:] > course.t1[:, None] * sign)).any())
    if outside:
        forward = (times * sign).detach()
        outside = ((forward < course.t0[:, None] * sign) | (forward > course.t1[:, None] * sign)).nonzero()
        row, i = (int(v) for v in outside[0])
        span = f"[{float(course.t0[row])}, {float(course.t1[row])}]"
        raise ValueError(f"save: At has the time {float(times[row, i])} at index {i}, outside the span {span}.")
    return times

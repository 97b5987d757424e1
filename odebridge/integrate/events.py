"""Events: where a function of time and state changes its sign, located on the dense output of the step."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from odebridge.core.protocols import Method
from odebridge.core.result import Occurrences, Result
from odebridge.core.shapes import merge, per_sample, real_dtype, take, tree_map
from odebridge.integrate.dense import at_nodes, evaluate
from odebridge.integrate.loops import Attempt, Lanes
from odebridge.integrate.root import bracketed_root
from odebridge.integrate.save import coefficients


@dataclass(frozen=True)
class Event:
    """An event happens where g(t, x(t)) changes its sign, as the solve runs: rising (direction +1), falling (-1), both (0).

    condition: g(t, x), or g(t, x, args) if the solve has args and the function takes three; t (b,), x (b, *s) -> (b,)
    floating. It is compared at the ends of each kept step; a change of sign is located on the step's interpolant to a few
    roundings of t, at the side where it has happened. A value of exactly 0 at the end of a step counts as the change, once.
    A value of 0 at the start of the solve is no event (SciPy's `solve_ivp` fires there).
    terminal: the trajectory ends there with `Result.EVENT`, which is no failure; x1, t1 and what is kept are those of the
    event, and of several events in one step only those up to the earliest terminal one count.
    ValueError or TypeError for a condition that is no function or not (b,).
    Caveat: two changes of sign within one step are not seen; bound the step with `max_step`. Gradients are first derivatives.
    Use: `ob.integrate(fall, x0, (0.0, 9.0), events=ob.Event(lambda t, x: x[:, 0], direction=-1))`.
    """

    condition: Callable[..., Tensor]
    terminal: bool = True
    direction: int = 0

    def __post_init__(self) -> None:
        if not callable(self.condition):
            raise TypeError(f"Event: condition must be a function g(t, x) that returns (b,), got {self.condition!r}.")
        if not isinstance(self.terminal, bool):
            raise TypeError(f"Event: terminal must be True or False, got {self.terminal!r}.")
        if self.direction not in (-1, 0, 1):
            raise ValueError(f"Event: direction must be 1 (rising), -1 (falling) or 0 (both), got {self.direction!r}.")


def checked_events(given: Any) -> tuple[Event, ...]:
    """The keyword `events` as a tuple; TypeError in a sentence."""
    events = (given,) if isinstance(given, Event) else given
    if not isinstance(events, (tuple, list)) or not all(isinstance(e, Event) for e in events):
        raise TypeError(f"events: give ob.Event(condition) or a tuple of them, got {given!r}.")
    return tuple(events)


@dataclass(frozen=True)
class _Condition:
    """One event as the loop asks it."""

    event: Event
    with_args: bool
    number: int

    def __call__(self, t: Float[Tensor, " k"], x: Tensor, args: Any) -> Float[Tensor, " k"]:
        time = t.to(real_dtype(x))
        out = self.event.condition(time, x, args) if self.with_args else self.event.condition(time, x)
        if not isinstance(out, Tensor) or not out.is_floating_point() or out.shape != (len(x),):
            got = f"shape {tuple(out.shape)} of {out.dtype}" if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"events: the condition of event {self.number} must return one floating number per trajectory, shape "
                f"({len(x)},), such as x[:, 0] - 1.0; got {got}."
            )
        return out.double()

    def crossed(self, before: Tensor, now: Tensor) -> Bool[Tensor, " k"]:
        """Has the sign changed, in the direction that is asked for."""
        rising, falling = (before < 0.0) & (now >= 0.0), (before > 0.0) & (now <= 0.0)
        if self.event.direction == 0:
            return rising | falling
        return rising if self.event.direction > 0 else falling


def _conditions(events: tuple[Event, ...], t0: Tensor, x0: Tensor, args: Any) -> tuple[list[_Condition], list[Tensor]]:
    """The events with what they are at the start, checked: also that trajectory 0 does not depend on the others."""
    conditions = [_Condition(e, args is not None and _takes_three(e.condition), i) for i, e in enumerate(events)]
    values = [c(t0, x0, args) for c in conditions]
    for condition, value in zip(conditions, values, strict=True):
        bad = torch.isnan(value).nonzero()
        if len(bad):
            raise ValueError(
                f"events: the condition of event {condition.number} is nan for trajectory {int(bad[0, 0])} at the start, "
                f"t={float(t0[bad[0, 0]]):.6g}; it must be a number there."
            )
    one = torch.zeros(1, dtype=torch.int64, device=x0.device)
    for condition, value in zip(conditions, values, strict=True) if len(x0) > 1 else ():
        captured = "so a tensor of shape (b, ...) must not be captured: pass it as args=..., and write condition(t, x, args)."
        try:
            with torch.no_grad():
                alone = condition(t0[:1], x0[:1], take(args, one))
        except Exception as error:
            raise ValueError(
                f"events: the condition of event {condition.number} fails for trajectory 0 alone ({type(error).__name__}: "
                f"{error}). Finished trajectories leave the batch, {captured}"
            ) from error
        if bool((alone - value[:1]).abs() > 1e-6 * (alone.abs() + value.detach().abs().amax())):
            raise ValueError(
                f"events: the condition of event {condition.number} is {float(value[0])} for trajectory 0 in the batch and "
                f"{float(alone)} alone; trajectories must not depend on each other, {captured}"
            )
    return conditions, values


def _takes_three(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:  # a function without a signature
        return True
    return True


class Arc(NamedTuple):
    """The interpolant of a step."""

    t0: Float[Tensor, " k"]
    t1: Float[Tensor, " k"]
    dt: Float[Tensor, " k"]
    x0: Float[Tensor, "k *s"]
    x1: Float[Tensor, "k *s"]
    powers: tuple[Tensor, ...]

    def __call__(self, t: Float[Tensor, " k"]) -> Float[Tensor, "k *s"]:
        """The state at t, exactly x1 at the end."""
        s = (t - self.t0) / self.dt
        return at_nodes(evaluate(self.x0, self.powers, s), t == self.t1, self.x1, self.x0, self.powers, s)


def _arc(tried: Attempt) -> Arc:
    return Arc(tried.t0, tried.t1, tried.dt, tried.x0, tried.x1, tried.powers or ())


def _located(condition: _Condition, arc: Arc, args: Any, before: Tensor, now: Tensor) -> Float[Tensor, " k"]:
    """When the condition changes its sign on the arc."""
    eps = torch.finfo(torch.float64).eps
    near = (eps * torch.maximum(arc.t0.abs(), arc.t1.abs()) / arc.dt.abs()).clamp(eps, 0.25)
    s = bracketed_root(lambda s: condition(arc.t0 + s * arc.dt, arc(arc.t0 + s * arc.dt), args), before, now, near)
    t = torch.where(s >= 1.0, arc.t1, arc.t0 + s * arc.dt)
    # Not at the start itself: a step has a length.
    first, forward = torch.nextafter(arc.t0, arc.t1), arc.t1 > arc.t0
    return torch.where(forward, torch.minimum(torch.maximum(t, first), arc.t1), torch.maximum(torch.minimum(t, first), arc.t1))


def _moving(condition: _Condition, arc: Arc, args: Any, t: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """T with the graph of the implicit function theorem, dt/dp = -(dg/dp) / (dg/dt along the arc); unchanged in value."""
    with torch.enable_grad():
        still, fixed = tree_map(Tensor.detach, arc), tree_map(Tensor.detach, args)
        probe = t.detach().clone().requires_grad_()
        value = condition(probe, still(probe), fixed).sum()
        rate = torch.autograd.grad(value, probe, allow_unused=True)[0] if value.requires_grad else None
    if rate is None:
        return t
    level = condition(t, arc(t), args)
    # An event that only touches has no derivative; its time is taken as a constant.
    touching = rate == 0.0
    return t - torch.where(touching, 0.0, (level - level.detach()) / torch.where(touching, 1.0, rate))


class _Kept(NamedTuple):
    ids: Int[Tensor, " k"]
    number: Int[Tensor, " k"]  # of the trajectory's kept step
    ts: Float[Tensor, " k"]
    xs: Float[Tensor, "k *s"]


@dataclass
class Crossings:
    """Sees the kept steps, finds the events in them, and ends trajectories at terminal ones."""

    conditions: list[_Condition]
    method: Method
    limited: bool
    sign: Float[Tensor, " b"]
    before: list[Tensor]  # each condition at the last kept step (b,)
    like: Tensor  # the start, whose shape and dtype the kept states have
    steps: Int[Tensor, " b"] = field(init=False)
    kept: list[list[_Kept]] = field(init=False)
    lost: dict[int, int] = field(default_factory=dict)  # trajectory -> the event whose condition became nan

    def __post_init__(self) -> None:
        self.steps = torch.zeros(len(self.like), dtype=torch.int64, device=self.like.device)
        self.kept = [[] for _ in self.conditions]

    def see(self, lanes: Lanes, tried: Attempt) -> tuple[Lanes, Attempt]:
        """One round: with events in it, the tries come back with their interpolants, cut short where an event is terminal."""
        ids = lanes.ids
        # Lanes hold the new point where the try was kept and the old one elsewhere: conditions see no rejected state.
        now = [c(lanes.t, lanes.x, lanes.args) for c in self.conditions]
        past = [v[ids] for v in self.before]
        fires = [tried.kept & c.crossed(a, b) for c, a, b in zip(self.conditions, past, now, strict=True)]
        number = self.steps[ids]
        self.steps = self.steps.index_add(0, ids, tried.kept.to(torch.int64))
        self.before = [v.index_copy(0, ids, new) for v, new in zip(self.before, now, strict=True)]
        lanes = self._without_sign(lanes, tried, now)
        if not bool(torch.stack(fires).any()):
            return lanes, tried
        tried = tried._replace(powers=coefficients(self.method, tried, self.limited))
        whole, times = _arc(tried), []
        for condition, fired, a, b in zip(self.conditions, fires, past, now, strict=True):
            index = fired.nonzero()[:, 0]
            t = _located(condition, take(whole, index), take(lanes.args, index), a[index], b[index])
            times.append(tried.t1.index_copy(0, index, t))
        tried, cut = self.occur(tried, fires, times, number, self.kept)
        result = torch.where(cut, int(Result.EVENT), lanes.result)
        return lanes._replace(t=torch.where(cut, tried.t1, lanes.t), x=merge(cut, tried.x1, lanes.x), result=result), tried

    def _without_sign(self, lanes: Lanes, tried: Attempt, now: list[Tensor]) -> Lanes:
        """A condition that is nan after a kept step could change its sign unseen: the trajectory fails there."""
        undefined = torch.isnan(torch.stack(now)) & tried.kept
        if not bool(undefined.any()):
            return lanes
        for j, i in undefined.nonzero().tolist():
            self.lost.setdefault(int(lanes.ids[i]), self.conditions[j].number)
        return lanes._replace(result=torch.where(undefined.any(0), int(Result.NOT_FINITE), lanes.result))

    def occur(
        self, tried: Attempt, fires: list[Tensor], times: list[Tensor], number: Tensor, kept: list[list[_Kept]]
    ) -> tuple[Attempt, Bool[Tensor, " k"]]:
        """Keep the events up to the first terminal one, and cut the step there."""
        sign, whole = self.sign[tried.ids], _arc(tried)
        stop = torch.full_like(tried.t1, torch.inf).detach()
        for condition, fired, t in zip(self.conditions, fires, times, strict=True):
            if condition.event.terminal:
                stop = torch.where(fired, torch.minimum(stop, sign * t.detach()), stop)
        t_cut = tried.t1
        for j, (condition, fired, t) in enumerate(zip(self.conditions, fires, times, strict=True)):
            forward = sign * t.detach()
            index = (fired & (forward <= stop)).nonzero()[:, 0]
            if len(index):
                kept[j].append(_Kept(tried.ids[index], number[index], t[index], take(whole, index)(t[index])))
            if condition.event.terminal:
                t_cut = torch.where(fired & (forward == stop), t, t_cut)
        cut = torch.isfinite(stop)
        return (_shortened(tried, t_cut, cut) if bool(cut.any()) else tried), cut

    def walked(self, args: Callable[[Tensor], Any]) -> Walked:
        """The same events once more, on steps that carry a graph."""
        return Walked(self, [_joined(k) for k in self.kept], args)

    def packed(self, kept: list[list[_Kept]] | None = None) -> tuple[Occurrences, ...]:
        """Times (b, m) and states (b, m, *s) of every event."""
        return tuple(_table(parts, self.like) for parts in (self.kept if kept is None else kept))


@dataclass
class Walked:
    """Events on the walk: their times are known, and get their derivatives."""

    crossings: Crossings
    known: list[_Kept | None]
    args: Callable[[Tensor], Any]  # args of trajectories
    kept: list[list[_Kept]] = field(init=False)

    def __post_init__(self) -> None:
        self.kept = [[] for _ in self.known]

    def see(self, tried: Attempt, k: int) -> tuple[Attempt, Bool[Tensor, " k"]]:
        """Step k of the trajectories tried.ids (rising), and where a terminal event cuts it short."""
        ids, fires, times = tried.ids, [], []
        here = [None if known is None else (known.number == k).nonzero()[:, 0] for known in self.known]
        if not any(index is not None and len(index) for index in here):
            return tried, torch.zeros_like(tried.kept)
        tried = tried._replace(powers=coefficients(self.crossings.method, tried, self.crossings.limited))
        whole = _arc(tried)
        for condition, known, index in zip(self.crossings.conditions, self.known, here, strict=True):
            fired, t_all = torch.zeros_like(tried.kept), tried.t1
            if known is not None and index is not None and len(index):
                place = torch.searchsorted(ids, known.ids[index])
                t = _moving(condition, take(whole, place), self.args(known.ids[index]), known.ts[index])
                fired, t_all = fired.index_fill(0, place, True), t_all.index_copy(0, place, t)
            fires.append(fired)
            times.append(t_all)
        number = torch.full_like(ids, k)
        return self.crossings.occur(tried, fires, times, number, self.kept)

    def packed(self) -> tuple[Occurrences, ...]:
        """As without a graph."""
        return self.crossings.packed(self.kept)


def _shortened(tried: Attempt, t: Float[Tensor, " k"], cut: Bool[Tensor, " k"]) -> Attempt:
    """The step up to t where `cut` says so, with the interpolant of the whole step in its own s."""
    arc = _arc(tried)
    dt = torch.where(cut, t - tried.t0, tried.dt)
    share = per_sample(torch.where(cut, dt / tried.dt, 1.0), tried.x0)
    powers, factor = [], share
    for q in arc.powers:
        powers.append(q * factor)
        factor = factor * share
    return tried._replace(t1=t, dt=dt, x1=merge(cut, arc(t), tried.x1), powers=tuple(powers))


def _joined(parts: list[_Kept]) -> _Kept | None:
    return _Kept(*(torch.cat(v) for v in zip(*parts, strict=True))) if parts else None


def _table(parts: list[_Kept], like: Tensor) -> Occurrences:
    b, found = len(like), _joined(parts)
    if found is None:
        return Occurrences(torch.empty(b, 0, dtype=torch.float64, device=like.device), like.detach()[:, None][:, :0])
    order = found.ids.argsort(stable=True)  # rounds come in the order of time
    count = torch.bincount(found.ids, minlength=b)
    column = torch.arange(len(order), device=like.device) - (count.cumsum(0) - count)[found.ids[order]]
    where, m = (found.ids[order], column), int(count.max())
    ts = found.ts.new_full((b, m), torch.nan).index_put(where, found.ts[order])
    xs = found.xs.new_full((b, m, *like.shape[1:]), torch.nan).index_put(where, found.xs[order])
    return Occurrences(ts, xs)


def crossings(
    events: tuple[Event, ...], t0: Tensor, x0: Tensor, args: Any, method: Method, limited: bool, sign: Tensor
) -> tuple[Crossings | None, list[Tensor]]:
    """What watches the events of one solve, and the conditions at the start with their graph."""
    if not events:
        return None, []
    conditions, values = _conditions(events, t0, x0, args)
    return Crossings(conditions, method, limited, sign, [v.detach() for v in values], x0.detach()), values

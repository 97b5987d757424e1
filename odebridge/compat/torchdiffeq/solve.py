"""odeint: the solve."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from odebridge.compat.torchdiffeq.methods import SCIPY, method_of
from odebridge.compat.torchdiffeq.options import FIXED_OPTIONS, Setting, setting
from odebridge.compat.torchdiffeq.scipy import by_scipy
from odebridge.compat.torchdiffeq.state import Form
from odebridge.core.result import SolveError
from odebridge.core.shapes import dual
from odebridge.integrate import check, probe
from odebridge.integrate.api import Gradient
from odebridge.integrate.events import Event, crossings
from odebridge.integrate.jumps import jumps
from odebridge.integrate.leaves import hides_leaves
from odebridge.integrate.replay import Replay
from odebridge.integrate.save import At, Course, Dense, Save
from odebridge.integrate.span import Extras, Limits, Task
from odebridge.integrate.structure import structure
from odebridge.integrate.system import BoundField, Tally

LONGEST = 60  # doublings of the span in search of an event


def odeint(
    func: Callable[..., Any], y0: Any, t: Tensor, *, rtol: Any = 1e-7, atol: Any = 1e-9, method: Any = None,
    options: dict[str, Any] | None = None, event_fn: Callable[..., Tensor] | None = None,
) -> Any:  # fmt: skip
    """Torchdiffeq's `odeint`: dy/dt = func(t, y) from y0 at t[0], y of any shape or a tuple of tensors.

    t (k,), strictly monotonic in either direction. Returns y (k, *shape), a tuple of such for a tuple. With event_fn(t, y)
    the solve ends where a component of it changes its sign: returns (event_t, y (2, *shape)), both with their gradients;
    t[1] then says in which direction to go only. Options as there; see docs/torchdiffeq.md for what differs.
    ValueError, TypeError for bad input, SolveError where the solve fails. Gradients are those of `ob.Replay`.
    Use: `odeint(f, torch.ones(3), torch.linspace(0.0, 1.0, 5), method="rodas5p")`.
    """
    return solved(func, y0, t, rtol, atol, method, options, event_fn, Replay())


def solved(
    func: Callable[..., Any], y0: Any, t: Tensor, rtol: Any, atol: Any, method: Any, options: dict[str, Any] | None,
    event_fn: Callable[..., Tensor] | None, gradient: Gradient,
) -> Any:  # fmt: skip
    """`odeint` with a gradient policy."""
    form, t = Form.of(y0), times(t)
    checked(func, event_fn, options=options)
    if method == SCIPY:
        return by_scipy(func, form, y0, t, rtol, atol, options or {}, event_fn)
    if event_fn is not None:
        if len(t) != 2:
            raise ValueError(f"t: with event_fn it has two entries, the start and a direction; got {len(t)}.")
        return _until(func, form, y0, t, rtol, atol, method, options, event_fn, gradient)
    x0 = form.flat(y0)[None]
    if len(t) == 1:
        return form.parts(x0)
    task = _task(func, form, x0, t, At(t[1:]), rtol, atol, method, options)
    xs = _run(task, gradient, t).xs
    return form.parts(torch.cat([x0, xs[0]]))


def odeint_dense(
    func: Callable[..., Any], y0: Any, t0: Any, t1: Any, *, rtol: Any = 1e-7, atol: Any = 1e-9, method: Any = None,
    options: dict[str, Any] | None = None,
) -> Callable[[Any], Any]:  # fmt: skip
    """Torchdiffeq's `odeint_dense`: a function that gives y at any time between t0 and t1, for every method and any state.

    y0: of any shape (*s), or a tuple of such; t0, t1: numbers. Use: `y = odeint_dense(func, y0, 0.0, 1.0); y(0.5)`, (*s).
    """
    form = Form.of(y0)
    t = torch.stack([torch.as_tensor(v, dtype=torch.float64) for v in (t0, t1)])
    sol = _run(_task(func, form, form.flat(y0)[None], t, Dense(), rtol, atol, method, options), Replay(), t)
    return lambda when: form.parts(sol(when)[0])


def checked(func: Any, event_fn: Any, **options: Any) -> None:
    """TypeError for what is no function, or no dictionary."""
    if not callable(func):
        raise TypeError(f"func: must be a function func(t, y), got {func!r}.")
    check.functions(event_fn=event_fn)
    for name, given in options.items():
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"{name}: must be a dictionary, got {given!r}.")


def times(t: Any) -> Tensor:
    """The times, checked; ValueError or TypeError in a sentence."""
    if not isinstance(t, Tensor) or not t.is_floating_point():
        raise TypeError(f"t: must be a floating tensor, got {t.dtype if isinstance(t, Tensor) else type(t).__name__}.")
    if t.dim() != 1 or len(t) == 0:
        raise ValueError(f"t: must be one-dimensional with at least one time, got shape {tuple(t.shape)}.")
    steps, bad = t.detach().diff(), (~torch.isfinite(t.detach())).nonzero()
    if len(bad):
        raise ValueError(f"t: is {float(t[bad[0, 0]])} at index {int(bad[0, 0])}; it must be finite.")
    wrong = (steps * steps[:1].sign() <= 0).nonzero()
    if len(wrong):
        i = int(wrong[0, 0]) + 1
        raise ValueError(
            f"t: must be strictly increasing or decreasing, but index {i} holds {float(t[i])} after {float(t[i - 1])}."
        )
    return t


def _task(
    func: Callable[..., Any], form: Form, x0: Tensor, t: Tensor, save: Save, rtol: Any, atol: Any, method: Any,
    options: dict[str, Any] | None, event: Callable[..., Tensor] | None = None,
) -> Task:  # fmt: skip
    scheme, fixed = method_of(method)
    check.complex_state(x0, scheme)
    if not bool(torch.isfinite(x0).all()):
        raise ValueError("y0: must be finite.")
    given: Setting = setting(func, form, x0, t, scheme, fixed, dict(options or {}))
    if fixed and len(t) == 2 and event is None and not (options or {}).keys() & FIXED_OPTIONS:
        warnings.warn(
            f"odeint: method {scheme.name!r} makes one step over the whole span, whatever rtol; give "
            "options={'step_size': ...} or more times.", UserWarning, stacklevel=4,
        )  # fmt: skip
    # Where steps are given nobody judges an error, so that the tolerance is Newton's only.
    most = 1e4 * torch.finfo(x0.real.dtype).eps if fixed else float("inf")
    tol = form.tolerance(rtol, atol, x0.detach(), given.norm, most)
    field = form.rows(func)
    course = Course(x0, t[:1].double(), t[-1:].double(), torch.where(t[-1:] < t[:1], -1.0, 1.0).double())
    jumping = jumps(given.jump_t, x0, course.t1 - course.t0)
    f = BoundField(field, structure=structure(None, x0), tol=tol, tally=Tally(1))
    window = None if jumping is None else jumping.piece(course.t0, course.sign).window
    start = BoundField(field, window=window)
    slope = probe.first_slope(start, course.t0, course.t1, x0)
    probe.clock(start, course.t0, course.t1, x0, slope, tol)
    if event is not None:
        crossing = _crossings(form, event, course, scheme)
        return Task(f, course, tol, scheme, given.law, save, None, given.first_step, Limits(given.max_steps, None, None), slope,
                    Extras(crossing, jumping), given.trying)  # fmt: skip
    return Task(f, course, tol, scheme, given.law, save, None, given.first_step, Limits(given.max_steps, None, None), slope,
                Extras(None, jumping), given.trying)  # fmt: skip


def _run(task: Task, gradient: Gradient, *needs: Tensor) -> Any:
    given = [task.slope, task.course.x0, *needs]
    hidden = hides_leaves(task.f.field)
    if dual(given) or (torch.is_grad_enabled() and (hidden or any(v.requires_grad for v in given))):
        sol = gradient.solve(task)
    else:
        with torch.no_grad():
            sol = task.without_graph().found()
    if sol.failures:
        raise SolveError(sol, OUT)
    return sol


OUT = "More tries: options={'max_num_steps': ...}."


def _crossings(form: Form, event: Callable[..., Tensor], course: Course, scheme: Any) -> Any:
    """One terminal event for each component of event_fn."""
    parts = torch.as_tensor(event(course.t0[0].to(course.x0.real.dtype), form.parts(course.x0[0]))).numel()

    def component(i: int) -> Event:
        def condition(t: Tensor, x: Tensor) -> Tensor:
            rows = zip(t.unbind(0), x.unbind(0), strict=True)
            return torch.stack([event(s, form.parts(v)).reshape(-1)[i].real for s, v in rows])

        return Event(condition)

    events = tuple(component(i) for i in range(parts))
    return crossings(events, course.t0, course.x0, None, scheme, False, course.sign)[0]


def _until(
    func: Callable[..., Any], form: Form, y0: Any, t: Tensor, rtol: Any, atol: Any, method: Any, options: Any,
    event_fn: Callable[..., Tensor], gradient: Gradient,
) -> Any:  # fmt: skip
    """Spans of doubling length until the event happens; a value of 0 at the start is one."""
    x0, begin, length = form.flat(y0)[None], t[:1].double(), (t[1:] - t[:1]).detach().double()
    x, now = x0, begin
    with torch.no_grad():
        at_start = bool((event_fn(t[0].to(x0.real.dtype), form.parts(x0[0])) == 0).any())
    left: int | None = None  # tries, over all spans
    happened, spans = at_start, 0
    while not happened:
        span = torch.cat([now, now.detach() + length])
        if spans == LONGEST or not bool(torch.isfinite(span).all()):
            raise ValueError(f"event_fn: has not changed its sign up to t={float(now[0].detach()):.3g}.")
        task = _task(func, form, x, span, At(span[:0]), rtol, atol, method, options, event_fn)
        left = task.limits.max_steps if left is None else left
        sol = _run(replace(task, limits=replace(task.limits, max_steps=left)), gradient, span)
        left = max(left - int(sol.stats.accepted + sol.stats.rejected), 1)
        x, now, length, spans = sol.x1, sol.t1, 2.0 * length, spans + 1
        happened = int(sol.result[0]) != 0  # Result.EVENT: failures have been raised
    return now[0].to(t.dtype), form.parts(torch.cat([x0, x]))

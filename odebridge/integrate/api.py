"""`integrate`: checks, and the dispatch on a span or a grid."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.base import Fixed
from odebridge.control.catalogue import CONTROLLERS
from odebridge.control.compose import AtTimes, Bounded
from odebridge.control.named import named
from odebridge.core.names import lookup
from odebridge.core.over import Grid
from odebridge.core.protocols import Counts, Field, Jacobian, Method, StepController
from odebridge.core.result import Made, Solution, SolveError
from odebridge.core.shapes import dual, real_dtype
from odebridge.integrate import check, probe
from odebridge.integrate.adjoint import Adjoint
from odebridge.integrate.borrowed import Wishes, borrow
from odebridge.integrate.direct import Direct
from odebridge.integrate.edge import edged
from odebridge.integrate.events import Event, checked_events, crossings
from odebridge.integrate.forward import Forward
from odebridge.integrate.jumps import jumps
from odebridge.integrate.leaves import hides_leaves
from odebridge.integrate.limits import nonnegative as kept_nonnegative
from odebridge.integrate.loops import After, follow, limited
from odebridge.integrate.policies import policy
from odebridge.integrate.replay import Replay
from odebridge.integrate.save import At, Course, Every, Last, Save, part, save_times
from odebridge.integrate.span import Extras, Limits, Progress, Task
from odebridge.integrate.structure import check_consistent, detected, mass_matrix, structure
from odebridge.integrate.system import BoundField, Tally
from odebridge.methods.catalogue import METHODS
from odebridge.methods.corrected import Corrected

Gradient = Replay | Direct | Adjoint | Forward


@edged
def integrate(
    field: Field | Callable[..., Tensor],
    x0: Any,
    over: Any,
    *,
    args: Any = None,
    method: Method | str = "tsit5",
    controller: StepController | str | None = None,
    rtol: Any = 1e-3,
    atol: Any = 1e-6,
    save: Save = Last(),  # noqa: B008 - frozen
    events: Event | tuple[Event, ...] = (),
    after: After | None = None,
    nonnegative: Any = False,
    gradient: Gradient = Replay(),  # noqa: B008 - frozen
    jacobian: Jacobian | Callable[..., Tensor] | None = None,
    sparsity: Any = None,
    mass: Any = None,
    discontinuities: Any = (),
    first_step: Any = None,
    max_step: Any = None,
    max_steps: int = 10_000,
    time_limit: float | None = None,
    compile: bool = False,
    throw: bool = True,
    callback: Callable[[Progress], None] | None = None,
) -> Solution:
    """Integrate dx/dt = f(t, x) from x0 over a span, or step x through a network over a grid.

    The first dimension b counts trajectories (samples): each has its own clock, steps and outcome; *s is one state's shape.

    Args:
        field: f(t, x), or f(t, x, args). x (b, *s), t (b,); returns dx/dt in the shape and dtype of x. Row i depends on row i
            alone. Beside x (b, n) write t[:, None].
        x0: initial states (b, *s), floating. Lists are converted; a span needs at least two dimensions. A tuple, list, named
            tuple or dict of such tensors is a state of several parts: the field gets and returns the same nest, and so come
            x1, xs, events and sol(t). Complex for explicit Runge-Kutta methods. A `Solution`: go on from its x1.
        over: (t0, t1), floats or (b,) tensors, in either direction: adaptive, every trajectory has its own clock and step.
            `Grid(ts)` or `Steps(n)`: one step per spacing, the controller scales the increment (a residual network).
        args: a nest of tensors (b, ...) that belong to the trajectories.
        method: a name (`list_methods()`) or a `Method`: "tsit5" for what is not stiff, "rodas5p" for what is, "auto" where you
            do not know; docs/choosing.md has the others. Names such as "scipy:LSODA" and "sundials:BDF" run the other library's
            own code, float64 on the CPU, one trajectory after the other: no gradient, events or controller of ours.
        controller: a name (`list_controllers()`) or a `StepController`; None: the method's own law.
        rtol: relative tolerance, a float or (b,). Below 100 roundings of the dtype it is read as that.
        atol: absolute tolerance, a float or a tensor with as many dimensions as x0.
        save: what to keep beside the end state x1. `Last()`: nothing. `At(times)`: states xs at these times. `Every()`: all
            kept steps, ts, xs and step sizes hs. `Dense()`: those, and `sol(t)` at any time.
        events: one `Event` or a tuple of them: where a function of time and state changes its sign.
        after: applied to the state after each kept step: a network's ReLU, a limiter.
        nonnegative: True or a bool tensor of the shape of one state: a try whose marked components fall below 0 by more than
            their share of the tolerance is rejected; what is left below 0 is set to 0, and the slope is taken there. A field
            that points out of the region at 0 (x' = -1) makes that dear: limit it with `after`.
        gradient: who owns the backward pass. `Replay()`: exact for the steps that were kept, with `checkpoints="sqrt"` in
            little memory. `Direct()`: through the step sizes too, for a controller that is trained. `Adjoint()`: a second
            solve, backward in time. `Forward()`: sensitivities to few parameters. On a grid it is plain autograd.
        jacobian: df/dx of shape (b, n, n) from (t, x) with x (b, n); None: forward mode.
        sparsity: structure of df/dx for large systems: (lower, upper) bandwidths, a pattern (n, n) of bools or a sparse
            matrix, "detect", "krylov" (no matrix at all), or an object of `odebridge.linalg`; None: a full matrix.
        mass: M of M x' = f(t, x), constant, (n,) for a diagonal or (n, n); may be singular of index 1 (a DAE). Rosenbrock, DIRK
            and Radau methods take it; x0 must fulfil the algebraic equations.
        discontinuities: times (k,) at which the field or a low derivative of it jumps. Steps end on them, see the field to the
            left of the jump, and start anew to its right.
        first_step: size of the first try, a float or (b,); None: chosen from f.
        max_step: bound on every step, a float or (b,).
        max_steps: tries per trajectory, the rejected ones included.
        time_limit: seconds.
        compile: make the tries by a compiled kernel, for explicit Runge-Kutta, Rosenbrock and DIRK methods and small systems,
            on the CPU and on CUDA devices. The first solve of its kind takes seconds, the next ones of the same field
            milliseconds. Elsewhere the eager loop runs and a warning says why.
        throw: raise `SolveError` after all have finished if a trajectory failed; else look at `.result`.
        callback: called with a `Progress` after every round.

    Returns:
        `Solution` with x1 (b, *s), the state at the end; t1 (b,), where each ended; ts (b, k), xs (b, k, *s), hs (b, k - 1), as
        `save` asked, NaN beyond what was reached; result (b,), 0 for OK, the other codes are in `ob.Result`; message, the same
        in words; stats, counts (b,) such as stats.accepted and stats.f_evals; events. `sol.plot()` draws one trajectory.

    Raises:
        ValueError, TypeError: bad input, before the first step, in a sentence. SolveError: see `throw`.

    Caveat: the field is probed once more for trajectory 0 alone, to notice trajectories that depend on each other.
    Example: `ob.integrate(lambda t, x: -x, torch.ones(1, 1), (0.0, 1.0)).x1`
    Two stiff trajectories, looked at three times: `ob.integrate(lambda t, x: -1e4 * (x - torch.cos(t)[:, None]),
    torch.tensor([[0.0], [1.0]]), (0.0, 3.0), method="rodas5p", save=ob.At([1.0, 2.0, 3.0])).xs`, of shape (2, 3, 1)
    """
    if isinstance(method, str) and ":" in method:
        refused = {"controller": controller, "events": events, "after": after, "nonnegative": nonnegative, "mass": mass}
        wishes = Wishes(
            args, rtol, atol, save, jacobian, sparsity, discontinuities, first_step, max_step, max_steps, time_limit, callback,
            refused,
        )  # fmt: skip
        sol = replace(borrow(method, field, x0, over, wishes), made=Made(method))
        if throw and sol.failures:
            raise SolveError(sol)
        return sol
    scheme = lookup("method", method, METHODS) if isinstance(method, str) else method
    where = check.over(over)
    x0 = check.state(x0)
    f = BoundField(field, args, jacobian, mass_matrix(mass, x0, scheme), structure(sparsity, x0))
    check.save(save)
    check.truth(compile=compile, throw=throw)
    check.functions(field=field, after=after, jacobian=jacobian, callback=callback)
    happenings = checked_events(events)
    if not callable(getattr(scheme, "step", None)):
        raise TypeError(f"method: must be a name or a Method, got {method!r}; {', '.join(METHODS)}.")
    check.complex_state(x0, scheme)
    if isinstance(where, Grid):
        check.span_only(events=happenings, discontinuities=discontinuities, nonnegative=nonnegative)
        check.unused(rtol, atol, first_step, max_step, max_steps, time_limit)
        law = Fixed() if controller is None else _law(controller)
        if compile:
            words = "compile=True: a grid is walked by the eager loop; use torch.compile on what calls it."
            warnings.warn(words, RuntimeWarning, stacklevel=3)
        return _on_grid(f, x0, where, scheme, law, save, after)

    if not isinstance(gradient, Gradient):
        raise TypeError(f"gradient: must be ob.Replay(), ob.Direct(), ob.Adjoint() or ob.Forward(), got {gradient!r}.")
    check.spanned_state(x0)
    after = kept_nonnegative(nonnegative, after, x0)
    check.arguments(args, x0)
    tol = check.tolerance(rtol, atol, x0)
    check.positive("first_step", first_step, len(x0))
    check.positive("max_step", max_step, len(x0))
    check.positive("time_limit", time_limit)
    check.whole("max_steps", max_steps)
    t0, t1 = check.moment("t0", where.t0, x0), check.moment("t1", where.t1, x0)
    course = Course(x0, t0, t1, torch.where(t1 < t0, -1.0, 1.0).double())
    times = save_times(save, course) if isinstance(save, At) else None
    law = lookup("controller", scheme.law, CONTROLLERS) if controller is None else _law(controller)
    trained = _suits(scheme, law, first_step, gradient)
    if max_step is not None:
        law = Bounded(law, highest=max_step)
    jumping = jumps(discontinuities, x0, t1 - t0)
    if jumping is not None:
        law = AtTimes(law, jumping.inner)
        f = replace(f, window=jumping.piece(t0, course.sign).window)
    slope = probe.first_slope(f, t0, t1, x0)
    probe.clock(f, t0, t1, x0, slope, tol)
    f = replace(f, structure=detected(sparsity, f, t0, x0), tol=tol, tally=Tally(len(x0)))
    check_consistent(f, t0, x0, slope, tol)
    crossing, levels = crossings(happenings, t0, x0, args, scheme, after is not None, course.sign)
    needs = [slope, x0, t0, t1, limited(after, x0), *levels, *([] if times is None else [times])]
    wanted = torch.is_grad_enabled() and (any(v.requires_grad for v in needs) or trained or hides_leaves(field))
    with_graph = wanted or dual([needs, args])
    limits = Limits(max_steps, time_limit, callback, compile)
    extras = Extras(crossing, jumping)
    task = Task(f, course, tol, scheme, law, save, after, first_step, limits, slope, extras)
    if with_graph:
        sol = gradient.solve(task)
    else:
        with torch.no_grad():
            sol = task.without_graph().found()
    sol = replace(sol, made=Made(_called(scheme), named(law), policy(gradient) if with_graph else ""))
    if throw and sol.failures:
        raise SolveError(sol)
    return sol


def _suits(method: Method, law: StepController, first_step: Any, gradient: Gradient) -> bool:
    """Method, controller and gradient over a span must fit each other; returns whether the controller is trained."""
    laws = check.parts(law)
    fixed = any(isinstance(part, Fixed) for part in laws)
    if method.error_order is None and not fixed:
        raise ValueError(
            f"method: {method.name!r} has no error estimate to control a step with; use a method that has one ('tsit5', "
            "'rodas5p'), or controller='fixed' with first_step=..., or over=ob.Grid(ts)."
        )
    if fixed and first_step is None:
        raise ValueError("first_step: controller 'fixed' keeps the first step, so say how long it is, first_step=0.01.")
    if isinstance(method, Corrected) and torch.is_grad_enabled() and any(p.requires_grad for p in method.parameters()):
        raise ValueError(
            f"method: {method.name!r} has trainable parameters, and a span would drop their gradient in silence. Train it over "
            "ob.Grid(ts), or call it under torch.no_grad()."
        )
    trainable = (p for part in laws if isinstance(part, nn.Module) for p in part.parameters())
    trained = torch.is_grad_enabled() and any(p.requires_grad for p in trainable)
    if trained and not isinstance(gradient, Direct):
        raise ValueError(
            f"controller: has trainable parameters, and {type(gradient).__name__} would drop their gradient in silence. Write "
            "gradient=ob.Direct(), freeze them with controller.requires_grad_(False), or train the controller over ob.Grid(ts) "
            "or ob.Steps(n)."
        )
    return trained


def _law(controller: StepController | str) -> StepController:
    if not isinstance(controller, str):
        if not callable(controller) or isinstance(controller, type) or not callable(getattr(controller, "start", None)):
            raise TypeError(f"controller: must be a name or a StepController (an instance), got {controller!r}.")
        return controller
    if controller in ATTENTION:
        cls = ATTENTION[controller].__name__
        raise ValueError(f"controller: {controller!r} needs to know its channels; build one, ob.control.{cls}(channels).")
    return lookup("controller", controller, CONTROLLERS)


def _on_grid(
    f: BoundField, x: Tensor, grid: Grid, method: Method, controller: StepController, save: Save, after: After | None
) -> Solution:
    if x.dim() == 0:
        raise ValueError("x0: is a single number; give a batch of states (b, *s), x0.reshape(1, 1).")
    if not isinstance(save, (Last, Every)):
        raise ValueError("save: on a grid use Last() or Every(); put the times you want into the grid.")
    steps, end, slopes = len(grid.ts) - 1, x, 0

    def moment(t: float) -> Tensor:
        return torch.full((len(x),), t, dtype=torch.float64, device=x.device)

    xs, hs, cost = [part(save.of, moment(grid.ts[0]), x)] if isinstance(save, Every) else [], [], Counts()
    for t, (end, h, step) in zip(grid.ts[1:], follow(f, x, grid.ts, method, controller, after), strict=True):
        cost = Counts(*(have + more for have, more in zip(cost, step.cost, strict=True)))
        slopes += step.slope is None or after is not None
        if isinstance(save, Every):
            xs.append(part(save.of, moment(t), end))
            hs.append(h if isinstance(h, Tensor) else torch.full((1,), h, dtype=real_dtype(x), device=x.device))
    counts = cost._replace(accepted=steps, rejected=0, f_evals=cost.f_evals + max(slopes, 1))
    made = None if torch.compiler.is_compiling() else Made(_called(method), named(controller))  # names are not for a graph
    if not isinstance(save, Every):
        return Solution(end, counts, work=_rows(counts, len(x)), end=grid.ts[-1], made=made)
    b = len(x)
    ts = torch.tensor(grid.ts, dtype=torch.float64, device=x.device).expand(b, -1)
    full = max(h.dim() for h in hs)  # a float beside gates is a gate that is the same everywhere
    sizes = torch.broadcast_tensors(*(h.reshape(h.shape + (1,) * (full - h.dim())) for h in hs))
    sizes = torch.stack([h.expand(b, *h.shape[1:]) for h in sizes], 1)
    return Solution(end, counts, ts, torch.stack(xs, 1), sizes, work=_rows(counts, b), end=grid.ts[-1], made=made)


def _called(method: Method) -> str:
    return getattr(method, "name", type(method).__name__)


def _rows(counts: Counts, b: int) -> int:
    """Rows of field evaluations of a walk along a grid, those inside Jacobians left out."""
    return int(counts.f_evals.sum()) if isinstance(counts.f_evals, Tensor) else b * counts.f_evals

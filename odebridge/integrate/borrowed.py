"""`method="scipy:Radau"`, `"sundials:BDF"` and their like: one trajectory after the other, outside of PyTorch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odebridge.core.arrays import OnArrays, on_arrays
from odebridge.core.names import lookup
from odebridge.core.over import Grid
from odebridge.core.protocols import Counts
from odebridge.core.result import Failure, Result, Solution
from odebridge.core.shapes import tree_map
from odebridge.core.tolerance import Tolerance
from odebridge.integrate import check, probe
from odebridge.integrate.leaves import hides_leaves
from odebridge.integrate.save import At, Course, Dense, Every, Last, Save, clock_values, part, save_times
from odebridge.integrate.span import Progress
from odebridge.integrate.system import BoundField
from odebridge.methods import borrowed_scipy, borrowed_sundials
from odebridge.methods.borrowed import BORROWED, Task, Walk

CODES = {
    "": Result.OK,
    "max_steps": Result.MAX_STEPS,
    "time_limit": Result.TIME_LIMIT,
    "step": Result.STEP_TOO_SMALL,
    "newton": Result.NEWTON_FAILED,
    "singular": Result.SINGULAR,
    "not_finite": Result.NOT_FINITE,
}


@dataclass(frozen=True)
class Wishes:
    """The keywords of `integrate` that a borrowed method serves, and in `refused` those that it does not."""

    args: Any
    rtol: Any
    atol: Any
    save: Save
    jacobian: Callable[..., Tensor] | None
    sparsity: Any
    discontinuities: Any
    first_step: Any
    max_step: Any
    max_steps: int
    time_limit: float | None
    callback: Callable[[Progress], None] | None
    refused: dict[str, Any]


def borrow(name: str, field: Callable[..., Tensor], x0: Any, over: Any, wishes: Wishes) -> Solution:
    """Solve every trajectory by another library's code, in float64 on the CPU.

    Counts are the library's own; what it does not report is 0. Raises ValueError or TypeError, before the first step, for what
    the library cannot do: gradients, events, grids, other dtypes.
    """
    lookup("method", name, BORROWED)
    x0, tol, course = _checked(name, field, x0, over, wishes)
    times = save_times(wishes.save, course) if isinstance(wishes.save, At) else None
    inner = sorted(set(clock_values("discontinuities", wishes.discontinuities or (), x0).reshape(-1).tolist()))
    deadline = None if wishes.time_limit is None else time.monotonic() + wishes.time_limit
    walks: list[list[Walk]] = []
    for i in range(len(x0)):
        at = None if times is None else times[i].detach().numpy()
        pieces: list[Walk] = []
        for task in _tasks(name, field, wishes, x0, tol, course, i, inner, at, deadline):
            if pieces:
                left = wishes.max_steps - sum(w.counts.get("accepted", 0) for w in pieces)
                task = replace(task, y0=pieces[-1].y, max_steps=max(left, 1))
            pieces.append(_walk(name, task))
            if pieces[-1].stop:
                break
        walks.append(pieces)
        if wishes.callback is not None:
            wishes.callback(Progress(i + 1, len(x0) - i - 1, (i + 1) / len(x0)))
    return _solution(walks, course, times, wishes.save)


def _walk(name: str, task: Task) -> Walk:
    library, _, method = name.partition(":")
    return borrowed_scipy.walk(method, task) if library == "scipy" else borrowed_sundials.walk(task)


def _checked(name: str, field: Callable[..., Tensor], x0: Any, over: Any, wishes: Wishes) -> tuple[Tensor, Tolerance, Course]:
    """Everything that can be refused before the first step."""
    if name.startswith("sundials") and borrowed_sundials.library() is None:
        raise ValueError(f"method: {name!r} needs scikit-sundae, which is not installed; pip install scikit-sundae.")
    where, x0 = check.over(over), check.state(x0)
    if isinstance(where, Grid):
        raise ValueError(f"method: {name!r} chooses its own steps; give a span (t0, t1) instead of a grid.")
    for keyword, value in wishes.refused.items():
        if not (value is None or value is False or (isinstance(value, (tuple, list)) and not value)):
            raise ValueError(f"{keyword}: method {name!r} is another library's code and cannot do that; use one of ours.")
    if x0.dtype != torch.float64 or x0.device.type != "cpu":
        raise TypeError(
            f"x0: method {name!r} computes in float64 on the CPU, and x0 is {x0.dtype} on {x0.device.type}; "
            "write x0.double().cpu(), and the field's parameters likewise."
        )
    check.save(wishes.save)
    if isinstance(wishes.save, Dense) and name.startswith("sundials"):
        raise ValueError(f"save: method {name!r} has no dense output; give the times, save=ob.At(times).")
    check.functions(field=field, jacobian=wishes.jacobian, callback=wishes.callback)
    check.spanned_state(x0)
    check.arguments(wishes.args, x0)
    tol = check.tolerance(wishes.rtol, wishes.atol, x0)
    check.positive("first_step", wishes.first_step, len(x0))
    check.positive("max_step", wishes.max_step, len(x0))
    check.positive("time_limit", wishes.time_limit)
    check.whole("max_steps", wishes.max_steps)
    t0, t1 = check.moment("t0", where.t0, x0), check.moment("t1", where.t1, x0)
    course = Course(x0, t0, t1, torch.where(t1 < t0, -1.0, 1.0).double())
    f = BoundField(field, wishes.args, wishes.jacobian)
    slope = probe.first_slope(f, t0, t1, x0)
    if torch.is_grad_enabled() and (any(v.requires_grad for v in (slope, x0, t0, t1)) or hides_leaves(field)):
        raise ValueError(
            f"gradient: method {name!r} runs outside of PyTorch and has none, and x0, the span or the field requires one; "
            "wrap the call in torch.no_grad(), or use a method of ours such as 'rodas5p' or 'bdf'."
        )
    _structure(name, wishes.sparsity, x0)
    return x0.detach(), tol, course


def _structure(name: str, sparsity: Any, x0: Tensor) -> tuple[tuple[int, int] | None, np.ndarray | None]:
    """Bandwidths and pattern of df/dx."""
    n = x0[0].numel()
    if sparsity is None:
        return None, None
    if isinstance(sparsity, tuple) and len(sparsity) == 2 and all(isinstance(v, int) for v in sparsity):
        lower, upper = sparsity
        return sparsity, np.tri(n, k=upper, dtype=bool) & ~np.tri(n, k=-lower - 1, dtype=bool)
    pattern = np.asarray(sparsity) if isinstance(sparsity, (Tensor, np.ndarray)) else None
    if pattern is None or pattern.shape != (n, n):
        raise ValueError(
            f"sparsity: method {name!r} takes bandwidths (lower, upper) or a pattern ({n}, {n}) of bools, got {sparsity!r}."
        )
    return None, pattern.astype(bool)


def _tasks(
    name: str, field: Callable[..., Tensor], wishes: Wishes, x0: Tensor, tol: Tolerance, course: Course, i: int,
    jumps: list[float], at: np.ndarray | None, deadline: float | None,
) -> list[Task]:  # fmt: skip
    """One task for each piece of the span of trajectory i between its jumps; none if the span has no length."""
    shape, sign = x0.shape[1:], float(course.sign[i])
    args = tree_map(lambda v: v[i : i + 1].detach(), wishes.args)
    call = field if len(shape) == 1 else lambda t, x, *p: field(t, x.reshape(1, *shape), *p).flatten(1)
    fun = on_arrays(call, args)
    jac = None if wishes.jacobian is None else on_arrays(wishes.jacobian, args)
    bandwidths, pattern = _structure(name, wishes.sparsity, x0)
    rtol, atol = float(tol.rtol[i]), tol.atol[i].expand(shape).reshape(-1).double().numpy()
    tight: Any = float(atol[0]) if (atol == atol[0]).all() else atol
    t0, t1 = float(course.t0[i]), float(course.t1[i])
    if t0 == t1:
        return []
    nodes = [t0, *sorted((d for d in jumps if min(t0, t1) < d < max(t0, t1)), key=lambda d: sign * d), t1]

    def number(v: Any) -> float | None:
        if v is None:
            return None
        values = torch.as_tensor(v, dtype=torch.float64)
        return float(values[i] if values.dim() else values)

    def piece(k: int) -> Task:
        a, b = nodes[k], nodes[k + 1]
        # A field that jumps at a node is asked strictly to the right of its left end: there it has its new values.
        lo, hi = (np.nextafter(a, b), b) if sign > 0 else (np.nextafter(b, a), a)

        def held(call: OnArrays) -> OnArrays:
            return call if len(nodes) == 2 else lambda t, y: call(min(max(t, lo), hi), y)

        some = None if at is None else at[(sign * at > sign * a) & (sign * at <= sign * b)]
        return Task(
            held(fun), x0[i].reshape(-1).numpy(), a, b, rtol, tight, None if jac is None else held(jac), bandwidths, pattern,
            some, number(wishes.first_step) if k == 0 else None, number(wishes.max_step), wishes.max_steps, deadline,
            isinstance(wishes.save, Dense),
        )  # fmt: skip

    return [piece(k) for k in range(len(nodes) - 1)]


class _Pieces:
    """The interpolants of all trajectories as `sol(t)` calls them."""

    def __init__(self, walks: list[list[Walk]], course: Course) -> None:
        self.course = course
        self.nodes = [np.concatenate([w.ts[1 if k else 0 :] for k, w in enumerate(pieces)]) for pieces in walks]
        self.parts = [[p for w in pieces for p in w.dense] for pieces in walks]

    def __call__(self, t: Any) -> Tensor:
        """States at t, a float, (k,) or (b, k); NaN outside of what was reached."""
        times = torch.as_tensor(t, dtype=torch.float64)
        b, x0 = len(self.course.x0), self.course.x0
        table = times.reshape(1, -1).expand(b, -1) if times.dim() < 2 else times
        out = torch.full((b, table.shape[1], x0[0].numel()), torch.nan, dtype=torch.float64)
        for i, (nodes, parts) in enumerate(zip(self.nodes, self.parts, strict=True)):
            sign = float(self.course.sign[i])
            for j, moment in enumerate(table[i].tolist()):
                k = int(np.searchsorted(sign * nodes, sign * moment, side="left")) - 1
                if k < 0 and moment == nodes[0]:
                    out[i, j] = x0[i].reshape(-1)
                elif 0 <= k < len(parts):
                    out[i, j] = torch.from_numpy(np.asarray(parts[k](moment)))
        out = out.reshape(b, table.shape[1], *x0.shape[1:])
        return out[:, 0] if times.dim() == 0 else out


def _kept(pieces: list[Walk], course: Course, i: int, times: Tensor | None) -> tuple[Tensor, Tensor]:
    """Times (k,) and flat states (k, n) that trajectory i has reached: every step, or those asked for."""
    start = course.x0[i].reshape(1, -1)
    if times is None:
        ts, xs = course.t0[i : i + 1], start
        parts = [(w.ts[1:], w.ys[1:]) for w in pieces]
    else:
        ts = times[i][times[i] == course.t0[i]].detach()
        xs, parts = start.expand(len(ts), -1), [(w.ts, w.ys) for w in pieces]
    return torch.cat([ts, *(torch.from_numpy(t) for t, _ in parts)]), torch.cat([xs, *(torch.from_numpy(y) for _, y in parts)])


def _solution(walks: list[list[Walk]], course: Course, times: Tensor | None, save: Save) -> Solution:
    x0 = course.x0.detach()
    b, shape = len(x0), x0.shape[1:]
    x1, end = torch.full_like(x0, torch.nan), course.t0.clone()
    codes, failures, totals = torch.zeros(b, dtype=torch.int64), [], {name: [0] * b for name in Counts._fields}
    rows: list[tuple[Tensor, Tensor]] = []
    for i, pieces in enumerate(walks):
        last = pieces[-1] if pieces else None
        code = CODES[last.stop] if last else Result.OK
        end[i] = last.t if last else course.t1[i]
        codes[i] = int(code)
        if code == Result.OK:
            x1[i] = torch.from_numpy(last.y).reshape(shape) if last else x0[i]
        else:
            assert last is not None  # a span without a length is OK
            advice = f"was given up: {last.message}" if last.message else None
            h = abs(last.ts[-1] - last.ts[-2]) if times is None and len(last.ts) > 1 else math.nan
            failures.append(Failure(i, code, float(end[i]), float(h), None, advice))
        for w in pieces:
            for name, count in w.counts.items():
                totals[name][i] += count
        rows.append(_kept(pieces, course, i, times))
    work = sum(totals["f_evals"])
    counts = Counts(**{name: torch.tensor(values) for name, values in totals.items()})
    if isinstance(save, Last):
        return Solution(x1, counts, codes=codes, failures=tuple(failures), work=work, end=end)
    of = save.of if isinstance(save, (At, Every)) else None
    kept = [part(of, t, x.reshape(len(x), *shape)) for t, x in rows]
    k = max(len(t) for t, _ in rows) if times is None else times.shape[1]
    ts = torch.full((b, k), torch.nan, dtype=torch.float64)
    xs = torch.full((b, k, *kept[0].shape[1:]), torch.nan, dtype=kept[0].dtype)
    for i, ((t, _), x) in enumerate(zip(rows, kept, strict=True)):
        ts[i, : len(t)], xs[i, : len(t)] = t, x
    hs = (ts[:, 1:] - ts[:, :-1]).abs() if times is None else None
    dense = _Pieces(walks, course) if isinstance(save, Dense) else None
    return Solution(x1, counts, ts, xs, hs, codes, tuple(failures), work, dense=dense, end=end)

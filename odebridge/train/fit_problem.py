"""Fit the parameters of a problem to measured trajectories, stiff or not, in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import least_squares, minimize
from torch import Tensor

from odebridge.integrate import Forward, Replay
from odebridge.integrate.api import Gradient
from odebridge.problems.base import Problem
from odebridge.train.fitted import Fit, Observe
from odebridge.train.fitted import seen as seen_of
from odebridge.train.fitted import solved as solved_at
from odebridge.train.measured import Measured, Table, table
from odebridge.train.unknowns import Unknowns

FEW = 50  # free parameters up to which sensitivities are worth it
FLAT = 40  # trials of Adam without progress after which it ends
HILL = 1e3  # where a solve fails the cost is read as so many times the last good one, rising with the distance


class Trial(NamedTuple):
    """What `progress` is told after every trial."""

    n: int
    cost: float  # half the sum of squared weighted residuals; infinite where the solve failed
    best: float
    parameters: Tensor  # (p,)


def fit(
    problem: Problem,
    data: Measured | Any,
    *,
    only: Any = None,
    log: Any = None,
    observe: Observe | None = None,
    by: str | None = None,
    method: str | None = None,
    gradient: Gradient | None = None,
    rtol: float = 1e-6,
    atol: Any = 1e-9,
    bounds: tuple[Any, Any] | None = None,
    loss: str = "linear",
    trials: int = 200,
    lr: float = 0.02,
    progress: Callable[[Trial], None] | None = None,
    **options: Any,
) -> Fit:
    """Parameters p that minimise 1/2 sum_i (w_i (y_i - g(t_i, x(t_i; p))))^2 over the measured values y_i.

    Args:
        problem: its args are the first guess; without args, the parameters of a field that is an nn.Module. One system, or a
            batch whose trajectories share the parameters and have their own x0. Integrated from the start of its span.
        data: (times, values), or `ob.Measured(times, values, mask, weights)`.
        only: names or indices of the parameters to fit, the others are held; None: all. Names are those of `Fit.names`.
        log: which are searched as logarithms, a bool or one for each free parameter; None: those that start above 0.
        observe: g(t, x), t (m,), x (m, n) -> (m, d): what is measured of a state; None: the state itself.
        by: "least_squares": SciPy's trust-region reflective Gauss-Newton on forward sensitivities, "lbfgs": L-BFGS-B, "adam";
            None: the first for up to 50 free parameters, else the second.
        method: of `integrate`; None: "rodas5p" where `auto` finds the problem stiff at the first guess, else "tsit5".
        gradient: policy for "lbfgs" and "adam"; None: `Replay()`. "least_squares" needs the sensitivities of `Forward()`.
        rtol, atol, options: of `integrate` (jacobian, max_steps, compile ...).
        bounds: (lowest, highest) of the free parameters, numbers or (f,).
        loss: SciPy's robust losses for "least_squares": "linear", "soft_l1", "huber", "cauchy", "arctan".
        trials: at most so many. lr: of "adam", in what is searched. progress: called with a `Trial` after each.

    Returns:
        `Fit`, with standard errors from (J^T J)^-1 s^2, J by sensitivities, s^2 = 2 cost / (values - parameters).

    ValueError, TypeError: bad input, in a sentence. A solve that fails at a trial is a refused step, never an exception; where
    the first guess fails, `ok` is False. Source: Bard, Nonlinear Parameter Estimation, 1974. Caveat: a local minimum, and
    errors that hold for noise that is independent and a model that is nearly linear over them.
    Use: `ob.fit(ob.Problem(f, x0, (0.0, 10.0), args=guess), (times, values))`.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: must be an ob.Problem with args to start from, got {type(problem).__name__}.")
    search = _Search.of(problem, data, only, log, observe, by, method, gradient, rtol, atol, progress, options)
    theta = search.unknowns.theta(search.unknowns.start)
    low, high = search.bounds(bounds, theta)
    first = search.residual(theta)
    if not bool(torch.isfinite(first).all()):
        return search.result(theta, False, f"the solve fails at the first guess: {search.said}")
    x0 = theta.numpy()
    if search.by == "least_squares":
        slopes: Any = lambda v: search.jacobian(torch.tensor(v)).numpy()  # noqa: E731 - the stubs of SciPy know names only
        out = least_squares(
            lambda v: search.residual(torch.tensor(v)).numpy(), x0, slopes,
            bounds=(low, high), x_scale="jac", loss=loss, max_nfev=trials, xtol=1e-8, ftol=1e-8, gtol=1e-10,
        )  # fmt: skip
        return search.result(torch.tensor(out.x), out.status > 0, out.message)
    if search.by == "lbfgs":
        scale = max(search.best, 1e-300)
        out = minimize(
            lambda v: search.hilly(torch.tensor(v), scale), x0, jac=True, method="L-BFGS-B", options={"maxfun": trials},
            bounds=list(zip(low, high, strict=True)),
        )  # fmt: skip
        return search.result(search.at_best, bool(out.success), str(out.message))
    return search.descended(theta, trials, lr, torch.tensor(low), torch.tensor(high))


@dataclass(eq=False)
class _Search:
    """One search: the data, the unknowns, and the tally of trials."""

    lanes: Problem  # with a batch axis
    data: Table
    unknowns: Unknowns
    observe: Observe | None
    by: str
    method: str
    gradient: Gradient
    options: dict[str, Any]
    progress: Callable[[Trial], None] | None
    f_evals: int = 0
    solves: int = 0
    failed: int = 0
    best: float = float("inf")
    at_best: Tensor = field(default_factory=lambda: torch.zeros(0))
    at_last: Tensor = field(default_factory=lambda: torch.zeros(0))
    last: Tensor = field(default_factory=lambda: torch.zeros(0))
    said: str = ""

    @classmethod
    def of(
        cls, problem: Problem, data: Any, only: Any, log: Any, observe: Any, by: Any, method: Any, gradient: Any, rtol: Any,
        atol: Any, progress: Any, options: dict[str, Any],
    ) -> _Search:  # fmt: skip
        """Check everything."""
        unknowns, seen = Unknowns.of(problem, only, log), table(data)
        count = len(unknowns.free)
        by = by or ("least_squares" if count <= FEW else "lbfgs")
        if by not in ("least_squares", "lbfgs", "adam"):
            raise ValueError(f"by: must be 'least_squares', 'lbfgs' or 'adam', got {by!r}.")
        if by == "least_squares" and gradient is not None and not isinstance(gradient, Forward):
            raise ValueError("gradient: 'least_squares' needs sensitivities, ob.Forward(); for others use by='lbfgs'.")
        b, lanes = len(seen.values), problem.batched()
        if len(lanes.x0) == 1 and b > 1:
            lanes = replace(lanes, x0=lanes.x0.expand(b, -1).clone(), args=None, reference=None)
        if len(lanes.x0) != b:
            raise ValueError(f"data: holds {b} trajectories and the problem {len(lanes.x0)}; give one x0 for each.")
        if any(isinstance(t, Tensor) for t in lanes.span) or bool((seen.times < float(lanes.span[0])).any()):
            raise ValueError(f"data: times before the start of the problem's span, t0={lanes.span[0]}; one t0 for all.")
        shared = {k: v for k, v in (("mass", problem.mass), ("sparsity", problem.sparsity)) if v is not None}
        given = {"rtol": rtol, "atol": atol, "jacobian": problem.jacobian, "discontinuities": problem.discontinuities}
        given = {**given, **shared, **options}
        search = cls(lanes, seen, unknowns, observe, by, method or "auto", gradient or Replay(), given, progress)
        xs = search.solved(unknowns.start, None).xs
        shape = seen_of(xs, seen.times, observe).shape
        if shape != seen.values.shape:
            raise ValueError(f"data: values are {tuple(seen.values.shape)} and what is observed is {tuple(shape)}.")
        return search

    def bounds(self, given: Any, theta: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """In what is searched."""
        if given is None:
            return np.full(len(theta), -np.inf), np.full(len(theta), np.inf)
        ends = [torch.as_tensor(v, dtype=torch.float64).expand(len(theta)) for v in given]
        logs = self.unknowns.logs
        low, high = (torch.where(logs, v.clamp_min(0.0).log(), v) for v in ends)
        if bool(((theta <= low) | (theta >= high)).any()):
            raise ValueError("bounds: the first guess must lie inside of them.")
        return low.numpy(), high.numpy()

    def solved(self, p: Tensor, gradient: Gradient | None) -> Any:
        """The solution at p; with a gradient policy the tensors that were turned are kept in `turned`."""
        with torch.set_grad_enabled(gradient is not None):
            system, args, self.turned = self.unknowns.system(p, len(self.data.values), grad=gradient is not None)
            sol = solved_at(system, self.lanes, args, self.data.times, self.method, self.options, gradient)
        self.solves, self.f_evals = self.solves + 1, self.f_evals + int(sol.stats.f_evals.sum())
        if self.method == "auto":
            self.method = "rodas5p" if int(sol.stats.factorisations.sum()) else "tsit5"
        self.said = sol.message
        return sol

    def weighted(self, y: Tensor) -> Tensor:
        """Residuals that count, (m,): NaN where the solve has failed."""
        return ((y - self.data.values) * self.data.weights)[self.data.keep]

    def residual(self, theta: Tensor) -> Tensor:
        """At one trial."""
        if len(self.at_last) and torch.equal(theta, self.at_last):
            return self.last
        p = self.unknowns.numbers(theta)
        out = self.weighted(seen_of(self.solved(p, None).xs, self.data.times, self.observe))
        self.tell(theta, p, 0.5 * float(out.square().sum()))
        self.at_last, self.last = theta.clone(), out
        return out

    def tell(self, theta: Tensor, p: Tensor, cost: float) -> None:
        """Note a trial, and report it."""
        good = np.isfinite(cost)
        self.failed += not good
        if good and cost < self.best:
            self.best, self.at_best = cost, theta.detach().clone()
        if self.progress is not None:
            self.progress(Trial(self.solves, cost if good else float("inf"), self.best, p))

    def jacobian(self, theta: Tensor) -> Tensor:
        """Of the residuals, (m, f), by forward sensitivities."""
        p, found = self.unknowns.numbers(theta), {}
        xs = self.solved(p, Forward(tell=found.update)).xs.detach()
        columns = torch.cat([found[key][1] for key in self.unknowns.knobs()])[self.unknowns.free]
        slope = self.unknowns.slope(p)
        rows = [self.weighted_tangent(xs, dxs) * s for dxs, s in zip(columns, slope, strict=True)]
        return torch.stack(rows, 1)

    def weighted_tangent(self, xs: Tensor, dxs: Tensor) -> Tensor:
        """Of the residuals along dxs."""
        if self.observe is not None:
            seen = self.observe
            dxs = torch.func.jvp(lambda x: seen_of(x, self.data.times, seen), (xs,), (dxs,))[1]
        return (dxs * self.data.weights)[self.data.keep]

    def descent(self, theta: Tensor) -> tuple[float, Tensor]:
        """Cost and its gradient (f,) by the policy in force; infinite and 0 where the solve has failed."""
        p = self.unknowns.numbers(theta)
        sol = self.solved(p, self.gradient)
        with torch.enable_grad():
            cost = 0.5 * self.weighted(seen_of(sol.xs, self.data.times, self.observe)).square().sum()
        value = float(cost.detach())
        self.tell(theta, p, value)
        if not np.isfinite(value):
            return float("inf"), torch.zeros_like(theta)
        cost.backward()
        return value, self.unknowns.gradient(self.turned, p)

    def hilly(self, v: Tensor, scale: float) -> tuple[float, np.ndarray]:
        """As a line search wants it: finite everywhere, a hill where the solve fails, so that it comes back."""
        cost, slope = self.descent(v)
        if np.isfinite(cost):
            return cost, slope.numpy()
        away = v - self.at_best
        return HILL * scale * (1.0 + float(away.square().sum())), (2.0 * HILL * scale * away).numpy()

    def descended(self, theta: Tensor, trials: int, lr: float, low: Tensor, high: Tensor) -> Fit:
        """Adam; a step to where the solve fails, or where the cost is 100 times the best, is taken back at half the rate."""
        v = theta.clone().requires_grad_()
        optimiser, good, course = torch.optim.Adam([v], lr=lr), theta.clone(), list[float]()
        for _ in range(trials):
            course.append(self.best)
            if len(course) > FLAT and course[-1 - FLAT] - self.best <= 1e-6 * self.best:
                return self.result(self.at_best, True, f"the cost has not fallen in {FLAT} trials")
            cost, slope = self.descent(v.detach())
            if not np.isfinite(cost) or cost > 100.0 * max(self.best, 1e-300):
                optimiser.param_groups[0]["lr"] *= 0.5
                v.data.copy_(good)
                continue
            good = v.detach().clone()
            v.grad = slope
            optimiser.step()
            v.data.copy_(torch.minimum(torch.maximum(v.data, low), high))
        return self.result(self.at_best, False, f"made all {trials} trials, and the cost still falls")

    def result(self, theta: Tensor, ok: bool, message: str) -> Fit:
        """Everything about the end point."""
        u = self.unknowns
        p = u.numbers(theta)
        f_evals, solves = self.f_evals, self.solves
        y = seen_of(self.solved(p, None).xs, self.data.times, self.observe)
        off = torch.where(self.data.keep, self.data.values - y, torch.nan)
        cost = 0.5 * float(self.weighted(y).square().sum())
        covariance = self.spread(theta, p, cost) if np.isfinite(cost) and len(theta) <= FEW else None
        std = None if covariance is None else covariance.diagonal().clamp_min(0.0).sqrt()
        b = len(off)
        field_, args, _ = u.system(p, b)
        fitted = replace(self.lanes, field=field_, args=args)
        return Fit(
            p, u.names, std, covariance, off, cost, f_evals, solves, self.failed, bool(ok), message, fitted, self.data,
            self.method, self.options, self.observe,
        )  # fmt: skip

    def spread(self, theta: Tensor, p: Tensor, cost: float) -> Tensor | None:
        """The covariance of all parameters (p, p), None where it cannot be had."""
        jac = self.jacobian(theta)
        left = len(jac) - len(theta)
        if left <= 0 or not bool(torch.isfinite(jac).all()):
            return None
        size = jac.norm(dim=0)
        if bool((size == 0).any()):
            return None
        values = torch.linalg.svdvals(jac / size)
        if float(values[-1]) < 1e-10 * float(values[0]):
            return None
        inverse = torch.linalg.inv((jac / size).T @ (jac / size)) / size[:, None] / size
        slope, free = self.unknowns.slope(p), self.unknowns.free
        small = 2.0 * cost / left * inverse * slope[:, None] * slope
        whole = torch.zeros(len(p), len(p), dtype=torch.float64)
        whole[free[:, None], free] = small
        return whole

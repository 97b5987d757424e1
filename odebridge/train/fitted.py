"""The outcome of a fit, and what a solve at its parameters shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from odebridge.integrate import At, integrate
from odebridge.integrate.api import Gradient
from odebridge.problems.base import Problem
from odebridge.train.measured import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Observe = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """The outcome of `fit`.

    parameters (p,) with their names; std (p,) and covariance (p, p): of the free ones, 0 for those held, None where no value is
    left over to estimate the noise from or the data do not determine them; residuals (b, k, d): measured minus fitted, NaN
    where nothing counts; cost: half the sum of squared weighted residuals; f_evals and solves: all trials together, without
    the sensitivities; ok: converged; message: why it has ended. problem: with the fitted parameters in it.
    Use: `found = ob.fit(problem, data); print(found)`.
    """

    parameters: Tensor
    names: tuple[str, ...]
    std: Tensor | None
    covariance: Tensor | None
    residuals: Tensor
    cost: float
    f_evals: int
    solves: int
    failed_trials: int
    ok: bool
    message: str
    problem: Problem
    data: Table = field(repr=False)
    method: str = "tsit5"
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    observe: Observe | None = None

    def __repr__(self) -> str:
        errors = [None] * len(self.names) if self.std is None else self.std.tolist()
        rows = [
            f"  {n} = {v:.6g}" + ("" if e is None else f" +- {e:.2g}")
            for n, v, e in zip(self.names, self.parameters.tolist(), errors, strict=True)
        ]
        rows = rows if len(rows) <= 20 else [*rows[:20], f"  ... {len(rows) - 20} more"]
        head = f"Fit({'ok' if self.ok else 'not converged'}, cost={self.cost:.6g}, {self.solves} solves)"
        return "\n".join([head, *rows, f"  {self.message}"])

    def plot(self, trajectory: int = 0, title: str = "") -> Figure:
        """Measured points and the fitted curve of one trajectory, a matplotlib figure."""
        from odebridge.core.plot import plot_fit  # matplotlib is slow to import

        times = self.data.times if self.data.times.dim() == 1 else self.data.times[trajectory]
        low, high = times[times > 0].min(), times.max()
        spread = bool(times.median() < 1e-2 * high) and bool(times.min() >= 0)
        begin, end = (float(v.log10()) for v in (low, high)) if spread else (float(times.min()), float(high))
        fine = (torch.logspace if spread else torch.linspace)(begin, end, 300, dtype=torch.float64)
        fine = fine.clamp(float(times.min()), float(high)).sort().values
        lanes = self.problem.batched()
        sol = solved(lanes.field, lanes, lanes.args, fine, self.method, self.options, None)
        curve = seen(sol.xs, fine, self.observe)[trajectory % len(lanes.x0)]
        shown = torch.where(self.data.keep, self.data.values, torch.nan)[trajectory]
        return plot_fit(times.numpy(), shown.numpy(), fine.numpy(), curve.numpy(), title)


def solved(
    system: Any, lanes: Problem, args: Any, times: Tensor, method: str, options: dict[str, Any], gradient: Gradient | None
) -> Any:
    """The solution of all trajectories at the times of the data; failures are result codes."""
    span = (lanes.span[0], times.max(-1).values if times.dim() == 2 else float(times.max()))
    policy = {} if gradient is None else {"gradient": gradient}
    return integrate(system, lanes.x0, span, args=args, method=method, save=At(times), throw=False, **{**options, **policy})


def seen(xs: Tensor, times: Tensor, observe: Observe | None) -> Tensor:
    """What is observed of the states xs (b, k, n), (b, k, d)."""
    if observe is None:
        return xs
    b, k = xs.shape[:2]
    t = times.expand(b, k).reshape(-1).to(xs.dtype)
    return observe(t, xs.flatten(0, 1)).reshape(b, k, -1)

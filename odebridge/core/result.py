"""What a solve returns: states, step sizes, a result code and statistics per trajectory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from odebridge.core.protocols import Counts
from odebridge.core.shapes import every

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Result(IntEnum):
    """How a trajectory ended."""

    OK = 0
    MAX_STEPS = 1
    STEP_TOO_SMALL = 2
    NOT_FINITE = 3
    NEWTON_FAILED = 4
    SINGULAR = 5
    TIME_LIMIT = 6
    EVENT = 7


RUNNING = -1  # only inside the loop

ADVICE = {
    Result.OK: "reached the end",
    Result.MAX_STEPS: "used up max_steps; raise it, loosen rtol and atol, or try a stiff method such as 'rodas5p' "
    "if the steps are far shorter than the solution's own scale",
    Result.STEP_TOO_SMALL: "needed a step below the resolution of the clock; the solution may blow up or jump here, "
    "or the tolerances are below the rounding of the dtype",
    Result.NOT_FINITE: "met values of the field or the state that are not finite, however short the step",
    Result.NEWTON_FAILED: "did not converge in Newton's iteration, however short the step",
    Result.SINGULAR: "met a singular matrix, however short the step; check the Jacobian",
    Result.TIME_LIMIT: "used up time_limit",
    Result.EVENT: "stopped at an event",
}


@dataclass(frozen=True)
class Stats:
    """What each trajectory needed, (b,) int64 each; f_evals leaves out those inside Jacobians, as SciPy does.

    `work` is what was computed for all of them: rows of field evaluations, idle lanes and Jacobian columns included.
    """

    accepted: Tensor
    rejected: Tensor
    f_evals: Tensor
    jacobians: Tensor
    factorisations: Tensor
    solves: Tensor
    newton_iterations: Tensor
    work: int


@dataclass(frozen=True)
class Failure:
    """Where and why one trajectory stopped."""

    trajectory: int
    result: Result
    t: float
    h: float
    component: int | None  # flat index of the component that dominates the error, or is not finite

    def __str__(self) -> str:
        where = "" if self.component is None else f", worst component {self.component}"
        code = f"{self.result.name} at t={self.t:.6g}, step {self.h:.3g}{where}"
        return f"trajectory {self.trajectory} {ADVICE[self.result]} ({code})."


@dataclass(frozen=True, repr=False)
class Solution:
    """The outcome of `integrate`.

    x1 (b, *s): state at the end, NaN where a trajectory did not get there.
    ts (b, k), xs (b, k, *s): kept times and states; hs (b, k - 1, ...): step sizes between them, with `save=Every()`.
    All are NaN beyond a trajectory's last kept step, and None with `save=Last()`.
    Calling it, `sol(t)`, evaluates the dense output of `save=Dense()`.
    """

    x1: Tensor
    counts: Counts
    ts: Tensor | None = None
    xs: Tensor | None = None
    hs: Tensor | None = None
    codes: Tensor | None = None  # (b,) Result codes; None on a grid, where only x1 can tell
    failures: tuple[Failure, ...] = ()
    work: int = 0
    errors: Tensor | None = None  # scaled error of each kept step (b, k - 1), with `save=Every()` over a span
    dense: Callable[[Any], Tensor] | None = None
    single: bool = False  # the batch axis has been taken off

    def __repr__(self) -> str:
        b = 1 if self.single else len(self.x1)
        ended = [Result(int(code)).name for code in self.result.reshape(-1)]
        codes = ", ".join(f"{ended.count(name)} {name}" for name in dict.fromkeys(ended))
        steps = self.stats.accepted.reshape(-1)
        few, many = int(steps.min()), int(steps.max())
        taken = f"{few}" if few == many else f"{few} to {many}"
        kept = "" if self.xs is None else f", kept xs {tuple(self.xs.shape)}"
        return f"Solution({b} trajectories: {codes}; x1 {tuple(self.x1.shape)}, {taken} steps{kept})"

    @cached_property
    def result(self) -> Tensor:
        """Result code of each trajectory, (b,) int64 holding values of `Result`."""
        if self.codes is not None:
            return self.codes
        x1 = self.x1[None] if self.single else self.x1
        codes = torch.where(every(torch.isfinite(x1)), int(Result.OK), int(Result.NOT_FINITE))
        return codes[0] if self.single else codes

    @cached_property
    def stats(self) -> Stats:
        """Counts per trajectory."""
        shape = () if self.single else (len(self.x1),)

        def spread(v: Any) -> Tensor:
            return v if isinstance(v, Tensor) else torch.full(shape, v, dtype=torch.int64, device=self.x1.device)

        return Stats(**{k: spread(v) for k, v in self.counts._asdict().items()}, work=self.work)

    @property
    def message(self) -> str:
        """One sentence for each trajectory that failed, or "all trajectories reached the end"."""
        return "\n".join(map(str, self.failures)) or "all trajectories reached the end"

    def __call__(self, t: Any) -> Tensor:
        """State at the times t, a float, (k,) or (b, k): returns (b, *s) or (b, k, *s). Needs `save=Dense()`."""
        if self.dense is None:
            raise ValueError("This solution has no dense output; solve again with save=ob.Dense().")
        x = self.dense(t)
        return x[0] if self.single else x

    def unbatched(self) -> Solution:
        """The same without its batch axis of one."""
        if self.single:
            return self

        def first(v: Any) -> Any:
            return v[0] if isinstance(v, Tensor) else v

        return replace(
            self,
            x1=self.x1[0],
            counts=Counts(*map(first, self.counts)),
            ts=first(self.ts),
            xs=first(self.xs),
            hs=first(self.hs),
            codes=first(self.codes),
            errors=first(self.errors),
            single=True,
        )

    def plot(self, trajectory: int = 0, title: str = "") -> Figure:
        """Components, step sizes and scaled errors of one trajectory over time, a matplotlib figure. Needs `save=Every()`."""
        from odebridge.core.plot import plot_solution  # matplotlib is slow to import, and few solves are plotted

        return plot_solution(self, trajectory, title)


class SolveError(RuntimeError):
    """Raised with `throw=True` after all trajectories have finished, if one of them failed. `.solution` holds the outcome."""

    def __init__(self, solution: Solution) -> None:
        self.solution = solution
        failed = solution.failures
        more = f"\n({len(failed) - 3} more; all in .solution.failures)" if len(failed) > 3 else ""
        super().__init__(
            "\n".join(map(str, failed[:3])) + more + "\nPass throw=False to get the other trajectories and the codes."
        )

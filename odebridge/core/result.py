"""What a solve returns: states, step sizes, a result code and statistics per trajectory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.protocols import Counts
from odebridge.core.shapes import every, leaves, tree_map

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
    advice: str | None = None  # instead of the usual one for the result

    def __str__(self) -> str:
        where = "" if self.component is None else f", worst component {self.component}"
        code = f"{self.result.name} at t={self.t:.6g}, step {self.h:.3g}{where}"
        return f"trajectory {self.trajectory} {self.advice or ADVICE[self.result]} ({code})."


class Made(NamedTuple):
    """How a solution was made, in names of the catalogues: `ob.cite(sol)` reads it. Names and no objects, so it is small."""

    method: str
    controllers: tuple[str, ...] = ()
    gradient: str = ""  # of a solve that has a graph


class Occurrences(NamedTuple):
    """When and where one event happened: NaN beyond the last time of a trajectory."""

    ts: Float[Tensor, "b m"]
    xs: Any  # (b, m, *s), a nest of such for a state that is a nest


@dataclass(frozen=True, repr=False)
class Solution:
    """The outcome of `integrate`.

    x1 (b, *s): state at the end, NaN where a trajectory did not get there. t1 (b,): where it ended, at t1 of the span, at a
    terminal event, or where a failed trajectory was last. `integrate(field, sol, (sol.t1, t2))` goes on from there.
    ts (b, k), xs (b, k, *s): kept times and states; hs (b, k - 1, ...): step sizes between them, with `save=Every()`.
    All are NaN beyond a trajectory's last kept step, and None with `save=Last()`.
    events: one `Occurrences(ts, xs)` for each event. h (b,): the step that the controller wanted next, None on a grid.
    Calling it, `sol(t)`, evaluates the dense output of `save=Dense()`. made: names of the method, the controllers and the
    gradient; None inside torch.compile. Use: `sol = ob.solve("robertson"); print(sol, sol.x1, sol.stats.accepted)`.
    """

    x1: Any  # a tensor, or a nest of tensors if x0 was one
    counts: Counts
    ts: Tensor | None = None
    xs: Any = None
    hs: Tensor | None = None
    codes: Tensor | None = None  # (b,) Result codes; None on a grid, where only x1 can tell
    failures: tuple[Failure, ...] = ()
    work: int = 0
    errors: Tensor | None = None  # scaled error of each kept step (b, k - 1), with `save=Every()` over a span
    dense: Callable[[Any], Tensor] | None = None
    single: bool = False  # the batch axis has been taken off
    end: Any = None  # where each trajectory ended: (b,), or a float on a grid
    h: Tensor | None = None
    events: tuple[Occurrences, ...] = ()
    made: Made | None = None

    def __repr__(self) -> str:
        b = 1 if self.single else len(self.result)
        ended = [Result(int(code)).name for code in self.result.reshape(-1)]
        codes = ", ".join(f"{ended.count(name)} {name}" for name in dict.fromkeys(ended)) if b > 1 else ended[0]
        many_of = "trajectory" if b == 1 else "trajectories"
        steps = self.stats.accepted.reshape(-1)
        few, many = int(steps.min()), int(steps.max())
        taken = f"{few}" if few == many else f"{few} to {many}"
        kept = "" if self.xs is None else f", kept xs {_shapes(self.xs)}"
        return f"Solution({b} {many_of}: {codes}; x1 {_shapes(self.x1)}, {taken} steps{kept})"

    @cached_property
    def result(self) -> Tensor:
        """Result code of each trajectory, (b,) int64 holding values of `Result`."""
        if self.codes is not None:
            return self.codes
        x1 = [v[None] if self.single else v for v in leaves(self.x1)]
        finite = torch.stack([every(torch.isfinite(v)) for v in x1]).all(0) if len(x1) > 1 else every(torch.isfinite(x1[0]))
        codes = torch.where(finite, int(Result.OK), int(Result.NOT_FINITE))
        return codes[0] if self.single else codes

    @cached_property
    def t1(self) -> Tensor:
        """Where each trajectory ended, (b,) float64."""
        if isinstance(self.end, Tensor):
            return self.end
        x1 = leaves(self.x1)[0]
        return torch.full(() if self.single else (len(x1),), self.end, dtype=torch.float64, device=x1.device)

    @cached_property
    def stats(self) -> Stats:
        """Counts per trajectory."""
        x1 = leaves(self.x1)[0]
        shape = () if self.single else (len(x1),)

        def spread(v: Any) -> Tensor:
            return v if isinstance(v, Tensor) else torch.full(shape, v, dtype=torch.int64, device=x1.device)

        return Stats(**{k: spread(v) for k, v in self.counts._asdict().items()}, work=self.work)

    @property
    def message(self) -> str:
        """One sentence for each trajectory that failed, or "all trajectories reached the end" (or an event)."""
        if self.codes is None:  # a grid keeps no failures: x1 alone can tell
            bad = (self.result.reshape(-1) != int(Result.OK)).nonzero()[:, 0].tolist()
            if bad:
                return "\n".join(f"trajectory {i} ended with values that are not finite (NOT_FINITE)." for i in bad)
        stopped = self.codes is not None and bool((self.codes == int(Result.EVENT)).any())
        fine = "all trajectories reached the end" + (" or a terminal event" if stopped else "")
        return "\n".join(map(str, self.failures)) or fine

    def __call__(self, t: Any) -> Any:
        """State at the times t, a float, (k,) or (b, k): returns (b, *s) or (b, k, *s). Needs `save=Dense()`."""
        if self.dense is None:
            raise ValueError("This solution has no dense output; solve again with save=ob.Dense().")
        x = self.dense(t)
        return tree_map(lambda v: v[0], x) if self.single else x

    def unbatched(self) -> Solution:
        """The same without its batch axis of one."""
        if self.single:
            return self

        def first(v: Any) -> Any:
            return tree_map(lambda w: w[0], v)

        return replace(
            self,
            x1=first(self.x1),
            counts=first(self.counts),
            ts=first(self.ts),
            xs=first(self.xs),
            hs=first(self.hs),
            codes=first(self.codes),
            errors=first(self.errors),
            single=True,
            end=first(self.end),
            h=first(self.h),
            events=first(self.events),
        )

    def plot(self, trajectory: int = 0, title: str = "") -> Figure:
        """Components, step sizes and scaled errors of one trajectory over time, a matplotlib figure. Needs `save=Every()`."""
        from odebridge.core.plot import plot_solution  # matplotlib is slow to import, and few solves are plotted

        return plot_solution(self._as_real_table(), trajectory, title)

    def _as_real_table(self) -> Solution:
        """The same with nests and complex states laid out as one real tensor, (b, k, n)."""
        if self.xs is None or (isinstance(self.xs, Tensor) and not self.xs.is_complex()):
            return self
        parts = [torch.view_as_real(v) if v.is_complex() else v for v in leaves(self.xs)]
        return replace(self, xs=torch.cat([v.flatten(1 if self.single else 2) for v in parts], -1))


def _shapes(tree: Any) -> str:
    return ", ".join(str(tuple(v.shape)) for v in leaves(tree))


class SolveError(RuntimeError):
    """Raised with `throw=True` after all trajectories have finished, if one of them failed. `.solution` holds the outcome."""

    def __init__(self, solution: Solution, hint: str = "Pass throw=False to get the other trajectories and the codes.") -> None:
        self.solution = solution
        failed = solution.failures
        more = f"\n({len(failed) - 3} more; all in .solution.failures)" if len(failed) > 3 else ""
        super().__init__("\n".join(map(str, failed[:3])) + more + f"\n{hint}")

"""`auto`: an explicit and a Rosenbrock method, chosen for every trajectory by the stiffness it meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from odebridge.core.protocols import Counts, Step, System
from odebridge.core.result import Result
from odebridge.core.shapes import merge, per_sample
from odebridge.core.tolerance import rms
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Linearised, Rosenbrock

# Half the extent of Tsit5's region of stability on the negative real axis, 3.51. At tight tolerances the error control
# sees the instability early and the step oscillates below the bound (median of h |lambda| 1.6 on Robertson at rtol 1e-8),
# so that OrdinaryDiffEq.jl's 0.9 of the bound, ten times in a row, held Robertson explicit for ten thousand steps.
PRESSED = 1.75
TO_STIFF, TO_EXPLICIT = 20, 6  # votes for a change: 2 for each kept step that asks for it, -1 for each that does not


class Mode(NamedTuple):
    """What each trajectory runs on."""

    stiff: Bool[Tensor, " b"]
    votes: Int[Tensor, " b"]  # for the other method
    linearised: Linearised


@dataclass(frozen=True)
class Auto:
    """Tsit5 until h |lambda| presses against its stability bound, Rodas5P until it no longer does; per trajectory.

    On the explicit side |lambda| ~ |k_7 - k_6| / |Y_7 - Y_6|, two stages of equal abscissa; on the stiff side the largest
    row sum of |J|. A trajectory changes over after 10 (3 on the way back) such kept steps, discounted by those between that
    say otherwise. Both methods are of order 5 with an estimate of order 4, so the controller's history goes on. Source:
    Shampine, Math. Comp. 31, 1977. Caveat: while some trajectories are stiff and others are not, both methods are computed
    for all of them; `stats` counts what each one needed. Use: `ob.solve(problem, method="auto")`.
    """

    explicit: ExplicitRK
    stiff: Rosenbrock
    law: str = "i"

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return "auto"

    @property
    def order(self) -> int:
        """Order of both methods."""
        return min(self.explicit.order, self.stiff.order)

    @property
    def error_order(self) -> int | None:
        """Order of both error estimates."""
        return self.explicit.error_order

    @property
    def dense_order(self) -> int:
        """Order of both interpolants."""
        return min(self.explicit.dense_order, self.stiff.dense_order)

    def start(self, field: System, t: Any, x: Tensor) -> Mode:
        """Everyone starts explicit."""
        zero = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return Mode(zero.bool(), zero, self.stiff.start(field, t, x))

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Mode) -> Step:
        """One step of each trajectory's own method."""
        if isinstance(t, float):
            raise ValueError("method 'auto' chooses by the step a controller wants; on a grid name the method yourself.")
        stiff = memory.stiff
        # Which methods are computed is a matter of speed in eager mode only: what is not selected is never seen.
        compiling = torch.compiler.is_compiling()
        some_stiff, some_not = compiling or bool(stiff.any()), compiling or not bool(stiff.all())
        # What is not selected must be finite, or 0 * inf puts nan into gradients: a stiff trajectory's step is far beyond the
        # explicit method, so there it takes none, and the Rosenbrock method a short one where it is not asked.
        calm, short = torch.where(stiff, 0.0, dt), torch.where(stiff, dt, 1e-3 * dt)
        easy = self.explicit.step(field, t, x, calm, per_sample(calm, x), slope, None) if some_not else None
        hard = self.stiff.step(field, t, x, short, per_sample(short, x), slope, memory.linearised) if some_stiff else None
        end = None if hard is None else field(t + short, hard.x)
        linearised = memory.linearised if hard is None else hard.memory
        retry = memory.linearised if hard is None else hard.retry
        bound = None if hard is None else field.structure.norm(hard.memory.jac)
        pressed = _pressed(easy, bound, dt, stiff)
        votes = torch.where(pressed != stiff, memory.votes + 2, (memory.votes - 1).clamp_min(0))
        change = votes >= torch.where(stiff, TO_EXPLICIT, TO_STIFF)
        kept = Mode(stiff ^ change, torch.where(change, 0, votes), linearised)
        parts = [_parts(easy, None if easy is None else easy.slope), _parts(hard, end)]
        x1, error, slope1 = (_choose(stiff, a, b) for a, b in zip(*parts, strict=True))
        trouble = None if hard is None else torch.where(stiff, hard.trouble, int(Result.OK))  # type: ignore[arg-type]
        cost = Counts(
            f_evals=torch.where(stiff, self.stiff.tableau.stages, self.explicit.tableau.stages - 1),
            jacobians=stiff * (0 if hard is None else hard.cost.jacobians),
            factorisations=stiff.to(torch.int64),
            solves=stiff * self.stiff.tableau.stages,
        )
        assert x1 is not None  # one of the two was computed
        return Step(x1, error, slope1, kept, memory._replace(linearised=retry), (easy, hard, stiff), trouble, cost)

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """The interpolant of each trajectory's own method."""
        easy, hard, stiff = step.stages
        own = [
            None if part is None else method.interpolant(x0, slope0, slope1, h, part._replace(x=step.x))
            for method, part in ((self.explicit, easy), (self.stiff, hard))
        ]
        if own[0] is None or own[1] is None:
            return own[0] or own[1] or ()
        return tuple(merge(stiff, b, a) for a, b in zip(*own, strict=True))


def _parts(step: Step | None, slope: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    return (None, None, None) if step is None else (step.x, step.error, slope)


def _choose(stiff: Tensor, easy: Tensor | None, hard: Tensor | None) -> Tensor | None:
    if easy is None or hard is None:
        return hard if easy is None else easy
    return merge(stiff, hard, easy)


def _pressed(easy: Step | None, bound: Tensor | None, dt: Tensor, stiff: Tensor) -> Tensor:
    """Does h |lambda| press against the bound of stability, (b,)."""
    size = torch.zeros_like(dt)
    if easy is not None:
        k6, k7 = easy.stages[-2:]
        gap = easy.x - easy.extra
        ratio = rms(k7 - k6).double() / rms(gap).double()
        size = torch.where(stiff, size, dt.abs() * ratio)
    if bound is not None:
        size = torch.where(stiff, dt.abs() * bound, size)
    return size > PRESSED  # a quotient of zeros is nan and says nothing

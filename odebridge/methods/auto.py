"""`auto`: an explicit and a Rosenbrock method, chosen for every trajectory by the stiffness it meets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from odebridge.core.protocols import Counts, StagePair, Step, System
from odebridge.core.records import replaced
from odebridge.core.result import Result
from odebridge.core.shapes import merge, per_sample
from odebridge.core.tolerance import rms
from odebridge.linalg.krylov import Krylov
from odebridge.linalg.structure import Dense
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Linearised, Rosenbrock

# Half the extent of Tsit5's region of stability on the negative real axis, 3.51: the step oscillates below that bound.
PRESSED = 1.75
TO_STIFF, TO_EXPLICIT = 20, 6  # votes for a change: 2 for each kept step that asks for it, -1 for each that does not
# At tight tolerances the error of the stiff components, not their stability, limits an explicit step (h |lambda| ~ 0.1 on
# Robertson at rtol 1e-9), which no bound on h |lambda| can tell from a problem that is not stiff. So both methods are tried
# on the same step now and then, and the step that each could take decides.
PROBE = 128  # after so many kept explicit steps, twice as many, four times ...
GAIN, LOSS = 2.0, 1.2  # a Rosenbrock step that many times as long is worth a change, and not worth staying
PROBED = 64  # components up to which a Jacobian is made for the sake of a probe
LARGE = 512  # components from which on a full matrix is out of the question: GMRES then


class Mode(NamedTuple):
    """What each trajectory runs on."""

    stiff: Bool[Tensor, " b"]
    votes: Int[Tensor, " b"]  # for the other method
    steps: Int[Tensor, " b"]  # kept since the last change
    linearised: Linearised


@dataclass(frozen=True)
class Auto:
    """Tsit5 until h |lambda| presses against its stability bound, Rodas5P until it no longer pays; per trajectory.

    On the explicit side |lambda| ~ |k_7 - k_6| / |Y_7 - Y_6|, two stages of equal abscissa; on the stiff side the largest
    row sum of |J|. A trajectory changes over after 10 (3 on the way back) such kept steps, discounted by those between that
    say otherwise; the way back must also cost no more than 1.2 times the steps, by the errors of both on one step. After 128,
    256, 512 ... explicit steps both are tried, and one error so much smaller that the step could be twice as long
    changes over at once. Both methods are of order 5 with an estimate of order 4, so the controller's history goes on. From
    512 components on, with neither `jacobian` nor `sparsity` given, linear systems are solved by GMRES. Source: Shampine, ACM
    Trans. Math. Softw. 3, 1977. Caveat: while some trajectories are stiff and others are not, both methods are computed for
    all of them; `stats` counts what each one needed. Use: `ob.solve(problem, method="auto")`.
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
        return Mode(zero.bool(), zero, zero, self.stiff.start(_solvable(field, x), t, x))

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Mode) -> Step:
        """One step of each trajectory's own method."""
        if isinstance(t, float):
            raise ValueError("method 'auto' chooses by the step a controller wants; on a grid name the method yourself.")
        stiff, field = memory.stiff, _solvable(field, x)
        probe = ~stiff & _due(memory.steps) if x[0].numel() <= PROBED else torch.zeros_like(stiff)
        # Which methods are computed is a matter of speed in eager mode only: what is not selected is never seen.
        compiling, needed = torch.compiler.is_compiling(), stiff | probe
        # What is not selected must be finite, or 0 * inf puts nan into gradients: a stiff trajectory's step is far beyond the
        # explicit method, so there it takes none, and the Rosenbrock method a short one where it is not asked.
        hard, short = None, torch.where(needed, dt, 1e-3 * dt)
        if compiling or bool(needed.any()):
            hard = self.stiff.step(field, t, x, short, per_sample(short, x), slope, memory.linearised)
        bound = None if hard is None else field.structure.norm(hard.memory.jac)
        pressed = torch.zeros_like(stiff) if bound is None else stiff & (dt.abs() * bound > PRESSED)
        easy, calm = None, torch.where(pressed, 0.0, dt)
        if compiling or not bool(pressed.all()):
            easy = self.explicit.step(field, t, x, calm, per_sample(calm, x), slope, None)
        if easy is not None:
            pressed = pressed | (~stiff & (dt.abs() * _stiffness(easy) > PRESSED))
        gain = _gain(field, x, easy, hard, self.stiff.error_order)
        leaves = ~pressed & (gain < LOSS)
        votes = torch.where(torch.where(stiff, leaves, pressed), memory.votes + 2, (memory.votes - 1).clamp_min(0))
        change = (votes >= torch.where(stiff, TO_EXPLICIT, TO_STIFF)) | (probe & (gain > GAIN))
        linearised = memory.linearised if hard is None else hard.memory
        kept = Mode(stiff ^ change, torch.where(change, 0, votes), torch.where(change, 0, memory.steps + 1), linearised)
        retry = replaced(memory, linearised=memory.linearised if hard is None else hard.retry)
        end = None if hard is None else (field(t + short, hard.x) if compiling or bool(stiff.any()) else hard.x)
        parts = [_parts(easy, None if easy is None else easy.slope), _parts(hard, end)]
        x1, error, slope1 = (_choose(stiff, a, b) for a, b in zip(*parts, strict=True))
        trouble = None if hard is None else torch.where(stiff, hard.trouble, int(Result.OK))  # type: ignore[arg-type]
        assert x1 is not None  # one of the two was computed
        return Step(
            x1, error, slope1, kept, retry, (easy, hard, stiff), trouble, self._cost(stiff, probe, bound is None, pressed, hard)
        )

    def _cost(self, stiff: Tensor, probe: Tensor, unbounded: bool, pressed: Tensor, hard: Step | None) -> Counts:
        """Each trajectory's own method, and the other one where it was tried as well."""
        asked, stages = stiff | probe, self.stiff.tableau.stages
        easy = ~stiff | ~pressed | unbounded
        return Counts(
            f_evals=stiff * stages + probe * (stages - 1) + easy * (self.explicit.tableau.stages - 1),
            jacobians=asked * (0 if hard is None else hard.cost.jacobians),
            factorisations=asked.to(torch.int64),
            solves=asked * stages,
        )

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """The interpolant of each trajectory's own method."""
        easy, hard, stiff = step.stages
        own = [
            None if part is None else method.interpolant(x0, slope0, slope1, h, replaced(part, x=step.x))
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


def _solvable(field: System, x: Tensor) -> System:
    """The field with linear systems that fit into memory."""
    if x[0].numel() < LARGE or field.jacobian is not None or type(field.structure) is not Dense:
        return field
    return replace(field, structure=Krylov())  # type: ignore[type-var]


def _due(steps: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
    """Whether both methods are to be tried: at PROBE kept steps and its doubles."""
    return (steps >= PROBE) & ((steps & (steps - 1)) == 0)


def _stiffness(easy: Step) -> Float[Tensor, " b"]:
    """|lambda| by two stages of equal abscissa; nan, which says nothing, where both are the same."""
    pair: StagePair = easy.extra
    return rms(easy.stages[-1] - pair.slope).double() / rms(easy.x - pair.x).double()


def _gain(field: System, x: Tensor, easy: Step | None, hard: Step | None, order: int | None) -> Float[Tensor, " b"]:
    """How many times as long the Rosenbrock step could be, by both errors of one step; 1 where only one was tried."""
    if easy is None or hard is None or field.tol is None or easy.error is None or hard.error is None:
        return torch.ones(len(x), dtype=torch.float64, device=x.device)
    one, other = (field.tol.ratio(error, x, x1).double() for error, x1 in ((easy.error, easy.x), (hard.error, hard.x)))
    one = torch.nan_to_num(one, nan=torch.inf)  # overflow is an answer, too
    # Far below the tolerance both are rounding errors.
    return ((one / other.clamp_min(1e-8)).clamp_min(1e-30).log() / ((order or 0) + 1)).exp()

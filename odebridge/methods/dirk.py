"""Diagonally implicit Runge-Kutta methods with an explicit first stage, alone or with an explicit partner (IMEX)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from odebridge.core.protocols import Counts, Step, System
from odebridge.core.result import Result
from odebridge.core.shapes import per_sample, tree_map
from odebridge.linalg.structure import times_mass
from odebridge.methods.implicit import (
    Held,
    Newton,
    differentiated,
    hold,
    left,
    newton,
    on_own_terms,
    one_clock,
    one_size,
    rounds,
    singular,
    with_second_chance,
)
from odebridge.methods.weighted import advanced, hermite, weighted
from odebridge.tableaus.base import DirkTableau, Row
from odebridge.tableaus.predictor import stage_predictor


class Stages(NamedTuple):
    """What the interpolant needs: increments Y_i - x of stages 2..s, and the slopes of all."""

    z: list[Tensor]
    slopes: list[Tensor]


class Pass(NamedTuple):
    """One pass through the stages."""

    found: Float[Tensor, "b k *s"]
    x1: Float[Tensor, "b *s"]
    error: Float[Tensor, "b *s"]
    stages: Stages
    held: Held
    ok: Bool[Tensor, " b"]
    rate: Float[Tensor, " b"]
    theta: Float[Tensor, " b"]
    cost: Counts


@dataclass(frozen=True)
class Correction:
    """Newton's correction of one stage: damp W^-1 ((known - M z) / (gamma h) + f(moment, x + z))."""

    field: System
    factors: Any
    moment: Float[Tensor, " b"]
    x: Float[Tensor, "b *s"]
    known: Float[Tensor, "b *s"]
    per: Tensor  # 1 / (gamma h), (b, 1, ..., 1)
    damp: Tensor

    def __call__(self, z: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The step from z."""
        residual = (self.known - times_mass(self.field.mass, z)) * self.per + self.field(self.moment, self.x + z)
        return self.damp * self.field.structure.solve(self.field, self.factors, residual)

    def compiled(self, z: Tensor, weights: Tensor, rate: Tensor, active: Tensor, limit: int) -> Newton | None:
        """The whole iteration, where the structure has one of its own (the compiled loop); else None."""
        own = getattr(self.field.structure, "newton", None)
        return None if own is None else Newton(*own(self, z, weights, rate, active, limit))


@dataclass(frozen=True)
class Dirk:
    """M (Y_i - x) = h sum_(j<i) a_ij F_j + h gamma F_i,  F_i = f(t + c_i h, Y_i),  Y_1 = x,  x1 = Y_s.

    Each stage is solved by simplified Newton, W = M/(gamma h) - J, from a value predicted by the slopes of earlier stages.
    J is kept from step to step while it converges, factors while h changes by less than a fifth; a try that fails with an
    old J is made again at once with a fresh one, and no step is kept whose iteration did not converge. The slope of a stage
    is taken from the equation above, not from f, whose stiffness would magnify what the iteration has left. The error
    sum_i (b_i - b_hat_i) F_i is filtered through W^-1 where the embedded solution does not damp (TR-BDF2, KenCarp). Kvaerno's
    does, being a stage: there a filter would make the error of a stiff component seem smaller than it is by 1 + gamma h |J|.

    On a `Split(stiff, nonstiff)` field a tableau with an explicit partner is an IMEX pair: J and Newton see the stiff part
    only (so does a given `jacobian`), and what the explicit weights add to the last stage is not filtered. Shapes: x (b, *s);
    h a float or (b,). Source: Kennedy & Carpenter, NASA/TM-2016-219173. Caveat: stage order 2, so that on very stiff problems
    the order falls towards 2. With a mass matrix the dense output is the parabola through a stage.
    Use: `ob.integrate(f, x0, (0.0, 1e5), method="kvaerno5")`.
    """

    tableau: DirkTableau
    law: str = "pi"
    iterations: int = 10  # corrections of one Newton iteration before it is given up
    takes_mass: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Name of the tableau."""
        return self.tableau.name

    @property
    def order(self) -> int:
        """Order of the main weights."""
        return self.tableau.order

    @property
    def error_order(self) -> int | None:
        """Order of the error estimate: the lower of main and embedded order."""
        return min(self.tableau.embedded_order, self.tableau.order)

    @property
    def dense_order(self) -> int:
        """Order of the interpolant."""
        return min(self.tableau.dense_order, self.order)

    @cached_property
    def predictors(self) -> tuple[Row, ...]:
        """Weights that predict the slope of each stage from those before."""
        return tuple(stage_predictor(self.tableau.c, i) for i in range(self.tableau.stages))

    @cached_property
    def extrapolators(self) -> tuple[Row, ...]:
        """Weights that predict the increment of each stage from those before, for problems with a mass matrix."""
        return tuple(stage_predictor(self.tableau.c, i, increments=True) for i in range(self.tableau.stages))

    def start(self, field: System, t: Any, x: Tensor) -> Held | None:
        """Nothing is held yet."""
        return None

    def restart(self, memory: Held, mask: Bool[Tensor, " b"]) -> Held:
        """After a jump of the field the Jacobian is stale."""
        return memory._replace(here=memory.here & ~mask, good=memory.good & ~mask)

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Held | None) -> Step:
        """One step from (t, x) with slope = f(t, x)."""
        size, clock = one_size(self.name, h, x), one_clock(t, x)
        dt = torch.full_like(size, dt) if isinstance(dt, float) else dt
        tried = with_second_chance(self._pass, field, (clock, x, dt, size, slope), memory, x)
        kept, retry = left(tried.held, tried.rate, tried.theta)
        trouble = torch.where(tried.ok, int(Result.OK), int(Result.NEWTON_FAILED))
        trouble = torch.where(singular(tried.held.factors), int(Result.SINGULAR), trouble)
        end = None if self._split(field) else tried.stages.slopes[-1]
        return Step(
            tried.x1, tried.error, end, kept, retry, (tried.stages, field.mass is not None), trouble, tried.cost,
            found=tried.found,
        )  # fmt: skip

    def _split(self, field: System) -> bool:
        return self.tableau.explicit is not None and field.parts is not None

    def _halves(self, field: System) -> tuple[System, Any]:
        """The field that is solved for, and the one that is not."""
        if not self._split(field) or field.parts is None:
            return field, None
        if field.mass is not None:
            raise ValueError("mass: an IMEX pair on a Split field takes none; pass the sum of both parts as one field.")
        return field.parts  # type: ignore[return-value]

    def _pass(
        self, field: System, given: tuple[Tensor, ...], held: Held | None, anew: Tensor, who: Tensor | None = None
    ) -> Pass:
        t, x, dt, size, slope = given
        tab, form = self.tableau, field.structure
        stiff, nonstiff = self._halves(field)
        shift = 1.0 / (tab.gamma * size)
        held, made, factored = hold(stiff, t, x, shift, held, anew, form.factor)
        # With factors of another step size a correction is right for stiff components and off for the others; this is between.
        damp = per_sample(2.0 / (1.0 + shift / held.shift), x)
        weights = on_own_terms(field, x).weights(x, x)
        h, per = per_sample(size, x), per_sample(shift, x)
        slopes = [slope if nonstiff is None else stiff(t, x)]
        explicit = [] if nonstiff is None else [nonstiff(t, x)]
        z: list[Tensor] = []
        ok, rate, theta = ~singular(held.factors), held.rate, torch.zeros_like(held.rate)
        ok = ok if who is None else ok & who
        corrections = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        for i in range(1, tab.stages):
            known = self._known(i, h, slopes, explicit, x)
            moment = t + tab.c[i] * dt
            correction = Correction(stiff, held.factors, moment, x, known, per, damp)
            guess = self._predicted(i, h, known, slopes, z, field.mass is not None)
            limit = rounds(field, self.iterations)
            solved = correction.compiled(guess, weights, rate, ok, limit)
            if solved is None:
                solved = newton(correction, guess, weights, rate, ok, limit=limit)
            ok, rate, theta = ok & solved.converged, solved.rate, torch.maximum(theta, solved.theta)
            corrections = corrections + solved.iterations
            z.append(solved.z)
            slopes.append((times_mass(field.mass, solved.z) - known) * per)
            if nonstiff is not None:
                explicit.append(nonstiff(moment, x + solved.z))
        x1, error = self._end(form, stiff, held, x, h, z, slopes, explicit)
        extra = 0 if nonstiff is None else 1  # the explicit partner and the stiff part count as one evaluation together
        cost = Counts(
            f_evals=corrections + extra, jacobians=made.to(torch.int64), factorisations=factored.to(torch.int64),
            solves=corrections + (not tab.ends_twice), newton_iterations=corrections,
            accepted=torch.zeros_like(corrections), rejected=torch.zeros_like(corrections),
        )  # fmt: skip
        return Pass(torch.stack(z, 1), x1, error, Stages(z, _sums(slopes, explicit)), held, ok, rate, theta, cost)

    def _known(self, i: int, h: Tensor, slopes: list[Tensor], explicit: list[Tensor], x: Tensor) -> Tensor:
        """What stage i has from earlier stages, h sum_j a_ij F_j and the same of the explicit partner."""
        total = weighted(self.tableau.a[i], slopes)
        if explicit and self.tableau.explicit is not None:
            other = weighted(self.tableau.explicit[i], explicit)
            total = other if total is None else (total if other is None else total + other)
        return torch.zeros_like(x) if total is None else h * total

    def _predicted(self, i: int, h: Tensor, known: Tensor, slopes: list[Tensor], z: list[Tensor], mass: bool) -> Tensor:
        if mass:
            guess = weighted(self.extrapolators[i][1:], z)
            return torch.zeros_like(known) if guess is None else guess
        slope = weighted(self.predictors[i], slopes)
        return advanced(known, self.tableau.gamma * h, slope)

    def _end(
        self, form: Any, stiff: System, held: Held, x: Tensor, h: Tensor, z: list[Tensor], slopes: list[Tensor], explicit: Any
    ) -> tuple[Tensor, Tensor]:
        tab, x1 = self.tableau, x + z[-1]
        e = [b - b_hat for b, b_hat in zip(tab.b, tab.b_hat, strict=True)]
        rest = weighted(e, slopes)
        assert rest is not None  # a tableau whose weights are its embedded ones has no estimate
        if explicit:
            # The explicit weights add to the last stage what no W^-1 damps, so that none of it is filtered.
            added = h * self._left(explicit)
            rest = rest if (more := weighted(e, explicit)) is None else rest + more
            filtered = form.solve(stiff, held.factors, (h * rest - added) * per_sample(held.shift, x))
            return x1 + added, filtered + added
        if tab.ends_twice:  # the same sum, without the rounding of slopes and for any mass matrix
            return x1, z[-1] - z[-2]
        return x1, form.solve(stiff, held.factors, rest) / tab.gamma

    def _left(self, explicit: list[Tensor]) -> Tensor:
        """What the explicit partner adds to the last stage, sum_i (b_i - a_si) g_i."""
        assert self.tableau.explicit is not None
        row = (*self.tableau.explicit[-1], 0.0)
        rest = weighted([b - a for b, a in zip(self.tableau.b, row, strict=True)], explicit)
        return torch.zeros_like(explicit[0]) if rest is None else rest

    def replay(
        self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Any, found: Float[Tensor, "b k *s"]
    ) -> Step:
        """The step with its stages as they were found, differentiated by the implicit function theorem.

        With G(z, p) = 0 the equation of a stage, dz/dp = -(dG/dz)^-1 dG/dp: one linear solve with the Jacobian of that stage,
        whose transpose the backward pass solves with. Newton's iterations are not unrolled.
        """
        tab, form = self.tableau, field.structure
        size, clock = one_size(self.name, h, x), one_clock(t, x)
        dt = torch.full_like(size, dt) if isinstance(dt, float) else dt
        stiff, nonstiff = self._halves(field)
        h, per = per_sample(size, x), per_sample(1.0 / (tab.gamma * size), x)
        slopes = [slope if nonstiff is None else stiff(clock, x)]
        explicit = [] if nonstiff is None else [nonstiff(clock, x)]
        z: list[Tensor] = []
        for i in range(1, tab.stages):
            fixed, moment = found[:, i - 1].detach(), clock + tab.c[i] * dt
            known = self._known(i, h, slopes, explicit, x)
            with torch.no_grad():
                jac, _ = form.differentiate(stiff, moment, x + fixed)
                factors = tree_map(Tensor.detach, form.factor(stiff, jac, 1.0 / (tab.gamma * size)))

            def correction(v: Tensor, known: Tensor = known, moment: Tensor = moment, factors: Any = factors) -> Tensor:
                return form.solve(stiff, factors, (known - times_mass(field.mass, v)) * per + stiff(moment, x + v))

            z.append(differentiated(field, fixed, correction))
            slopes.append((times_mass(field.mass, z[-1]) - known) * per)
            if nonstiff is not None:
                explicit.append(nonstiff(moment, x + z[-1]))
        x1 = x + z[-1]
        if explicit:
            x1 = x1 + h * self._left(explicit)
        end = slopes[-1] if nonstiff is None else None
        return Step(x1, None, end, None, None, (Stages(z, _sums(slopes, explicit)), field.mass is not None))

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """The tableau's continuous weights, else cubic Hermite; with a mass matrix the parabola through a stage."""
        (z, slopes), mass = step.stages
        if not mass and self.tableau.dense is not None:
            sums = (weighted(column, slopes) for column in zip(*self.tableau.dense, strict=True))
            return tuple(h * q for q in sums if q is not None)
        if mass:
            inner = [i for i, c in enumerate(self.tableau.c) if 0.0 < c < 1.0]
            i = min(inner, key=lambda i: abs(self.tableau.c[i] - 0.5))
            c = self.tableau.c[i]
            rise = step.x - x0
            bend = (rise * c - z[i - 1]) / (c - c * c)
            return rise - bend, bend
        return hermite(x0, step.x, slope0, slope1, h)


def _sums(stiff: list[Tensor], nonstiff: list[Tensor]) -> list[Tensor]:
    """Slopes of the whole field."""
    return [a + b for a, b in zip(stiff, nonstiff, strict=True)] if nonstiff else stiff

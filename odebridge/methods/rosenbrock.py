"""Rosenbrock methods: one Jacobian and one factorisation a step, no Newton iteration."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from odebridge.core.protocols import Counts, Step, System
from odebridge.core.result import Result
from odebridge.core.shapes import per_sample, tree_map
from odebridge.linalg.structure import times_mass
from odebridge.methods.implicit import one_clock, one_size
from odebridge.methods.weighted import weighted
from odebridge.tableaus.base import RosenbrockTableau


class Linearised(NamedTuple):
    """The field's derivatives at the start of the step; kept when a try is rejected, since x has not moved."""

    jac: Any  # df/dx in the form of the field's structure
    dfdt: Float[Tensor, "b *s"]
    known: Bool[Tensor, " b"]


@dataclass(frozen=True)
class Rosenbrock:
    """(M/(gamma h) - J) u_i = f(t + c_i h, x + sum_j a_ij u_j) + M sum_j C_ij u_j / h + d_i h df/dt,  x1 = x + sum_i m_i u_i.

    J and df/dt are those of the current point, by forward mode or the user's `jacobian`; every trajectory does the same
    work. A singular matrix costs that trajectory a rejected step. Shapes: x (b, *s), flattened to n for J (b, n, n); h a
    float or (b,). Source: Hairer & Wanner II, IV.7. Caveat: an inexact `jacobian` lowers the order (to 2 for Rodas5P).
    Where the tableau `checks_end` (Rodas3P), the error of a component is at least Newton's next correction at the end,
    (M/(gamma h) - J)^-1 (f(t + h, x1) - M x'(t + h)), x' the slope of the interpolant: O(h^4) without stiffness, and how far
    x1 is from where a stiff component ought to be with it. One solve more; that f is the slope of the next step.
    jacobian_gradient: "exact" differentiates J and df/dt as well; "detach" takes them as constants, which halves the backward
    pass and asks for no second derivative of f. Where J is a constant, the derivative of the method is a method with an
    inexact J for the variational equation, so its order is the W-order: ValueError unless that is the order of the method
    ('rodas4pw', 'ros34pw2', 'rosenbrock23'; Rodas5P would fall from 5 to 2).
    Use: `ob.integrate(f, x0, (0.0, 1e5), method="rodas5p")`.
    """

    tableau: RosenbrockTableau
    law: str = "predictive"
    algebraic: bool = True  # may M be singular: the embedded solution must damp, or no step is short enough for its error
    jacobian_gradient: str = "exact"
    takes_mass: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.jacobian_gradient not in ("exact", "detach"):
            raise ValueError(f'jacobian_gradient: must be "exact" or "detach", got {self.jacobian_gradient!r}.')
        if self.jacobian_gradient == "detach" and self.tableau.w_order < self.tableau.order:
            raise ValueError(
                f"jacobian_gradient: with a constant Jacobian the gradient of {self.tableau.name!r} has order "
                f"{self.tableau.w_order} and not {self.tableau.order}; it works with 'rodas4pw', 'ros34pw2', 'rosenbrock23'."
            )

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

    def start(self, field: System, t: Any, x: Tensor) -> Linearised:
        """Nothing known yet."""
        return Linearised(field.structure.empty(x), torch.zeros_like(x), torch.zeros(len(x), dtype=torch.bool, device=x.device))

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Linearised) -> Step:
        """One step from (t, x) with slope = f(t, x). h must be one number per trajectory: the matrix holds it."""
        tab, form = self.tableau, field.structure
        size, clock = one_size(tab.name, h, x), one_clock(t, x)
        h = per_sample(size, x)
        # A try from the same point has the same J. Skipped in eager mode only: what is not needed is not seen.
        if torch.compiler.is_compiling() or not bool(memory.known.all()):
            jac, dfdt = self._differentiated(field, clock, x)
        else:
            jac, dfdt = memory.jac, memory.dfdt
        factors = form.factor(field, jac, 1.0 / (tab.gamma * size))
        stages: list[Tensor] = []
        slopes = [slope]
        for i, source in enumerate(tab.sources):
            if source < i:
                slopes.append(slopes[source])
            elif i > 0:
                move = weighted(tab.a[i], stages)
                slopes.append(field(clock + tab.c[i] * dt, x if move is None else x + move))
            rhs = slopes[i]
            history = weighted(tab.C[i], stages)
            if history is not None:
                rhs = rhs + times_mass(field.mass, history) / h
            if tab.d[i] != 0.0:
                rhs = rhs + (tab.d[i] * h) * dfdt
            stages.append(form.solve(field, factors, rhs))
        rise, error, end = weighted(tab.m, stages), weighted(tab.e, stages), slopes[-1] if tab.fsal else None
        x1 = x if rise is None else x + rise
        if tab.checks_end:
            end = field(clock + dt, x1)
            along = times_mass(field.mass, weighted(tab.end_slope, stages)) / h  # type: ignore[arg-type]
            miss = form.solve(field, factors, end - along)
            error = torch.where(miss.abs() > error.abs(), miss, error)  # type: ignore[union-attr]
        trouble = torch.where(factors.singular, int(Result.SINGULAR), int(Result.OK))
        solves = tab.stages + tab.checks_end
        cost = Counts(f_evals=tab.evaluations, jacobians=(~memory.known).to(torch.int64), factorisations=1, solves=solves)
        unknown = torch.zeros_like(memory.known)
        return Step(
            x1,
            error,
            end,
            Linearised(jac, dfdt, unknown),
            Linearised(jac, dfdt, ~factors.singular),  # a J that made a singular matrix may not be finite
            stages,
            trouble,
            cost,
            extra=jac,
        )

    def _differentiated(self, field: System, t: Tensor, x: Tensor) -> tuple[Any, Tensor]:
        if self.jacobian_gradient == "exact":
            return field.structure.differentiate(field, t, x)
        with torch.no_grad():
            return tree_map(Tensor.detach, field.structure.differentiate(field, t.detach(), x.detach()))

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """(1 - s) x0 + s (x1 + (1 - s) (q_1 + s q_2 + ...)) as powers of s."""
        dense = self.tableau.dense or ()
        inner = [weighted(row, step.stages) for row in dense]
        q = [torch.zeros_like(x0) if v is None else v for v in inner]
        # s (x1 - x0) + s (1 - s) (q_1 + q_2 s + ...) = s (x1 - x0 + q_1) + s^2 (q_2 - q_1) + ... - s^(k+1) q_k
        powers = [q[0], *(b - a for a, b in pairwise(q)), -q[-1]]
        return (step.x - x0 + powers[0], *powers[1:])

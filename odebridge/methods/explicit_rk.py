"""Explicit Runge-Kutta methods: one loop for every tableau."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from odebridge.core.protocols import Counts, StagePair, Step, System
from odebridge.core.records import replaced
from odebridge.methods.weighted import advanced, hermite, weighted
from odebridge.tableaus.base import ButcherTableau


@dataclass(frozen=True)
class ExplicitRK:
    """k_i = f(t + c_i dt, x + h sum_j a_ij k_j),  x1 = x + h sum_i b_i k_i,  error = h sum_i (b_i - b_hat_i) k_i.

    dt moves the clock and h scales the increment: over a span they are the same number, in a network dt is the spacing of the
    layers and h what the gate says. Shapes: x (b, *s); dt a float or (b,); h anything that multiplies x.
    Source: Hairer, Norsett & Wanner I, II.1 and II.4. Not for stiff problems: stability, not accuracy, bounds the step there.
    Use: `ob.integrate(f, x0, (0.0, 1.0), method="tsit5")`.
    """

    tableau: ButcherTableau
    law: str = "pi"

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
        """Order of the embedded weights; None if there are none."""
        return self.tableau.embedded_order

    @property
    def dense_order(self) -> int:
        """Order of the interpolant, the method's own or cubic Hermite."""
        return min(self.tableau.dense_order, self.order)

    def start(self, field: System, t: Any, x: Tensor) -> None:
        """Nothing is remembered but the slope, which the loop keeps."""

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: None) -> Step:
        """One step from (t, x) with slope = f(t, x)."""
        made = self.advance(field, t, x, dt, h, slope)
        # On a grid nobody reads the error, and it costs full-size operations.
        return replaced(made, error=self.estimate(made.stages, h)) if isinstance(dt, Tensor) else made

    def advance(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor) -> Step:
        """The step without its error estimate."""
        tab = self.tableau
        slopes, end, before = [slope], x, x
        for c, row in zip(tab.c[1:], tab.a[1:], strict=True):
            before, end = end, advanced(x, h, weighted(row, slopes))
            slopes.append(field(t + c * dt, end))
        x1 = end if tab.fsal else advanced(x, h, weighted(tab.b, slopes))
        last = slopes[-1] if tab.fsal else None
        # Two last stages of equal abscissa show the stiffness for free: |k_s - k_(s-1)| / |Y_s - Y_(s-1)|.
        pair = StagePair(before, slopes[-2]) if tab.fsal and tab.c[-2:] == (1.0, 1.0) else None
        return Step(x1, None, last, None, None, slopes, cost=Counts(f_evals=tab.stages - 1), extra=pair)

    def estimate(self, slopes: Sequence[Tensor], h: Any) -> Tensor | None:
        """Of the local error, h sum_i (b_i - b_hat_i) k_i; None without embedded weights."""
        if self.tableau.b_hat is None:
            return None
        weights = [b - b_hat for b, b_hat in zip(self.tableau.b, self.tableau.b_hat, strict=True)]
        difference = weighted(weights, slopes)
        return None if difference is None else h * difference

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """The tableau's own continuous weights, else the cubic Hermite polynomial."""
        if self.tableau.dense is None:
            return hermite(x0, step.x, slope0, slope1, h)
        columns = zip(*self.tableau.dense, strict=True)
        sums = (weighted(column, step.stages) for column in columns)
        return tuple(h * q for q in sums if q is not None)

"""Rosenbrock methods: one Jacobian and one factorisation a step, no Newton iteration."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from odebridge.core.protocols import Counts, Step, System
from odebridge.core.result import Result
from odebridge.core.shapes import per_sample
from odebridge.linalg.jacobian import jacobian
from odebridge.linalg.lu import factor, solve
from odebridge.methods.weighted import weighted
from odebridge.tableaus.base import RosenbrockTableau


class Linearised(NamedTuple):
    """The field's derivatives at the start of the step; kept when a try is rejected, since x has not moved."""

    jac: Float[Tensor, " b n n"]
    dfdt: Float[Tensor, "b *s"]
    known: Bool[Tensor, " b"]


@dataclass(frozen=True)
class Rosenbrock:
    """(I/(gamma h) - J) u_i = f(t + c_i h, x + sum_j a_ij u_j) + sum_j C_ij u_j / h + d_i h df/dt,  x1 = x + sum_i m_i u_i.

    J and df/dt are those of the current point, by forward mode or the user's `jacobian`; every trajectory does the same
    work. A singular matrix costs that trajectory a rejected step. Shapes: x (b, *s), flattened to n for J (b, n, n); h a
    float or (b,). Source: Hairer & Wanner II, IV.7. Caveat: an inexact `jacobian` lowers the order (to 2 for Rodas5P).
    Use: `ob.integrate(f, x0, (0.0, 1e5), method="rodas5p")`.
    """

    tableau: RosenbrockTableau
    law: str = "predictive"

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
        b, n = len(x), x[0].numel()
        return Linearised(x.new_zeros(b, n, n), torch.zeros_like(x), torch.zeros(b, dtype=torch.bool, device=x.device))

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Linearised) -> Step:
        """One step from (t, x) with slope = f(t, x). h must be one number per trajectory: the matrix holds it."""
        tab, b, n = self.tableau, len(x), x[0].numel()
        if isinstance(h, Tensor) and h.numel() != b:
            raise ValueError(
                f"controller: method {tab.name!r} solves a system with the step in it, so it needs one step a trajectory, not "
                f"{tuple(h.shape)}; per-channel steps work with explicit methods such as 'euler' or 'heun'."
            )
        # One number per trajectory whether h came as a float (a grid) or as (b, 1, ..., 1) (a span).
        size = (torch.full((b,), h, dtype=x.dtype, device=x.device) if isinstance(h, float) else h).reshape(b)
        clock = torch.full((b,), t, dtype=x.dtype, device=x.device) if isinstance(t, float) else t
        h = per_sample(size, x)
        jac, dfdt = jacobian(field, clock, x)
        eye = torch.eye(n, dtype=x.dtype, device=x.device)
        factors = factor(eye / (tab.gamma * size)[:, None, None] - jac)
        stages: list[Tensor] = []
        last = slope
        for i in range(tab.stages):
            if i > 0:
                move = weighted(tab.a[i], stages)
                last = field(clock + tab.c[i] * dt, x if move is None else x + move)
            rhs = last
            history = weighted(tab.C[i], stages)
            if history is not None:
                rhs = rhs + history / h
            if tab.d[i] != 0.0:
                rhs = rhs + (tab.d[i] * h) * dfdt
            stages.append(solve(factors, rhs))
        rise = weighted(tab.m, stages)
        trouble = torch.where(factors.singular, int(Result.SINGULAR), int(Result.OK))
        cost = Counts(f_evals=tab.stages - 1, jacobians=(~memory.known).to(torch.int64), factorisations=1, solves=tab.stages)
        unknown = torch.zeros_like(memory.known)
        return Step(
            x if rise is None else x + rise,
            weighted(tab.e, stages),
            last if tab.fsal else None,
            Linearised(jac, dfdt, unknown),
            Linearised(jac, dfdt, ~unknown),
            stages,
            trouble,
            cost,
            work=tab.stages - 1 + (n + 1 if field.jacobian is None else 1),
            extra=jac,
        )

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """(1 - s) x0 + s (x1 + (1 - s) (q_1 + s q_2 + ...)) as powers of s."""
        dense = self.tableau.dense or ()
        inner = [weighted(row, step.stages) for row in dense]
        q = [torch.zeros_like(x0) if v is None else v for v in inner]
        # s (x1 - x0) + s (1 - s) (q_1 + q_2 s + ...) = s (x1 - x0 + q_1) + s^2 (q_2 - q_1) + ... - s^(k+1) q_k
        powers = [q[0], *(b - a for a, b in pairwise(q)), -q[-1]]
        return (step.x - x0 + powers[0], *powers[1:])

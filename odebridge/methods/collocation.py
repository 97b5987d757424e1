"""Fully implicit Runge-Kutta methods of collocation type: Radau IIA and Gauss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from odebridge.core.protocols import Counts, Step, System
from odebridge.core.result import Result
from odebridge.core.shapes import per_sample, take
from odebridge.linalg.structure import Dense, full_mass, times_mass
from odebridge.methods.implicit import (
    Held,
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
from odebridge.methods.weighted import weighted
from odebridge.tableaus.collocation import CollocationTableau


class Past(NamedTuple):
    """What is remembered from step to step."""

    held: Held | None
    z: Float[Tensor, "b k *s"]  # stage increments of the last kept step, for the predictor
    h: Float[Tensor, " b"]  # its size; 0 = there was none
    careful: Bool[Tensor, " b"]  # at the start and after a rejection the error is estimated twice


class Pass(NamedTuple):
    """One solve for the stages."""

    z: Float[Tensor, "b k *s"]
    held: Held
    ok: Bool[Tensor, " b"]
    rate: Float[Tensor, " b"]
    theta: Float[Tensor, " b"]
    cost: Counts


@dataclass(frozen=True)
class Collocation:
    """M z_i = h sum_j a_ij f(t + c_j h, x + z_j),  x1 = x + sum_i d_i z_i with d = b^T A^-1 (Radau: x1 = x + z_s).

    All stages are solved at once by simplified Newton. With T^-1 A^-1 T = diag(lambda_k) the linear system falls into one of
    size n for the real eigenvalue and one complex one for each pair. Starting values extrapolate the last step's collocation
    polynomial; the iteration may take min(0.03, sqrt(rtol)) of the tolerance. The error estimate is (M/(gamma_0 h) - J)^-1
    (f(t, x) + M sum_i e_i z_i / h), at the start and after a rejection evaluated a second time at x + error, as in Radau5.
    Gauss6 takes at least (M/(gamma_0 h) - J)^-1 (f(t + h, x1) - M x'(t + h)), x' of the polynomial: see `methods.Rosenbrock`.
    Shapes: x (b, *s); h a float or (b,). Source: Hairer & Wanner II,
    IV.8; J. Comput. Appl. Math. 111, 1999. Caveat: gradients need a full J (no banded or Krylov structure).
    Use: `ob.integrate(f, x0, (0.0, 1e5), method="radau5")`.
    """

    tableau: CollocationTableau
    law: str = "predictive"
    iterations: int = 0  # corrections of one Newton iteration before it is given up; 0: four more than there are stages
    takes_mass: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Name of the tableau."""
        return self.tableau.name

    @property
    def algebraic(self) -> bool:
        """May M be singular: Gauss methods, whose last stage is not the end, carry errors of algebraic components on."""
        return bool(self.tableau.c[-1] == 1.0)

    @property
    def order(self) -> int:
        """Classical order."""
        return self.tableau.order

    @property
    def error_order(self) -> int | None:
        """Order of the embedded formula, the number of stages."""
        return self.tableau.embedded_order

    @property
    def dense_order(self) -> int:
        """Order of the collocation polynomial."""
        return self.tableau.dense_order

    @cached_property
    def inverse(self) -> tuple[tuple[float, ...], ...]:
        """A^-1."""
        return _rows(self.tableau.a_inv)

    def start(self, field: System, t: Any, x: Tensor) -> Past:
        """Nothing is known yet."""
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        stages = x.new_zeros(len(x), self.tableau.stages, *x.shape[1:])
        return Past(None, stages, zero, torch.ones_like(zero, dtype=torch.bool))

    def restart(self, memory: Past, mask: Bool[Tensor, " b"]) -> Past:
        """After a jump of the field neither the Jacobian nor the last polynomial says anything."""
        held = memory.held
        if held is not None:
            held = held._replace(here=held.here & ~mask, good=held.good & ~mask)
        return Past(held, memory.z, torch.where(mask, 0.0, memory.h), memory.careful | mask)

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Past) -> Step:
        """One step from (t, x) with slope = f(t, x)."""
        size, clock = one_size(self.name, h, x), one_clock(t, x)
        dt = torch.full_like(size, dt) if isinstance(dt, float) else dt
        guess = self._extrapolated(memory, size)
        tried = with_second_chance(self._pass, field, (clock, x, dt, size, guess), memory.held, x)
        x1 = self._end(x, tried.z)
        error, again = self._error(field, clock, x, size, slope, tried, memory.careful, x1)
        end, checks = None, self.tableau.checks_end
        if checks:
            end = field(clock + dt, x1)
            rows = self._powers(tried.z)
            along = times_mass(field.mass, _sum([k + 1.0 for k in range(len(rows))], rows)) / per_sample(size, x)
            miss = field.structure.solve(field, tried.held.factors[0], end - along)
            error = torch.where(miss.abs() > error.abs(), miss, error)
        cost = tried.cost._replace(
            f_evals=tried.cost.f_evals + again + checks, solves=tried.cost.solves + 1 + again + checks
        )  # fmt: skip
        kept, retry = left(tried.held, tried.rate, tried.theta)
        trouble = torch.where(tried.ok, int(Result.OK), int(Result.NEWTON_FAILED))
        trouble = torch.where(singular(tried.held.factors), int(Result.SINGULAR), trouble)
        calm = torch.zeros_like(memory.careful)
        return Step(
            x1, error, end, Past(kept, tried.z, size.double(), calm), Past(retry, memory.z, memory.h, ~calm), tried.z, trouble,
            cost, found=tried.z,
        )  # fmt: skip

    def _factor(self, field: System, jac: Any, shift: Tensor) -> tuple[Any, ...]:
        """Factors for shift = 1/h: of the error filter, which are those of the real mode if there is one, then of the modes."""
        modes = tuple(field.structure.factor(field, jac, _scaled(shift, value)) for value in self.tableau.eigenvalues)
        return modes if self.tableau.shared else (field.structure.factor(field, jac, shift / self.tableau.gamma0), *modes)

    def _pass(self, field: System, given: tuple[Tensor, ...], held: Held | None, anew: Tensor) -> Pass:
        t, x, dt, size, guess = given
        tab, form, s = self.tableau, field.structure, self.tableau.stages
        shift = 1.0 / size
        held, made, factored = hold(field, t, x, shift, held, anew, self._factor)
        damp = per_sample(2.0 / (1.0 + shift / held.shift), x)
        tol = on_own_terms(field, x)
        everyone = field.repeated(s)
        clock = torch.cat([t + c * dt for c in tab.c])
        per = per_sample(shift, x)

        def correction(z: Tensor) -> Tensor:
            increments = z.unbind(1)
            slopes = everyone(clock, torch.cat([x + v for v in increments])).chunk(s)
            residual = [
                f - times_mass(field.mass, _sum(row, increments)) * per for f, row in zip(slopes, self.inverse, strict=True)
            ]
            change = [torch.zeros_like(x)] * s
            of_modes = held.factors if tab.shared else held.factors[1:]
            for factors, value, to, back in zip(of_modes, tab.eigenvalues, tab.to_modes, tab.from_modes.T, strict=True):
                if value.imag == 0.0:
                    mode = form.solve(field, factors, _sum([float(v.real) for v in to], residual))
                    change = [c + mode * float(v.real) for c, v in zip(change, back, strict=True)]
                    continue
                real, imag = _sum([float(v.real) for v in to], residual), _sum([float(v.imag) for v in to], residual)
                mode = form.solve(field, factors, torch.complex(real, imag))
                change = [c + mode.real * float(v.real) - mode.imag * float(v.imag) for c, v in zip(change, back, strict=True)]
            return torch.stack([damp * c for c in change], 1)

        floor = 10.0 * torch.finfo(x.dtype).eps / tol.rtol.double().clamp_min(1e-300)
        kappa = torch.maximum(floor.clamp_max(0.1), tol.rtol.double().sqrt().clamp_max(0.03))
        kappa = torch.where(tol.rtol > 0, kappa, 0.01)
        solved = newton(
            correction,
            guess,
            tol.weights(x, x)[:, None],
            held.rate,
            ~singular(held.factors),
            kappa,
            rounds(field, self.iterations or 4 + s),
        )
        ok = ~singular(held.factors) & solved.converged
        modes, zero = len(tab.eigenvalues), torch.zeros_like(solved.iterations)
        cost = Counts(
            f_evals=s * solved.iterations, jacobians=made.to(torch.int64),
            factorisations=len(held.factors) * factored.to(torch.int64), solves=modes * solved.iterations,
            newton_iterations=solved.iterations, accepted=zero, rejected=zero,
        )  # fmt: skip
        return Pass(solved.z, held, ok, solved.rate, solved.theta, cost)

    def _residual(self, field: System, slopes: Any, increments: Any, per: Tensor) -> list[Tensor]:
        """F_i - (A^-1 z)_i M / h."""
        moved = [times_mass(field.mass, _sum(row, increments)) * per for row in self.inverse]
        return [f - m for f, m in zip(slopes, moved, strict=True)]

    def _extrapolated(self, memory: Past, size: Tensor) -> Tensor:
        """The last collocation polynomial, carried on to the stages of this step; zero where there was no step."""
        known = memory.h != 0.0
        ratio = torch.where(known, size.double() / torch.where(known, memory.h, 1.0), 0.0)
        powers = self._powers(memory.z)
        end = _sum([1.0] * len(powers), powers)
        guesses = []
        for c in self.tableau.c:
            place = per_sample(1.0 + c * ratio, end)
            total = torch.zeros_like(end)
            for q in reversed(powers):
                total = (total + q) * place
            guesses.append(total - end)
        return torch.where(known.reshape(-1, *(1,) * (memory.z.dim() - 1)), torch.stack(guesses, 1), torch.zeros_like(memory.z))

    def _powers(self, z: Tensor) -> list[Tensor]:
        increments = z.unbind(1)
        return [_sum(row, increments) for row in _rows(self.tableau.dense)]

    def _end(self, x: Tensor, z: Tensor) -> Tensor:
        return x + _sum(self.tableau.end, z.unbind(1))

    def _error(
        self, field: System, t: Tensor, x: Tensor, size: Tensor, slope: Tensor, tried: Pass, careful: Tensor, x1: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The estimate, and where it took another evaluation of f."""
        rest = times_mass(field.mass, _sum(self.tableau.error, tried.z.unbind(1))) / per_sample(size, x)
        factors = tried.held.factors[0]
        error = field.structure.solve(field, factors, slope + rest)
        tol = on_own_terms(field, x)
        doubtful = careful & ~(tol.ratio(error, x, x1) < 1.0) & tried.ok
        if torch.compiler.is_compiling() or bool(doubtful.any()):
            index = torch.arange(len(x), device=x.device) if torch.compiler.is_compiling() else doubtful.nonzero()[:, 0]
            some = field if len(index) == len(x) else field.take(index)
            slope2 = some(t[index], (x + error)[index])
            part = take(factors, index)
            second = some.structure.solve(some, part, slope2 + rest[index])
            error = torch.where(per_sample(doubtful, x).bool(), error.index_copy(0, index, second), error)
        return error, doubtful.to(torch.int64)

    def replay(
        self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Any, found: Float[Tensor, "b k *s"]
    ) -> Step:
        """The step with its stages as they were found, differentiated by the implicit function theorem.

        One linear system for all stages, (A^-1 (x) M / h - diag(J_1, ..., J_s)) dz = residual, with the J of every stage.
        """
        if not isinstance(field.structure, Dense):
            raise NotImplementedError(
                f"gradient: method {self.name!r} differentiates its stages with full matrices; leave sparsity out, or use a "
                "Rosenbrock or DIRK method."
            )
        s, (b, *_), n = self.tableau.stages, x.shape, x[0].numel()
        size, clock = one_size(self.name, h, x), one_clock(t, x)
        dt = torch.full_like(size, dt) if isinstance(dt, float) else dt
        fixed = found.detach()
        moments, everyone = torch.cat([clock + c * dt for c in self.tableau.c]), field.repeated(s)
        states = torch.cat([x + fixed[:, i] for i in range(s)])
        with torch.no_grad():
            jac = field.structure.differentiate(everyone, moments, states)[0].reshape(s, b, n, n)
            mass = torch.eye(n, dtype=x.dtype, device=x.device) if field.mass is None else full_mass(field.mass)
            inverse = torch.tensor(self.inverse, dtype=x.dtype, device=x.device)
            big = torch.einsum("ij,kl->ikjl", inverse, mass)[None] / size.reshape(-1, 1, 1, 1, 1)
            own = torch.diag_embed(jac.permute(1, 2, 3, 0), dim1=1, dim2=3)  # J_i in block (i, i)
            matrix = (big - own).reshape(b, s * n, s * n).detach()
        per = per_sample(1.0 / size, x)

        def correction(v: Tensor) -> Tensor:
            increments = v.unbind(1)
            slopes = everyone(moments, torch.cat([x + w for w in increments])).chunk(s)
            residual = torch.stack(self._residual(field, slopes, increments, per), 1)
            return torch.linalg.solve(matrix, residual.reshape(b, s * n, 1)).reshape(fixed.shape)

        z = differentiated(field, fixed, correction)
        return Step(self._end(x, z), None, None, None, None, z)

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """The collocation polynomial."""
        return tuple(self._powers(step.stages))


def _sum(weights: Any, parts: Any) -> Tensor:
    total = weighted([float(w) for w in weights], parts)
    return torch.zeros_like(parts[0]) if total is None else total


def _rows(matrix: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in matrix)


def _scaled(shift: Tensor, value: complex) -> Tensor:
    """Lambda shift, real where lambda is."""
    if value.imag == 0.0:
        return shift * value.real
    return torch.complex(shift * value.real, shift * value.imag)

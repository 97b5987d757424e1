"""Families of initial value problems whose flow map x(0), p -> x(T) solvers step along and networks learn."""

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.data.springs import spring_field
from odebridge.problems import Problem, fitzhugh_nagumo, lotka_volterra, van_der_pol
from odebridge.problems.chemistry import robertson
from odebridge.problems.componentwise import Field, Jacobian, exp

MASSES = 10
Draw = Callable[[Float[Tensor, "b k"]], tuple[Tensor, Tensor | None, Tensor]]  # x0 (b, n), args (b, p), features (b, d)


@dataclass(frozen=True)
class Family:
    """One field, one span, and how k uniform numbers in (0, 1) make an initial value and its parameters.

    problem: the field with its Jacobian over the span, its own x0 and args not used. draw: (b, k) uniform numbers -> x0 (b, n),
    args (b, p) or None, and the features that a network is given (b, d), of order one before they are scaled. explicit: whether
    explicit adaptive methods can get to the end; if not, one of them is shown once.
    """

    name: str
    title: str
    stiff: bool
    numbers: int
    problem: Problem
    draw: Draw
    explicit: bool = True

    def sample(self, b: int, seed: int, device: str = "cpu") -> tuple[Problem, Tensor]:
        """B systems and their features (b, d), float64; the first of them are the same for every b."""
        u = torch.rand(b, self.numbers, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        x0, args, features = self.draw(u)
        some = replace(self.problem, x0=x0, args=args, reference=None, spread=None, name=self.name)
        return some.to(device=device), features.to(device)


def between(u: Tensor, low: float, high: float) -> Tensor:
    """Uniform in an interval."""
    return low + (high - low) * u


def log_between(u: Tensor, low: float, high: float) -> Tensor:
    """Log-uniform in an interval."""
    return (math.log(low) + (math.log(high) - math.log(low)) * u).exp()


def _box(u: Tensor, low: Sequence[float], high: Sequence[float]) -> Tensor:
    return torch.stack([between(u[:, i], a, b) for i, (a, b) in enumerate(zip(low, high, strict=True))], 1)


def _van_der_pol(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x0, mu = _box(u, (-2.5, -2.5), (2.5, 2.5)), log_between(u[:, 2:3], 1.0, 50.0)
    return x0, mu, torch.cat([x0, mu.log()], 1)


def _lotka_volterra(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x0, rates = log_between(u[:, :2], 0.5, 2.0), log_between(u[:, 2:], 0.8, 1.25) * torch.tensor([1.5, 1.0, 3.0, 1.0]).double()
    return x0, rates, torch.cat([x0.log(), rates.log()], 1)


def _spiral(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    a, b = y
    (rate,) = p
    pull = rate * (1 - a * a - b * b)
    return pull * a - 2.0 * b, pull * b + 2.0 * a


def _spiral_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    a, b = y
    (rate,) = p
    pull, across = rate * (1 - a * a - b * b), -2 * rate * a * b
    return (pull - 2 * rate * a * a, across - 2.0), (across + 2.0, pull - 2 * rate * b * b)


def _spirals(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    radius, angle, rate = between(u[:, 0], 0.3, 1.5), 2 * math.pi * u[:, 1], log_between(u[:, 2:3], 5.0, 500.0)
    x0 = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    return x0, rate, torch.cat([x0, rate.log()], 1)


def _fitzhugh_nagumo(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x0 = _box(u, (-2.0, -0.5), (2.0, 1.5))
    args = torch.tensor([0.7, 0.8, 12.5, 0.5], dtype=torch.float64) * log_between(u[:, 2:], 0.8, 1.25)
    return x0, args, torch.cat([x0, args.log()], 1)


def _brusselator(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    a, b = y
    feed, turn = p
    made = a * a * b
    return feed + made - (turn + 1) * a, turn * a - made


def _brusselator_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    a, b = y
    _, turn = p
    return (2 * a * b - turn - 1, a * a), (turn - 2 * a * b, -a * a)


def _brusselators(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x0, args = _box(u, (0.2, 0.5), (3.0, 4.0)), _box(u[:, 2:], (0.8, 1.7), (1.2, 3.0))
    return x0, args, torch.cat([x0, args], 1)


def _springs(u: Tensor) -> tuple[Tensor, None, Tensor]:
    x0 = 2.0 * u - 1.0
    return x0, None, x0


def _robertson_log(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    a, b, c = y
    k1, k2, k3 = p
    slow, fast, back, clock = k1 * a, k2 * b * b, k3 * b * c, exp(t)
    return clock * (back - slow), clock * (slow - back - fast), clock * fast


def _robertson_log_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    _, b, c = y
    k1, k2, k3 = p
    fast, by_b, by_c, clock = 2 * k2 * b, k3 * c, k3 * b, exp(t)
    return (
        (-clock * k1, clock * by_b, clock * by_c),
        (clock * k1, clock * (-by_b - fast), -clock * by_c),
        (0.0, clock * fast, 0.0),
    )


def _robertsons(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, rates = between(u[:, 0], 0.2, 1.0), log_between(u[:, 1:], 0.5, 2.0) * robertson().args
    return torch.stack([a, 0 * a, 1 - a], 1), rates, torch.cat([a[:, None], rates.log()], 1)


def _of(field: Any, jacobian: Any, n: int, p: int, span: tuple[float, float], stiff: bool) -> Problem:
    zeros = torch.zeros(n, dtype=torch.float64)
    return Problem(field, zeros, span, torch.ones(p, dtype=torch.float64) if p else None, jacobian, stiff=stiff)


LOG_SPAN = (math.log(1e-4), math.log(1e2))
FLOWS: Mapping[str, Family] = {
    f.name: f
    for f in (
        Family(
            "van_der_pol", "van der Pol, µ from 1 to 50, T = 1", True, 3,
            replace(van_der_pol(50.0), span=(0.0, 1.0)), _van_der_pol,
        ),
        Family(
            "lotka_volterra", "Lotka-Volterra, T = 4", False, 6,
            replace(lotka_volterra(), span=(0.0, 4.0)), _lotka_volterra,
        ),
        Family(
            "stiff_spiral", "stiff spiral, rate 5 to 500, T = 2", True, 3,
            _of(Field(_spiral), Jacobian(_spiral_rows), 2, 1, (0.0, 2.0), True), _spirals,
        ),
        Family(
            "fitzhugh_nagumo", "FitzHugh-Nagumo, T = 10", False, 6,
            replace(fitzhugh_nagumo(), span=(0.0, 10.0)), _fitzhugh_nagumo,
        ),
        Family(
            "brusselator", "Brusselator, T = 4", False, 4,
            _of(Field(_brusselator), Jacobian(_brusselator_rows), 2, 2, (0.0, 4.0), False), _brusselators,
        ),
        Family(
            "spring_chain", f"chain of {MASSES} springs, T = 5", False, 2 * MASSES,
            _of(spring_field, None, 2 * MASSES, 0, (0.0, 5.0), False), _springs,
        ),
        Family(
            "robertson", "Robertson in log time, t from 10⁻⁴ to 100", True, 4,
            _of(Field(_robertson_log), Jacobian(_robertson_log_rows), 3, 3, LOG_SPAN, True), _robertsons, False,
        ),
    )
}  # fmt: skip

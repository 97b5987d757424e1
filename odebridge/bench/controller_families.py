"""The families that step laws are compared on: development families, which laws may be tuned on, one line each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from odebridge.problems import Problem, problem
from odebridge.problems.build import from_terms
from odebridge.problems.componentwise import sqrt

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not


def _kepler(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    a, b, u, v = y
    square = a * a + b * b
    cube = square * sqrt(square)
    return u, v, -a / cube, -b / cube


def _kepler_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    a, b, _, _ = y
    square = a * a + b * b
    cube = square * sqrt(square)
    mixed = 3 * a * b / (cube * square)
    return (
        (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0),
        (3 * a * a / (cube * square) - 1 / cube, mixed, 0.0, 0.0), (mixed, 3 * b * b / (cube * square) - 1 / cube, 0.0, 0.0),
    )  # fmt: skip


def _orbits(nominal: Problem, b: int, generator: torch.Generator) -> tuple[Tensor, Any]:
    """Orbits from the perihelion with eccentricities uniform in [0, 0.9]."""
    e = 0.9 * torch.rand(b, generator=generator, dtype=torch.float64)
    zero = torch.zeros_like(e)
    x0 = torch.stack([1 - e, zero, zero, ((1 + e) / (1 - e)).sqrt()], 1)
    return x0, nominal.args.expand(b, -1).clone()


def kepler() -> Problem:
    """A planet around its sun, one turn, eccentricity 0 to 0.9."""
    start = (0.5, 0.0, 0.0, math.sqrt(3.0))
    return from_terms("kepler", _kepler, _kepler_rows, start, 2 * math.pi, (1.0,), nominal=False, spread=_orbits)


def _brusselator(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    x, v = y
    a, b = p
    return a + x * x * v - (b + 1) * x, b * x - x * x * v


def _brusselator_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    x, v = y
    _, b = p
    return (2 * x * v - (b + 1), x * x), (b - 2 * x * v, -x * x)


def _drawn(nominal: Problem, b: int, generator: torch.Generator) -> tuple[Tensor, Any]:
    """B log-uniform in [4, 20], starts around (1, 3)."""
    u = torch.rand(b, 3, generator=generator, dtype=torch.float64)
    rates = torch.stack([torch.ones(b, dtype=torch.float64), 4.0 * 5.0 ** u[:, 2]], 1)
    return nominal.x0 + torch.tensor([1.0, 2.0], dtype=torch.float64) * (u[:, :2] - 0.5), rates


def brusselator() -> Problem:
    """Two species that react in turns, x' = 1 + x^2 y - (B + 1) x, y' = B x - x^2 y: a relaxation cycle for large B."""
    return from_terms(
        "brusselator", _brusselator, _brusselator_rows, (1.0, 3.0), 60.0, (1.0, 8.0), nominal=False, stiff=True, spread=_drawn
    )


def _cell(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    v, w = y
    eps, current = p
    return (v - v * v * v / 3 - w + current) / eps, v + 0.7 - 0.8 * w


def _cell_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    v, _ = y
    eps, _ = p
    return ((1 - v * v) / eps, -1 / eps), (1.0, -0.8)


def _cells(nominal: Problem, b: int, generator: torch.Generator) -> tuple[Tensor, Any]:
    """Eps log-uniform in [1e-4, 1e-2]: cells that fire."""
    u = torch.rand(b, 3, generator=generator, dtype=torch.float64)
    eps = 1e-4 * 100.0 ** u[:, 2]
    x0 = torch.tensor([1.0, 0.5], dtype=torch.float64) * (2 * u[:, :2] - 1)
    return x0, torch.stack([eps, torch.full_like(eps, 0.5)], 1)


def relaxing_cell() -> Problem:
    """FitzHugh and Nagumo's cell with a fast potential, eps v' = v - v^3/3 - w + I, w' = v + 0.7 - 0.8 w."""
    return from_terms(
        "relaxing_cell", _cell, _cell_rows, (1.0, 0.5), 6.0, (1e-3, 0.5), nominal=False, stiff=True, spread=_cells
    )


def _over(t1: float, name: str, **settings: Any) -> Problem:
    return replace(problem(name, **settings), span=(0.0, t1), reference=None)


def _van_der_pol(low: float, high: float, t1: float) -> Problem:
    mild = problem("van_der_pol", mu=math.sqrt(low * high), mu_range=(low, high))
    return replace(mild, span=(0.0, t1), reference=None, stiff=high > 20)


# For explicit methods, and for stiff ones. A family is a function that makes a `Problem` with a spread.
MILD: dict[str, Callable[[], Problem]] = {
    "van_der_pol": lambda: _van_der_pol(0.5, 15.0, 30.0),
    "lorenz": lambda: problem("lorenz"),
    "lotka_volterra": lambda: problem("lotka_volterra"),
    "kepler": kepler,
    "arenstorf": lambda: problem("arenstorf"),
    "pleiades": lambda: problem("pleiades"),
    "fitzhugh_nagumo": lambda: _over(60.0, "fitzhugh_nagumo"),
    "hodgkin_huxley": lambda: problem("hodgkin_huxley"),
    "henon_heiles": lambda: problem("henon_heiles"),
    "rossler": lambda: problem("rossler"),
}
STIFF: dict[str, Callable[[], Problem]] = {
    "brusselator": brusselator,
    "relaxing_cell": relaxing_cell,
    "van_der_pol_stiff": lambda: _van_der_pol(20.0, 200.0, 200.0),
    "orego": lambda: problem("orego"),
    "hodgkin_huxley": lambda: replace(problem("hodgkin_huxley"), stiff=True),
    "hires": lambda: problem("hires"),
    "robertson": lambda: problem("robertson", t1=1e5),
    "e5": lambda: problem("e5", t1=1e7),
    "pollu": lambda: problem("pollu"),
    "stiff_d4": lambda: problem("stiff_d4"),
}
EXPLICIT = ("bosh3", "dopri5", "tsit5", "dopri8")


def families(method: str) -> dict[str, Callable[[], Problem]]:
    """The development families of a method."""
    return MILD if method in EXPLICIT else STIFF

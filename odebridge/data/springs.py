"""A chain of masses and springs, made by our own solver."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from odebridge.data.base import Series
from odebridge.integrate import At, integrate

TRAIN, TEST = 128, 64
MASSES, END, INTERVALS = 20, 10.0, 50


def spring_force(q: Float[Tensor, "*b m"]) -> Float[Tensor, "*b m"]:
    """Force on every mass of a chain between two walls: q_(i-1) - 2 q_i + q_(i+1), unit masses and springs. (..., m)."""
    wide = functional.pad(q, (1, 1))
    return wide[..., :-2] - 2.0 * q + wide[..., 2:]


def spring_field(t: object, x: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:  # noqa: ARG001 - a field has a time
    """Q' = p, p' = force(q); x = (q, p) (b, 2 m)."""
    q, p = x.chunk(2, -1)
    return torch.cat([p, spring_force(q)], -1)


def spring_energy(x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """H = sum p_i^2 / 2 + sum of (q_(i+1) - q_i)^2 / 2 over the springs, those to the walls included."""
    q, p = x.chunk(2, -1)
    return 0.5 * ((p * p).sum(-1) + functional.pad(q, (1, 1)).diff(dim=-1).square().sum(-1))


def spring_chain(seed: int = 0, train: int = TRAIN, test: int = TEST, masses: int = MASSES) -> Series:
    """Chains of 20 unit masses between two walls, every q and p at first uniform in (-1, 1); 51 times over [0, 10].

    (n, 51, 40), the positions first. Frequencies 2 sin(j pi / 42), j = 1 ... 20: periods from 3.1 to 42. H is the invariant.
    Source: Huang, Liang, Zhang, Yang & Lin, On fast simulation of dynamical system with neural vector enhanced numerical
    solver, Scientific Reports 13, 2023, arXiv 2208.03680 (spring-chain; the constants here are our own).
    ValueError for no masses. Caveat: the system is linear: a linear correction would do. Use: `data = spring_chain(masses=5)`.
    """
    if masses < 1:
        raise ValueError(f"spring_chain: masses must be at least 1, got {masses!r}.")
    chance = torch.Generator().manual_seed(seed)
    x0 = 2.0 * torch.rand(train + test, 2 * masses, generator=chance, dtype=torch.float64) - 1.0
    clock = torch.linspace(0.0, END, INTERVALS + 1, dtype=torch.float64)
    sol = integrate(spring_field, x0, (0.0, END), method="dopri8", rtol=1e-10, atol=1e-10, save=At(clock))
    assert isinstance(sol.xs, Tensor)
    names = tuple(f"{letter}{i}" for letter in "qp" for i in range(1, masses + 1))
    return Series(clock, sol.xs[:train], sol.xs[train:], "spring-chain", names, invariant=spring_energy)

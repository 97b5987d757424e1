"""Series made by our own solvers: spirals, a pendulum, prey and hunters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.data.base import Series
from odebridge.integrate import At, integrate
from odebridge.problems import problem

TRAIN, TEST = 128, 64
PENDULUM_END, LOTKA_END = 6.0, 6.0


def spirals(
    seed: int = 0, train: int = TRAIN, test: int = TEST, times: int = 50, share: float = 0.5, noise: float = 0.05
) -> Series:
    """Spirals x' = A x, A = [[-a, -w], [w, -a]], w = +2 or -2 (labels 1 and 0), a in (0.1, 0.3), seen in part and with noise.

    x(0) lies at a radius in (1, 2); `times` times over [0, 6]. share: the part of the times after the first that was observed,
    drawn for each series (both components together). Values carry Gaussian noise of standard deviation `noise`.
    Source: the toy set of Chen et al., Neural ordinary differential equations, NeurIPS 2018, section 5.1, as a linear ODE.
    ValueError for a share outside (0, 1]. Use: `data = spirals(share=1.0)`.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"spirals: share must be in (0, 1], got {share!r}.")
    chance, n = torch.Generator().manual_seed(seed), train + test
    label = (torch.arange(n) % 2)[torch.randperm(n, generator=chance)]
    turn, shrink = 4.0 * label.double() - 2.0, 0.1 + 0.2 * _uniform(n, chance)
    radius, angle = 1.0 + _uniform(n, chance), 2 * math.pi * _uniform(n, chance)
    x0 = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)

    def field(_t: Tensor, x: Tensor, given: tuple[Tensor, Tensor]) -> Tensor:
        w, a = given
        u, v = x.unbind(-1)
        return torch.stack([-a * u - w * v, w * u - a * v], -1)

    clock = torch.linspace(0.0, 6.0, times, dtype=torch.float64)
    sol = integrate(field, x0, (0.0, 6.0), args=(turn, shrink), method="dopri8", rtol=1e-9, atol=1e-9, save=At(clock))
    assert isinstance(sol.xs, Tensor)
    values = sol.xs + noise * torch.randn(sol.xs.shape, generator=chance, dtype=torch.float64)
    mask = _uniform(n * times, chance).reshape(n, times) < share
    mask[:, 0] = True  # where a series begins is always known
    mask = mask[:, :, None].expand_as(values)
    whole = share == 1.0
    return Series(
        clock, values[:train], values[train:], "spirals", ("u", "v"), None if whole else mask[:train],
        None if whole else mask[train:], label[:train], label[train:],
    )  # fmt: skip


def _pendulum_energy(x: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    q, p = x.unbind(-1)
    return 0.5 * p * p + 1.0 - q.cos()


def pendulum(seed: int = 0, train: int = TRAIN, test: int = TEST, times: int = 31, noise: float = 0.0) -> Series:
    """A pendulum q' = p, p' = -sin q that swings and does not turn over: energies H = p^2 / 2 + 1 - cos q between 0.05 and 1.5.

    x(0) = (q, p) with an energy and a direction that are uniform; `times` times over [0, 6]. H is the invariant of the set.
    Source: Greydanus, Dzamba & Yosinski, Hamiltonian neural networks, NeurIPS 2019. Use: `data = pendulum()`.
    """
    chance, n = torch.Generator().manual_seed(seed), train + test
    energy, angle = 0.05 + 1.45 * _uniform(n, chance), 2 * math.pi * _uniform(n, chance)
    # (p^2 / 2, 1 - cos q) = energy (cos^2, sin^2): a point of the curve H = energy.
    p = (2 * energy).sqrt() * angle.cos()
    q = torch.acos(1.0 - energy * angle.sin() ** 2) * angle.sin().sign()

    def field(_t: Tensor, x: Tensor) -> Tensor:
        return torch.stack([x[:, 1], -x[:, 0].sin()], -1)

    x0 = torch.stack([q, p], -1)
    return _observed("pendulum", ("q", "p"), field, x0, None, PENDULUM_END, train, times, noise, chance, _pendulum_energy)


def lotka_volterra(seed: int = 0, train: int = TRAIN, test: int = TEST, times: int = 31, noise: float = 0.0) -> Series:
    """Prey u and hunters v of the problem library, u' = 1.5 u - u v, v' = u v - 3 v, from (u, v) log-uniform near (3, 1.5).

    Each initial component is the resting value times exp(0.7 z), z uniform in (-1, 1); `times` times over [0, 6]. The invariant
    is V = u - 3 log u + v - 1.5 log v. Source: `odebridge.problems`, lotka_volterra. Use: `data = lotka_volterra(noise=0.02)`.
    """
    chance, n = torch.Generator().manual_seed(seed), train + test
    rest, one = torch.tensor([3.0, 1.5], dtype=torch.float64), problem("lotka_volterra")
    x0 = rest * torch.exp(0.7 * (2.0 * _uniform(2 * n, chance).reshape(n, 2) - 1.0))
    args = one.args.expand(n, -1)

    def invariant(x: Tensor) -> Tensor:
        return (x - rest * x.log()).sum(-1)

    return _observed("lotka-volterra", ("u", "v"), one.field, x0, args, LOTKA_END, train, times, noise, chance, invariant)


def _uniform(n: int, chance: torch.Generator) -> Float[Tensor, " n"]:
    return torch.rand(n, generator=chance, dtype=torch.float64)


def _observed(
    name: str, components: tuple[str, ...], field: Any, x0: Tensor, args: Tensor | None, end: float, train: int, times: int,
    noise: float, chance: torch.Generator, invariant: Callable[[Tensor], Tensor],
) -> Series:  # fmt: skip
    """The set: solved far below any noise, seen at equal distances."""
    clock = torch.linspace(0.0, end, times, dtype=torch.float64)
    sol = integrate(field, x0, (0.0, end), args=args, method="dopri8", rtol=1e-9, atol=1e-9, save=At(clock))
    assert isinstance(sol.xs, Tensor)
    values = sol.xs + noise * torch.randn(sol.xs.shape, generator=chance, dtype=torch.float64)
    return Series(clock, values[:train], values[train:], name, components, invariant=invariant)

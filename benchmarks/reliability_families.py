"""Random problems with known solutions, seeded: what benchmarks/reliability.py and the tests of the solvers draw from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

D = torch.float64


class Family(NamedTuple):
    """b problems: f(t, x, args), start (b, n), end (b,), args, exact x(t) for t (b, k) -> (b, k, n), amplification (b,)."""

    field: Callable[..., Tensor]
    x0: Tensor
    t1: Tensor
    args: Any
    exact: Callable[[Tensor], Tensor]
    amplification: Tensor
    ends: bool = True  # False: the solution blows up before t1, so that OK is always wrong


def uniform(chance: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Numbers uniform between low and high."""
    return low + (high - low) * torch.rand(*shape, dtype=D, generator=chance)


def linear(b: int, chance: torch.Generator, stiff: float) -> Family:
    """X' = A x, A = Q B Q^T with Q orthogonal, B of two real rates and one damped oscillation; |rates| from 0.1 to `stiff`."""
    rates = -(10.0 ** uniform(chance, -1.0, max(math.log10(stiff), 0.0), b, 2))
    damp, turn = -(10.0 ** uniform(chance, -2.0, 0.0, b)), uniform(chance, 0.5, 6.0, b)
    blocks = torch.zeros(b, 4, 4, dtype=D)
    blocks[:, 0, 0], blocks[:, 1, 1] = rates.T
    blocks[:, 2, 2], blocks[:, 3, 3], blocks[:, 2, 3], blocks[:, 3, 2] = damp, damp, turn, -turn
    q = torch.linalg.qr(torch.randn(b, 4, 4, dtype=D, generator=chance))[0]
    matrix, x0, t1 = q @ blocks @ q.mT, torch.randn(b, 4, dtype=D, generator=chance), uniform(chance, 0.5, 5.0, b)

    def exact(t: Tensor) -> Tensor:
        y = (q.mT @ x0[..., None])[..., 0][:, None]  # (b, 1, 4)
        c, s = torch.cos(turn[:, None] * t), torch.sin(turn[:, None] * t)
        fade = (damp[:, None] * t).exp()
        moved = [
            *((rates[:, i : i + 1] * t).exp() * y[..., i] for i in range(2)),
            fade * (c * y[..., 2] + s * y[..., 3]),
            fade * (c * y[..., 3] - s * y[..., 2]),
        ]
        return torch.stack(moved, -1) @ q.mT

    return Family(lambda _t, x, a: (a * x[:, None]).sum(2), x0, t1, matrix, exact, torch.ones(b, dtype=D))


def growing(b: int, chance: torch.Generator, _stiff: float) -> Family:
    """x_i' = r_i x_i, two growing and one decaying component."""
    rates = torch.cat([uniform(chance, 0.1, 1.5, b, 2), -uniform(chance, 0.1, 20.0, b, 1)], 1)
    x0, t1 = torch.randn(b, 3, dtype=D, generator=chance), uniform(chance, 0.5, 5.0, b)
    return Family(
        lambda _t, x, a: a * x, x0, t1, rates, lambda t: x0[:, None] * (rates[:, None] * t[..., None]).exp(),
        (rates.amax(1) * t1).exp(),
    )  # fmt: skip


def follower(b: int, chance: torch.Generator, stiff: float) -> Family:
    """Prothero and Robinson's, made non-linear: x' = -k (x - g) - k (x - g)^3 + g', x = g(t) = 2 + sin(w t + p)."""
    k = 10.0 ** uniform(chance, 0.0, max(math.log10(stiff), 0.1), b, 2)
    w, p, t1 = uniform(chance, 0.3, 4.0, b, 2), uniform(chance, 0.0, 6.0, b, 2), uniform(chance, 0.5, 5.0, b)

    def f(t: Tensor, x: Tensor, a: tuple[Tensor, ...]) -> Tensor:
        rate, turn, phase = a
        angle = turn * t[:, None] + phase
        off = x - 2.0 - torch.sin(angle)
        return -rate * (off + off**3) + turn * torch.cos(angle)

    def exact(t: Tensor) -> Tensor:
        return 2.0 + torch.sin(w[:, None] * t[..., None] + p[:, None])

    return Family(f, exact(torch.zeros(b, 1, dtype=D))[:, 0], t1, (k, w, p), exact, torch.ones(b, dtype=D))


def logistic(b: int, chance: torch.Generator, _stiff: float) -> Family:
    """X' = r x (1 - x); |dx(t1)/dx(tau)| = x1 (1 - x1) / (x(tau) (1 - x(tau)))."""
    r, x0, t1 = uniform(chance, 0.5, 8.0, b, 2), uniform(chance, 0.01, 1.8, b, 2), uniform(chance, 0.5, 5.0, b)

    def exact(t: Tensor) -> Tensor:
        return 1.0 / (1.0 + (1.0 / x0 - 1.0)[:, None] * (-r[:, None] * t[..., None]).exp())

    slope = exact(ways(t1)) * (1.0 - exact(ways(t1)))
    ratio = (slope[:, -1:] / slope).abs()
    worst = torch.where(slope == 0.0, 1.0, ratio).amax((1, 2)).clamp_min(1.0)  # 0 / 0 where the state has settled at 1
    return Family(lambda _t, x, a: a * x * (1.0 - x), x0, t1, r, exact, worst)


def before_the_pole(b: int, chance: torch.Generator, _stiff: float) -> Family:
    """X' = x^2 up to 0.3 to 0.95 of the way to its pole at 1 / x0; |dx(t1)/dx(tau)| <= (x1 / x0)^2."""
    x0, share = uniform(chance, 0.2, 3.0, b, 1), uniform(chance, 0.3, 0.95, b)
    return Family(
        lambda _t, x, a: a * x * x, x0, share / x0[:, 0], torch.ones(b, 1, dtype=D),
        lambda t: x0[:, None] / (1.0 - x0[:, None] * t[..., None]), (1.0 - share) ** -2,
    )  # fmt: skip


def over_the_pole(b: int, chance: torch.Generator, _stiff: float) -> Family:
    """X' = x^2 beyond its pole: there is no solution, and no end may be OK."""
    made = before_the_pole(b, chance, 1.0)
    return made._replace(t1=uniform(chance, 1.05, 3.0, b) / made.x0[:, 0], ends=False)


def sheared(b: int, chance: torch.Generator, stiff: float) -> Family:
    """X' = S B S^-1 x, S far from orthogonal, B diagonal with rates from 0.1 to `stiff`: a linear system that is not normal.

    A small perturbation grows before it fades; the amplification is that in the norm of the error, max |W^-1 Phi(t1, tau) W|.
    """
    rates = -(10.0 ** uniform(chance, -1.0, math.log10(stiff), b, 3))
    shear = torch.eye(3, dtype=D) + uniform(chance, -2.0, 2.0, b, 3, 3).triu(1)
    q = torch.linalg.qr(torch.randn(b, 3, 3, dtype=D, generator=chance))[0]
    s = q @ shear
    back = torch.linalg.inv(s)
    matrix, x0, t1 = (s * rates[:, None]) @ back, torch.randn(b, 3, dtype=D, generator=chance), uniform(chance, 0.5, 5.0, b)

    def exact(t: Tensor) -> Tensor:
        y = (back @ x0[..., None])[..., 0][:, None]  # (b, 1, 3)
        return ((rates[:, None] * t[..., None]).exp() * y) @ s.mT

    size = exact(ways(t1)).abs().amax(1)  # weights, but for the tolerance
    fade = (rates[:, None] * (t1[:, None] - ways(t1))[..., None]).exp()  # (b, k, 3)
    moved = (s[:, None] * fade[:, :, None]) @ back[:, None]
    gain = torch.linalg.matrix_norm(moved * size[:, None, None] / size[:, None, :, None], 2).amax(1).clamp_min(1.0)
    return Family(lambda _t, x, a: (a * x[:, None]).sum(2), x0, t1, matrix, exact, gain)


FAMILIES: dict[str, Callable[[int, torch.Generator, float], Family]] = {
    "linear": linear, "growing": growing, "follower": follower, "logistic": logistic, "before the pole": before_the_pole,
    "over the pole": over_the_pole, "sheared": sheared,
}  # fmt: skip


def ways(t1: Tensor, k: int = 65) -> Tensor:
    """K times on the way of each, (b, k)."""
    return t1[:, None] * torch.linspace(0.0, 1.0, k, dtype=D)

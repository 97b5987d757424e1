"""A non-linear, non-autonomous system with a known solution, for measured orders.

The coefficients were drawn at random; this draw (1 of 80) was taken because the leading error terms of all methods stand out
from the next ones within float64. On smoother systems Tsit5 and Dopri5 look like order 5.7 down to errors of 1e-12.
"""

import torch
from torch import Tensor

W1, W2, P1, P2 = 1.6136, 1.7756, 5.4631, 1.8130


def exact(t: Tensor) -> Tensor:
    """x_i = sin(w_i t + p_i); t (b,) -> (b, 2)."""
    return torch.stack([torch.sin(W1 * t + P1), torch.sin(W2 * t + P2)], -1)


def quadratic(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The coupling."""
    first = -0.0010480 * a * a - 0.28134 * a * b - 1.0494 * b * b - 0.5297 * a - 0.7841 * b
    second = 0.4633 * a * a - 1.07597 * a * b + 1.0471 * b * b + 0.1248 * a + 0.4967 * b
    return first, second


def field(t: Tensor, x: Tensor) -> Tensor:
    """Solved by `exact`; the coupling terms vanish on the solution but not in the Jacobian."""
    g, k = exact(t).unbind(-1)
    a, b = x.unbind(-1)
    (qa, qb), (ga, gb), c = quadratic(a, b), quadratic(g, k), torch.cos(t)
    one = W1 * torch.cos(W1 * t + P1) + qa - ga + (a - g) * b * c
    two = W2 * torch.cos(W2 * t + P2) + qb - gb + (b - k) * a * c
    return torch.stack([one, two], -1)


def start(b: int = 1) -> Tensor:
    """x(0), b times."""
    return exact(torch.zeros(b, dtype=torch.float64))


def slope(sizes: list[float], errors: list[float]) -> float:
    """Least-squares slope of log error over log step."""
    x, y = torch.tensor(sizes).double().log(), torch.tensor(errors).double().log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())

"""What the method of lines needs: differences on a grid, and where their Jacobians are non-zero."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def inside(name: str, setting: str, cells: Any, least: int) -> None:
    """Refuse a number of cells that is no whole number of at least `least`."""
    if isinstance(cells, bool) or not isinstance(cells, int) or cells < least:
        raise ValueError(f"{name}: {setting} is {cells!r}; write a whole number of at least {least}.")


def framed(u: Float[Tensor, "b n"], left: float, right: float) -> Float[Tensor, "b m"]:
    """The values between two boundary values that do not move."""
    return torch.cat([torch.full_like(u[:, :1], left), u, torch.full_like(u[:, :1], right)], 1)


def second_difference(u: Float[Tensor, "b m"]) -> Float[Tensor, "b n"]:
    """u_(i-1) - 2 u_i + u_(i+1) at the inner points."""
    return u[:, 2:] - 2 * u[:, 1:-1] + u[:, :-2]


def torus_laplacian(u: Float[Tensor, "b n m"]) -> Float[Tensor, "b n m"]:
    """Sum over the four neighbours minus four times the value, periodic in both directions."""
    return (u.roll(1, 1) + u.roll(-1, 1)) + (u.roll(1, 2) + u.roll(-1, 2)) - 4 * u


def torus_pattern(cells: int) -> Bool[Tensor, "n n"]:
    """Two species on a periodic square, species first: each feels itself at five points and the other at one."""
    one = torch.eye(cells, dtype=torch.bool)
    ring = one | one.roll(1, 0) | one.roll(-1, 0)
    five = (torch.kron(ring.to(torch.uint8), one.to(torch.uint8)) + torch.kron(one.to(torch.uint8), ring.to(torch.uint8))) > 0
    here = torch.eye(cells * cells, dtype=torch.bool)
    return torch.cat([torch.cat([five, here], 1), torch.cat([here, five], 1)], 0)


def ring_pattern(n: int, reach: int) -> Bool[Tensor, "n n"]:
    """Components on a circle that feel their neighbours up to `reach` away."""
    one = torch.eye(n, dtype=torch.bool)
    pattern = one
    for k in range(1, reach + 1):
        pattern = pattern | one.roll(k, 0) | one.roll(-k, 0)
    return pattern

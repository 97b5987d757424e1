"""How df/dx is held and linear systems with a M - df/dx are solved: dense here, banded and Krylov in files of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.protocols import System
from odebridge.linalg.jacobian import jacobian
from odebridge.linalg.lu import Factors, factor, solve


class Structure(Protocol):
    """Frozen settings; derivatives and factors are nests of tensors with leading dimension b."""

    def empty(self, x: Tensor) -> Any:
        """A derivative of the right shapes that says nothing yet, for a method's first memory."""
        ...

    def differentiate(self, f: System, t: Float[Tensor, " b"], x: Tensor) -> tuple[Any, Tensor]:
        """df/dx in the structure's own form, and df/dt (b, *s)."""
        ...

    def factor(self, f: System, jac: Any, shift: Tensor) -> Any:
        """What `solve` needs for shift M - df/dx, shift (b,) real or complex; has a field `singular` (b,)."""
        ...

    def solve(self, f: System, factors: Any, rhs: Tensor) -> Tensor:
        """(shift M - df/dx)^-1 rhs, (b, *s); not finite where that did not work."""
        ...

    def norm(self, jac: Any) -> Float[Tensor, " b"] | None:
        """A bound on the spectral radius of df/dx, or None where there is none for free."""
        ...


@dataclass(frozen=True)
class Dense:
    """One full matrix per trajectory, LU with row pivoting: memory b n^2, work b n^3."""

    def empty(self, x: Tensor) -> Tensor:
        """Zeros (b, n, n)."""
        n = x[0].numel()
        return x.new_zeros(len(x), n, n)

    def differentiate(self, f: System, t: Float[Tensor, " b"], x: Tensor) -> tuple[Tensor, Tensor]:
        """df/dx (b, n, n) by forward mode or the user's, and df/dt."""
        return jacobian(f, t, x)

    def factor(self, f: System, jac: Float[Tensor, " b n n"], shift: Tensor) -> Factors:
        """LU of shift M - J."""
        return factor(shifted(f.mass, shift, jac))

    def solve(self, f: System, factors: Factors, rhs: Tensor) -> Tensor:
        """By the factors."""
        return solve(factors, rhs)

    def norm(self, jac: Float[Tensor, " b n n"]) -> Float[Tensor, " b"]:
        """The largest row sum of |J|."""
        return jac.abs().sum(2).amax(1).double()


def shifted(mass: Tensor | None, shift: Tensor, jac: Float[Tensor, " b n n"]) -> Float[Tensor, " b n n"]:
    """Shift M - J as full matrices. The diagonal is added to J, which spares scaling J by h."""
    full = torch.eye(jac.shape[-1], dtype=jac.dtype, device=jac.device) if mass is None else full_mass(mass)
    return shift[:, None, None] * full - jac


def full_mass(mass: Tensor) -> Float[Tensor, " n n"]:
    """M as a matrix."""
    return torch.diag(mass) if mass.dim() == 1 else mass


def times_mass(mass: Tensor | None, v: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
    """M v for every trajectory; sums of products, since the bits of a matrix product depend on the batch."""
    if mass is None:
        return v
    flat = v.flatten(1)
    out = mass * flat if mass.dim() == 1 else (mass * flat[:, None, :]).sum(2)
    return out.reshape(v.shape)


def over_mass(mass: Tensor | None, v: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
    """M^+ v: the slopes of the differential components, 0 for algebraic ones."""
    if mass is None:
        return v
    flat = v.flatten(1)
    if mass.dim() == 1:
        return torch.where(mass == 0, 0.0, flat / torch.where(mass == 0, 1.0, mass)).reshape(v.shape)
    return (torch.linalg.pinv(mass) * flat[:, None, :]).sum(2).reshape(v.shape)

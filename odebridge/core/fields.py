"""Fields of two parts: `Split` for IMEX methods, `Separable` for symplectic ones. Both are callable like any other field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """x' = stiff(t, x) + nonstiff(t, x): an IMEX method treats the first part implicitly and the second explicitly.

    Both take (t, x) or (t, x, args) and return the shape and dtype of x. Called as a field it is the sum, so that every other
    method integrates it too. A `jacobian` given beside it is that of the stiff part for an IMEX method.
    Use: `ob.integrate(ob.Split(diffusion, reaction), x0, (0.0, 1.0), method="kencarp4")`.
    """

    stiff: Callable[..., Tensor]
    nonstiff: Callable[..., Tensor]

    def __call__(self, t: Any, x: Float[Tensor, "b *s"], *args: Any) -> Float[Tensor, "b *s"]:
        """The sum of both parts."""
        return self.stiff(t, x, *args) + self.nonstiff(t, x, *args)

    @property
    def parts(self) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
        """(stiff, nonstiff)."""
        return self.stiff, self.nonstiff


@dataclass(frozen=True)
class Separable:
    """A separable Hamiltonian system: q' = dq(t, p), p' = dp(t, q).

    The state x (b, ..., 2m) holds q in the first half of its last dimension and p in the second. Both functions take and
    return (b, ..., m), with args as a third argument if the solve has them. Called as a field it is (dq, dp), so that every
    other method integrates it too. ValueError for an odd last dimension.
    Use: `ob.integrate(ob.Separable(lambda t, p: p, lambda t, q: -q), x0, ob.Grid(ts), method="verlet")`.
    """

    dq: Callable[..., Tensor]
    dp: Callable[..., Tensor]

    def __call__(self, t: Any, x: Float[Tensor, "b *s"], *args: Any) -> Float[Tensor, "b *s"]:
        """(dq(t, p), dp(t, q)) side by side."""
        if x.shape[-1] % 2:
            raise ValueError(f"Separable: the last dimension holds q and p, so it must be even, got shape {tuple(x.shape)}.")
        q, p = x.chunk(2, -1)
        return torch.cat([self.dq(t, p, *args), self.dp(t, q, *args)], -1)

    @property
    def parts(self) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
        """(dq, dp)."""
        return self.dq, self.dp

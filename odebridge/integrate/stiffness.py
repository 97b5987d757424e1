"""Is it stability that sizes the steps of an explicit method? Asked where a solve was long, of one trajectory."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.protocols import System
from odebridge.methods.spectrum import power_iteration

LONG = 2_000  # tries from which on a solve that arrived is asked


def limit(order: int) -> float:
    """|h lambda| from where on stability is taken to size the steps, order / 2.

    The stability regions of explicit methods of order 2, 3, 5 and 8 end near 2, 2.5, 3.3 and 6 on the negative axis; where
    accuracy sizes the steps of an oscillator |h lambda| stays below 1 at order 5 and 2.1 at order 8, at rtol 1e-3.
    """
    return order / 2.0


def stretch(
    f: System, t: Float[Tensor, " b"], x: Float[Tensor, "b *s"], slope: Float[Tensor, "b *s"], h: Float[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """|h| times the spectral radius of df/dx at (t, x), (b,) float64, 0 where it cannot be found. Up to 50 evaluations."""
    with torch.no_grad():
        radius, _, _ = power_iteration(f, t.detach(), x.detach(), slope.detach(), slope.detach())
    return torch.nan_to_num(radius / 1.2 * h.detach().abs(), nan=0.0, posinf=0.0)  # 1.2 is the estimate's own safety


def looks_stiff(name: str, reach: float) -> str:
    """The hint."""
    return (
        f"looks stiff: the step times the spectral radius of df/dx is {reach:.1f}, so that the stability of {name!r} and not "
        "the accuracy sizes the steps; try method='rodas5p'."
    )

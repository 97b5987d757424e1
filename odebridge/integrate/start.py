"""The size of the first step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.protocols import System
from odebridge.core.shapes import per_sample
from odebridge.core.tolerance import Tolerance, rms
from odebridge.linalg.structure import over_mass


@torch.no_grad()
def first_step(
    f: System,
    t: Float[Tensor, " b"],
    x: Float[Tensor, "b *s"],
    slope: Float[Tensor, "b *s"],
    reach: Float[Tensor, " b"],
    sign: Float[Tensor, " b"],
    tol: Tolerance,
    error_order: int,
) -> Float[Tensor, " b"]:
    """A first step whose local error is about a hundredth of the tolerance, positive, (b,) float64. Costs one f evaluation.

    h0 = 0.01 |x| / |f|, an Euler probe of length h0 for the second derivative d2, h1 = (0.01 / max(|f|, d2))^(1/k), and the
    smaller of 100 h0 and h1 (Hairer, Norsett & Wanner I, II.4). k = order of the error estimate + 1; several codes use
    the order of the solution instead. `reach` = |t1 - t0| bounds it.
    """
    weights = tol.weights(x, x)
    weights = weights.double()  # squares of what a float32 can hold overflow in float32
    move = over_mass(f.mass, slope)
    d0, d1 = rms(x / weights), rms(move / weights)
    tiny = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = torch.minimum(torch.where(tiny, 1e-6, 0.01 * d0 / d1), reach)
    h0 = torch.where(torch.isfinite(h0) & (h0 > 0.0), h0, 1e-6 * reach)
    probe = f(t + sign * h0, x + per_sample(sign * h0, x) * move)
    d2 = rms(over_mass(f.mass, probe - slope) / weights) / h0
    steepest = torch.maximum(d1, d2)
    h1 = ((0.01 / steepest).log() / (error_order + 1)).exp()
    h1 = torch.where(steepest <= 1e-15, torch.clamp(h0 * 1e-3, min=1e-6), h1)
    h1 = torch.where(torch.isfinite(h1) & (h1 > 0.0), h1, h0 * 1e-3)  # the probe may have met a pole, or the start is on one
    resolved = 32.0 * torch.finfo(torch.float64).eps * t.abs()
    return torch.minimum(torch.maximum(torch.minimum(100.0 * h0, h1), resolved), reach)

"""What "small enough" means: one object for the error test and for Newton."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.shapes import per_sample


def rms(v: Float[Tensor, "b *s"]) -> Float[Tensor, " b"]:
    """Root mean square over the components of each trajectory, sqrt(mean_i |v_i|^2): (b, *s) -> (b,)."""
    flat = v.flatten(1)
    return (flat * flat).mean(1).sqrt() if not flat.is_complex() else flat.abs().square().mean(1).sqrt()


class Tolerance(NamedTuple):
    """Relative and absolute tolerance of every trajectory.

    The weight of component i is w_i = atol_i + rtol max(|x0_i|, |x1_i|), a scaled error is rms(error / w)
    (Hairer, Norsett & Wanner I, II.4.11). Soderlind scales norms instead; rejected, since small components would drown.
    """

    rtol: Float[Tensor, " b"]
    atol: Float[Tensor, "b *s"]  # (b, 1, ..., 1) or (b, *s)

    def weights(self, x0: Tensor, x1: Tensor) -> Tensor:
        """W = atol + rtol max(|x0|, |x1|), (b, *s)."""
        return self.atol + per_sample(self.rtol, x0) * torch.maximum(x0.abs(), x1.abs())

    def ratio(self, error: Tensor, x0: Tensor, x1: Tensor) -> Float[Tensor, " b"]:
        """Scaled error of a step from x0 to x1; at most 1 is within the tolerance. (b,) float64."""
        return rms(error / self.weights(x0, x1)).double()

"""What "small enough" means: one object for the error test and for Newton."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.shapes import per_sample

CHUNK = 4096


def row_sum(v: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Sum over the second dimension whose bits do not depend on b.

    PyTorch splits a long row over threads when it is alone and not when it has company, so long rows are summed in chunks.
    """
    n = v.shape[1]
    if n <= CHUNK:
        return v.sum(1)
    whole = n - n % CHUNK
    total = row_sum(v[:, :whole].reshape(len(v), -1, CHUNK).sum(2))
    return total if whole == n else total + v[:, whole:].sum(1)


def rms(v: Float[Tensor, "b *s"]) -> Float[Tensor, " b"]:
    """Root mean square over the components of each trajectory, sqrt(mean_i |v_i|^2): (b, *s) -> (b,), real."""
    flat = v.flatten(1).contiguous()  # a transposed layout is summed in another order
    squares = flat.real * flat.real + flat.imag * flat.imag if flat.is_complex() else flat * flat
    mean = row_sum(squares) / flat.shape[1]
    if not mean.requires_grad:
        return mean.sqrt()
    still = mean == 0.0  # the root has no derivative there
    return torch.where(still, mean, torch.where(still, 1.0, mean).sqrt())


class Tolerance(NamedTuple):
    """Relative and absolute tolerance of every trajectory.

    The weight of component i is w_i = atol_i + rtol max(|x0_i|, |x1_i|), a scaled error is rms(error / w)
    (Hairer, Norsett & Wanner I, II.4.11). Soderlind scales norms instead; rejected, since small components would drown.
    A controller sees it as `seen.tol`.
    """

    rtol: Float[Tensor, " b"]
    atol: Float[Tensor, "b *s"]  # (b, 1, ..., 1) or (b, *s)

    def weights(self, x0: Tensor, x1: Tensor) -> Tensor:
        """W = atol + rtol max(|x0|, |x1|) of states x0, x1 (b, *s): (b, *s)."""
        return self.atol + per_sample(self.rtol, x0) * torch.maximum(x0.abs(), x1.abs())

    def ratio(self, error: Tensor, x0: Tensor, x1: Tensor) -> Float[Tensor, " b"]:
        """Scaled error of a step from x0 to x1; at most 1 is within the tolerance. (b,) float64."""
        return rms(error / self.weights(x0, x1)).double()

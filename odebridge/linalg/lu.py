"""Factor once, solve many: one matrix per trajectory, a singular one is that trajectory's business."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Factors(NamedTuple):
    """LU factors of a batch of matrices."""

    lu: Float[Tensor, " b n n"]
    pivots: Int[Tensor, " b n"]
    singular: Bool[Tensor, " b"]


def factor(matrix: Float[Tensor, " b n n"]) -> Factors:
    """LU with row pivoting. Never raises: `lu_factor` would stop the whole batch for one singular matrix.

    Entries that are not finite make LAPACK's answer undefined, so such a matrix, and a singular one, is replaced by the
    identity and reported in `singular`; what is solved with it is finite and must not be used.
    """
    bad = ~torch.isfinite(matrix).flatten(1).all(1)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    lu, pivots, info = torch.linalg.lu_factor_ex(torch.where(bad[:, None, None], eye, matrix))
    singular = info != 0
    return Factors(torch.where(singular[:, None, None], eye, lu), pivots, bad | singular)


def solve(factors: Factors, rhs: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
    """matrix^-1 rhs for every trajectory."""
    return torch.linalg.lu_solve(factors.lu, factors.pivots, rhs.reshape(len(rhs), -1, 1)).reshape(rhs.shape)

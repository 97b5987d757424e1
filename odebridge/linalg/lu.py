"""Factor once, solve many: one matrix per trajectory, a singular one is that trajectory's business."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad


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
    lu, pivots, info = torch.linalg.lu_factor_ex(_filled(torch.where(bad[:, None, None], eye, matrix)))
    singular = info != 0
    whole = torch.eye(lu.shape[-1], dtype=lu.dtype, device=lu.device)
    return Factors(torch.where(singular[:, None, None], whole, lu), pivots, bad | singular)


def solve(factors: Factors, rhs: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
    """matrix^-1 rhs for every trajectory."""
    flat, n = rhs.reshape(len(rhs), -1), rhs[0].numel()
    more = factors.lu.shape[-1] - n
    out = torch.linalg.lu_solve(factors.lu, factors.pivots, (pad(flat, (0, more)) if more else flat)[:, :, None])[:, :, 0]
    return (out[:, :n] if more else out).reshape(rhs.shape)


def _filled(matrix: Float[Tensor, " b n n"]) -> Float[Tensor, " b m m"]:
    """Filled up by rows of the identity to a multiple of 4 from n = 17 on.

    LAPACK's bits depend on how a matrix lies in memory: one of odd size alone would differ from the same one in a batch.
    """
    n = matrix.shape[-1]
    more = -n % 4
    if n < 17 or not more:
        return matrix
    rest = torch.ones(more, dtype=matrix.dtype, device=matrix.device)
    return pad(matrix, (0, more, 0, more)) + torch.diag(pad(rest, (n, 0)))

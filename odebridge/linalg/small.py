"""LU of small matrices, unrolled over the components: elementwise arithmetic on (b,) rows, which a compiler can fuse."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LARGEST = 8  # the number of operations grows as n^3


class SmallFactors(NamedTuple):
    """LU factors of b matrices, the batch in the last dimension."""

    lu: Float[Tensor, " n n b"]
    rows: Int[Tensor, " n b"]  # which row of the matrix stands in each place
    singular: Bool[Tensor, " b"]


def factor_small(matrix: Float[Tensor, " n n b"]) -> SmallFactors:
    """P A = L U with row pivoting for matrices (n, n, b), n <= 8, as structure of arrays: entry [i, j] is (b,).

    The pivots are LAPACK's (the first of the largest by |Re| + |Im|). No decision on data in Python and no call of LAPACK, so
    that it compiles to one kernel with what stands around it. A matrix that is singular or not finite is replaced by the
    identity and reported in `singular`; what is solved with it is finite and must not be used. Differentiable. ValueError for
    n > 8 or another shape. Source: Golub & Van Loan, Matrix Computations, 3.4. Caveat: hundreds of operations in eager mode.
    Use: `solve_small(factor_small(a.permute(1, 2, 0)), rhs.T).T`.
    """
    if matrix.dim() != 3 or matrix.shape[0] != matrix.shape[1] or not 1 <= matrix.shape[0] <= LARGEST:
        raise ValueError(f"factor_small: takes matrices (n, n, b) with n from 1 to {LARGEST}, got {tuple(matrix.shape)}.")
    n = len(matrix)
    bad = ~torch.isfinite(matrix).flatten(0, 1).all(0)
    unit = torch.eye(n, dtype=matrix.dtype, device=matrix.device)[:, :, None]
    a = [list(row.unbind(0)) for row in torch.where(bad, unit, matrix).unbind(0)]
    places = [torch.full_like(bad, i, dtype=torch.int64) for i in range(n)]
    for k in range(n):
        best, pivot = _size(a[k][k]), torch.full_like(places[0], k)
        for i in range(k + 1, n):
            size = _size(a[i][k])
            pivot = torch.where(size > best, i, pivot)
            best = torch.maximum(size, best)
        for i in range(k + 1, n):
            # One of these exchanges at most takes place, since only one row is the pivot.
            here = pivot == i
            a[k], a[i] = (
                [torch.where(here, q, p) for p, q in zip(a[k], a[i], strict=True)],
                [torch.where(here, p, q) for p, q in zip(a[k], a[i], strict=True)],
            )
            places[k], places[i] = torch.where(here, places[i], places[k]), torch.where(here, places[k], places[i])
        bad = bad | (best == 0)
        top = torch.where(best == 0, torch.ones_like(a[k][k]), a[k][k])
        a[k][k] = top
        for i in range(k + 1, n):
            a[i][k] = a[i][k] / top
            for j in range(k + 1, n):
                a[i][j] = a[i][j] - a[i][k] * a[k][j]
    # A pivot that overflowed shows at the end: nothing that is not finite ever becomes finite again.
    lu = torch.stack([torch.stack(row) for row in a])
    bad = bad | ~torch.isfinite(lu).flatten(0, 1).all(0)
    lu = torch.where(bad, unit, lu)
    return SmallFactors(lu, torch.stack(places), bad)


def _size(v: Tensor) -> Tensor:
    return v.real.abs() + v.imag.abs() if v.is_complex() else v.abs()


def solve_small(factors: SmallFactors, rhs: Float[Tensor, " n b"]) -> Float[Tensor, " n b"]:
    """A^-1 rhs for right-hand sides (n, b); real or complex. Caveat: of no use where `singular` holds.

    Use: `solve_small(factors, rhs)`.
    """
    n = len(rhs)
    dtype = torch.promote_types(factors.lu.dtype, rhs.dtype)
    y = list(rhs.to(dtype).gather(0, factors.rows).unbind(0))
    for i in range(n):
        for j in range(i):
            y[i] = y[i] - factors.lu[i, j] * y[j]
    for i in reversed(range(n)):
        for j in range(i + 1, n):
            y[i] = y[i] - factors.lu[i, j] * y[j]
        y[i] = y[i] / factors.lu[i, i]
    return torch.stack(y)

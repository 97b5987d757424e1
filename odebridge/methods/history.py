"""Polynomials through points of any spacing, per trajectory: weights and sums without a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from odebridge.core.shapes import per_sample


def combined(weights: Float[Tensor, " b k"], points: Sequence[Tensor]) -> Tensor:
    """sum_l w_l x_l with weights of each trajectory; a weight of 0 leaves out a point that was never set."""
    total = torch.zeros_like(points[0])
    for w, x in zip(weights.unbind(1), points, strict=False):
        total = total + per_sample(w, x) * x
    return total


def backward_differences(nodes: Float[Tensor, " b k"], degree: Int[Tensor, " b"], top: int) -> Float[Tensor, " b m k"]:
    """Weights W with D_m = sum_l W_ml x_l: backward differences at 0, spacing 1, of the polynomial of `degree` through nodes.

    nodes (b, top + 1) are places in steps, the present point 0 first; of them the first degree + 1 count. Rows beyond the
    degree are 0.
    """
    count = top + 1
    j = torch.arange(count, device=nodes.device)
    counts = j[None] <= degree[:, None]  # (b, k): is this point among those that count
    # Lagrange's polynomials at the places 0, -1, ..., -top: (b, place, l)
    place = -j.to(nodes.dtype)
    values = torch.ones(len(nodes), count, count, dtype=nodes.dtype, device=nodes.device)
    for i in range(count):
        gap = nodes - nodes[:, i : i + 1]
        use = counts[:, i : i + 1] & (j != i)[None]
        gap = torch.where(use & counts, gap, 1.0)
        factor = (place[None, :, None] - nodes[:, i, None, None]) / gap[:, None, :]
        values = torch.where((use & counts)[:, None, :], values * factor, values)
    values = torch.where(counts[:, None, :], values, 0.0)
    rows = [values[:, 0]]
    table = list(values.unbind(1))
    for _ in range(top):
        table = [a - b for a, b in pairwise(table)]
        rows.append(table[0])
    out = torch.stack(rows, 1)
    return torch.where((j[None] <= degree[:, None])[:, :, None], out, 0.0)


def divided(nodes: Float[Tensor, " b k"], degree: Int[Tensor, " b"]) -> Float[Tensor, " b k"]:
    """Weights of m! times the divided difference of order m = degree over the first m + 1 nodes: an m-th derivative."""
    count = nodes.shape[1]
    j = torch.arange(count, device=nodes.device)
    use = j[None] <= degree[:, None]
    product = torch.ones_like(nodes)
    for i in range(count):
        other = use & use[:, i : i + 1] & (j != i)[None]
        product = product * torch.where(other, nodes - nodes[:, i : i + 1], 1.0)
    factorial = torch.lgamma(degree.to(nodes.dtype) + 1.0).exp().round()
    return torch.where(use, factorial[:, None] / product, 0.0)


def powers(nodes: Float[Tensor, " b k"], points: Sequence[Tensor], degree: Int[Tensor, " b"], top: int) -> tuple[Tensor, ...]:
    """Coefficients (q_1, ..., q_top) of the polynomial of `degree` through points at nodes, the first at 0, in powers.

    By Newton's divided differences and Horner's rule; beyond a trajectory's degree the coefficients are 0.
    """
    column, newton = list(points[: top + 1]), [points[0]]
    for m in range(1, top + 1):
        enough = m <= degree
        nxt = []
        for i in range(len(column) - 1):
            gap = torch.where(enough, nodes[:, i + m] - nodes[:, i], 1.0)
            nxt.append((column[i + 1] - column[i]) * per_sample(torch.where(enough, 1.0 / gap, 0.0), column[i]))
        column = nxt
        newton.append(torch.where(per_sample(enough, column[0]).bool(), column[0], 0.0))
    out = [newton[top]]
    for m in range(top - 1, -1, -1):
        node = per_sample(nodes[:, m], out[0])
        shifted = [torch.zeros_like(out[0]), *out]
        out = [a - node * b for a, b in zip(shifted, [*out, torch.zeros_like(out[0])], strict=True)]
        out[0] = out[0] + newton[m]
    return tuple(out[1:])

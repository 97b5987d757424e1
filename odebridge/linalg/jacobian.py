"""Batched Jacobians: forward mode over the batched field, or the user's."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from odebridge.core.protocols import System


def time_derivative(f: System, t: Float[Tensor, " b"], x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
    """df/dt at (t, x) by one forward-mode product."""
    return jvp(lambda s: f(s, x), (t,), (torch.ones_like(t),))[1]


def jacobian(
    f: System, t: Float[Tensor, " b"], x: Float[Tensor, "b *s"]
) -> tuple[Float[Tensor, " b n n"], Float[Tensor, "b *s"]]:
    """df/dx (b, n, n) and df/dt (b, *s), n the number of components of one trajectory.

    Forward mode: the batch is laid out n + 1 times, copy j carries the unit tangent e_j, the last one the tangent of t, and
    the field runs once. One call of the field whatever n; memory and work as n + 1 fields. Against vmap over the tangents it
    asks nothing of the field (no vmap rules) and is faster in eager mode. Differentiable once more.
    """
    b, n = len(x), x[0].numel()
    if f.jacobian is not None:
        return f.jacobian(t, x), time_derivative(f, t, x)
    copies = (n + 1,) + (1,) * (x.dim() - 1)
    tangent = torch.zeros(n + 1, b, n, dtype=x.dtype, device=x.device)
    tangent[:n] = torch.eye(n, dtype=x.dtype, device=x.device)[:, None, :]
    tangent_t = torch.zeros(n + 1, b, dtype=t.dtype, device=t.device)
    tangent_t[n] = 1.0
    columns = jvp(
        f.repeated(n + 1), (t.repeat(n + 1), x.repeat(*copies)), (tangent_t.reshape(-1), tangent.reshape(-1, *x.shape[1:]))
    )[1]
    columns = columns.reshape(n + 1, b, n)
    return columns[:n].permute(1, 2, 0), columns[n].reshape(x.shape)

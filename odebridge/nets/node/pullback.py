"""Derivatives that a field takes of a network, in every place where a field may be asked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp


def pullback(
    f: Callable[[Tensor], Tensor], x: Float[Tensor, "b *s"], weights: Callable[[Tensor], Tensor] = torch.ones_like
) -> tuple[Tensor, Float[Tensor, "b *s"]]:
    """f(x) and w^T df/dx, w = weights(f(x)): also where no graph is being made, and differentiable once more.

    By torch.func, which implicit methods need, for they push tangents through the field. It refuses to work inside a
    checkpoint; there, and only there, plain autograd does it. RuntimeError for an implicit method inside a checkpoint.
    Use: `_, slope = pullback(energy, x)`, the gradient of an energy (b, d) -> (b,).
    """
    try:
        value, back = vjp(f, x)[:2]
        return value, back(weights(value))[0]
    except RuntimeError as error:
        if "saved tensor hooks" not in str(error):
            raise
    with torch.enable_grad():
        start = x if x.requires_grad else x.detach().requires_grad_()
        value = f(start)
        (slope,) = torch.autograd.grad(value, start, weights(value), create_graph=True)
    return value, slope

"""Small networks as fields of neural ODEs: plain, with the time as an input, and with weights that vary with the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.names import lookup

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"softplus": nn.Softplus, "tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU}


def mlp(sizes: Sequence[int], activation: str = "tanh", *, dtype: torch.dtype | None = None) -> nn.Sequential:
    """Linear layers of these sizes with an activation between them: `mlp([2, 64, 64, 2])`; ValueError for an unknown one."""
    act = lookup("activation", activation, ACTIVATIONS)
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers += [act()] * (i > 0) + [nn.Linear(a, b, dtype=dtype)]
    return nn.Sequential(*layers)


class MLPField(nn.Module):
    """f(t, x) = s net([(x - m) / s, t]): a small network, with the time as one more input if `time`.

    dim: components of x; hidden: sizes between; scale, centre (dim,): s and m, 1 and 0 if None, so that the network sees
    numbers near 1 and its output is in the unit of x over that of t. Shapes: x (b, ..., dim), t (b,) -> (b, ..., dim).
    Source: Chen et al., Neural ordinary differential equations, NeurIPS 2018, whose code gives the time as an input.
    Caveat: relu costs an adaptive solver its order. Use: `MLPField(2, (64, 64), time=True)`.
    """

    scale: Tensor | None
    centre: Tensor | None

    def __init__(
        self, dim: int, hidden: Sequence[int] = (32, 32), *, time: bool = False, activation: str = "tanh",
        scale: Tensor | None = None, centre: Tensor | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.net = mlp([dim + time, *hidden, dim], activation, dtype=dtype)
        self.time = time
        self.register_buffer("scale", scale)
        self.register_buffer("centre", centre)

    def forward(self, t: Tensor, x: Float[Tensor, "*b dim"]) -> Float[Tensor, "*b dim"]:
        """The slope at (t, x)."""
        u = x if self.centre is None else x - self.centre
        u = u if self.scale is None else u / self.scale
        y = self.net(with_time(t, u) if self.time else u)
        return y if self.scale is None else y * self.scale


def with_time(t: Tensor, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
    """X with the time of its trajectory as one more entry of the last dimension: (..., d) -> (..., d + 1).

    t: a number or (b,). Use: `net(with_time(t, x))` in a field that depends on time.
    """
    clock = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, *(1,) * (x.dim() - 1))
    return torch.cat([x, clock.expand(*x.shape[:-1], 1)], -1)

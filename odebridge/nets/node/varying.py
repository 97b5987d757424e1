"""Weights that vary with the depth: a network whose parameters are functions of t."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.names import lookup
from odebridge.nets.node.fields import ACTIVATIONS


def hats(s: Float[Tensor, " b"], terms: int) -> Float[Tensor, "b terms"]:
    """Hat functions on `terms` even nodes of [0, 1]: the weights are interpolated linearly between nodes."""
    nodes = torch.linspace(0.0, 1.0, terms, dtype=s.dtype, device=s.device)
    return (1.0 - (terms - 1) * (s[:, None] - nodes).abs()).clamp_min(0.0)


def chebyshev(s: Float[Tensor, " b"], terms: int) -> Float[Tensor, "b terms"]:
    """Chebyshev polynomials T_0 ... T_(terms - 1) of 2 s - 1."""
    u, values = 2.0 * s - 1.0, [torch.ones_like(s), 2.0 * s - 1.0]
    while len(values) < terms:
        values.append(2.0 * u * values[-1] - values[-2])
    return torch.stack(values[:terms], -1)


BASES: dict[str, Callable[[Tensor, int], Tensor]] = {"linear": hats, "galerkin": chebyshev}


class VaryingField(nn.Module):
    """f(t, x) = W_L(t) act(... act(W_1(t) x + b_1(t)) ...) + b_L(t),  W_l(t) = sum_k W_lk phi_k(s), b_l(t) likewise.

    s = (t - t0) / (t1 - t0), held within [0, 1]. basis: "linear", hat functions on `terms` nodes, or "galerkin", Chebyshev
    polynomials of degree below `terms`. hidden: sizes between. Shapes: x (b, dim), t (b,) -> (b, dim). ValueError for fewer
    than two terms or an unknown basis. Source: Massaroli et al., Dissecting neural ODEs, NeurIPS 2020 (Galerkin and
    piecewise weights); Queiruga et al., Continuous-in-depth neural networks, 2020. Caveats: `terms` times the weights and the
    work of a plain field; hats have kinks at their nodes, which an adaptive solver pays for in steps.
    Use: `NeuralODE(VaryingField(2, (32,), basis="galerkin"))`.
    """

    def __init__(
        self, dim: int, hidden: Sequence[int] = (32, 32), *, basis: str = "linear", terms: int = 4,
        span: tuple[float, float] = (0.0, 1.0), activation: str = "tanh",
    ) -> None:  # fmt: skip
        super().__init__()
        if terms < 2:
            raise ValueError(f"VaryingField: terms must be at least 2, got {terms!r}; with one, take an MLPField.")
        self.basis, self.terms, self.span = lookup("basis", basis, BASES), terms, span
        self.act = lookup("activation", activation, ACTIVATIONS)()
        # One linear map to all terms at once: the same numbers as `terms` maps, in one product.
        self.maps = nn.ModuleList([nn.Linear(a, terms * b) for a, b in pairwise([dim, *hidden, dim])])

    def forward(self, t: Tensor, x: Float[Tensor, "b dim"]) -> Float[Tensor, "b dim"]:
        """The slope at (t, x)."""
        t0, t1 = self.span
        clock = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))
        weights = self.basis(((clock - t0) / (t1 - t0)).clamp(0.0, 1.0), self.terms)
        for i, layer in enumerate(self.maps):
            x = self.act(x) if i else x
            x = (layer(x).reshape(len(x), self.terms, -1) * weights[:, :, None]).sum(1)
        return x

"""Continuous normalising flows: densities that are carried along by an ODE."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.nets.node.solver import DEFAULT, Solver

TRACES = ("exact", "hutchinson")


class CNF(nn.Module):
    """log p(x) = log N(z(1); 0, 1) + int_0^1 tr(df/dz) dt,  z' = f(t, z),  z(0) = x: data at t = 0, a Gaussian at t = 1.

    field: f(t, z), z (b, dim) -> (b, dim). trace "exact": dim Jacobian products a call, in one batch; "hutchinson": e^T df/dz e
    with one e of signs (Rademacher) per sample and solve, an unbiased estimate of the integral at the cost of one product.
    solver: any method and gradient policy; its tolerances hold for z and the integral alike.
    Shapes: x (b, dim) -> (b,). `sample` goes the other way. ValueError for another trace, and x of another shape.
    Source: Chen et al., NeurIPS 2018, theorem 1; Grathwohl et al., FFJORD, ICLR 2019, for the estimate.
    Caveat: exp of an estimated log p is biased: judge by the exact trace. Use: `CNF(MLPField(2, time=True), 2).log_prob(x)`.
    """

    def __init__(self, field: nn.Module, dim: int, *, trace: str = "exact", solver: Solver = DEFAULT) -> None:
        super().__init__()
        if trace not in TRACES:
            raise ValueError(f"CNF: trace must be one of {', '.join(TRACES)}, got {trace!r}.")
        self.field, self.dim, self.trace, self.solver = field, dim, trace, solver

    def log_prob(
        self, x: Float[Tensor, "b dim"], *, trace: str | None = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, " b"]:
        """Log density at x, in nats; trace: other than the flow's own. generator: what the signs are drawn from."""
        if x.dim() != 2 or x.shape[1] != self.dim:
            raise ValueError(f"CNF: x must have shape (b, {self.dim}), got {tuple(x.shape)}.")
        signs = None
        if (trace or self.trace) == "hutchinson":
            signs = torch.randint(2, x.shape, generator=generator).to(x) * 2.0 - 1.0
        start = torch.cat([x, x.new_zeros(len(x), 1)], 1)
        end = self.solver.solve(self._joint, start, (0.0, 1.0), args={} if signs is None else {"signs": signs}).x1
        z, change = end[:, :-1], end[:, -1]
        return -0.5 * (z.square().sum(1) + self.dim * math.log(2 * math.pi)) + change

    forward = log_prob

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n dim"]:
        """N samples of the learned density: a Gaussian carried from t = 1 to 0."""
        like = next(iter(self.parameters()), torch.zeros(()))
        z = torch.randn(n, self.dim, generator=generator, dtype=like.dtype).to(like.device)
        return self.solver.solve(self.field, z, (1.0, 0.0)).x1

    def _joint(self, t: Tensor, state: Float[Tensor, "b n"], args: dict[str, Tensor]) -> Float[Tensor, "b n"]:
        """(f, tr df/dz)."""
        z = state[:, :-1]
        slope, trace = divergence(self.field, t, z, args.get("signs"))
        return torch.cat([slope, trace[:, None]], 1)


def divergence(field: Any, t: Tensor, z: Float[Tensor, "b d"], signs: Float[Tensor, "b d"] | None) -> tuple[Tensor, Tensor]:
    """F(t, z) and its divergence (b,), exact without signs, else e^T df/dz e; by forward mode, differentiable once more."""
    if signs is not None:
        slope, product = torch.func.jvp(lambda v: field(t, v), (z,), (signs,))  # type: ignore[assignment]
        return slope, (signs * product).sum(1)
    b, d = z.shape
    basis = torch.eye(d, dtype=z.dtype, device=z.device).repeat_interleave(b, 0)  # row i b + j: direction i of sample j
    many = t.repeat(d) if t.dim() else t
    slopes, products = torch.func.jvp(lambda v: field(many, v), (z.repeat(d, 1),), (basis,))  # type: ignore[assignment]
    return slopes[:b], (basis * products).sum(1).reshape(d, b).sum(0)

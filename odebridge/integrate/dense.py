"""Dense output: the interpolants of all steps as one function of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.shapes import per_sample


def evaluate(x0: Float[Tensor, "k *s"], powers: tuple[Tensor, ...], s: Float[Tensor, " k"]) -> Float[Tensor, "k *s"]:
    """x0 + q_1 s + q_2 s^2 + ..., by Horner's rule."""
    place = per_sample(s, x0)
    total = torch.zeros_like(x0)
    for q in reversed(powers):
        total = (total + q) * place
    return x0 + total


def wide(mask: Tensor, x: Tensor) -> Tensor:
    """A mask (k,) in the shape that selects rows of x (k, *s)."""
    return mask.reshape(-1, *(1,) * (x.dim() - 1))


def at_nodes(x: Tensor, mask: Tensor, node: Tensor, base: Tensor, powers: tuple[Tensor, ...], s: Tensor) -> Tensor:
    """x, but exactly the kept state where a time falls on the end of a step; the gradient to the time stays dx/dt."""
    if s.requires_grad:
        moving = evaluate(base.detach(), tuple(q.detach() for q in powers), s)
        node = node + (moving - moving.detach())
    return torch.where(wide(mask, x), node, x)


@dataclass(frozen=True)
class Interpolant:
    """x(t) between the kept steps of every trajectory: piecewise polynomials of the method's own dense output."""

    ts: Float[Tensor, " b k"]  # nodes, NaN beyond the last
    xs: Float[Tensor, " b k *s"]
    dts: Float[Tensor, " b k-1"]
    powers: tuple[Tensor, ...]  # each (b, k - 1, *s)
    sign: Float[Tensor, " b"]

    def __call__(self, t: Any) -> Tensor:
        """States at t, a float, (k,) or (b, k); NaN outside the nodes a trajectory has reached."""
        asked = torch.as_tensor(t, dtype=torch.float64, device=self.ts.device)
        times = asked.reshape(-1).expand(len(self.ts), -1) if asked.dim() < 2 else asked
        b, m = times.shape
        if b != len(self.ts):
            raise ValueError(f"t: give a float, (k,) or (b, k) with b={len(self.ts)}, got shape {tuple(asked.shape)}.")
        if not self.powers:
            out = self.xs.expand(b, m, *self.xs.shape[2:]).clone()
            out[times != self.ts] = torch.nan
            return out[:, 0] if asked.dim() == 0 else out
        forward = torch.where(torch.isnan(self.ts), torch.inf, self.ts * self.sign[:, None]).detach().contiguous()
        place = torch.searchsorted(forward, (times * self.sign[:, None]).detach().contiguous(), right=True) - 1
        steps = torch.isfinite(self.ts).sum(1, keepdim=True) - 1
        inside = (place >= 0) & (times * self.sign[:, None] <= forward.gather(1, steps))
        # A trajectory without a step is known at its start only; it reads the first (NaN) step nowhere.
        moved = (inside & (steps > 0)).reshape(-1)
        place = torch.minimum(place.clamp_min(0), (steps - 1).clamp_min(0))
        rows = torch.arange(b, device=self.ts.device)[:, None].expand(b, m).reshape(-1)
        cols, t_asked = place.reshape(-1), times.reshape(-1)
        t_from, dt = self.ts[rows, cols], self.dts[rows, cols]
        # Never nan before a where: it would come back in the gradient.
        s = (torch.where(moved, t_asked, 0.0) - torch.where(moved, t_from, 0.0)) / torch.where(moved, dt, 1.0)
        base, powers = self.xs[rows, cols], tuple(q[rows, cols] for q in self.powers)
        at_node = moved & (t_asked == self.ts[rows, cols + 1])
        x = at_nodes(evaluate(base, powers, s), at_node, self.xs[rows, cols + 1], base, powers, s)
        only_start = (inside & (steps == 0) & (times == self.ts[:, :1])).reshape(-1)
        x = torch.where(wide(only_start, x), self.xs[rows, 0], torch.where(wide(moved, x), x, torch.nan))
        x = x.reshape(b, m, *self.xs.shape[2:])
        return x[:, 0] if asked.dim() == 0 else x

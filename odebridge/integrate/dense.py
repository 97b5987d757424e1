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
        inside = (place >= 0) & (times * self.sign[:, None] <= forward.gather(1, steps)) & (steps > 0)
        place = torch.minimum(place.clamp_min(0), (steps - 1).clamp_min(0))
        rows = torch.arange(b, device=self.ts.device)[:, None].expand(b, m).reshape(-1)
        cols = place.reshape(-1)
        s = (times.reshape(-1) - self.ts[rows, cols]) / self.dts[rows, cols]
        x = evaluate(self.xs[rows, cols], tuple(q[rows, cols] for q in self.powers), s)
        at_node = times.reshape(-1) == self.ts[rows, cols + 1]
        x = torch.where(at_node.reshape(-1, *(1,) * (x.dim() - 1)), self.xs[rows, cols + 1], x)
        x = torch.where(inside.reshape(-1, *(1,) * (x.dim() - 1)), x, torch.nan)
        x = x.reshape(b, m, *self.xs.shape[2:])
        return x[:, 0] if asked.dim() == 0 else x

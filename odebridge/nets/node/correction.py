"""The network inside a corrected method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.nets.node.fields import mlp, with_time


class Correction(nn.Module):
    """g(t, x, slope) = out net([(x - centre) / scale, slope / slope_scale, t]); 0 at first: training starts at the base.

    dim: components of x; slope, time: are they inputs (a hypersolver sees the slope, NeurVec the state alone). scale, centre,
    slope_scale, out: (dim,), 1 or 0 if None; `measured` of odebridge.train.recipes.corrected takes them from data.
    Shapes: t a float or (b,), x and slope (b, dim) -> (b, dim). Source: Poli et al., Hypersolvers, NeurIPS 2020;
    Huang et al., NeurVec, Scientific Reports 13, 2023, arXiv 2208.03680.
    Caveat: outside the states it was trained on it is any function.
    Use: `Corrected(EULER, Correction(2, (32, 32)))`.
    """

    scale: Tensor
    centre: Tensor
    slope_scale: Tensor
    out: Tensor

    def __init__(
        self, dim: int, hidden: Sequence[int] = (32, 32), *, slope: bool = True, time: bool = False, activation: str = "tanh",
        scale: Tensor | None = None, centre: Tensor | None = None, slope_scale: Tensor | None = None, out: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.net = mlp([dim * (1 + slope) + time, *hidden, dim], activation, dtype=dtype)
        self.slope, self.time = slope, time
        one = torch.ones(dim, dtype=dtype)
        for name, value in (("scale", scale), ("centre", centre), ("slope_scale", slope_scale), ("out", out)):
            self.register_buffer(name, (0 * one if name == "centre" else one) if value is None else value)
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, t: Any, x: Float[Tensor, "b dim"], slope: Float[Tensor, "b dim"]) -> Float[Tensor, "b dim"]:
        """What the base leaves out of the increment, over the power of h."""
        seen = (x - self.centre) / self.scale
        seen = torch.cat([seen, slope / self.slope_scale], -1) if self.slope else seen
        return self.out * self.net(with_time(t, seen) if self.time else seen)

"""Weights that are a function of the depth without jumps: the same at every depth, or linear between blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from odebridge.core.protocols import DepthField


class Tied(DepthField):
    """f(t, x) = block(x) at every depth t: an autonomous ODE of one block.

    Shapes: (b, *s) -> (b, *s). Source: Chen et al., NeurIPS 2018. Caveat: a BatchNorm in the block sees the states of all
    depths at once. Use: `ContinuousStage(Tied(PreActBranch(16)), 3)`.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, t: float, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The increment; on a grid."""
        return self.block(x)

    def clocked(self, t: Float[Tensor, " b"], x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The same where every sample has a clock of its own."""
        return self.block(x).to(x.dtype)


class Interpolated(DepthField):
    """f(t, x) = block(x; W(t)),  W(t) = (1 - s) W_k + s W_(k+1),  k = floor(t), s = t - k: linear in depth between knots.

    Block k gives the weights at depth k, the last one from its depth on, so that Euler steps of length 1 make the network of
    the blocks themselves. Shapes: (b, *s) -> (b, *s). ValueError without blocks, or with buffers such as the running averages
    of BatchNorm, which belong to no depth in between. Source: Queiruga et al., Continuous-in-depth neural networks, 2020.
    Caveat: with a clock for every sample each has weights of its own, and a convolution runs once per sample; the slope has a
    kink at every knot. Use: `ContinuousStage(Interpolated([block() for _ in range(4)]), 4, steps=8)`.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if len(self.blocks) == 0:
            raise ValueError("Interpolated: give at least one block.")
        if name := next((name for name, _ in self.blocks.named_buffers()), None):
            raise ValueError(f"Interpolated: the blocks have a buffer, {name!r}, which is not interpolated; use norm='group'.")

    def forward(self, t: float, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The increment at depth t; on a grid."""
        k, s = self._between(t)
        if s == 0.0:
            return self.blocks[k](x)
        below, above = (dict(self.blocks[i].named_parameters()) for i in (k, k + 1))
        return functional_call(self.blocks[0], {name: torch.lerp(p, above[name], s) for name, p in below.items()}, x)

    def clocked(self, t: Float[Tensor, " b"], x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The same where every sample has a clock of its own."""
        n, block = len(self.blocks), self.blocks[0]
        t = t.clamp(0.0, n - 1.0)
        k = t.floor().long().clamp(max=max(n - 2, 0))
        s = t - k

        def at_depth(name: str, p: Tensor) -> Tensor:
            every = torch.stack([b.get_parameter(name) for b in self.blocks])
            return torch.lerp(every[k], every[(k + 1).clamp(max=n - 1)], s.reshape(-1, *(1,) * p.dim()).to(p.dtype))

        def one(weights: dict[str, Tensor], sample: Tensor) -> Tensor:
            return functional_call(block, weights, sample[None])[0]

        return vmap(one)({name: at_depth(name, p) for name, p in block.named_parameters()}, x).to(x.dtype)

    def _between(self, t: float) -> tuple[int, float]:
        """The knot below and the way to the next, a number on the grid of the knots counted as that."""
        last = len(self.blocks) - 1
        near = round(t)
        t = min(max(float(near) if abs(t - near) < 1e-9 else t, 0.0), float(last))
        return math.floor(t), t - math.floor(t)

"""Spatial group-wise enhancement: where a group of channels agrees with its mean."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.attention.base import Attention

EPS = 1e-5


class SGE(Attention):
    """a_i = sigmoid(w_g (q_i - mean q) / (std q + eps) + b_g),  q_i = <mean_j f_j, f_i> over the channels of group g.

    i, j are positions, f = slope; w from 0, b from 1; one step size per group and position. Without a spatial dimension q has
    one value, and a = sigmoid(b_g). Shapes: x, slope (b, C, *space), a of the shape of slope. groups: 64, but at least four
    channels in each, as in the first stage of the published ResNet50, and a number that divides C; `reduction` is taken for the
    common signature and not used. Source: Li, Hu & Yang, arXiv 1905.09646. Caveat: of a group of one channel the gate sees
    little more than the sign of its mean. Use: `ob.nets.resnet(164, controller="sge", style="paper")`.
    """

    def __init__(self, channels: int, reduction: int = 16, *, groups: int | None = None) -> None:
        super().__init__()
        if groups is not None and (groups < 1 or channels % groups):
            raise ValueError(f"SGE: groups must be a divisor of the {channels} channels, got {groups!r}.")
        most = max(1, min(64, channels // 4))
        self.groups = groups or max(g for g in range(1, most + 1) if channels % g == 0)
        self.weight = nn.Parameter(torch.zeros(self.groups))
        self.bias = nn.Parameter(torch.ones(self.groups))

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One number per group and position, for every channel of the group."""
        b, c = slope.shape[:2]
        exact = torch.promote_types(slope.dtype, torch.float32)  # differences from a mean are lost in half precision
        f = slope.to(exact).reshape(b, self.groups, c // self.groups, -1)  # groups, channels of one, positions
        q = (f * f.mean(3, keepdim=True)).sum(2)
        q = q - q.mean(2, keepdim=True)
        size = q.detach().abs().amax(2, keepdim=True).clamp_min(EPS)  # squares of large slopes would overflow
        spread = size * ((q / size).square().sum(2, keepdim=True) / max(q.shape[2] - 1, 1) + EPS**2).sqrt()
        a = (self.weight[:, None] * q / (spread + EPS) + self.bias[:, None]).sigmoid()
        return a[:, :, None].expand(f.shape).reshape(slope.shape).to(slope.dtype)

"""Instance enhancement: every channel weighs itself."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.attention.base import Attention, per_channel, pooled


class IE(Attention):
    """a = sigmoid(g m + b),  m_c the mean of slope_c over space, g in R^C from 0, b in R^C from -1.

    Shapes: x, slope (b, C, *space), a (b, C, 1, ..., 1). `reduction` is taken for the common signature and not used.
    Source: Liang et al., AAAI 2020, arXiv 1908.04008 (IEBN). There it sits inside every BatchNorm; here it is one gate per
    block, as in the later tables of the same group, whose parameter counts it matches. Caveat: at first a is 0.27, not a half.
    Use: `ob.nets.resnet(20, controller="ie")`.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.full((channels,), -1.0))

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One number per channel from its own mean."""
        return per_channel((self.weight * pooled(slope) + self.bias).sigmoid(), x)

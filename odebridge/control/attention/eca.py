"""Efficient channel attention: neighbouring channels decide together."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.attention.base import Attention, per_channel, pooled


class ECA(Attention):
    """a = sigmoid(w * m),  m_c the mean of slope_c over space, w a kernel over k neighbouring channels, zeros beyond the ends.

    k = |log2 C + 1| / 2 rounded down, one more if that is even: 3 for 32 and 64 channels, 5 for 128 and 256; no bias, k
    parameters in all. Shapes: x, slope (b, C, *space), a (b, C, 1, ..., 1). `reduction` is taken for the common
    signature and not used. Source: Wang et al., CVPR 2020, arXiv 1910.03151, section 3.2.3 (timm takes at least 3).
    Caveat: which channels are neighbours is an accident of the first weights. Use: `ob.nets.resnet(20, controller="eca")`.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        t = int(abs(math.log2(channels) + 1) / 2)
        k = t if t % 2 else t + 1
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One number per channel from the mean slopes of its neighbours."""
        return per_channel(self.conv(pooled(slope)[:, None])[:, 0].sigmoid(), x)

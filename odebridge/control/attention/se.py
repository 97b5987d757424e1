"""Squeeze-and-excitation."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from odebridge.control.attention.base import Attention, per_channel, pooled, squeeze_excite


class SE(Attention):
    """a = sigmoid(W2 relu(W1 m + b1) + b2),  m_c the mean of slope_c over space,  W1: C -> round(C / reduction).

    Shapes: x, slope (b, C, *space), a (b, C, 1, ..., 1).
    Source: Hu, Shen & Sun, CVPR 2018, arXiv 1709.01507. With biases, as in the authors' ResNet164 code of Huang et al.
    (without them the published parameter counts do not come out). Caveat: it never sees x, so it cannot tell a large increment
    from a large state. Use: `ob.nets.resnet(depth=20, controller="se")`.
    """

    def __init__(self, channels: int, reduction: float = 16) -> None:
        super().__init__()
        self.excite = squeeze_excite(channels, channels, reduction)

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One number per channel from the mean slope."""
        return per_channel(self.excite(pooled(slope)), x)

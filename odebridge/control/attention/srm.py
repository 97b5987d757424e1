"""Style-based recalibration: mean and spread of each channel, on its own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.attention.base import Attention, per_channel, pooled

EPS = 1e-5


class SRM(Attention):
    """a = sigmoid(BN(w1 m + w2 s)),  m and s mean and standard deviation of slope over space, w1, w2 in R^C, 0 at first.

    Shapes: x, slope (b, C, *space), a (b, C, 1, ..., 1). `reduction` is taken for the common signature and not used. The
    variance is the unbiased one where there are two positions, and 0 where there is one. Source: Lee, Kim & Nam, ICCV 2019,
    arXiv 1903.10829. Caveat: BatchNorm over the batch: in training a gate depends on the other samples.
    Use: `ob.nets.resnet(20, controller="srm")`.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, channels))
        self.norm = nn.BatchNorm1d(channels)

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One number per channel from its mean and spread."""
        flat = slope.flatten(2) if slope.dim() > 2 else slope[:, :, None]
        spread = (flat.var(2, correction=int(flat.shape[2] > 1)) + EPS).sqrt()
        return per_channel(self.norm(self.weight[0] * pooled(slope) + self.weight[1] * spread).sigmoid(), x)

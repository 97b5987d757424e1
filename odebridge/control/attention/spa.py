"""Spatial pyramid attention: the mean slope of 1, 4 and 16 parts of the image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from odebridge.control.attention.base import Attention, per_channel, squeeze_excite

LEVELS = (1, 2, 4)


class SPA(Attention):
    """a = sigmoid(W2 relu(W1 p + b1) + b2),  p in R^(21 C): means of slope over the 1, 2 x 2 and 4 x 4 parts of the image.

    W1: 21 C -> round(C / reduction). Shapes: x, slope (b, C, *space), a (b, C, 1, ..., 1). A line is cut in 1, 4 and 16 parts,
    a volume in its last two dimensions, and without a spatial dimension all parts are the value itself.
    Source: Guo et al., ICME 2020; this form of W1 has the parameter count that is published for ResNet164, 3.86 million.
    Caveat: 21 times the weights of SE in W1. Use: `ob.nets.resnet(20, controller="spa")`.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.excite = squeeze_excite(sum(n * n for n in LEVELS) * channels, channels, reduction)

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One number per channel from the means of all parts."""
        return per_channel(self.excite(torch.cat([_parts(slope, n) for n in LEVELS], 1)), x)


def _parts(v: Float[Tensor, " b c *space"], n: int) -> Float[Tensor, " b cn2"]:
    """Means over n x n parts, those of one channel side by side: (b, C n n)."""
    if v.dim() < 4:
        line = v if v.dim() == 3 else v[:, :, None]
        return functional.adaptive_avg_pool1d(line, n * n).flatten(1)
    plane = v if v.dim() == 4 else v.flatten(2, -3).mean(2)
    return functional.adaptive_avg_pool2d(plane, n).flatten(1)

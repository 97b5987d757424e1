"""Convolutional block attention: first which channel, then where."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.attention.base import Attention, per_channel, pooled

KERNEL = 7


class CBAM(Attention):
    """a = a_channel a_place,  a_channel = sigmoid(M(mean f) + M(max f)),  a_place = sigmoid(conv7x7([mean_c g; max_c g])).

    f = slope, g = a_channel f, means and maxima of f over space, M(z) = W2 relu(W1 z) with W1: C -> round(C / reduction). No
    biases, and no BatchNorm after the convolution: so the published parameter count comes out. Shapes: x, slope (b, C, *space),
    a of the shape of slope. A line is seen as an image of height 1, and a volume slice by slice; without a spatial dimension
    there is no place to choose and a = a_channel.
    Source: Woo et al., ECCV 2018, arXiv 1807.06521. Caveat: a step size for every position costs operations of full size.
    Use: `ob.nets.resnet(20, controller="cbam")`.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction!r}.")
        narrow = max(1, round(channels / reduction))
        self.mix = nn.Sequential(nn.Linear(channels, narrow, False), nn.ReLU(), nn.Linear(narrow, channels, False))
        self.where = nn.Conv2d(2, 1, KERNEL, padding=KERNEL // 2, bias=False)

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One number per channel and position."""
        if slope.dim() == 2:
            return (2.0 * self.mix(slope)).sigmoid()  # mean and maximum are the value itself
        largest = slope.amax(tuple(range(2, slope.dim())))
        channel = per_channel((self.mix(pooled(slope)) + self.mix(largest)).sigmoid(), x)
        g = channel * slope
        seen = torch.stack([g.mean(1), g.amax(1)], 1)  # (b, 2, *space)
        planes = seen[:, :, None] if seen.dim() == 3 else seen.movedim(1, -3).reshape(-1, 2, *seen.shape[-2:])
        return channel * self.where(planes).sigmoid().reshape(len(x), 1, *slope.shape[2:])

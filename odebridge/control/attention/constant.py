"""A learned step size that looks at nothing: the control every other gate has to beat."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.attention.base import Attention


class Constant(Attention):
    """a = sigmoid(w), w in R^C learned, the same for every sample; w starts at 0, so a = 1/2.

    The start is that of SE and StepNet, whose gates are near 1/2 at first: a difference in training is then due to looking at
    the data, not to a shorter first step. Shapes: x, slope (b, C, *space), a (1, C, 1, ..., 1). `reduction` is
    taken for the common signature and not used.
    Source: the input-free limit found by Huang et al., ECCV 2024 (attention values approach constants during training).
    Use: `ob.nets.resnet(depth=20, controller="constant")`.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One number per channel."""
        return self.weight.sigmoid().reshape((1, -1) + (1,) * (x.dim() - 2))

"""A step of one half, learned by nobody."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from odebridge.control.attention.base import Attention


class Half(Attention):
    """a = 1/2 for every channel and sample, no parameters.

    Where SE, StepNet and Constant start: what is left of their gain beside this is what they have learned, and what this gains
    over a step of 1 is the shorter step alone. Shapes: x, slope (b, C, *space), a (1, C, 1, ..., 1). `channels` and
    `reduction` are taken for the common signature. Source: a control of ours; with BatchNorm at the end of a branch the factor
    could be learned away. Use: `ob.nets.resnet(depth=20, controller="half")`.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.channels = channels

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One half per channel."""
        return slope.new_full((1, self.channels) + (1,) * (x.dim() - 2), 0.5)

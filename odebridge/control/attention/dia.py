"""Dense-and-implicit attention: one recurrent cell for all blocks of a stage."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.attention.base import RecurrentAttention, per_channel, pooled
from odebridge.core.protocols import Observation
from odebridge.core.tolerance import Tolerance

Memory = tuple[Tensor, Tensor]  # output and cell of the last block, (b, C) each


class DIA(RecurrentAttention):
    """(i, f, o, g) = S_x(m) + S_h(h),  c' = sigmoid(f) c + sigmoid(i) tanh(g),  a = h' = sigmoid(o) sigmoid(c').

    m_c is the mean of slope_c over space and S(z) = V2 relu(V1 z + c1) + c2 with C -> round(C / reduction) -> 4 C. The cell is
    shared by the blocks of a stage, and (h, c) is the controller's memory: zero before the first block.
    Shapes: x, slope (b, C, *space), a (b, C, 1, ..., 1). Source: Huang et al., AAAI 2020, arXiv 1905.10671; sigmoid(c'), not
    tanh, as in the authors' code. Caveat: reduction is 4 here, as published, whatever the other modules take by default.
    Use: `ob.nets.resnet(164, controller="dia", style="paper")`.
    """

    shared: ClassVar[bool] = True

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction!r}.")
        narrow = max(1, round(channels / reduction))

        def squeezed() -> nn.Sequential:
            return nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, 4 * channels))

        self.look, self.recall = squeezed(), squeezed()

    def start(self, x: Float[Tensor, " b c *space"], tol: Tolerance | None) -> Memory:
        """Zeros (b, C)."""
        zero = x.new_zeros(x.shape[:2])
        return zero, zero

    def gate(self, seen: Observation, memory: Memory) -> tuple[Tensor, Memory]:
        """One number per channel from the mean slope and what the blocks before have left."""
        h, c = memory
        i, f, o, g = (self.look(pooled(seen.slope)) + self.recall(h)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * torch.tanh(g)
        h = o.sigmoid() * c.sigmoid()
        return per_channel(h, seen.x), (h, c)

"""A step controller on somebody else's layer."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.protocols import Observation, StepController


class Gated(nn.Module):
    """x' = x + h(x, f) f,  f = layer(x) - x, or f = layer(x) where the layer is an increment without a skip of its own.

    layer: any module whose output has the shape of its first argument, such as a block of torchvision or timm, or a part of a
    transformer. controller: one of `ob.control.ATTENTION` built for the channels of dimension 1, or any
    other `StepController`; its memory does not outlast the layer. skip: has the layer a skip itself? Shapes: (b, c, *space) ->
    the same; channels in the last dimension, as in transformers, with channels_last=True. ValueError if the shape changes.
    Source: ours; with h = 1 the network is as it was. Caveat: a ReLU after the block's own sum is part of f.
    Use: `net.layer2[1] = Gated(net.layer2[1], ob.control.SE(128))`.
    """

    def __init__(self, layer: nn.Module, controller: StepController, *, skip: bool = True, channels_last: bool = False) -> None:
        super().__init__()
        self.layer, self.controller, self.skip, self.channels_last = layer, controller, skip, channels_last

    def forward(self, x: Float[Tensor, "b *s"], *given: Any, **named: Any) -> Float[Tensor, "b *s"]:
        """The state after the layer, its increment times the gate; what else is given goes to the layer."""
        y = self.layer(x, *given, **named)
        if not isinstance(y, Tensor) or y.shape != x.shape:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"Gated: the layer must keep the shape {tuple(x.shape)} of its input, and returned {got}.")
        f = y - x if self.skip else y
        seen_x, seen_f = (x.movedim(-1, 1), f.movedim(-1, 1)) if self.channels_last else (x, f)
        h, _ = self.controller(Observation(0, 0.0, seen_x, seen_f, 1.0), self.controller.start(seen_x, None))
        if self.channels_last and isinstance(h, Tensor) and h.dim() == x.dim():
            h = h.movedim(1, -1)
        return x + h * f

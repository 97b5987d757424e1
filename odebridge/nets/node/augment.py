"""More room for a flow: augmented states, by zeros or by a learned map of the input."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Augment(nn.Module):
    """x -> [x, a]: a = 0 (`extra` entries of dimension 1), or a = net(x).

    As the `lift` of a `NeuralODE` this is an augmented neural ODE: trajectories may cross in the first components, so that
    what is nested in the plane can be taken apart. Shapes: (b, d) -> (b, d + extra), also images, by channels: (b, c, h, w).
    A lift of `nn.Linear(d, d + extra)`, of the whole input, is the input-layer augmentation of Massaroli et al.
    Source: Dupont, Doucet & Teh, Augmented neural ODEs, NeurIPS 2019 (zeros); Massaroli et al., NeurIPS 2020.
    ValueError for extra below 1. Use: `NeuralODE(MLPField(5), lift=Augment(3), head=nn.Linear(5, 2))`.
    """

    def __init__(self, extra: int | None = None, net: nn.Module | None = None) -> None:
        super().__init__()
        if (extra is None) == (net is None) or (extra is not None and extra < 1):
            raise ValueError(
                f"Augment: give either extra, at least 1, or a net that makes the new entries; got {extra!r}, {net!r}."
            )
        self.extra, self.net = extra, net

    def forward(self, x: Float[Tensor, "b d *s"]) -> Float[Tensor, "b e *s"]:
        """The input beside its new entries."""
        new = self.net(x) if self.net is not None else x.new_zeros(x.shape[0], self.extra or 0, *x.shape[2:])
        return torch.cat([x, new], 1)


class First(nn.Module):
    """x -> the first d entries of the last dimension: what a path through an augmented or second-order space shows."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = d

    def forward(self, x: Float[Tensor, "*b e"]) -> Float[Tensor, "*b d"]:
        """The first entries."""
        return x[..., : self.d]

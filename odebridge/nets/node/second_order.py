"""Second-order neural ODEs: with a velocity, damped or not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class SecondOrderField(nn.Module):
    """x' = m,  m' = f - sigma(g) m: the state (b, 2 d) holds positions x and velocities m.

    damping "none": a second-order neural ODE (SONODE), f = force(t, [x, m]). "learned": a heavy ball (HBNODE), f = force(t, x),
    with one trained g; a positive float: that damping, fixed. general: x' = hardtanh(m, -c, c) and m' = f - sigma(g) m + xi x,
    xi trained, xi = 0 at first (GHBNODE: nothing of it blows up over long spans). force: (t, (b, 2 d) or (b, d)) -> (b, d).
    Shapes: x (b, ..., 2 d) -> the same. ValueError for another damping.
    Source: Norcliffe et al., On second order behaviour in augmented neural ODEs, NeurIPS 2020; Xia et al., Heavy ball neural
    ODEs, NeurIPS 2021. Caveat: as a flow of [x, m] it is still one-to-one there, only its shadow on x may cross itself.
    Use: `NeuralODE(SecondOrderField(MLPField(2), damping="learned"), lift=Augment(net=nn.Linear(2, 2)), head=nn.Linear(4, 2))`.
    """

    raw: Tensor | None

    def __init__(
        self, force: Callable[[Tensor, Tensor], Tensor], *, damping: str | float = "none", general: bool = False,
        bound: float = 5.0,
    ) -> None:  # fmt: skip
        super().__init__()
        named = damping in ("none", "learned")
        if not named and not (isinstance(damping, (int, float)) and damping > 0):
            raise ValueError(f"SecondOrderField: damping must be 'none', 'learned' or a positive number, got {damping!r}.")
        self.force, self.general, self.bound = force, general, bound
        self.fixed = 0.0 if named else float(damping)
        self.sees_velocity = damping == "none"
        # sigma(-3) = 0.05, where the published code begins.
        self.raw = nn.Parameter(torch.tensor(-3.0)) if damping == "learned" else None
        self.skip = nn.Parameter(torch.tensor(0.0)) if general else None

    @property
    def damping(self) -> Tensor | float:
        """The damping in force: sigma(g), or the fixed number."""
        return self.fixed if self.raw is None else torch.sigmoid(self.raw)

    def forward(self, t: Tensor, state: Float[Tensor, "*b e"]) -> Float[Tensor, "*b e"]:
        """The slopes of positions and velocities."""
        x, m = state.chunk(2, -1)
        pull = self.force(t, state if self.sees_velocity else x)
        pull = pull if self.sees_velocity else pull - self.damping * m
        if self.skip is None:
            return torch.cat([m, pull], -1)
        return torch.cat([functional.hardtanh(m, -self.bound, self.bound), pull + self.skip * x], -1)

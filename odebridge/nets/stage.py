"""The two parts of a residual network: steps within one space, and a change of space."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.base import Fixed
from odebridge.control.compose import Resumed
from odebridge.core.over import Grid
from odebridge.core.protocols import Method, Observation, StepController
from odebridge.core.result import Solution
from odebridge.integrate import integrate
from odebridge.nets.fields import Layers

After = Callable[[Tensor], Tensor]


class Stage(nn.Module):
    """n residual blocks in one space = n steps of x' = f(t, x) through `integrate`; the controller says how long each step is.

    x_{k+1} = after(x_k + h_k f_k(x_k)) with Euler. blocks: increments (b, *s) -> (b, *s), without the skip. controller: one
    for the stage, or `PerStep` of one per block; None: steps of the spacing. per_unit: blocks in one unit of depth, so
    that the spacing is 1 / per_unit. Source: Weinan E, Commun. Math. Stat. 5, 2017. Caveat: with another method than Euler
    a step asks several times, the end of it belongs to the next block, and BatchNorm sees every one of these evaluations.
    Use: `Stage([PreActBranch(16) for _ in range(9)], PerStep([SE(16) for _ in range(9)]))`.
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        controller: StepController | None = None,
        *,
        method: str | Method = "euler",
        after: After | None = None,
        per_unit: int = 1,
    ) -> None:
        super().__init__()
        self.field = Layers(blocks, per_unit)
        self.over = Grid(tuple(i / per_unit for i in range(len(self.field) + 1)))
        self.controller: StepController = Fixed() if controller is None else controller
        self.method, self.after = method, after

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.field)

    def solve(self, x: Float[Tensor, "b *s"], memory: Any = None, **settings: Any) -> Solution:
        """The stage as a Solution; `save=ob.Every()` keeps the states and the step sizes. Settings are those of `integrate`.

        memory: what the controller remembers from before the stage; None: its start.
        """
        law = self.controller if memory is None else Resumed(self.controller, memory)
        return integrate(self.field, x, self.over, method=self.method, controller=law, after=self.after, **settings)

    def forward(self, x: Float[Tensor, "b *s"], memory: Any = None) -> Float[Tensor, "b *s"]:
        """The state after the last block."""
        return self.solve(x, memory).x1


class Transition(nn.Module):
    """x' = after(carry(x) + h branch(x)): one update that changes the space, so it is not a step and stiffness indices skip it.

    carry and branch map (b, *s) to the same (b, *r). The controller sees carry(x) as its state. Source: the projection
    shortcut of He et al., CVPR 2016. Use: `Transition(conv(16, 32, 1, 2), PreActBranch(16, 32, stride=2), SE(32))`.
    """

    def __init__(
        self, carry: nn.Module, branch: nn.Module, controller: StepController | None = None, *, after: After | None = None
    ) -> None:
        super().__init__()
        self.carry, self.branch = carry, branch
        self.controller: StepController = Fixed() if controller is None else controller
        self.after = after

    def forward(self, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *r"]:
        """The state in the new space."""
        return self.advanced(x)[0]

    def advanced(self, x: Float[Tensor, "b *s"]) -> tuple[Float[Tensor, "b *r"], Any]:
        """The state in the new space, and what the controller remembers."""
        skip, slope = self.carry(x), self.branch(x)
        h, memory = self.controller(Observation(n=0, t=0.0, x=skip, slope=slope, h=1.0), self.controller.start(skip, None))
        x1 = skip + slope if isinstance(h, float) and h == 1.0 else skip + h * slope
        return (x1 if self.after is None else self.after(x1)), memory


class Entered(nn.Module):
    """A transition and the stage behind it under one controller, whose memory goes on from the one to the other.

    Shapes: (b, *s) -> (b, *r). Source: DIANet (Huang et al., AAAI 2020): one recurrent cell for all blocks of one width.
    Caveat: TypeError unless both have the same controller. Use: `Entered(transition, stage)`.
    """

    def __init__(self, transition: Transition, stage: Stage) -> None:
        super().__init__()
        if transition.controller is not stage.controller:
            raise TypeError("Entered: give the transition and the stage one and the same controller.")
        self.transition, self.stage = transition, stage

    def forward(self, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *r"]:
        """The state after the stage."""
        return self.stage(*self.transition.advanced(x))

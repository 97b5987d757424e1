"""The local error of one step, measured: what NSI follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.over import Grid
from odebridge.core.protocols import Method, Observation
from odebridge.integrate import integrate
from odebridge.metrics.stiffness import EPS
from odebridge.nets.gates import shared
from odebridge.nets.stage import Stage

FINE = 8  # RK4 steps of the reference


@dataclass(frozen=True)
class FrozenBlock:
    """x' = a(x) f_n(x): block n of a stage as a field of `integrate`, its weights as they are, its gate asked wherever x is."""

    stage: Stage
    n: int
    memory: Any  # of the controller before this block

    def __call__(self, t: Any, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The increment for one unit of depth."""
        slope = self.stage.field.blocks[self.n](x)
        h, _ = self._asked(x, slope)
        return slope if isinstance(h, float) and h == 1.0 else h * slope

    def left(self, x: Float[Tensor, "b *s"]) -> Any:
        """What the controller remembers of the block."""
        if not shared(self.stage.controller):
            return self.memory
        return self._asked(x, self.stage.field.blocks[self.n](x))[1]

    def _asked(self, x: Tensor, slope: Tensor) -> tuple[Any, Any]:
        return self.stage.controller(Observation(self.n, 0.0, x, slope, 1.0), self.memory)


@torch.no_grad()
def local_error(
    f: Callable[[Any, Tensor], Tensor],
    t: float,
    x: Float[Tensor, "b *s"],
    h: float = 1.0,
    method: str | Method = "euler",
    after: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, " b"]:
    """|step - flow| / (|x| + 1e-8): one step of length h against eight of RK4 from the same state, l2 norms per sample.

    f(t, x) -> (b, *s) as in `integrate`; the increment of a block of a network is such a field, with its weights frozen, and
    `profile(model, images, errors=True)` measures every block. after: applied to the step and at the end of the flow, as a
    network's ReLU. Returns (b,). Source: Hairer, Norsett & Wanner I, II.3. Caveat: the reference is a fine solve, and where
    eight RK4 steps do not resolve the field it is not the flow either.
    Use: `local_error(lambda t, x: block(x), 0.0, x)`.
    """
    over = Grid((t, t + h))
    fine = Grid(tuple(t + h * i / FINE for i in range(FINE + 1)))
    coarse, flow = integrate(f, x, over, method=method).x1, integrate(f, x, fine, method="rk4").x1
    if after is not None:
        coarse, flow = after(coarse), after(flow)
    off = torch.linalg.vector_norm((coarse - flow).flatten(1), dim=1)
    return off / (torch.linalg.vector_norm(x.flatten(1), dim=1) + EPS)

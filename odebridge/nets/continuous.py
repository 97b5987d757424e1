"""A stage whose depth is a continuous clock: n units of it, by any method, on a grid or by steps that each sample finds."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.base import Fixed
from odebridge.core.over import Grid
from odebridge.core.protocols import Method, StepController
from odebridge.core.result import Solution, Stats
from odebridge.integrate import integrate
from odebridge.nets.depth import Interpolated, Tied
from odebridge.nets.mode import evaluating


class ContinuousStage(nn.Module):
    """x' = f(t, x) over the depth 0 ... n: one state in, one out.

    field: `Tied` or `Interpolated`. steps: so many equal ones on a grid, n if None, where controller, one for all of them,
    scales each. rtol: instead of a grid, steps that every sample finds for itself by the method's own law, with atol = rtol;
    a controller is refused then. A network may be built again with another method or other steps around the same weights.
    Shapes: (b, *s) -> (b, *s). ValueError in a sentence for settings that exclude each other. Source: Chen et al., NeurIPS
    2018; Queiruga et al., 2020. Caveat: a model trained with coarse steps belongs to its solver (Ott et al., ICLR 2021).
    Use: `ContinuousStage(Tied(block), 3, method="dopri5", rtol=1e-2)`.
    """

    def __init__(
        self, field: Tied | Interpolated, n: int, *, method: str | Method = "euler", steps: int | None = None,
        rtol: float | None = None, controller: StepController | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if rtol is not None and steps is not None:
            raise ValueError(
                f"ContinuousStage: give steps={steps!r} for a grid, or rtol={rtol!r} for adaptive steps, not both."
            )
        if rtol is not None and controller is not None and not isinstance(controller, Fixed):
            raise ValueError("ContinuousStage: with rtol the method's own law sizes the steps; leave the controller out.")
        if steps is not None and steps < 1:
            raise ValueError(f"ContinuousStage: steps must be at least 1, got {steps!r}.")
        self.field, self.n, self.method, self.steps, self.rtol = field, n, method, steps or n, rtol
        self.controller: StepController = Fixed() if controller is None else controller

    def solve(self, x: Float[Tensor, "b *s"], **settings: Any) -> Solution:
        """The stage as a Solution, with the steps it took (`hs` with `save=ob.Every()`, `stats`). Settings: of `integrate`."""
        if self.rtol is not None:
            exact = torch.promote_types(x.dtype, torch.float32)  # half precision cannot tell an error of 1e-2 from rounding
            span = (0.0, float(self.n))
            return integrate(
                self.field.clocked, x.to(exact), span, method=self.method, rtol=self.rtol, atol=self.rtol, **settings
            )
        grid = Grid(tuple(self.n * i / self.steps for i in range(self.steps + 1)))
        return integrate(self.field, x, grid, method=self.method, controller=self.controller, **settings)

    def forward(self, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The state at depth n."""
        return self.solve(x).x1.to(x.dtype)


def step_counts(model: nn.Module, images: Tensor) -> dict[str, Stats]:
    """What every `ContinuousStage` needed for each image, by its name: accepted and rejected steps, evaluations, (b,) each.

    In eval mode without gradients; ValueError if there is no such stage. Caveat: costs the stages twice.
    Use: `step_counts(net, images)["body.0"].f_evals.float().mean()`.
    """
    stages = {name: m for name, m in model.named_modules() if isinstance(m, ContinuousStage)}
    if not stages:
        raise ValueError("step_counts: the network has no ContinuousStage; build it with depth_weights='tied' or 'linear'.")
    found: dict[str, Stats] = {}

    def on_stage(name: str, stage: nn.Module, args: tuple[Any, ...], _out: Any) -> None:
        assert isinstance(stage, ContinuousStage)
        found[name] = stage.solve(*args).stats

    handles = [stage.register_forward_hook(partial(on_stage, name)) for name, stage in stages.items()]
    try:
        with evaluating(model), torch.compiler.set_stance("force_eager"):
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found

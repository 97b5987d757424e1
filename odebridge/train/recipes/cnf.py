"""The continuous normalising flow: the density of points of the plane."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure

from odebridge.core.plot import COLOURS
from odebridge.data import Points
from odebridge.nets.mode import evaluating
from odebridge.nets.node import MLPField
from odebridge.nets.node.cnf import CNF
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import PROBE, SOLVER_OPTIONS, counted, solver_of
from odebridge.train.task import Metric, Task

NLL = Metric("negative log likelihood", "nats", high=False)
REACH, FINE = 4.0, 81  # the square [-4, 4]^2 that total probability is summed over, and nodes a side


def total_probability(flow: CNF, reach: float = REACH, nodes: int = FINE) -> float:
    """Sum of the learned density over a grid of the square [-reach, reach]^2: 1 if the flow is solved well and lies inside."""
    line = torch.linspace(-reach, reach, nodes, dtype=next(flow.parameters()).dtype)
    with evaluating(flow):
        density = flow.log_prob(torch.cartesian_prod(line, line), trace="exact").exp()
    return float(density.sum() * (line[1] - line[0]) ** 2)


def build(data: Points, _seed: int, width: int, trace: str, **solver: Any) -> Task:
    """A time-dependent field width-width; the labels are not looked at."""
    field = MLPField(2, (width, width), time=True)
    flow = CNF(field, 2, trace=trace, solver=solver_of(**solver))

    def score() -> float:
        with evaluating(flow):
            return -float(flow.log_prob(data.test_x, trace="exact").mean())

    def picture(figure: Figure) -> None:
        axes, line = figure.add_subplot(), torch.linspace(-2.2, 2.2, FINE)
        with evaluating(flow):
            density = flow.log_prob(torch.cartesian_prod(line, line), trace="exact").exp().reshape(FINE, FINE).T
            drawn = flow.sample(300, torch.Generator().manual_seed(0))
        figure.colorbar(axes.contourf(line, line, density, levels=12, cmap="Blues"), label="density")
        axes.plot(data.test_x[:, 0], data.test_x[:, 1], ".", ms=2, color="0.3", label="test points")
        axes.plot(drawn[:, 0], drawn[:, 1], "x", ms=3, color=COLOURS[1], label="samples of the flow")
        axes.set(xlabel="x[0]", ylabel="x[1]", aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
        axes.legend(fontsize=8)

    return Task(
        flow, len(data.train_x), lambda pick: -flow.log_prob(data.train_x[pick]).mean(), score, NLL,
        lambda: counted((field,), PROBE, lambda: -flow.log_prob(data.test_x[:PROBE]).mean()), picture,
        extras=lambda: {"total_probability": total_probability(flow)},
    )  # fmt: skip


CNF_RECIPE = Recipe(
    "cnf", "continuous normalising flow: log p changes by the trace of df/dz", "moons", build, ("annuli",),
    {"width": 64, "trace": "exact", **SOLVER_OPTIONS, "method": "rk4", "steps": 8}, epochs=75, batch_size=256, lr=1e-2,
)  # fmt: skip

"""ODE-RNN and latent ODE on irregular series: the next value, and the values that were not observed."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from odebridge.data import Series
from odebridge.nets.mode import evaluating
from odebridge.nets.node import MLPField, Solver
from odebridge.nets.node.series import ODERNN, LatentODE
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.pictures import draw_series
from odebridge.train.recipes.tasks import PROBE, SOLVER_OPTIONS, counted, solver_of
from odebridge.train.task import Metric, Task

NEXT = Metric("relative RMSE of the next value", "", high=False)
HIDDEN = Metric("relative RMSE where nothing was observed", "", high=False)
WARM_UP = 5  # times after which a next value can be foretold
KIND = torch.float32


def _masks(data: Series) -> tuple[Tensor, Tensor]:
    """Masks of the training and the test series, True where observed."""
    whole = (torch.ones_like(data.train, dtype=torch.bool), torch.ones_like(data.test, dtype=torch.bool))
    return whole[0] if data.train_mask is None else data.train_mask, whole[1] if data.test_mask is None else data.test_mask


def build_ode_rnn(data: Series, _seed: int, hidden: int, **solver: object) -> Task:
    """The mean square error, over the variance, of x at every observed time as it is foretold by the state before it."""
    d, times = data.train.shape[-1], data.times
    spread, centre = data.train.std((0, 1)).to(KIND), data.train.mean((0, 1)).to(KIND)
    train, test = ((v.to(KIND) - centre) / spread for v in (data.train, data.test))
    seen, test_seen = _masks(data)
    rnn, head = ODERNN(d, hidden, solver=solver_of(**solver)), nn.Linear(hidden, d)  # type: ignore[arg-type]
    net = nn.ModuleDict({"rnn": rnn, "head": head})

    def foretold(values: Tensor, mask: Tensor) -> Tensor:
        return head(rnn(times, values, mask).before)

    def error(values: Tensor, mask: Tensor, first: int) -> Tensor:
        return (foretold(values, mask) - values).square()[:, first:][mask[:, first:]].mean()

    def score() -> float:
        with evaluating(net):
            return float(error(test, test_seen, WARM_UP).sqrt())

    def picture(figure: Figure) -> None:
        with evaluating(net):
            draw_series(figure, foretold(test, test_seen) * spread + centre, data)

    return Task(
        net, len(train), lambda pick: error(train[pick], seen[pick], 1), score, NEXT,
        lambda: counted((rnn.field,), min(PROBE, len(test)), lambda: error(test[:PROBE], test_seen[:PROBE], 1)), picture,
    )  # fmt: skip


def build_latent_ode(
    data: Series, _seed: int, hidden: int, latent: int, width: int, noise: float, weight: float, **solver: object
) -> Task:
    """Minus the ELBO over the number of values; judged where the test series were not observed."""
    d, times, how = data.train.shape[-1], data.times, solver_of(**solver)  # type: ignore[arg-type]
    spread, centre = data.train.std((0, 1)).to(KIND), data.train.mean((0, 1)).to(KIND)
    train, test = ((v.to(KIND) - centre) / spread for v in (data.train, data.test))
    seen, test_seen = _masks(data)
    field = MLPField(latent, (width,))
    reader = Solver("euler", steps=1)  # what is read need not be exact
    net = LatentODE(ODERNN(d, hidden, solver=reader), field, nn.Linear(latent, d), latent, how)
    size = float(seen.sum((1, 2)).double().mean())

    def loss(pick: Tensor) -> Tensor:
        return net.bound(times, train[pick], seen[pick], noise=noise, weight=weight).mean() / size

    def score() -> float:
        asked = test_seen if bool(test_seen.all()) else ~test_seen
        with evaluating(net):
            return float((net(times, test, test_seen) - test).square()[asked].mean().sqrt())

    def picture(figure: Figure) -> None:
        with evaluating(net):
            draw_series(figure, net(times, test, test_seen) * spread + centre, data)

    return Task(
        net, len(train), loss, score, HIDDEN,
        lambda: counted(
            (net.encoder.field, field), min(PROBE, len(test)), lambda: net.bound(times, test[:PROBE], test_seen[:PROBE]).sum()
        ),
        picture,
    )  # fmt: skip


ODE_RNN = Recipe(
    "ode-rnn", "a recurrent network whose state moves by an ODE between observations; foretells the next value", "spirals",
    build_ode_rnn, ("pendulum", "lotka-volterra"), {"hidden": 24, **SOLVER_OPTIONS, "method": "euler", "steps": 1},
    epochs=60, batch_size=32, lr=1e-2,
)  # fmt: skip
LATENT_ODE = Recipe(
    "latent-ode", "one latent initial state explains a series that was seen in part; fills in the rest", "spirals",
    build_latent_ode, ("pendulum", "lotka-volterra"),
    {"hidden": 24, "latent": 4, "width": 32, "noise": 0.1, "weight": 0.1, **SOLVER_OPTIONS, "method": "rk4", "steps": 1},
    epochs=200, batch_size=32, lr=1e-2, schedule="cosine",
)  # fmt: skip

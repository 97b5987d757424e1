"""The neural CDE: which way round a spiral turns, from values at irregular times."""

from __future__ import annotations

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from odebridge.core.names import lookup
from odebridge.core.plot import COLOURS
from odebridge.data import Series
from odebridge.integrate import Every
from odebridge.nets.mode import evaluating
from odebridge.nets.node.cde import MatrixField, NeuralCDE
from odebridge.nets.node.splines import Spline, hermite_cubic, natural_cubic
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import ACCURACY, PROBE, SOLVER_OPTIONS, counted, solver_of
from odebridge.train.task import Task

CONTROLS = {"natural": natural_cubic, "hermite": hermite_cubic}


def controls(kind: str, times: Tensor, values: Float[Tensor, "n k d"], mask: Tensor | None) -> Spline:
    """Paths through the observed values, the time over the length of the series as the first channel."""
    clock = ((times - times[0]) / (times[-1] - times[0])).to(values).expand(len(values), -1)[..., None]
    seen = None if mask is None else torch.cat([torch.ones_like(clock, dtype=torch.bool), mask], -1)
    return lookup("control", kind, CONTROLS)(times, torch.cat([clock, values], -1), seen)


def build(data: Series, _seed: int, hidden: int, width: int, control: str, **solver: object) -> Task:
    """A state of `hidden` numbers, a matrix field with one hidden layer, and the last state's two logits."""
    if data.train_labels is None or data.test_labels is None:
        raise ValueError(f"data: {data.name!r} has no labels to tell apart.")
    kind, channels, span = torch.float32, data.train.shape[-1] + 1, (float(data.times[0]), float(data.times[-1]))
    field = MatrixField(hidden, channels, (width,), dtype=kind)
    net = NeuralCDE(field, nn.Linear(channels, hidden), nn.Linear(hidden, 2), solver_of(**solver))  # type: ignore[arg-type]
    train = controls(control, data.times, data.train.to(kind), data.train_mask)
    test = controls(control, data.times, data.test.to(kind), data.test_mask)
    labels, truth = data.train_labels, data.test_labels

    def loss(pick: Tensor) -> Tensor:
        return functional.cross_entropy(net(Spline(*(v[pick] for v in train)), span), labels[pick])

    def score() -> float:
        with evaluating(net):
            return 100.0 * float((net(test, span).argmax(1) == truth).double().mean())

    def evaluations() -> dict[str, float]:
        few = Spline(*(v[:PROBE] for v in test))
        return counted((field,), len(few.a), lambda: functional.cross_entropy(net(few, span), truth[:PROBE]))

    def picture(figure: Figure) -> None:
        """The probability of class 1 as the series goes on."""
        axes, few = figure.add_subplot(), Spline(*(v[:16] for v in test))
        with evaluating(net):
            sol = net.solve(few, span, save=Every())
            assert isinstance(sol.xs, Tensor)
            assert isinstance(sol.ts, Tensor)
            share = net.head(sol.xs).softmax(-1)[..., 1]
        for i in range(len(few.a)):
            axes.plot(sol.ts[i], share[i], color=COLOURS[int(truth[i])], lw=1.0)
        axes.set(xlabel="time t", ylabel="probability of class 1", ylim=(-0.02, 1.02), title="colour: true class")
        axes.grid(alpha=0.25)

    return Task(net, len(data.train), loss, score, ACCURACY, evaluations, picture)


CDE = Recipe(
    "cde", "neural controlled differential equation, dz = F(z) dX, X a cubic through irregular values", "spirals", build, (),
    {"hidden": 8, "width": 32, "control": "hermite", **SOLVER_OPTIONS, "method": "heun", "steps": 50},
    epochs=40, batch_size=32, lr=1e-2,
)  # fmt: skip

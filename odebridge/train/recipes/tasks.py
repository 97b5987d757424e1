"""The two tasks that most recipes share: tell points apart, and follow series from where they begin."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from odebridge.core.names import lookup
from odebridge.data import Points, Series
from odebridge.integrate.policies import GRADIENTS
from odebridge.methods.borrowed import BORROWED
from odebridge.methods.catalogue import METHODS
from odebridge.nets.mode import evaluating
from odebridge.nets.node import REGULARISERS, NeuralODE, Solver, Terms, regularised
from odebridge.train.recipes.pictures import draw_regions, draw_series
from odebridge.train.task import Metric, Task

ACCURACY = Metric("accuracy", "%", high=True)
RELATIVE = Metric("relative RMSE", "", high=False)  # over the standard deviation of each component
LONG = 50.0  # an invariant is followed up to here, far beyond the times that are trained on
PROBE = 128  # test samples that f evaluations are counted on

# What every recipe that integrates may take; `solver_of` reads them. steps 0: adaptive.
REGULAR_OPTIONS: Mapping[str, object] = {"regulariser": "none", "strength": 1.0}
SOLVER_OPTIONS: Mapping[str, object] = {"method": "tsit5", "rtol": 1e-3, "atol": 1e-4, "gradient": "replay", "steps": 0}


def solver_of(method: str, rtol: float, atol: float, gradient: str, steps: int) -> Solver:
    """The `Solver` of a recipe's options; ValueError with the nearest name for an unknown method or gradient policy."""
    scheme = lookup("method", method, {**METHODS, **BORROWED})
    if not steps and getattr(scheme, "error_order", 0) is None:
        raise ValueError(
            f"method: {method!r} has no error estimate to choose its steps by; say how many, --option steps=8 (steps=8 in "
            "Python), or take 'tsit5'."
        )
    return Solver(method, rtol, atol, lookup("gradient policy", gradient, GRADIENTS), steps or None)


def classifier(
    net: NeuralODE, data: Points, fields: Sequence[nn.Module], seed: int, regulariser: str = "none", strength: float = 1.0
) -> Task:
    """The task of a neural ODE with a linear head, with a regulariser by name; ValueError for an unknown one."""
    terms = lookup("regulariser", regulariser, REGULARISERS).times(strength)
    if terms == Terms():
        return classification(net, data, fields)
    chance = torch.Generator().manual_seed(seed)
    return classification(net, data, fields, lambda x: regularised(net, x, terms, chance), (chance,))


class Counter:
    """Counts the rows of f evaluations that modules make while the block runs."""

    def __init__(self, *fields: nn.Module) -> None:
        self.fields, self.rows = fields, 0

    def __enter__(self) -> Counter:
        self.hooks = [f.register_forward_hook(self._count) for f in self.fields]
        return self

    def _count(self, _module: nn.Module, given: tuple[Tensor, ...], _out: Tensor) -> None:
        self.rows += len(given[-1])

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def counted(fields: Sequence[nn.Module], n: int, loss: Callable[[], Tensor]) -> dict[str, float]:
    """The f evaluations a sample: forward, those of a pass without gradient; backward, what a training step has beyond them.

    0 where steps get their graph as they are tried; such a pass may even spare some, since it drops finished samples earlier.

    fields: the modules whose calls count. n: samples behind `loss`, which makes the pass. Jacobian products do not count.
    """
    with torch.no_grad(), Counter(*fields) as plain:
        loss()
    with torch.enable_grad(), Counter(*fields) as whole:
        value = loss()
        leaves = [p for f in fields for p in f.parameters() if p.requires_grad]
        torch.autograd.grad(value, leaves, allow_unused=True)
    return {"forward": plain.rows / n, "backward": max(0.0, (whole.rows - plain.rows) / n)}


def classification(
    model: nn.Module,
    data: Points,
    fields: Sequence[nn.Module],
    penalty: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    generators: tuple[torch.Generator, ...] = (),
    count: Callable[[Tensor], dict[str, float]] | None = None,
) -> Task:
    """Cross-entropy of model(x) (b, classes) on labelled points; the metric is the accuracy in per cent.

    fields: modules whose evaluations are counted. penalty: x -> (logits, regulariser), in place of model(x) while training.
    count: x -> f evaluations, where counting calls would not tell.
    """

    def loss(pick: Tensor) -> Tensor:
        x, y = data.train_x[pick], data.train_y[pick]
        logits, more = (model(x), None) if penalty is None else penalty(x)
        value = functional.cross_entropy(logits, y)
        return value if more is None else value + more

    def score() -> float:
        with evaluating(model):
            return 100.0 * float((model(data.test_x).argmax(1) == data.test_y).double().mean())

    def evaluations() -> dict[str, float]:
        if count is not None:
            return count(data.test_x[:PROBE])
        x, y = data.test_x[:PROBE], data.test_y[:PROBE]
        return counted(fields, len(x), lambda: functional.cross_entropy(model(x), y))

    def picture(figure: Figure) -> None:
        with evaluating(model):
            draw_regions(figure, model, data)

    return Task(model, len(data.train_x), loss, score, ACCURACY, evaluations, picture, generators)


def following(
    model: nn.Module,
    path: Callable[[Float[Tensor, "b d"], Float[Tensor, " k"]], Float[Tensor, "b k d"]],
    data: Series,
    fields: Sequence[nn.Module],
    window: int = 0,
) -> Task:
    """Mean square error of path(x(t_0), times) against the series over the variance of each component.

    The metric is the root of that on the whole test series. window: train on the pieces of that many intervals, from every time
    on, 0: on whole series; a whole oscillation is learned badly at once, since its phase error has local minima. The path must
    not depend on when it starts, and the times must be evenly spaced. An invariant of the set
    becomes an extra figure. fields: modules whose evaluations are counted.
    """
    if data.train_mask is not None:
        raise ValueError(f"data: {data.name!r} is observed in part; a path from its first value needs the others as well.")
    k = len(data.times) - 1
    if not 0 <= window <= k:
        raise ValueError(f"window: must be between 0 (whole series) and {k}, got {window!r}.")
    pieces, clock = (data.train, data.times) if window in (0, k) else _pieces(data, window)
    spread = data.train.std((0, 1), correction=0)

    def error(values: Tensor, times: Tensor) -> Tensor:
        return ((path(values[:, 0], times) - values) / spread).square().mean()

    def loss(pick: Tensor) -> Tensor:
        return error(pieces[pick], clock)

    def score() -> float:
        with evaluating(model):
            return float(error(data.test, data.times).sqrt())

    def evaluations() -> dict[str, float]:
        return counted(fields, len(data.test[:PROBE]), lambda: error(data.test[:PROBE], data.times))

    def picture(figure: Figure) -> None:
        with evaluating(model):
            draw_series(figure, path(data.test[:, 0], data.times), data)

    def extras() -> dict[str, float]:
        return {} if data.invariant is None else energy_drift(path, data)

    return Task(model, len(pieces), loss, score, RELATIVE, evaluations, picture, extras=extras)


def _pieces(data: Series, window: int) -> tuple[Float[Tensor, "n w d"], Float[Tensor, " w"]]:
    """All pieces of window + 1 values of the training series, and the clock of one."""
    gaps = data.times.diff()
    if float((gaps - gaps[0]).abs().max()) > 1e-6 * float(gaps[0]):
        raise ValueError(f"window: the times of {data.name!r} are not evenly spaced; write window=0.")
    pieces = data.train.unfold(1, window + 1, 1).movedim(3, 2)  # (n, k - window, window + 1, d)
    return pieces.flatten(0, 1), data.times[: window + 1] - data.times[0]


def scales(data: Series) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Standard deviation and mean of each component over the training series."""
    flat = data.train.flatten(0, 1)
    return flat.std(0), flat.mean(0)


def energy_drift(path: Callable[..., Tensor], data: Series) -> dict[str, float]:
    """The largest |H(x(t)) - H(x(0))| of the true invariant on predicted paths to t = 50, mean over the test series."""
    assert data.invariant is not None
    gap = float(data.times[1] - data.times[0])
    times = torch.arange(0.0, LONG + gap / 2, gap, dtype=data.times.dtype)
    with torch.no_grad():
        h = data.invariant(path(data.test[:, 0], times))
    drift = float((h - h[:, :1]).abs().amax(1).mean())
    return {"energy_drift_to_50": drift} if math.isfinite(drift) else {}

"""Hypersolvers and NeurVec: a network that learns what a coarse step of a Runge-Kutta method leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from odebridge.core.over import Grid
from odebridge.core.plot import COLOURS
from odebridge.core.protocols import Method
from odebridge.data import Series
from odebridge.data.springs import spring_field
from odebridge.integrate import At, Every, integrate
from odebridge.integrate.system import BoundField
from odebridge.methods.catalogue import METHODS
from odebridge.methods.corrected import Corrected
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.nets.mode import evaluating
from odebridge.nets.node.correction import Correction
from odebridge.problems import problem
from odebridge.tableaus.base import ButcherTableau
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import PROBE, RELATIVE
from odebridge.train.task import Task

Right = Callable[[Any, Tensor], Tensor]


def _lotka(t: Any, x: Tensor) -> Tensor:
    one = problem("lotka_volterra")
    return one.field(t, x, one.args.to(x).expand(len(x), -1))


# The right-hand sides behind the sets: a correction is learned for a field that is known.
FIELDS: dict[str, Right] = {"lotka-volterra": _lotka, "spring-chain": spring_field}


def one_step(method: Corrected | ExplicitRK, field: Right, t: Tensor, x: Tensor, dt: Tensor) -> Tensor:
    """One step of every row from its own time, with a graph; t, dt (n,), x (n, d) -> (n, d)."""
    return method.step(BoundField(field), t, x, dt, dt.to(x)[:, None], field(t, x), None).x


def pairs(times: Tensor, values: Float[Tensor, "n k d"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Starts t, x, spacings and ends of all intervals: (n (k-1),), (n (k-1), d), (n (k-1),), (n (k-1), d)."""
    n = len(values)
    t, gaps = times[:-1].expand(n, -1).reshape(-1), times.diff().expand(n, -1).reshape(-1)
    return t, values[:, :-1].flatten(0, 1), gaps, values[:, 1:].flatten(0, 1)


@dataclass(frozen=True)
class Residual:
    """Residual fitting: mean |x(t + h) - Phi(t, x(t); h)|^2 over that of the base alone, component by component.

    1 is the base, 0 the exact flow. For hypersolvers it is the loss of Poli et al. (2020), since h^power is constant on
    even times; for NeurVec that of Huang et al. (2023) for one step.
    """

    method: Corrected
    field: Right
    times: Tensor
    spread: Tensor  # (d,) of the base

    def __call__(self, values: Float[Tensor, "n k d"]) -> Tensor:
        """Scalar."""
        t, x, dt, end = pairs(self.times, values)
        return ((one_step(self.method, self.field, t, x, dt) - end) / self.spread).square().mean()


def measured(base: ButcherTableau, field: Right, data: Series, power: int) -> dict[str, Tensor]:
    """Scales of `Correction` on a training set: of the state, the slope, and of what the base leaves out over h^power."""
    t, x, dt, end = pairs(data.times, data.train)
    missing = (end - one_step(ExplicitRK(base), field, t, x, dt)) / (dt**power)[:, None]
    rms = torch.sqrt(missing.square().mean(0))
    return {"scale": x.std(0), "centre": x.mean(0), "slope_scale": field(t, x).std(0), "out": rms}


def rolled(method: Method, field: Any, data: Series, values: Tensor, skip: int = 1, cut: int = 1) -> Tensor:
    """States at every `skip`-th of the times from the first one on, by steps over `skip` intervals or `cut` parts of one."""
    times = [float(t) for t in data.times[::skip]]
    nodes = [a + (b - a) * i / cut for a, b in pairwise(times) for i in range(cut)]
    with torch.no_grad():
        sol = integrate(field, values[:, 0], Grid((*nodes, times[-1])), method=method, save=Every())
    assert isinstance(sol.xs, Tensor)
    return sol.xs[:, ::cut]


def relative_rmse(got: Tensor, data: Series, skip: int = 1) -> float:
    """Root of the mean square error on the test series over the standard deviation of each component."""
    return float(((got - data.test[:, ::skip]) / data.train.std((0, 1), correction=0)).square().mean().sqrt())


def finer(data: Series, field: Right, cut: int) -> Series:
    """The same trajectories at `cut` times as many times, by our own solver far below any error of interest."""
    if cut < 1:
        raise ValueError(f"cut: must be at least 1, got {cut!r}.")
    if cut == 1:
        return data
    times = torch.cat([a + (b - a) * torch.arange(cut) / cut for a, b in pairwise(data.times)] + [data.times[-1:]])
    span, starts = (float(times[0]), float(times[-1])), torch.cat([data.train[:, 0], data.test[:, 0]])
    xs = integrate(field, starts, span, method="dopri8", rtol=1e-10, atol=1e-10, save=At(times)).xs
    assert isinstance(xs, Tensor)
    return replace(data, times=times, train=xs[: len(data.train)], test=xs[len(data.train) :])


def correction_task(method: Corrected, field: Right, data: Series) -> Task:
    """Fit `method.net` to the true ends of all intervals of the training series; judged by whole test series walked with it.

    The metric is the relative RMSE over all times. ValueError for series seen in part, or a network that has no parameters.
    Use: `fit_task(correction_task(Corrected(EULER, net), field, data), epochs=100)`.
    """
    if data.train_mask is not None:
        raise ValueError(f"data: {data.name!r} is observed in part; residuals need the state at both ends of every interval.")
    if not isinstance(method.net, torch.nn.Module) or not method.parameters():
        raise ValueError("method: its net has no parameters to train; give an nn.Module such as Correction(dim).")
    net, plain = method.net, ExplicitRK(method.base)
    t, x, dt, end = pairs(data.times, data.train)
    spread = (end - one_step(plain, field, t, x, dt)).square().mean(0).sqrt()
    loss = Residual(method, field, data.times, spread)

    def walked(scheme: Method) -> float:
        return relative_rmse(rolled(scheme, field, data, data.test), data)

    def score() -> float:
        with evaluating(net):
            return walked(method)

    def evaluations() -> dict[str, float]:
        sol = integrate(field, data.test[:PROBE, 0], Grid(tuple(float(t) for t in data.times)), method=method)
        return {"forward": float(sol.stats.f_evals.double().mean()), "network": float(len(data.times) - 1)}

    def extras() -> dict[str, float]:
        return {plain.name: walked(plain), "rk4_at_the_same_h": walked(METHODS["rk4"])}

    def picture(figure: Figure) -> None:
        axes, shown = figure.add_subplot(), (plain, method, METHODS["rk4"])
        for scheme, colour in zip(shown, COLOURS, strict=False):
            wrong = (rolled(scheme, field, data, data.test) - data.test).square().mean((0, 2)).sqrt()
            axes.semilogy(data.times[1:], wrong[1:], color=colour, label=scheme.name)
        axes.set(xlabel="time t", ylabel="RMS error on the test series", title=f"steps of h = {float(data.times[1]):g}")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)

    return Task(net, len(data.train), lambda pick: loss(data.train[pick]), score, RELATIVE, evaluations, picture, extras=extras)


def built(data: Series, base: str, power: int | None, width: int, cut: int, slope: bool) -> Task:
    """The task of either recipe."""
    scheme = METHODS.get(base)
    if not isinstance(scheme, ExplicitRK):
        explicit = ", ".join(name for name, m in METHODS.items() if isinstance(m, ExplicitRK))
        raise ValueError(f"base: must be an explicit Runge-Kutta method, {explicit}; got {base!r}.")
    field, tableau = FIELDS[data.name], scheme.tableau
    data = finer(data, field, cut)
    scales = measured(tableau, field, data, tableau.order + 1 if power is None else power)
    net = Correction(data.train.shape[-1], (width, width), slope=slope, dtype=data.train.dtype, **scales)  # type: ignore[arg-type]
    return correction_task(Corrected(tableau, net, power), field, data)


def _hypersolver(data: Series, _seed: int, base: str, width: int, cut: int) -> Task:
    """G sees state and slope, and stands behind h^(order + 1)."""
    return built(data, base, None, width, cut, slope=True)


def _neurvec(data: Series, _seed: int, base: str, width: int, cut: int) -> Task:
    """G sees the state, and stands behind h."""
    return built(data, base, 1, width, cut, slope=False)


HYPERSOLVER = Recipe(
    "hypersolver", "a Runge-Kutta step with a learned term of its error, x + h psi + h^(p+1) g(x, slope)", "lotka-volterra",
    _hypersolver, ("spring-chain",), {"base": "euler", "width": 64, "cut": 4},
    epochs=200, batch_size=32, lr=1e-2, schedule="cosine",
)  # fmt: skip
NEURVEC = Recipe(
    "neurvec", "a coarse Euler step with a learned correction, x + h (f + g(x))", "spring-chain",
    _neurvec, ("lotka-volterra",), {"base": "euler", "width": 128, "cut": 1},
    epochs=600, batch_size=32, lr=5e-3, schedule="cosine",
)  # fmt: skip

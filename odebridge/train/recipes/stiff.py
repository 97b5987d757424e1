"""The stiff neural ODE: Robertson's and POLLU's kinetics from one measured trajectory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from odebridge.core.names import lookup
from odebridge.core.plot import COLOURS
from odebridge.core.result import Solution
from odebridge.data import Series
from odebridge.integrate.policies import GRADIENTS
from odebridge.methods.catalogue import METHODS
from odebridge.methods.dirk import Dirk
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Rosenbrock
from odebridge.nets.mode import evaluating
from odebridge.nets.node import MLPField, Solver
from odebridge.nets.node.stiff import Kinetics, StiffNODE, scales_of, windows
from odebridge.train.recipes.base import Recipe
from odebridge.train.task import Metric, Task

ERROR = Metric("mean error", "% of each species' range", high=False)
SMALL = 8  # species up to which Rodas5P, compiled, is the faster; from there on Radau5
TRIES = 300  # in training: a step size that collapses is a network to get away from, not one to follow
JUDGED = 5_000  # and in judgement
COMPILED = (ExplicitRK, Rosenbrock, Dirk)
STEPS = 10  # in an epoch, each on all windows: judging is dearer than a step


@dataclass(frozen=True)
class Kinetic:
    """One trajectory, taken apart: what was measured to train with, and the times between to test at."""

    times: Float[Tensor, " k"]
    values: Float[Tensor, "k d"]
    seen: Tensor  # (k,) bool
    names: tuple[str, ...]

    @staticmethod
    def of(data: Series) -> Kinetic:
        """From a set of one trajectory with a mask by time."""
        seen = torch.ones_like(data.times, dtype=torch.bool) if data.train_mask is None else data.train_mask[0, :, 0]
        return Kinetic(data.times, data.train[0], seen, data.components)

    @property
    def trained(self) -> tuple[Tensor, Tensor]:
        """Times and values that were measured."""
        return self.times[self.seen], self.values[self.seen]


def judged(net: StiffNODE, true: Kinetic) -> tuple[Tensor, Solution]:
    """|error| over the range of the species at all times (k, d), from one solve over the whole span, and that solve.

    The tolerances are 1e-6 and, in units of the ranges, 1e-8. An error is 1 where the solve did not come.
    """
    more = {**net.solver.more, "max_steps": JUDGED}
    tight = replace(net.solver, rtol=1e-6, atol=1e-8 * (range_of(true) / net.y_scale)[None], more=more)
    judge = StiffNODE(net.field, net.y_scale, net.t_scale, log_time=net.log_time, solver=tight)
    with evaluating(judge):
        sol = judge.solve(true.values[:1], true.times)
    assert isinstance(sol.xs, Tensor)
    wrong = ((sol.xs[0] * net.y_scale - true.values) / range_of(true)).abs()
    return torch.where(torch.isfinite(wrong), wrong, 1.0), sol


def range_of(true: Kinetic) -> Tensor:
    """Range of every species over the measured values (d,)."""
    return true.trained[1].amax(0) - true.trained[1].amin(0)


def stiff_task(net: StiffNODE, data: Series, window: int) -> Task:
    """Learn one trajectory: mean absolute error over the range of every species, on windows and on the whole.

    A window starts from every measured time and goes on for `window` intervals, one from the first time to the end; what a
    failed trajectory did not reach is left out. The metric is judged at the times between, from one solve over the whole
    span. ValueError for sets of several trajectories.
    """
    if len(data.train) != 1:
        raise ValueError(f"data: {data.name!r} has {len(data.train)} trajectories; this task learns from one.")
    true = Kinetic.of(data)
    times, values = true.trained
    rows, scale = windows(len(times), window), range_of(true)

    def loss(_pick: Tensor) -> Tensor:
        index = rows
        fresh = torch.cat([torch.zeros_like(index[:, :1]), index.diff(dim=1)], 1) > 0  # not the start, and no repetition

        def error() -> Tensor:
            wrong = ((net.path(values[index[:, 0]], times[index]) - values[index]) / scale).abs()[fresh]
            return wrong[torch.isfinite(wrong)].mean()

        return clipped(error, net)

    def score() -> float:
        wrong, _ = judged(net, true)
        return 100.0 * float((wrong[~true.seen] if bool((~true.seen).any()) else wrong).mean())

    def evaluations() -> dict[str, float]:
        _, sol = judged(net, true)
        stats = sol.stats
        return {"forward": float(stats.f_evals), "jacobians": float(stats.jacobians), "steps": float(stats.accepted)}

    def extras() -> dict[str, float]:
        wrong, _ = judged(net, true)
        return {"largest": 100.0 * float(wrong.max()), "worst_species": 100.0 * float(wrong.mean(0).max())}

    def picture(figure: Figure) -> None:
        draw_kinetics(figure, net, true)

    return Task(net, STEPS, loss, score, ERROR, evaluations, picture, extras=extras)


class _Clipped(torch.autograd.Function):
    """A number with gradients that are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, grads: tuple[Tensor, ...], *_leaves: Tensor) -> Tensor:
        ctx.grads = grads
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> Any:
        return None, None, *(above[0] * g for g in ctx.grads)


def clipped(loss: Callable[[], Tensor], net: nn.Module, norm: float = 1.0) -> Tensor:
    """The loss with its gradient to the parameters scaled down to a norm of at most `norm`.

    Rates are exponentials of what is trained: one step along a gradient of norm 1e4 and the network does not come back.
    """
    if not torch.is_grad_enabled():
        return loss()
    leaves = [p for p in net.parameters() if p.requires_grad]
    value = loss()
    grads = torch.autograd.grad(value, leaves, allow_unused=True)
    filled = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, grads, strict=True)]
    size = torch.stack([g.square().sum() for g in filled]).sum().sqrt()
    factor = torch.clamp(norm / (size + 1e-12), max=1.0)
    return _Clipped.apply(value.detach(), tuple(factor * g for g in filled), *leaves)  # type: ignore[return-value]


def draw_kinetics(figure: Figure, net: StiffNODE, true: Kinetic, most: int = 6) -> None:
    """Species against log t: measured values as dots, the learned solution as lines; the worst species if there are many."""
    with evaluating(net):
        path = net.path(true.values[:1], true.times)[0]
    wrong = ((path - true.values) / range_of(true)).abs().nan_to_num(1.0).mean(0)
    shown = sorted(wrong.argsort(descending=True)[:most].tolist())
    panels = figure.subplots(-(-len(shown) // 3), min(3, len(shown)), sharex=True, squeeze=False).ravel()
    for i, axes in zip(shown, panels, strict=False):
        axes.semilogx(true.times[true.seen], true.values[true.seen, i], ".", ms=4, color=COLOURS[0], label="measured")
        axes.semilogx(true.times, path[:, i], color=COLOURS[1], lw=1.2, label="learned")
        axes.set_title(true.names[i], fontsize=9)
        axes.grid(alpha=0.25)
    panels[0].legend(fontsize=7)
    for axes in panels[-min(3, len(shown)) :]:
        axes.set_xlabel("time t")


def build(
    data: Series, _seed: int, net: str, width: int, depth: int, scaled: bool, log_time: bool, window: int, method: str,
    rtol: float, gradient: str, max_steps: int,
) -> Task:  # fmt: skip
    """A network `kinetics` (production minus loss) or `mlp` (the GELU network of Kim et al.), scaled or not.

    method "best": Rodas5P, compiled, up to 8 species, Radau5 beyond. The policy "replay-at-once" suits these two and
    explicit methods, others need "replay".
    """
    times, values = Kinetic.of(data).trained
    ranges, t_scale, rates = scales_of(times, values[None])
    d, y_scale = values.shape[-1], ranges
    if not scaled:
        y_scale, t_scale = torch.ones_like(ranges), 1.0
    if log_time or not scaled:
        rates = torch.ones_like(rates)
    hidden = (width,) * depth
    fields: dict[str, Callable[[], nn.Module]] = {
        "kinetics": lambda: Kinetics(d, hidden, rates=rates),
        "mlp": lambda: MLPField(d, hidden, time=log_time, activation="gelu", dtype=torch.float64),
    }
    field = lookup("network", net, fields)()
    scheme = ("rodas5p" if d <= SMALL else "radau5") if method == "best" else method
    if getattr(METHODS.get(scheme), "error_order", 0) is None:
        raise ValueError(f"method: {scheme!r} has no error estimate to choose its steps by; take 'rodas5p' or 'tsit5'.")
    policy = lookup("gradient policy", gradient, GRADIENTS)
    # The same tolerance in true units, scaled or not.
    atol = 0.01 * rtol * (ranges / y_scale)[None]
    more = {"compile": d <= SMALL and isinstance(METHODS.get(scheme), COMPILED), "max_steps": max_steps}
    solver = Solver(scheme, rtol, atol, policy, more=more)
    return stiff_task(StiffNODE(field, y_scale, t_scale, log_time=log_time, solver=solver), data, window)


STIFF_NODE = Recipe(
    "stiff", "scaled equations, positive production and loss, normalised error: kinetics by a stiff solver", "robertson",
    build, ("pollu",),
    {
        "net": "kinetics", "width": 16, "depth": 2, "scaled": True, "log_time": False, "window": 8, "method": "best",
        "rtol": 1e-3, "gradient": "replay-at-once", "max_steps": TRIES,
    },
    epochs=70, batch_size=1, lr=2e-2, schedule="cosine",
)  # fmt: skip

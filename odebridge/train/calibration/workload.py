"""Instances of a family with the truth about them, and what a law makes of them at several tolerances, as one batch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from odebridge.control.classical import Filter
from odebridge.control.features import FEATURES
from odebridge.control.learned import LearnedStep, Place, Pooled, Swarm
from odebridge.core.protocols import Method, StepController
from odebridge.core.result import Result, Solution
from odebridge.core.shapes import repeat, tree_map
from odebridge.integrate import At, Every, integrate
from odebridge.problems import Problem
from odebridge.train.calibration.equal import Curves

TIMES = 40  # at which errors are measured: half of them evenly spread, half where steps are short
TRUTH = 1e-10
CAP = 0.1  # errors above say that the solution has lost its way, not by how much
LONGEST = 200_000
POOLED = 6  # columns of a gate that pools over the components
WIDER = 10.0  # the curve of a yardstick reaches this factor beyond the tolerances asked for, so that errors overlap


@dataclass(frozen=True, eq=False)
class Workload:
    """Instances with their truth, at tolerances: everything a law is measured on."""

    task: Problem  # a batch (i, n)
    times: Tensor  # (i, k)
    truth: Tensor  # (i, k, n)
    scale: Tensor  # (i, k, n): what errors are divided by, |x| + 0.1 max |x|
    rtols: tuple[float, ...]
    atol_per_rtol: float
    max_steps: int = LONGEST
    place: Place | Pooled | None = None  # what gates see of the state, besides the last try

    def __len__(self) -> int:
        return len(self.task.x0)

    def at(self, rtols: tuple[float, ...]) -> Workload:
        """The same instances at other tolerances."""
        return replace(self, rtols=rtols)

    def part(self, first: int, last: int) -> Workload:
        """Some of the instances."""
        task = rows(self.task, torch.arange(first, last))
        return replace(
            self, task=task, times=self.times[first:last], truth=self.truth[first:last], scale=self.scale[first:last]
        )


def place_of(load: Workload) -> Place:
    """How the states of these instances are spread."""
    x = load.truth.flatten(0, 1)
    size = x.abs().median(0).values
    size = torch.where(size > 1e-6 * x.abs().amax(0), size, x.abs().amax(0).clamp_min(1e-300))
    v = x.sign() * (1.0 + x.abs() / size).log()
    return Place(size, v.mean(0), v.std(0).clamp_min(1e-6))


def pooled_of(load: Workload, seed: int) -> Pooled:
    """The same for a gate that pools over the components: its layer is drawn by the seed."""
    chance = torch.Generator().manual_seed(seed)
    return Pooled(place_of(load), torch.randn(POOLED, 3, generator=chance, dtype=torch.float64))


def rows(task: Problem, index: Tensor) -> Problem:
    """Trajectories of a batch as a batch."""
    span = tuple(t[index] if isinstance(t, Tensor) else t for t in task.span)
    reference = None if task.reference is None else task.reference[index]
    return replace(task, x0=task.x0[index], args=tree_map(lambda v: v[index], task.args), span=span, reference=reference)


def tolerances(rtols: tuple[float, float], per_decade: int = 1, wider: float = 1.0) -> tuple[float, ...]:
    """From the loosest to the tightest, evenly in the logarithm, at least three."""
    loose, tight = min(max(rtols) * wider, 0.1), max(min(rtols) / wider, 1e-12)
    steps = max(2, round(per_decade * math.log10(loose / tight)))
    return tuple(float(v) for v in np.geomspace(loose, tight, steps + 1))


def wide(load: Workload) -> Workload:
    """The same instances at more and further tolerances, for the curve that others are compared with."""
    return load.at(tolerances((load.rtols[0], load.rtols[-1]), per_decade=2, wider=WIDER))


def solved(task: Problem, method: Method | str, **how: Any) -> Solution:
    """The batch by compiled tries, failures as codes, no warnings of what is measured here: stiffness, lost accuracy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(looks stiff|errors add up)", RuntimeWarning)
        return integrate(
            task.field, task.x0, task.span, args=task.args, jacobian=task.jacobian, mass=task.mass, sparsity=task.sparsity,
            discontinuities=task.discontinuities, method=method, compile=True, throw=False, **how,
        )  # fmt: skip


def workload(task: Problem, rtols: tuple[float, ...], atol_per_rtol: float | None) -> Workload:
    """Truth and times for a batch of instances. atol_per_rtol None: a hundredth of the smallest component's median."""
    truth_by = "rodas5p" if task.stiff else "dopri8"
    first = solved(task, truth_by, rtol=1e-4, atol=1e-4 * (atol_per_rtol or 1e-6), save=Every(), max_steps=LONGEST)
    assert first.xs is not None
    if atol_per_rtol is None:
        usual = first.xs.abs().flatten(0, 1).nanmedian(0).values
        atol_per_rtol = 0.01 * float(usual[usual > 1e-9 * usual.max()].min())
    mesh = solved(task, truth_by, rtol=1e-6, atol=1e-6 * atol_per_rtol, save=Every(), max_steps=LONGEST).ts
    assert mesh is not None
    times = _times(mesh)
    exact = solved(task, truth_by, rtol=TRUTH, atol=TRUTH * atol_per_rtol, save=At(times), max_steps=LONGEST)
    assert exact.xs is not None
    good = exact.result == int(Result.OK)
    if not bool(good.all()):
        index = good.nonzero()[:, 0]
        if len(index) < 0.8 * len(good):
            raise ValueError(
                f"family: {int((~good).sum())} of {len(good)} instances cannot be solved at rtol {TRUTH:g} by {truth_by!r} "
                f"({exact.failures[0].result.name}); choose a shorter span or a narrower spread."
            )
        task, times, exact = rows(task, index), times[index], replace(exact, xs=exact.xs[index])
    assert exact.xs is not None
    scale = exact.xs.abs() + 0.1 * exact.xs.abs().amax(1, keepdim=True) + 1e-12 * exact.xs.abs().amax((1, 2), keepdim=True)
    return Workload(task, times, exact.xs, scale, rtols, atol_per_rtol)


def _times(mesh: Tensor) -> Tensor:
    """(i, k) rising times inside each span, the end included."""
    out = []
    for row in mesh:
        ts = row[torch.isfinite(row)]
        even = torch.linspace(0, 1, TIMES // 2 + 1, dtype=ts.dtype)[1:] * (ts[-1] - ts[0]) + ts[0]
        place = torch.linspace(0, len(ts) - 1, TIMES - TIMES // 2 + 2, dtype=ts.dtype)[1:-1]
        low = place.long()
        short = ts[low] + (place - low) * (ts[(low + 1).clamp_max(len(ts) - 1)] - ts[low])
        times = torch.cat([even, short])
        times = times.sort(descending=bool(ts[-1] < ts[0])).values
        times[-1] = ts[-1]
        out.append(times)
    return torch.stack(out)


def measured(load: Workload, method: Method | str, law: StepController) -> Curves:
    """Log work (f evaluations) and log error of a law on every instance at every tolerance, as one batch.

    Filters and learned laws run as a swarm of one, whose kernel is there already: the same decisions, to the bit.
    """
    if isinstance(law, Filter):
        return measured_many(load, method, *swarm_of([law], None))[0]
    if isinstance(law, LearnedStep) and law.place is load.place:
        return measured_many(load, method, *swarm_of([law.linear], law.weights))[0]
    return _measured(load, method, law, 1)[0]


def swarm_of(laws: Sequence[Filter], weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Coefficients (c, 13) and weights (c, 2, f) of filters under one gate, or under none."""
    coefficients = torch.tensor([list(law.coefficients) for law in laws], dtype=torch.float64)
    gate = torch.zeros(2, len(FEATURES), dtype=torch.float64) if weights is None else weights
    return coefficients, gate.expand(len(laws), -1, -1)


def measured_many(load: Workload, method: Method | str, coefficients: Tensor, weights: Tensor) -> list[Curves]:
    """The same for many laws side by side: coefficients (c, 13), weights (c, 2, f), those of the place last or left out."""
    which = torch.arange(len(weights)).repeat_interleave(len(load) * len(load.rtols))
    seen = len(FEATURES) + (0 if load.place is None else load.place.width)
    weights = pad(weights, (0, seen - weights.shape[2]))
    return _measured(load, method, Swarm(coefficients[which], weights[which], load.place), len(weights))


def _measured(load: Workload, method: Method | str, law: StepController, laws: int) -> list[Curves]:
    i, r = len(load), len(load.rtols)
    copies = laws * r
    task = load.task
    many = replace(
        task, x0=repeat(task.x0, copies), args=repeat(task.args, copies), reference=None,
        span=tuple(repeat(t, copies) if isinstance(t, Tensor) else t for t in task.span),
    )  # fmt: skip
    rtol = torch.tensor(load.rtols, dtype=torch.float64).repeat_interleave(i).repeat(laws)
    atol, save = (load.atol_per_rtol * rtol)[:, None], At(load.times.repeat(copies, 1))
    sol = solved(many, method, controller=law, rtol=rtol, atol=atol, save=save, max_steps=load.max_steps)
    assert sol.xs is not None
    off = (sol.xs.reshape(copies, *load.truth.shape) - load.truth) / load.scale
    error = off.square().mean((2, 3)).sqrt().clamp(1e-14, CAP)
    fine = (sol.result == int(Result.OK)).reshape(copies, i)
    error = torch.where(fine & torch.isfinite(error) & (error < CAP), error, torch.nan)  # at the cap nothing was measured
    work = torch.where(fine, sol.stats.f_evals.double().reshape(copies, i), torch.nan)
    both = (v.log().reshape(laws, r, i).transpose(1, 2).numpy() for v in (work, error))
    return [Curves(w, e) for w, e in zip(*both, strict=True)]

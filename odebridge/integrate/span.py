"""A solve over a span: first step, loop, failures, and the walk for the gradient."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from odebridge.core.protocols import Counts, Method, Observation, StepController
from odebridge.core.result import RUNNING, Failure, Result, Solution
from odebridge.core.shapes import every
from odebridge.core.tolerance import Tolerance
from odebridge.integrate import check
from odebridge.integrate.gradient import StepTape, walk
from odebridge.integrate.loops import After, Attempt, Lanes, reach
from odebridge.integrate.save import At, Course, Dense, Last, Save, recorder
from odebridge.integrate.start import first_step
from odebridge.integrate.system import BoundField


class Progress(NamedTuple):
    """What a callback is told after every round."""

    round: int
    running: int  # trajectories still on their way
    reached: float  # share of its span that the slowest running trajectory has covered, 0 to 1


@dataclass(frozen=True)
class Limits:
    """When to give up, and whom to tell."""

    max_steps: int
    time_limit: float | None
    callback: Callable[[Progress], None] | None


class _Watch:
    """Sees every round of the loop: saves, notes steps and failures, stops at the time limit."""

    def __init__(self, course: Course, limits: Limits, takers: list[Any], limited: bool) -> None:
        self.course, self.limits, self.takers, self.limited = course, limits, takers, limited
        self.failures: list[Failure] = []
        self.work = self.round = 0
        self.began = time.monotonic()

    def __call__(self, lanes: Lanes, tried: Attempt) -> Lanes:
        """Look at one round."""
        self.round += 1
        end_slope = self.limited or tried.step.slope is None
        self.work += len(lanes.ids) * (tried.step.work + end_slope)
        for taker in self.takers:
            taker.take(tried)
        if self.limits.time_limit is not None and time.monotonic() - self.began > self.limits.time_limit:
            late = torch.where(lanes.result == RUNNING, int(Result.TIME_LIMIT), lanes.result)
            lanes = lanes._replace(result=late)
        failed = (lanes.result > int(Result.OK)) & (lanes.result != int(Result.EVENT))
        if bool(failed.any()):
            known = {f.trajectory for f in self.failures}
            self.failures += [_failure(lanes, tried, int(i)) for i in failed.nonzero()[:, 0] if int(lanes.ids[i]) not in known]
        if self.limits.callback is not None:
            on = lanes.result == RUNNING
            covered = (lanes.t - self.course.t0[lanes.ids]) / (lanes.t1 - self.course.t0[lanes.ids])
            slowest = float(covered[on].min()) if bool(on.any()) else 1.0
            self.limits.callback(Progress(self.round, int(on.sum()), slowest))
        return lanes


def _failure(lanes: Lanes, tried: Attempt, i: int) -> Failure:
    scaled = (tried.step.error if tried.step.error is not None else tried.x1 - tried.x0)[i] / tried.weights[i]
    worst = torch.where(torch.isfinite(scaled) & torch.isfinite(tried.slope1[i]), scaled.abs(), torch.inf).reshape(-1)
    component = int(worst.argmax())
    return Failure(int(lanes.ids[i]), Result(int(lanes.result[i])), float(lanes.t[i]), float(tried.dt[i]), component)


def solve_span(
    f: BoundField,
    course: Course,
    tol: Tolerance,
    method: Method,
    controller: StepController,
    save: Save,
    after: After | None,
    step0: Any,
    limits: Limits,
    slope: Tensor,
    with_graph: bool,
) -> Solution:
    """Integrate every trajectory from t0 to t1 on its own clock."""
    plain = Course(*(v.detach() for v in course))
    if with_graph:
        tape = StepTape()
        with torch.no_grad():
            steps = _found(f, plain, tol, method, controller, Last(), after, step0, limits, slope.detach(), [tape])
        ends = isinstance(save, (At, Dense))
        keeper = recorder(save, course, method, after is not None)
        x1 = walk(tape, f, course, method, after, keeper, ends)
        saved = keeper.packed()
        x1 = _only_arrived(x1, steps.codes)
        return replace(steps, x1=x1, ts=saved.ts, xs=saved.xs, hs=saved.hs, errors=saved.errors, dense=saved.dense)
    with torch.no_grad():
        return _found(f, plain, tol, method, controller, save, after, step0, limits, slope.detach(), [])


def _only_arrived(x1: Tensor, codes: Tensor | None) -> Tensor:
    arrived = (codes == int(Result.OK)).reshape(-1, *(1,) * (x1.dim() - 1))  # type: ignore[union-attr]
    return torch.where(arrived, x1, torch.nan)


def _found(
    f: BoundField,
    course: Course,
    tol: Tolerance,
    method: Method,
    controller: StepController,
    save: Save,
    after: After | None,
    step0: Any,
    limits: Limits,
    slope: Tensor,
    takers: list[Any],
) -> Solution:
    """The solve without a graph."""
    x0, t0, t1, sign = course
    span = (t1 - t0).abs()
    if step0 is None:
        h = first_step(f, t0, x0, slope, span, sign, tol, method.error_order or method.order)
    else:
        h = torch.as_tensor(step0, dtype=torch.float64, device=x0.device).expand(len(x0)).contiguous()
    h = torch.where(span == 0.0, 1.0, h)  # arrived before the first step: idle, at a harmless size
    seen = Observation(0, t0, x0, slope, h, None, None, method.error_order, tol, t1)
    h, control = check.answer(controller(seen, controller.start(x0, tol)), x0, controller)
    zero = torch.zeros(len(x0), dtype=torch.int64, device=x0.device)
    result = torch.where(span == 0.0, int(Result.OK), RUNNING)
    not_finite = (result == RUNNING) & ~every(torch.isfinite(slope))
    result = torch.where(not_finite, int(Result.NOT_FINITE), result)
    counts = Counts(*(zero + n for n in Counts(f_evals=1 if step0 is not None else 2)))
    lanes = Lanes(
        torch.arange(len(x0), device=x0.device), t0, x0, slope, h, zero, zero, result, control,
        method.start(f, t0, x0), counts, t1, sign, tol, f.args,
    )  # fmt: skip

    keeper = recorder(save, course, method, after is not None)
    watch = _Watch(course, limits, [*takers, keeper], after is not None)
    watch.failures += [
        Failure(int(i), Result.NOT_FINITE, float(t0[i]), 0.0, int((~torch.isfinite(slope[i])).reshape(-1).float().argmax()))
        for i in not_finite.nonzero()[:, 0]
    ]
    lanes = reach(lanes, f, method, controller, after, limits.max_steps, watch)
    saved = keeper.packed()
    failures = tuple(sorted(watch.failures, key=lambda fail: fail.trajectory))
    return Solution(
        _only_arrived(lanes.x, lanes.result), lanes.counts, saved.ts, saved.xs, saved.hs, lanes.result, failures,
        watch.work + len(x0) * (1 if step0 is not None else 2), saved.errors, saved.dense,
    )  # fmt: skip

"""A solve over a span: first step, loop, failures."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from odebridge.core.protocols import Counts, Method, Observation, StepController
from odebridge.core.result import RUNNING, Failure, Result, Solution
from odebridge.core.shapes import every, merge, tree_map
from odebridge.core.told import outside
from odebridge.core.tolerance import Tolerance
from odebridge.integrate import check, probe
from odebridge.integrate.adding import tell_of_sums
from odebridge.integrate.engine import engine
from odebridge.integrate.events import Crossings
from odebridge.integrate.gradient import StepTape, beyond
from odebridge.integrate.jumps import Jumps
from odebridge.integrate.loops import After, Attempt, Lanes, Trying, attempt, reach
from odebridge.integrate.save import At, Course, Dense, Last, Recorder, Save, recorder
from odebridge.integrate.start import first_step
from odebridge.integrate.stiffness import LONG, limit, looks_stiff, stretch
from odebridge.integrate.system import BoundField
from odebridge.methods.explicit_rk import ExplicitRK


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
    compile: bool = False


@dataclass(frozen=True)
class Extras:
    """What happens between steps: events, and jumps of the field."""

    crossings: Crossings | None = None
    jumps: Jumps | None = None


NO_START = "gets a slope that is not finite at its very start; look at x0, args and the field there"
RAN_OUT = {int(Result.MAX_STEPS): "max_steps", int(Result.TIME_LIMIT): "time_limit"}


class _Watch:
    """Sees every round of the loop: finds events, saves, notes steps and failures, stops at the time limit."""

    def __init__(
        self,
        course: Course,
        limits: Limits,
        tape: StepTape | None,
        keeper: Recorder,
        extras: Extras,
        f: BoundField,
        method: Method,
    ) -> None:
        self.course, self.limits, self.tape, self.keeper, self.extras = course, limits, tape, keeper, extras
        self.f, self.method = f, method
        self.failures: list[Failure] = []
        self.round = 0
        self.began = time.monotonic()

    def __call__(self, lanes: Lanes, tried: Attempt) -> Lanes:
        """Look at one round."""
        self.round += 1
        if self.tape is not None:
            self.tape.take(tried)  # whole steps: the walk cuts them at events itself
        if self.extras.crossings is not None:
            lanes, tried = self.extras.crossings.see(lanes, tried)
        self.keeper.take(tried)
        if self.extras.jumps is not None:
            lanes = _over_jumps(lanes, self.f, self.method, self.extras.jumps)
        if self.limits.time_limit is not None and time.monotonic() - self.began > self.limits.time_limit:
            late = torch.where(lanes.result == RUNNING, int(Result.TIME_LIMIT), lanes.result)
            lanes = lanes._replace(result=late)
        self.note_failures(lanes, tried)
        if self.limits.callback is not None:
            on = lanes.result == RUNNING
            covered = (lanes.t - self.course.t0[lanes.ids]) / (lanes.t1 - self.course.t0[lanes.ids])
            slowest = float(covered[on].min()) if bool(on.any()) else 1.0
            self.limits.callback(Progress(self.round, int(on.sum()), slowest))
        return lanes

    def note_failures(self, lanes: Lanes, tried: Attempt) -> None:
        """Keep why and where lanes have failed, once for each."""
        failed = (lanes.result > int(Result.OK)) & (lanes.result != int(Result.EVENT))
        if bool(failed.any()):
            known = {f.trajectory for f in self.failures}
            new = [int(i) for i in failed.nonzero()[:, 0] if int(lanes.ids[i]) not in known]
            self.failures += [_failure(lanes, tried, i, self._why(lanes, tried, i)) for i in new]

    def _why(self, lanes: Lanes, tried: Attempt, i: int) -> str | None:
        """More than the code says, where more is known."""
        crossings, lane = self.extras.crossings, int(lanes.ids[i])
        if crossings is not None and lane in crossings.lost:
            return f"cannot go on, because the condition of event {crossings.lost[lane]} became nan"
        spent = int(lanes.result[i]) in (Result.MAX_STEPS, Result.TIME_LIMIT)
        if spent and isinstance(self.method, ExplicitRK):
            one = torch.tensor([i], device=lanes.t.device)
            f = replace(self.f, args=lanes.args, tol=lanes.tol, tally=None).take(one)
            reach = stretch(f, lanes.t[one], lanes.x[one], lanes.slope[one], tried.dt[one])
            if float(reach) >= limit(self.method.order):
                return f"used up {RAN_OUT[int(lanes.result[i])]}, and {looks_stiff(self.method.name, float(reach))}"
        return None


def _over_jumps(lanes: Lanes, f: BoundField, method: Method, jumps: Jumps) -> Lanes:
    """The lanes that stand on a jump of the field look ahead: slope and memory anew, towards the next jump."""
    assert lanes.piece is not None
    landed = (lanes.result == RUNNING) & (lanes.t == lanes.piece.stop)
    if not bool(landed.any()):
        return lanes
    piece = merge(landed, jumps.piece(lanes.t, lanes.sign), lanes.piece)
    ahead = replace(f, args=lanes.args, tol=lanes.tol, window=piece.window)
    slope, memory = beyond(landed, ahead, method, lanes.t, lanes.x, lanes.slope, lanes.memory)
    counts = lanes.counts._replace(f_evals=lanes.counts.f_evals + landed)
    return lanes._replace(piece=piece, slope=slope, memory=memory, counts=counts)


def _failure(lanes: Lanes, tried: Attempt, i: int, advice: str | None) -> Failure:
    scaled = (tried.step.error if tried.step.error is not None else tried.x1 - tried.x0)[i] / tried.weights[i]
    worst = torch.where(torch.isfinite(scaled) & torch.isfinite(tried.slope1[i]), scaled.abs(), torch.inf).reshape(-1)
    component = int(worst.argmax())
    return Failure(int(lanes.ids[i]), Result(int(lanes.result[i])), float(lanes.t[i]), float(tried.dt[i]), component, advice)


def _tell_of_stiffness(method: ExplicitRK, f: BoundField, lanes: Lanes) -> None:
    """A long solve that got there all the same: warn where its steps are as long as stability allows."""
    one = lanes.tries.argmax().reshape(1)
    if int(lanes.result[one]) != int(Result.OK):
        return  # the failure says it
    here = replace(f, args=lanes.args, tol=lanes.tol, tally=None, window=lanes.piece and lanes.piece.window).take(one)
    reach = float(stretch(here, lanes.t[one], lanes.x[one], lanes.slope[one], lanes.h[one]))
    if reach >= limit(method.order):
        words = f"trajectory {int(one)} {looks_stiff(method.name, reach)} It took {int(lanes.tries[one])} tries."
        warnings.warn(words, RuntimeWarning, stacklevel=outside())


@dataclass(frozen=True)
class Task:
    """One solve over a span: everything that was asked for, checked."""

    f: BoundField
    course: Course
    tol: Tolerance
    method: Method
    controller: StepController
    save: Save | Recorder
    after: After | None
    first_step: Any
    limits: Limits
    slope: Tensor
    extras: Extras = Extras()
    trying: Trying = attempt  # makes one round

    def without_graph(self) -> Task:
        """The same, of numbers only."""
        plain = Course(*(v.detach() for v in self.course))
        f = replace(self.f, args=tree_map(Tensor.detach, self.f.args), user_jacobian=self.f.user_jacobian)
        return replace(self, course=plain, f=f, slope=self.slope.detach())

    def found(self, tape: StepTape | None = None, trying: Trying | None = None) -> Solution:
        """The solve by the adaptive loop, with a graph only if `trying` makes one."""
        f, (x0, t0, t1, sign), tol, extras = self.f, self.course, self.tol, self.extras
        piece = None if extras.jumps is None else extras.jumps.piece(t0, sign)
        f = replace(f, window=piece and piece.window)
        span = (t1 - t0).abs()
        if self.first_step is None:
            with probe.unwritten(self.slope):
                h = first_step(f, t0, x0, self.slope, span, sign, tol, self.method.error_order or self.method.order)
        else:
            h = torch.as_tensor(self.first_step, dtype=torch.float64, device=x0.device).expand(len(x0)).contiguous()
        h = torch.where(span == 0.0, 1.0, h)  # arrived before the first step: idle, at a harmless size
        seen = Observation(0, t0, x0, self.slope, h, None, None, self.method.error_order, tol, t1)
        h, control = check.answer(self.controller(seen, self.controller.start(x0, tol)), x0, self.controller)
        zero = torch.zeros(len(x0), dtype=torch.int64, device=x0.device)
        result = torch.where(span == 0.0, int(Result.OK), RUNNING)
        not_finite = (result == RUNNING) & ~every(torch.isfinite(self.slope))
        result = torch.where(not_finite, int(Result.NOT_FINITE), result)
        counts = Counts(*(zero + n for n in Counts(f_evals=1 if self.first_step is not None else 2)))
        lanes = Lanes(
            torch.arange(len(x0), device=x0.device), t0, x0, self.slope, h, zero, zero, result, control,
            self.method.start(f, t0, x0), counts, t1, sign, tol, f.args, piece,
        )  # fmt: skip
        keeper = recorder(self.save, self.course, self.method, self.after is not None)
        watch = _Watch(self.course, self.limits, tape, keeper, extras, f, self.method)
        for i in map(int, not_finite.nonzero()[:, 0]):
            worst = int((~torch.isfinite(self.slope[i])).reshape(-1).float().argmax())
            watch.failures.append(Failure(i, Result.NOT_FINITE, float(t0[i]), 0.0, worst, NO_START))
        lanes = self._reached(lanes, f, watch, trying or self.trying)
        if isinstance(method := self.method, ExplicitRK) and int(lanes.tries.max()) > LONG:
            _tell_of_stiffness(method, f, lanes)
        tell_of_sums(self.method, lanes)
        saved = keeper.packed()
        failures = tuple(sorted(watch.failures, key=lambda fail: fail.trajectory))
        return Solution(
            only_arrived(lanes.x, lanes.result), lanes.counts, saved.ts, saved.xs, saved.hs, lanes.result, failures,
            f.tally.rows if f.tally is not None else 0, saved.errors, saved.dense, end=lanes.t, h=lanes.h,
            events=() if extras.crossings is None else extras.crossings.packed(),
        )  # fmt: skip

    def _reached(self, lanes: Lanes, f: BoundField, watch: _Watch, trying: Trying) -> Lanes:
        """The loop, eager or compiled. Where nobody may stop a step the compiled one goes many at a time."""
        method, law, after, limits = self.method, self.controller, self.after, self.limits
        dense = isinstance(self.save, (At, Dense)) or self.extras.crossings is not None
        made = None
        if limits.compile and trying is attempt:
            made = engine(lanes, f, method, law, after, limits.max_steps, dense)
        elif limits.compile:
            words = "compile=True: tries whose sizes keep their graph are made by the eager loop."
            warnings.warn(words, RuntimeWarning, stacklevel=2)
        if made is None:
            return reach(lanes, f, method, law, after, limits.max_steps, watch, trying)
        watch.began = time.monotonic()  # the seconds of compiling are not the solve's
        if watch.tape is not None or watch.extras != Extras() or limits.callback is not None:
            lanes = reach(lanes, f, method, law, after, limits.max_steps, watch, made.attempt)
        else:
            keeper = None if isinstance(self.save, Last) else watch.keeper
            lanes, tried = made.reach(lanes, limits.time_limit, watch.began, keeper)
            watch.note_failures(lanes, tried)
        if f.tally is not None:  # what was computed: every try of every lane, and the columns of J
            f.tally.rows += int(lanes.counts.f_evals.sum()) + lanes.x[0].numel() * int(lanes.counts.jacobians.sum())
        return lanes


def only_arrived(x1: Tensor, codes: Any) -> Tensor:
    """The states of those that got there, NaN for the others."""
    arrived = ((codes == int(Result.OK)) | (codes == int(Result.EVENT))).reshape(-1, *(1,) * (x1.dim() - 1))
    return torch.where(arrived, x1, torch.nan)

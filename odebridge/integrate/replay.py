"""Replay: who owns the backward pass by default."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from odebridge.core.result import Result, Solution
from odebridge.core.shapes import dual, take
from odebridge.integrate.at_once import ONE_STEP, in_order, together
from odebridge.integrate.backtrack import Rounds, backtracked
from odebridge.integrate.fused import Fused
from odebridge.integrate.gradient import Path, StepTape, finite_only, walk
from odebridge.integrate.loops import attempt
from odebridge.integrate.onepass import OnePass, in_one_pass
from odebridge.integrate.save import At, Dense, Last, recorder, save_times
from odebridge.integrate.span import Extras, Task, only_arrived
from odebridge.methods.explicit_rk import ExplicitRK


@dataclass(frozen=True)
class Replay:
    """Find the steps without a graph, then walk the kept ones with one: the exact gradient of the frozen-step map.

    Memory grows with the kept steps only. Gradients flow to x0, args, parameters and closures of the field, t0, t1, save and
    event times; the step sizes are constants (Hairer, Norsett & Wanner I, II.6 on internal differentiation). Nothing is
    walked where nothing needs a gradient. Explicit methods make the graph of a step when they try it, and make a try again
    only for those that kept it while others did not, so that most steps cost one pass instead of two.
    checkpoints: keep so many states only and make the steps between two of them again in the backward pass, "sqrt": as many
    as there are steps between two; the gradient is the same, memory grows with the root of the number of steps, and the
    field is evaluated once more; "steps": the state of every step, so that one step is in memory at a time, which explicit
    methods do in one walk back (first derivatives). What a search has found (stages by Newton) is kept for all steps.
    ValueError for anything else. Caveat: Rosenbrock methods differentiate J as well, so the field must be twice
    differentiable; a random field (dropout) has no gradient that means anything.
    derivatives: 2 makes second derivatives right through implicit methods, whose stages are differentiated by the implicit
    function theorem, at twice the cost; with 1 they raise RuntimeError. Explicit and Rosenbrock methods always have them.
    at_once: make all kept steps as one batch and tie them together by a pass of n x n matrices, instead of walking from one to
    the next: faster for small states and many steps (benchmarks/replay.py), memory as without checkpoints. Rosenbrock
    methods lose again from a dozen components on, since their step is dear to differentiate n times.
    ValueError for methods whose steps depend on earlier ones (DIRK, BDF, auto ...), events, discontinuities and saves other
    than `Last` and `At`; first derivatives only.
    compiled: make each step of an explicit method one graph by torch.compile, forward and backward. Pays for networks as
    fields, which are trained for many iterations: the first step of a batch size takes seconds. Finished trajectories stay
    in the batch until half have finished.
    Use: `ob.integrate(f, x0, (0.0, 9.0), gradient=ob.Replay(checkpoints="sqrt"))`.
    """

    checkpoints: Any = None
    derivatives: int = 1
    at_once: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        n = self.checkpoints
        if n not in (None, "sqrt", "steps") and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ValueError(f'Replay: checkpoints must be None, "sqrt", "steps" or a whole number of at least 1, got {n!r}.')
        if self.derivatives not in (1, 2):
            raise ValueError(f"Replay: derivatives must be 1 or 2, got {self.derivatives!r}.")

    def _suits(self, task: Task) -> None:
        """ValueError where steps cannot be made at once."""
        extras = task.extras
        if not isinstance(task.method, ONE_STEP):
            raise ValueError(f"gradient: at_once needs steps that stand alone; those of {task.method.name!r} do not.")
        if extras.crossings or extras.jumps or not isinstance(task.save, (Last, At)) or self.checkpoints is not None:
            raise ValueError("gradient: at_once goes with ob.Last() and ob.At(times), no events, jumps or checkpoints.")

    def segment(self, steps: int) -> int:
        """Steps between two checkpoints; 0 without."""
        if self.checkpoints is None or steps == 0:
            return 0
        if self.checkpoints == "steps":
            return 1
        count = math.isqrt(steps - 1) + 1 if self.checkpoints == "sqrt" else self.checkpoints
        return -(-steps // count)

    def _fits_one_pass(self, task: Task) -> bool:
        """May steps be found and given their graph at once: explicit ones, where the ends of the span are numbers."""
        ends = (task.course.t0, task.course.t1)
        plain = not any(t.requires_grad for t in ends) and not dual([task.slope, *task.course[:3], task.f.args])
        loop = task.trying is attempt and not task.limits.compile and task.after is None and task.extras == Extras()
        mine = self.checkpoints in (None, "steps") and not self.at_once
        return plain and loop and mine and in_one_pass(task.method, task.save) and bool((ends[0] != ends[1]).all())

    def _one_pass(self, task: Task) -> Solution:
        """The solution, its steps made once."""
        keeper = recorder(task.save, task.course, task.method, limited=False)
        slope = finite_only(task.slope, task.f, task.course.t0, task.course.x0)
        tape = OnePass(task.f, task.course.x0, slope, task.method, task.save, keeper)  # type: ignore[arg-type]
        with torch.no_grad():
            steps = replace(task.without_graph(), save=Last()).found(trying=tape)
        x1, saved = only_arrived(tape.ends(), steps.codes), keeper.packed()
        end = torch.where(steps.result == int(Result.OK), task.course.t1, steps.end)
        return replace(steps, x1=x1, ts=saved.ts, xs=saved.xs, hs=saved.hs, errors=saved.errors, end=end)

    def solve(self, task: Task) -> Solution:
        """The solution with its graph."""
        if self.at_once:
            self._suits(task)
        if self.compiled:
            if not isinstance(task.method, ExplicitRK):
                raise ValueError(f"gradient: Replay(compiled=True) is for explicit methods, not for {task.method.name!r}.")
            task = replace(task, method=Fused(task.method))
        if self._fits_one_pass(task) and self.checkpoints is None:
            return self._one_pass(task)
        if self.checkpoints == "steps" and self._fits_one_pass(task) and _plain_save(task):
            return _back(task)
        tape, crossings = StepTape(states=[] if self.at_once else None), task.extras.crossings
        with torch.no_grad():
            steps = replace(task.without_graph(), save=Last()).found(tape)
        f, course, after = replace(task.f, derivatives=self.derivatives), task.course, task.after
        events = None if crossings is None else crossings.walked(lambda ids: take(f.args, ids))
        ends = isinstance(task.save, (At, Dense)) or events is not None
        stopped = steps.result != int(Result.OK)
        path = Path(tape, f, course, task.method, after, ends, task.extras.jumps, stopped)
        keeper = recorder(task.save, course, task.method, after is not None)
        if tape.states is not None and path.steps > 0:
            x1, xs = together(path, in_order(tape), keeper)
            end = torch.where(steps.result == int(Result.OK), course.t1, steps.end)
            kept = keeper.packed() if isinstance(task.save, At) else None
            return replace(
                steps, x1=only_arrived(x1, steps.codes), ts=kept and kept.ts, xs=kept and xs, end=end, h=steps.h, events=()
            )
        x1, t1, keeper, events = walk(path, keeper, events, self.segment(path.steps))
        saved, x1 = keeper.packed(), only_arrived(x1, steps.codes)
        steps = replace(steps, x1=x1, ts=saved.ts, xs=saved.xs, hs=saved.hs, errors=saved.errors, dense=saved.dense, end=t1)
        h = None if steps.h is None else steps.h.detach()
        return replace(steps, h=h, events=() if events is None else events.packed())


def _plain_save(task: Task) -> bool:
    """Last, or At of states at times that are numbers."""
    save = task.save
    if not isinstance(save, At):
        return isinstance(save, Last)
    return save.of is None and not save_times(save, task.course).requires_grad


def _back(task: Task) -> Solution:
    """The solution of an explicit method, its steps made again one at a time in the backward pass."""
    rounds = Rounds()
    with torch.no_grad():
        sol = task.without_graph().found(rounds)  # type: ignore[arg-type]
        last = torch.where(torch.isfinite(sol.x1), sol.x1, 0.0)  # what has failed is nan again below, and gets no gradient
    end = torch.where(sol.result == int(Result.OK), task.course.t1, sol.end)
    x1, xs = backtracked(task, rounds, last, sol.xs if isinstance(task.save, At) else None)
    return replace(sol, x1=only_arrived(x1, sol.codes), xs=xs, end=end)

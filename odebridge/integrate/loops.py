"""The two loops, side by side: `follow` a grid (a network, or a fixed-step solve), `reach` the end of a span (adaptive).

The error is measured by the method, judged by the tolerance, retried by the loop and answered by the controller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from odebridge.core.protocols import Counts, Method, Observation, Step, StepController, Tried
from odebridge.core.records import replaced
from odebridge.core.result import RUNNING, Result
from odebridge.core.shapes import every, merge, per_sample, take, tree_map
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.jumps import Piece
from odebridge.integrate.limits import Nonnegative
from odebridge.integrate.system import BoundField

After = Callable[[Tensor], Tensor]
HALVES = 1.8  # to the power order + 1, the error at which a law with safety 0.9 halves the step
UNUSABLE_IN_A_ROW = 25  # tries in a row that gave nothing finite before a trajectory gives up


def follow(
    f: BoundField, x: Tensor, ts: tuple[float, ...], method: Method, controller: StepController, after: After | None
) -> Iterator[tuple[Tensor, Any, Step]]:
    """Walk a grid, one step per spacing; yields the state, the size and the step after each."""
    memory, kept, slope = controller.start(x, None), method.start(f, ts[0], x), None
    search = hasattr(method, "replay") and getattr(method, "implicit", True) and torch.is_grad_enabled()
    walked = kept  # what a searching method remembers with its graph
    for n, (t, t1) in enumerate(pairwise(ts)):
        slope = f(t, x) if slope is None else slope
        h, memory = controller(Observation(n, t, x, slope, t1 - t), memory)
        if search and (
            slope.requires_grad or x.requires_grad
        ):  # found without a graph, then made again with one: iterations are not unrolled
            with torch.no_grad():
                tried = method.step(f, t, x, t1 - t, h, slope, kept)
            again = method.replay(f, t, x, t1 - t, h, slope, walked, tried.found)  # type: ignore[attr-defined]
            step, walked, kept = replaced(tried, x=again.x, slope=again.slope), again.memory, tried.memory
        else:
            step = method.step(f, t, x, t1 - t, h, slope, kept)
            kept = step.memory
        x = limited(after, step.x)
        if step.trouble is not None:  # no shorter step can be tried here, and a wrong state must not look like a right one
            x = torch.where(per_sample(step.trouble == int(Result.OK), x).bool(), x, torch.nan)
        slope = step.slope if after is None else None  # free where the last stage sits at the end of the step
        yield x, h, step


def limited(after: After | None, x: Tensor) -> Tensor:
    """The state after the user's `after`, which must keep its shape and dtype."""
    if after is None:
        return x
    y = after(x)
    if not isinstance(y, Tensor) or y.shape != x.shape or (y.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type)):
        got = f"{tuple(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"after: must return a state of shape {tuple(x.shape)} and {x.dtype} like the one it gets, got {got}.")
    return y


class Lanes(NamedTuple):
    """The trajectories in the loop, one lane each. Every tensor has leading dimension b."""

    ids: Int[Tensor, " b"]  # row in the user's batch
    t: Float[Tensor, " b"]  # clock, float64
    x: Float[Tensor, "b *s"]
    slope: Float[Tensor, "b *s"]  # f(t, x)
    h: Float[Tensor, " b"]  # size of the next try, positive
    tries: Int[Tensor, " b"]
    unusable: Int[Tensor, " b"]  # tries in a row that gave nothing finite
    result: Int[Tensor, " b"]
    control: Any
    memory: Any
    counts: Counts
    t1: Float[Tensor, " b"]
    sign: Float[Tensor, " b"]  # +1 forward in time, -1 backward
    tol: Tolerance
    args: Any
    piece: Piece | None = None  # between which jumps of the field the lane is; None: the field has no jumps


class Attempt(NamedTuple):
    """One try of every lane, as savers, gradients and failure reports see it."""

    ids: Int[Tensor, " b"]
    kept: Bool[Tensor, " b"]
    t0: Float[Tensor, " b"]
    t1: Float[Tensor, " b"]
    dt: Float[Tensor, " b"]  # signed
    x0: Float[Tensor, "b *s"]
    x1: Float[Tensor, "b *s"]
    slope0: Float[Tensor, "b *s"]
    slope1: Float[Tensor, "b *s"]
    step: Step
    error: Float[Tensor, " b"]  # scaled
    weights: Float[Tensor, "b *s"]
    powers: tuple[Tensor, ...] | None = None  # the interpolant, where an event has cut the step short


def attempt(
    lanes: Lanes, f: BoundField, method: Method, controller: StepController, after: After | None, max_steps: int
) -> tuple[Lanes, Attempt]:
    """Try one step in every lane: a pure function of tensors, with no decision on data in Python, so that it compiles."""
    t, x = lanes.t, lanes.x
    running = lanes.result == RUNNING
    goal = (
        lanes.t1 if lanes.piece is None else torch.where((lanes.t1 - t).abs() <= lanes.piece.way(t), lanes.t1, lanes.piece.stop)
    )
    way = (goal - t).abs()
    lands = running & (lanes.h * (1.0 + 1e-8) >= way)  # rather a hair longer than a sliver for the end
    last = lands & (goal == lanes.t1)
    # Idle lanes step a harmless size, never 0: a method that divides by h would put nan into their gradients.
    size = torch.where(lands, way, lanes.h)
    dt = size * lanes.sign
    t_end = torch.where(lands, goal, t + dt)
    dt = torch.where(t_end == t, dt, t_end - t)  # what the clock has moved: at large |t| that is not what was asked for
    step = method.step(f, t, x, dt, per_sample(dt, x), lanes.slope, lanes.memory)
    x1 = limited(after, step.x)
    free_slope = step.slope if after is None else None
    slope1 = f(t_end, x1) if free_slope is None else free_slope

    weights = lanes.tol.weights(x, x1)
    estimate = torch.zeros_like(x) if step.error is None else step.error
    finite = every(torch.isfinite(x1)) & (every(torch.isfinite(slope1)) | last)
    trouble = torch.where(finite, int(Result.OK), int(Result.NOT_FINITE))
    if step.trouble is not None:
        trouble = torch.where(step.trouble != int(Result.OK), step.trouble, trouble)
    usable = trouble == int(Result.OK)
    order = method.error_order if step.order is None else step.order
    error = lanes.tol.ratio(estimate, x, x1)
    if isinstance(after, Nonnegative):
        error = torch.maximum(error, after.undershoot(step.x, weights))
    error = torch.where(usable & torch.isfinite(error), error, torch.inf)
    # Where Newton's iteration failed nothing is known of the error: read it as one that halves the step under safety 0.9.
    halved = HALVES ** ((method.error_order or 0) + 1) if step.order is None else ((step.order + 1) * math.log(HALVES)).exp()
    error = torch.where(trouble == int(Result.NEWTON_FAILED), halved, error)
    accepted = controller.accepts(error, lanes.control) & usable & running

    t_next = torch.where(accepted, t_end, t)
    x_next, slope_next = merge(accepted, x1, x), merge(accepted, slope1, lanes.slope)
    tries = lanes.tries + running
    ahead = error if step.ahead is None else torch.where(accepted, lanes.tol.ratio(step.ahead, x, x1), error)
    seen = Observation(
        tries, t_next, x_next, slope_next, size, ahead, accepted, order, lanes.tol, lanes.t1,
        Tried(x, x1, lanes.slope, slope1, estimate, weights, step.extra),
    )  # fmt: skip
    h, control = controller(seen, lanes.control)
    memory = merge(accepted, step.memory, step.memory if step.retry is None else step.retry)
    unusable = torch.where(usable, 0, lanes.unusable + 1)

    arrived = accepted & last
    # Below 16 units of the clock's last place t + h no longer is where it says.
    smallest = 16.0 * torch.finfo(torch.float64).eps * t_next.abs()
    stuck = ~((h >= smallest) & (h > 0.0)) & ~(h >= (goal - t_next).abs())
    hopeless = (unusable > UNUSABLE_IN_A_ROW) | stuck
    reason = torch.where(usable, int(Result.STEP_TOO_SMALL), trouble)
    result = torch.where(tries >= max_steps, int(Result.MAX_STEPS), lanes.result)
    result = torch.where(hopeless, reason, result)
    result = torch.where(arrived, int(Result.OK), result)
    result = torch.where(running, result, lanes.result)

    cost = replaced(
        step.cost,
        accepted=accepted,
        rejected=~accepted,
        f_evals=step.cost.f_evals + (accepted & ~last if free_slope is None else 0),
    )
    spent = zip(lanes.counts, cost, strict=True)
    counts = Counts(*(have if isinstance(more, int) and more == 0 else have + running * more for have, more in spent))
    # A last step that the end has cut short says less of the next one than the size it was cut from.
    h = torch.where(arrived, torch.maximum(h, lanes.h), torch.where(running, h, size))
    after_lanes = replaced(
        lanes,
        t=t_next, x=x_next, slope=slope_next, h=h, tries=tries, unusable=unusable, result=result,
        control=merge(running, control, lanes.control), memory=memory, counts=counts,
    )  # fmt: skip
    kept = Attempt(lanes.ids, accepted, t, t_end, dt, x, x1, lanes.slope, slope1, step, error, weights)
    return after_lanes, kept


Trying = Callable[..., tuple[Lanes, Attempt]]


def reach(
    lanes: Lanes,
    f: BoundField,
    method: Method,
    controller: StepController,
    after: After | None,
    max_steps: int,
    watch: Callable[[Lanes, Attempt], Lanes],
    trying: Trying = attempt,
) -> Lanes:
    """Eager driver: try until every lane is done, and gather the running ones whenever half of them have finished.

    `watch` sees every round and may change results (a time limit); `trying` makes one, and says by `share` = 1 if lanes are
    to be gathered whenever any has finished. Returns all lanes in the user's order.
    """
    finished: list[Lanes] = []
    share = getattr(trying, "share", 0.5)
    while True:
        running = lanes.result == RUNNING
        alive = int(running.sum())
        if alive < len(running) and alive <= share * len(running):
            # What methods and controllers remember is of no use any more, and its form may have changed since the start.
            plain = lanes._replace(memory=None, control=None)
            if alive == 0:
                finished.append(plain)
                break
            finished.append(take(plain, (~running).nonzero()[:, 0]))
            lanes = take(lanes, running.nonzero()[:, 0])
        here = replace(f, args=lanes.args, tol=lanes.tol, window=lanes.piece and lanes.piece.window)
        lanes = watch(*trying(lanes, here, method, controller, after, max_steps))
    if len(finished) == 1:
        return finished[0]
    everyone = tree_map(lambda *parts: torch.cat(parts), *finished)
    return take(everyone, everyone.ids.argsort())

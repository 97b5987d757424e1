"""The descent itself: steps of an optimiser along batches, epoch by epoch, and how to go on after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from odebridge.core.result import SolveError
from odebridge.train.checkpoint import save_checkpoint
from odebridge.train.optimisers import OPTIMISERS, SCHEDULES
from odebridge.train.parallel import World
from odebridge.train.plan import Epoch, History, Plan
from odebridge.train.state import Keep, NoGradient, State

ALONE = World()
CHECK_EVERY = 16  # steps between looks at the loss: reading it waits for the GPU


def descend(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    score: Callable[[], float],
    plan: Plan,
    chance: torch.Generator,
    place: torch.device,
    progress: Callable[[Epoch], None] | None,
    regression: bool,
    keep: Keep | None = None,
    generators: tuple[torch.Generator, ...] = (),
    world: World = ALONE,
) -> History:
    """The loop. loss: indices of a batch -> scalar; score: after each epoch. generators: those that the loss draws from.

    world: the processes that share the batches; the first one scores and keeps. A loss that is not finite, a solve that fails
    or a gradient that is refused ends the training with a sentence, and the model has the weights that were scored last, or
    those it came with.
    """
    start = saved = time.monotonic()
    descent = OPTIMISERS[plan.optimiser](model, plan.lr, plan.weight_decay)
    rate = SCHEDULES[plan.schedule]
    decay = plan.ema
    average = None if decay is None else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    scaler = torch.amp.GradScaler(place.type, enabled=plan.precision == "fp16")
    state = State(model, descent, (chance, *generators), average, scaler)
    rows = state.rows
    if keep is not None and keep.resume:
        start -= state.load(keep.path, plan)
    with state.averaged():
        good, good_epoch = state.weights(), len(rows)

    def failed(ended: str, message: str) -> History:
        model.load_state_dict(good)
        kept = f"those of epoch {good_epoch}" if good_epoch else "the first ones"
        return history(ended, f"{message} The weights are {kept} again.")

    def history(ended: str, message: str) -> History:
        return History(tuple(rows), ended, message, time.monotonic() - start, regression)

    for epoch in range(len(rows), plan.epochs):
        model.train()
        order = torch.randperm(plan.n, generator=chance).to(place)
        total = torch.zeros((), device=place)
        for step in range(plan.steps):
            where = f"epoch {epoch + 1}, at or before step {step + 1} of {plan.steps}"
            done = (epoch + step / plan.steps) / plan.epochs
            for group in descent.param_groups:
                group["lr"] = plan.lr * rate(done)
            last = step + 1 == plan.steps
            try:
                total += state.step(loss, world.mine(order[step * plan.samples : (step + 1) * plan.samples]), plan)
                # A sum that is not finite stays so: nothing is missed between two looks.
                look = last or step % CHECK_EVERY == 0
                if look and not math.isfinite(float(world.mean(total))):
                    return failed("not finite", f"The loss is not finite in {where}: lower lr={plan.lr:g} or check the data.")
                late = plan.time_budget is not None and world.first(time.monotonic() - start) > plan.time_budget
                if last or late:
                    value, now = _scored(state, score, world)
                    if float(world.mean(total.new_tensor(float(finite(now))))) < 1.0:
                        return failed("not finite", f"The weights are not finite after {where}: lower lr={plan.lr:g}.")
                    if keep is not None and keep.best is not None and world.rank == 0 and _better(value, rows, regression):
                        save_checkpoint(keep.best, now, {"epoch": epoch + 1, "score": value})
                    mean = float(world.mean(total)) / (step + 1)
                    rows.append(Epoch(epoch + 1, mean, value, time.monotonic() - start))
                    good, good_epoch = now, epoch + 1
            except NoGradient as error:
                return failed("no gradient", f"The backward pass failed in {where}. {error}")
            except SolveError as error:
                return failed("solve failed", f"A solve failed in {where}: lower lr={plan.lr:g} or loosen rtol. {error}")
            if (last or late) and progress is not None:
                progress(rows[-1])
            if late:
                return history("time budget", f"Stopped in epoch {epoch + 1}, step {step + 1}, after {plan.time_budget:g} s.")
        if keep is not None and world.rank == 0 and (epoch + 1 == plan.epochs or time.monotonic() - saved >= keep.every):
            state.save(keep.path, plan, time.monotonic() - start)
            saved = time.monotonic()
    if average is not None:
        model.load_state_dict(average.module.state_dict())
    return history("done", f"All {plan.epochs} epochs done.")


def _scored(state: State, score: Callable[[], float], world: World) -> tuple[float, dict[str, Tensor]]:
    """The score after an epoch, and the weights that have it."""
    with state.averaged():
        return world.first(score() if world.rank == 0 else math.nan), state.weights()


def finite(tensors: Mapping[str, Tensor]) -> bool:
    """Are all numbers finite? A last step can spoil the weights without a loss that shows it."""
    return all(bool(torch.isfinite(v).all()) for v in tensors.values() if v.is_floating_point())


def _better(value: float, rows: Sequence[Epoch], low: bool) -> bool:
    """Is this score better than all before? low: less is better. A score that is not a number never is."""
    before = [r.test_score for r in rows if not math.isnan(r.test_score)]
    if math.isnan(value) or not before:
        return not math.isnan(value)
    return value < min(before) if low else value > max(before)

"""The descent itself: steps of an optimiser along batches, epoch by epoch, and how to go on after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from odebridge.core.names import lookup
from odebridge.core.result import SolveError
from odebridge.train.checkpoint import load_checkpoint, save_checkpoint
from odebridge.train.optimisers import OPTIMISERS, SCHEDULES
from odebridge.train.parallel import World

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
ALONE = World()
CHECK_EVERY = 16  # steps between looks at the loss: reading it waits for the GPU


class Epoch(NamedTuple):
    """What `progress` is shown after each epoch."""

    number: int  # from 1
    train_loss: float  # mean over the steps of the epoch
    test_score: float  # accuracy of `fit`, loss of `fit_loss`, metric of a `Task`; NaN without test data
    seconds: float  # since the start


@dataclass(frozen=True)
class History:
    """One row per epoch. ended: "done", "time budget", "not finite", "solve failed", "no gradient"; message: a sentence."""

    epochs: tuple[Epoch, ...]
    ended: str
    message: str
    seconds: float
    regression: bool = False

    @property
    def train_loss(self) -> tuple[float, ...]:
        """Mean training loss of every epoch."""
        return tuple(e.train_loss for e in self.epochs)

    @property
    def test_accuracy(self) -> tuple[float, ...]:
        """Accuracy on the test images after every epoch; empty for a regression."""
        return () if self.regression else tuple(e.test_score for e in self.epochs)

    @property
    def test_loss(self) -> tuple[float, ...]:
        """Loss on the test pairs after every epoch; empty for a classification."""
        return tuple(e.test_score for e in self.epochs) if self.regression else ()


@dataclass(frozen=True)
class Plan:
    """All settings of a training; ValueError in a sentence for those that make no sense."""

    n: int
    epochs: int
    batch_size: int
    lr: float
    optimiser: str
    weight_decay: float
    schedule: str
    time_budget: float | None
    precision: str = "fp32"
    clip: float | None = None  # largest norm of the gradient
    accumulate: int = 1  # parts of a batch that go through the model one after the other
    ema: float | None = None  # decay of the average of the weights that is tested and kept
    processes: int = 1  # each has batch_size samples of a step

    def __post_init__(self) -> None:
        lookup("optimiser", self.optimiser, OPTIMISERS)
        lookup("schedule", self.schedule, SCHEDULES)
        lookup("precision", self.precision, PRECISIONS)
        if self.n < 1 or self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"training needs samples, epochs and a batch size of at least 1: {self}.")
        if self.accumulate < 1 or self.accumulate > self.batch_size:
            raise ValueError(f"accumulate must be from 1 to batch_size={self.batch_size}, got {self.accumulate!r}.")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be None or a positive number, got {self.clip!r}.")
        if self.ema is not None and not 0.0 < self.ema < 1.0:
            raise ValueError(f"ema must be None or a decay between 0 and 1, such as 0.999, got {self.ema!r}.")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"lr must be a positive number, got {self.lr!r}.")

    @property
    def steps(self) -> int:
        """Steps per epoch; a short last batch is dropped unless it is the only one."""
        return max(1, self.n // self.samples)

    @property
    def samples(self) -> int:
        """Samples of one step, of all processes together."""
        return self.batch_size * self.processes

    def autocast(self, place: torch.device) -> torch.autocast:
        """Where the model computes in the precision of the plan; weights and losses stay float32."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(place.type, dtype=dtype, enabled=dtype is not None)


@dataclass(frozen=True)
class Keep:
    """Where the state of a training is kept while it runs, so that a killed one can go on.

    path: a checkpoint, name.json, written after an epoch where the last one is `every` seconds old, and after the last epoch.
    resume: go on from it; the end is that of the run that was not killed, to the bit, on one machine.
    Caveat: random numbers drawn on a GPU are not kept. Use: `fit(net, data, keep=Keep("runs/1/training.json", resume=True))`.
    """

    path: str | Path
    resume: bool = False
    every: float = 20.0


@dataclass
class _State:
    """All that changes while a training runs."""

    model: nn.Module
    descent: torch.optim.Optimizer
    generators: tuple[torch.Generator, ...]
    average: AveragedModel | None
    scaler: torch.amp.GradScaler
    rows: list[Epoch] = field(default_factory=list)

    def step(self, loss: Callable[[Tensor], Tensor], pick: Tensor, plan: Plan) -> Tensor:
        """One step along the gradient of a batch; returns its loss."""
        self.descent.zero_grad(set_to_none=True)
        total = torch.zeros((), device=pick.device)
        for part in pick.tensor_split(plan.accumulate):
            value = loss(part) * (len(part) / len(pick))
            _differentiate(self.scaler.scale(value))
            total += value.detach()
        if plan.clip is not None:
            self.scaler.unscale_(self.descent)
            nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip)
        self.scaler.step(self.descent)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return total

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """In here the model has the averaged weights, where there are any."""
        if self.average is None:
            yield
            return
        own = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.module.state_dict())
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def save(self, path: str | Path, plan: Plan, seconds: float) -> None:
        """Weights, what the optimiser remembers, the states of the generators, and the epochs so far."""
        memory = self.descent.state_dict()["state"]
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"optimiser.{i}.{k}": v for i, m in memory.items() for k, v in m.items() if isinstance(v, Tensor)}
        tensors |= {f"random.{i}": g.get_state() for i, g in enumerate(self.generators)} | {"random": torch.get_rng_state()}
        # JSON has no NaN that a checksum survives on every reader; a score may be one.
        rows = [[None if isinstance(v, float) and not math.isfinite(v) else v for v in row] for row in self.rows]
        save_checkpoint(
            path, tensors, {"plan": _comparable(plan), "rows": rows, "seconds": seconds, "scaler": self.scaler.state_dict()}
        )

    def load(self, path: str | Path, plan: Plan) -> float:
        """Go back to what was saved; the seconds that had passed. ValueError if the plan was another one."""
        tensors, record = load_checkpoint(path)
        ours, kept = _comparable(plan), record.get("plan", {})
        if other := [f"{k}={kept.get(k)!r} there and {v!r} here" for k, v in ours.items() if kept.get(k) != v]:
            raise ValueError(f"{path}: is the state of another training, with {', '.join(other)}; give its settings to go on.")
        self.model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        if self.average is not None:
            average = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
            self.average.load_state_dict(average)
        if record["scaler"]:
            self.scaler.load_state_dict(record["scaler"])
        memory: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, i, k = name.split(".", 2)
                memory.setdefault(int(i), {})[k] = value
        self.descent.load_state_dict({**self.descent.state_dict(), "state": memory})
        for i, generator in enumerate(self.generators):
            generator.set_state(tensors[f"random.{i}"])
        torch.set_rng_state(tensors["random"])
        self.rows[:] = [Epoch(n, *(math.nan if v is None else v for v in rest)) for n, *rest in record["rows"]]
        return record["seconds"]


def _comparable(plan: Plan) -> dict[str, object]:
    """What two trainings must share to be one. A time budget only says where a run stops."""
    return {k: v for k, v in asdict(plan).items() if k != "time_budget"}


class _NoGradient(Exception):
    """The backward pass was refused, as by a backsolve that has drifted."""


def _differentiate(value: Tensor) -> None:
    """The gradients; what a gradient policy or a network refuses is an outcome of training."""
    try:
        value.backward()
    except SolveError:
        raise
    except RuntimeError as error:
        raise _NoGradient(str(error)) from error


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
    or a gradient that is refused ends the training with a sentence.
    """
    start = saved = time.monotonic()
    descent = OPTIMISERS[plan.optimiser](model, plan.lr, plan.weight_decay)
    rate = SCHEDULES[plan.schedule]
    decay = plan.ema
    average = None if decay is None else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    scaler = torch.amp.GradScaler(place.type, enabled=plan.precision == "fp16")
    state = _State(model, descent, (chance, *generators), average, scaler)
    rows = state.rows
    if keep is not None and keep.resume:
        start -= state.load(keep.path, plan)

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
                    return history("not finite", f"The loss is not finite in {where}: lower lr={plan.lr:g} or check the data.")
                late = plan.time_budget is not None and world.first(time.monotonic() - start) > plan.time_budget
                if last or late:
                    with state.averaged():
                        value = world.first(score() if world.rank == 0 else math.nan)
                    mean = float(world.mean(total)) / (step + 1)
                    rows.append(Epoch(epoch + 1, mean, value, time.monotonic() - start))
            except _NoGradient as error:
                return history("no gradient", f"The backward pass failed in {where}. {error}")
            except SolveError as error:
                return history("solve failed", f"A solve failed in {where}: lower lr={plan.lr:g} or loosen rtol. {error}")
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

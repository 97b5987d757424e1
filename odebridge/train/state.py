"""All that changes while a training runs: kept, so that a killed one can go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from odebridge.core.memory import out_of_memory
from odebridge.core.result import SolveError
from odebridge.train.checkpoint import load_checkpoint, save_checkpoint
from odebridge.train.plan import Epoch, Plan


@dataclass(frozen=True)
class Keep:
    """Where the state of a training is kept while it runs, so that a killed one can go on.

    path: a checkpoint, name.json, written after an epoch where the last one is `every` seconds old, and after the last epoch.
    resume: go on from it; the end is that of the run that was not killed, to the bit, on one machine. best: a checkpoint of the
    weights with the best score so far, an average where that is what is tested; None: none.
    Caveat: random numbers drawn on a GPU are not kept. Use: `fit(net, data, keep=Keep("runs/1/training.json", resume=True))`.
    """

    path: str | Path
    resume: bool = False
    every: float = 20.0
    best: str | Path | None = None


@dataclass
class State:
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
            differentiate(self.scaler.scale(value))
            total += value.detach()
        if plan.clip is not None:
            self.scaler.unscale_(self.descent)
            nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip)
        self.scaler.step(self.descent)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return total

    def weights(self) -> dict[str, Tensor]:
        """A copy of those that the model has now."""
        return {k: v.clone() for k, v in self.model.state_dict().items()}

    @contextmanager
    def averaged(self) -> Generator[None]:
        """In here the model has the averaged weights, where there are any."""
        if self.average is None:
            yield
            return
        own = self.weights()
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
        record = {"plan": _comparable(plan), "rows": rows, "seconds": seconds, "scaler": self.scaler.state_dict()}
        save_checkpoint(path, tensors, {**record, "names": sorted(tensors)})

    def load(self, path: str | Path, plan: Plan) -> float:
        """Go back to what was saved; the seconds that had passed. ValueError if the plan or the model was another one."""
        tensors, record = load_checkpoint(path)
        ours, kept = _comparable(plan), record.get("plan")
        kept = kept if isinstance(kept, dict) else {}
        if other := [f"{k}={kept.get(k)!r} there and {v!r} here" for k, v in ours.items() if kept.get(k) != v]:
            raise ValueError(f"{path}: is the state of another training, with {', '.join(other)}; give its settings to go on.")
        try:
            return self._restore(tensors, record)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{path}: is the state of another model, which does not fit this one ({why}).") from error

    def _restore(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> float:
        if record["names"] != sorted(tensors):
            raise ValueError("not all of its tensors are there")
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
        numbers = [[math.nan if v is None else float(v) for v in rest] for _, *rest in record["rows"]]
        self.rows[:] = [Epoch(n, *row) for n, row in enumerate(numbers, 1)]
        return float(record["seconds"])


def _comparable(plan: Plan) -> dict[str, object]:
    """What two trainings must share to be one. A time budget only says where a run stops."""
    return {k: v for k, v in asdict(plan).items() if k != "time_budget"}


class NoGradient(Exception):
    """The backward pass was refused, as by a backsolve that has drifted."""


def differentiate(value: Tensor) -> None:
    """The gradients; what a gradient policy or a network refuses is an outcome of training."""
    try:
        value.backward()
    except SolveError:
        raise
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise NoGradient(str(error)) from error

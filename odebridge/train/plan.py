"""What a training is asked for, and what comes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from odebridge.core.names import lookup
from odebridge.train.optimisers import OPTIMISERS, SCHEDULES

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        if not 0.0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be a finite number of at least 0, got {self.weight_decay!r}.")
        if self.clip is not None and not 0.0 < self.clip < math.inf:
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

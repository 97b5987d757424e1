"""What a recipe is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from odebridge.core.names import lookup, nearest
from odebridge.data import DATA, DataSet
from odebridge.train.task import Task


@dataclass(frozen=True)
class Recipe:
    """A variant with all that it takes to train it.

    name: in RECIPES. about: one sentence. data: the set it is usually shown on; others: sets that it also takes.
    build(data, seed, **options) -> Task: the seed is that of the first weights and of random regularisers. options: every
    option that build takes, with its default: a number, a string, a bool. The others are settings of `fit_task`.
    """

    name: str
    about: str
    data: str
    build: Callable[..., Task]
    others: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 40
    batch_size: int = 128
    lr: float = 1e-2
    optimiser: str = "adamw"
    schedule: str = "onecycle"

    def read(self, name: str | None = None, seed: int = 0) -> DataSet:
        """A data set that the recipe takes; ValueError in a sentence for another one."""
        name = name or self.data
        make = lookup("data set", name, DATA)
        if name not in (self.data, *self.others):
            raise ValueError(f"data: variant {self.name!r} trains on {', '.join((self.data, *self.others))}, not on {name!r}.")
        return make(seed=seed)

    def given(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options: the defaults, and what was given in its place; ValueError for a name or a kind that does not fit."""
        for key, value in options.items():
            if key not in self.options:
                known = nearest(key, self.options) if self.options else "it has none."
                raise ValueError(f"option: variant {self.name!r} has no option {key!r}: {known}")
            kind = type(self.options[key])
            if not isinstance(value, kind) and not (kind is float and type(value) is int):
                raise ValueError(f"option: {key} of variant {self.name!r} must be of type {kind.__name__}, got {value!r}.")
        return {**self.options, **options}

    def task(self, data: DataSet | str | None = None, seed: int = 0, **options: Any) -> Task:
        """The task on a data set of its own or on a name, with the first weights of this seed; see `given` and `read`."""
        settings = self.given(options)
        if data is None or isinstance(data, str):
            data = self.read(data, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(data, seed, **settings)

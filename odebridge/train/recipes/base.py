"""What a recipe is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from odebridge.core.names import lookup, nearest
from odebridge.data import DATA, DataSet
from odebridge.train.task import Task

# Options whose 0 says something, and what.
ZERO: Mapping[str, str] = {"steps": "adaptive steps", "window": "whole series"}
POSITIVE = ("noise",)  # what is divided by
MOST = 10_000  # a dense layer of so many squared has 400 MB


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
            self._suits(key, value)
        full = {**self.options, **options}
        self._heard(full)
        return full

    def _suits(self, key: str, value: Any) -> None:
        """One option, of the kind of its default: whole numbers of at least 1, or 0 where that says something."""
        kind, least = type(self.options[key]), 0 if key in ZERO else 1
        fits = (
            isinstance(value, kind) if kind in (bool, str) else isinstance(value, (int, float)) and not isinstance(value, bool)
        )
        if kind is int:
            fits = fits and isinstance(value, int) and least <= value <= MOST
        elif kind is float:
            fits = fits and 0.0 <= value < math.inf and (value > 0.0 or key not in POSITIVE)
        if not fits:
            most = f" and at most {MOST}" if isinstance(value, int) and value > MOST else ""
            words: dict[type, str] = {
                int: f"a whole number of at least {least}{most}"
                if key not in ZERO
                else f"a whole number, 0 for {ZERO.get(key)}{most}",
                float: "a finite number above 0" if key in POSITIVE else "a finite number of at least 0",
                bool: "true or false",
            }
            wanted = words.get(kind, "a name")
            known = self.options[key]
            raise ValueError(f"option: {key} of variant {self.name!r} must be {wanted}, such as {known!r}; got {value!r}.")

    def _heard(self, full: Mapping[str, Any]) -> None:
        """Options that another one silences."""
        changed = [key for key in ("gradient", "rtol", "atol") if key in full and full[key] != self.options[key]]
        if full.get("steps") and changed:
            raise ValueError(
                f"option: {changed[0]} has no effect with steps={full['steps']}, where steps are given and the gradient is "
                "plain autograd; leave it out, or write steps=0 for adaptive steps."
            )
        scaled = full.get("regulariser") not in ("none", "steer")
        if "strength" in full and full["strength"] != self.options["strength"] and not scaled:
            raise ValueError(f"option: strength has no effect with the regulariser {full['regulariser']!r}; leave it out.")

    def task(self, data: DataSet | str | None = None, seed: int = 0, **options: Any) -> Task:
        """The task on a data set of its own or on a name, with the first weights of this seed; see `given` and `read`."""
        settings = self.given(options)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"seed: must be a whole number from 0 to 2^63 - 1, got {seed!r}.")
        if data is None or isinstance(data, str):
            data = self.read(data, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(data, seed, **settings)

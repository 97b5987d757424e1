"""`odebridge bench tickets`: which blocks need attention? Those with the largest NSI, the smallest, or any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from odebridge.bench import paired
from odebridge.bench.paired import Settings, Whole
from odebridge.bench.runner import Case, Outcome, Part
from odebridge.control.attention import SE
from odebridge.core.protocols import StepController
from odebridge.metrics import profile
from odebridge.nets import Stage
from odebridge.nets.gates import Gates

BUDGET = 2400.0  # seconds; about 560 on one core of the machine it was written on
SEEDS = 4
RATIOS = (0.2, 0.4, 0.6, 0.8)
CHOICES = ("top", "bottom", "random")


def part(settings: Settings, ratios: Sequence[float] = RATIOS, budget: float = BUDGET) -> Part:
    """Plain, SE everywhere, and SE in a share of the blocks, chosen by the NSI of the trained full network of the same seed.

    The blocks are the steps; transitions between stages change the space, have no NSI, and keep their SE in all but the plain
    network. Every network of a seed begins with the same backbone.
    """
    full.cache_clear()  # networks of a run before this one in the same process

    def run(choice: str, ratio: float, seed: int) -> Callable[[float], Outcome]:
        def go(left: float) -> Outcome:
            if choice == "all":
                return full(settings, seed)[0]
            kept = chosen(full(settings, seed)[1], choice, ratio, seed) if choice != "none" else ()
            gates = "fixed" if choice == "none" else some(settings, kept)
            net, history = paired.trained(settings, gates, seed, left)
            return paired.outcome(net, history, settings.epochs, lambda: {"kept": list(kept)})

        return go

    todo = [("none", 0.0), ("all", 1.0), *((choice, ratio) for ratio in ratios for choice in CHOICES)]
    cases = [
        Case(f"{_name(choice, ratio)}, seed {seed}", _configuration(settings, choice, ratio), run(choice, ratio, seed), seed)
        for seed in settings.every_seed
        for choice, ratio in todo
    ]
    return Part("tickets", budget, cases)


@lru_cache
def full(settings: Settings, seed: int) -> tuple[Outcome, tuple[float, ...]]:
    """SE everywhere, and the NSI of its blocks; trained once for each seed in every process that needs it."""
    net, history = paired.trained(settings, "se", seed)
    data = paired.images(settings.data, settings.train)
    index = profile(net, data.test_x[: settings.probes]).nsi.mean(0).tolist()
    return paired.outcome(net, history, settings.epochs, lambda: {"nsi": index}), tuple(index)


def _configuration(settings: Settings, choice: str, ratio: float) -> dict[str, Any]:
    return {**settings.about(), "controller": "fixed" if choice == "none" else "se", "choice": choice, "ratio": ratio}


def _name(choice: str, ratio: float) -> str:
    return {"none": "no attention", "all": "SE everywhere"}.get(choice, f"{choice} {100 * ratio:.0f} % of the blocks")


def chosen(index: Sequence[float], choice: str, ratio: float, seed: int) -> tuple[int, ...]:
    """Numbers of the blocks that keep their attention: round(ratio * blocks) of them, at least one."""
    count = max(1, round(ratio * len(index)))
    if choice == "random":
        # Drawn anew for every ratio, or a lucky block would be in all of them.
        chance = torch.Generator().manual_seed(1000 * seed + count)
        return tuple(sorted(torch.randperm(len(index), generator=chance)[:count].tolist()))
    order = sorted(range(len(index)), key=lambda i: index[i], reverse=choice == "top")
    return tuple(sorted(order[:count]))


def some(settings: Settings, kept: Sequence[int]) -> Gates:
    """SE in the steps of these numbers and in the transitions, a step of 1 in the other steps.

    `resnet` asks for gates in the order in which the network runs them.
    """
    stages = [m for m in paired.build(settings, "se", 0).modules() if isinstance(m, Stage)]
    is_step = [step for i, stage in enumerate(stages) for step in [False] * (i > 0) + [True] * len(stage)]
    number = iter(range(sum(is_step)))
    answers = iter([next(number) in kept if step else True for step in is_step])

    def gates(channels: int) -> StepController:
        return SE(channels) if next(answers) else Whole(channels)

    return gates

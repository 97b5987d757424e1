"""`odebridge bench depth`: is a network of continuous depth independent of the solver that it was trained with?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from odebridge.bench import paired
from odebridge.bench.paired import Settings
from odebridge.bench.runner import Case, Outcome, Part
from odebridge.nets import resnet, step_counts
from odebridge.train import evaluate, fit

BUDGET = 1500.0  # seconds; about 250 on one core of the machine it was written on
SEEDS = 3
TESTED, BATCH = 500, 100  # test images for the other solvers; a small batch, since each sample may have weights of its own
METHOD, RTOL = "dopri5", 1e-2


class Trained(NamedTuple):
    """How a network is trained: its weights over the depth, and Euler steps of a stage; None: one a unit of depth."""

    weights: str
    steps: int | None


SCHEMES = (Trained("tied", 1), Trained("tied", None), Trained("tied", 8), Trained("linear", None), Trained("linear", 8))


def part(settings: Settings, schemes: Sequence[Trained] = SCHEMES, budget: float = BUDGET) -> Part:
    """Every scheme for every seed, trained by Euler steps and tested by adaptive ones with the same weights.

    The stages are 3, 2 and 2 units deep at depth 20, so that steps None means steps of length 1.
    """
    cases = []
    for seed in settings.every_seed:
        for scheme in schemes:
            configuration = {
                **settings.about(), "controller": "fixed", "depth_weights": scheme.weights, "steps": scheme.steps,
                "method": METHOD, "rtol": RTOL, "tested": TESTED,
            }  # fmt: skip
            cases.append(Case(f"{name(scheme)}, seed {seed}", configuration, _run(settings, scheme, seed), seed))
    return Part("depth", budget, cases)


def name(scheme: Trained) -> str:
    """The scheme in words."""
    steps = "steps of length 1" if scheme.steps is None else f"{scheme.steps} step{'s' * (scheme.steps > 1)} a stage"
    return f"{scheme.weights} weights, {steps}"


def build(settings: Settings, scheme: Trained, seed: int, **how: Any) -> nn.Module:
    """The network by Euler steps, or with the same first weights by another method."""
    found = paired.images(settings.data, settings.train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return resnet(
            settings.depth, None, found.channels, found.classes, settings.width, stem=settings.stem,
            depth_weights=scheme.weights, **how,
        )  # fmt: skip


def _run(settings: Settings, scheme: Trained, seed: int) -> Callable[[float], Outcome]:
    def run(left: float) -> Outcome:
        net = build(settings, scheme, seed, steps=scheme.steps)
        history = fit(
            net, paired.images(settings.data, settings.train), epochs=settings.epochs, batch_size=settings.batch_size,
            lr=settings.lr, optimiser="muon", schedule="onecycle", weight_decay=0.0, device="cpu", seed=seed, time_budget=left,
        )  # fmt: skip
        return paired.outcome(net, history, settings.epochs, lambda: solved(net, settings, scheme))

    return run


def solved(net: nn.Module, settings: Settings, scheme: Trained) -> dict[str, Any]:
    """Accuracy on the first test images by the network's own steps, and by adaptive ones, with what these cost."""
    data = paired.images(settings.data, settings.train)
    x, y = data.test_x[:TESTED], data.test_y[:TESTED]
    other = build(settings, scheme, 0, method=METHOD, rtol=RTOL)
    other.load_state_dict(net.state_dict())
    own, adaptive = evaluate(net, x, y), evaluate(other, x, y, BATCH)
    counts = step_counts(other, x[:BATCH])
    evaluations = [float(stats.f_evals.double().mean()) for stats in counts.values()]
    return {"own": own, "adaptive": adaptive, "lost": 100 * (own - adaptive), "f_evals": evaluations, "test_images": len(y)}

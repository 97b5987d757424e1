"""`odebridge bench attention`: what a gate is worth beside a step of 1, a step of 1/2 and a learned constant; paired seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.bench import inference, paired
from odebridge.bench.paired import Settings
from odebridge.bench.runner import Case, Outcome, Part
from odebridge.metrics import Profile, profile, variance_shares

BUDGET = 2400.0  # seconds; about 600 on one core of the machine it was written on
CONTROLLERS = ("fixed", "half", "constant", "se", "eca", "srm", "stepnet")


def part(settings: Settings, controllers: Sequence[str] = CONTROLLERS, budget: float = BUDGET) -> Part:
    """Every gate for every seed, seeds outermost, so that what a stop leaves is paired."""
    cases = [
        Case(
            f"{controller}, seed {seed}", {**settings.about(), "controller": controller}, _run(settings, controller, seed), seed
        )
        for seed in settings.every_seed
        for controller in controllers
    ]
    return Part("attention", budget, cases)


def _run(settings: Settings, controller: str, seed: int) -> Callable[[float], Outcome]:
    def run(left: float) -> Outcome:
        net, history = paired.trained(settings, controller, seed, left)
        return paired.outcome(net, history, settings.epochs, lambda: measured(net, settings))

    return run


def measured(net: nn.Module, settings: Settings) -> dict[str, Any]:
    """TNS, NSI per block, and what the gates did, on the first test images."""
    data = paired.images(settings.data, settings.train)
    seen = profile(net, data.test_x[: settings.probes])
    right = correct(net, data.test_x[: settings.probes], data.test_y[: settings.probes])
    return {
        "test_images": len(data.test_y),
        "tns": float(seen.tns.mean()),
        "nsi": seen.nsi.mean(0).tolist(),
        "step_mean": [None if h is None else float(h.mean()) for h in seen.steps],
        "variance": variance_shares(seen.steps),
        "tns_and_right": inference.known(inference.rank(seen.tns.tolist(), right.tolist())),
        **follows(seen),
    }


@torch.no_grad()
def correct(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Probability of the right class, (b,)."""
    training = net.training
    net.eval()
    try:
        return net(images).softmax(1).gather(1, labels[:, None])[:, 0]
    finally:
        net.train(training)


def follows(seen: Profile) -> dict[str, float | None]:
    """Rank correlation of a gate's mean with stiffness |f| / |x| = NSI / a, over the blocks and, inside each, over the samples.

    NSI itself would hold a: a short step makes a small change, and a correlation with it shows nothing.
    """
    pairs = [
        (seen.nsi[:, i].double(), h.reshape(len(h), -1).double().mean(1)) for i, h in enumerate(seen.steps) if h is not None
    ]
    if not pairs:
        return {"gate_blocks": None, "gate_samples": None}
    # A constant gate has rounding left in its mean over the channels; ranks would make a pattern of it.
    means = [(float(a.mean()), float((n / a).mean())) for n, a in pairs]
    blocks = inference.rank(*([round(v, 9) for v in column] for column in zip(*means, strict=True)))
    within = [inference.rank([round(v, 9) for v in a.tolist()], (n / a).tolist()) for n, a in pairs]
    return {"gate_blocks": inference.known(blocks), "gate_samples": inference.mean_known(within)}

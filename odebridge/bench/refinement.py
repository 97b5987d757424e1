"""`odebridge bench refine`: what the same weights lose when they take finer steps, and what NSI measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.bench import inference, paired
from odebridge.bench.paired import Settings
from odebridge.bench.runner import Case, Outcome, Part
from odebridge.metrics import Profile, profile, refine
from odebridge.train import evaluate

BUDGET = 1500.0  # seconds; about 700 on one core of the machine it was written on
CONTROLLERS = ("fixed", "half", "constant", "se", "stepnet")
LARGER = ("fixed", "constant", "se")
SUBSTEPS = (1, 2, 4, 8)
TESTED = 2000  # test images of the refined networks
UNTRAINED = "untrained"


def part(
    settings: Settings, controllers: Sequence[str] = CONTROLLERS, budget: float = BUDGET, wider: Settings | None = None
) -> Part:
    """Every kind of step for every seed, and the untrained plain networks, for which NSI has a law of its own.

    wider: networks on larger images, see `larger`, in which some kinds of step are tried too.
    """
    cases = []
    for these, kinds in ((settings, (UNTRAINED, *controllers)), *([(wider, LARGER)] if wider else [])):
        for seed in these.every_seed:
            for controller in kinds:
                configuration = {**these.about(), "controller": controller, "substeps": list(SUBSTEPS), "tested": TESTED}
                name = f"{controller}, seed {seed}" + (" (larger)" if these is wider else "")
                cases.append(Case(name, configuration, _run(these, controller, seed), seed))
    return Part("refine", budget, cases)


def _run(settings: Settings, controller: str, seed: int) -> Callable[[float], Outcome]:
    def untrained(_left: float) -> Outcome:
        net = calibrated(paired.build(settings, "fixed", seed), paired.images(settings.data, settings.train).train_x)
        return Outcome(indices(net, settings, errors=False))

    def run(left: float) -> Outcome:
        net, history = paired.trained(settings, controller, seed, left)
        return paired.outcome(net, history, settings.epochs, lambda: {**losses(net, settings), **indices(net, settings)})

    return untrained if controller == UNTRAINED else run


@torch.no_grad()
def calibrated(net: nn.Module, images: Tensor, batches: int = 8) -> nn.Module:
    """The network after so many batches of 128 that only its BatchNorm statistics have seen."""
    net.train()
    for i in range(batches):
        batch = images[128 * i : 128 * (i + 1)]
        if len(batch) > 1:
            net(batch)
    return net.eval()


def losses(net: nn.Module, settings: Settings) -> dict[str, Any]:
    """Accuracy on the first test images with 1, 2, 4 and 8 Euler substeps, and the points that the last of them lose."""
    data = paired.images(settings.data, settings.train)
    x, y = data.test_x[:TESTED], data.test_y[:TESTED]
    found = [evaluate(refine(net, k), x, y) for k in SUBSTEPS]
    return {"refined": found, "lost": [100 * (found[0] - a) for a in found], "test_images": len(y)}


def indices(net: nn.Module, settings: Settings, errors: bool = True) -> dict[str, Any]:
    """NSI per block (mean, smallest, largest over samples), its law of depth, and its rank correlation with the local error."""
    data = paired.images(settings.data, settings.train)
    seen = profile(net, data.test_x[: settings.probes], errors=errors)
    means = seen.nsi.mean(0).tolist()
    values: dict[str, Any] = {
        "blocks": list(seen.names), "nsi": means, "nsi_low": seen.nsi.amin(0).tolist(), "nsi_high": seen.nsi.amax(0).tolist(),
        "tns": float(seen.tns.mean()), "exponent": inference.known(exponent(seen.names, means)),
        "null": inference.known(inference.rank(means, [n**-0.5 for n in depths(seen.names)])),
    }  # fmt: skip
    return {**values, **(against_error(seen) if errors else {})}


def against_error(seen: Profile) -> dict[str, Any]:
    """Rank correlation of NSI with the local error: of the block means, and the mean of those over the samples in a block."""
    assert seen.local_error is not None
    index, off = seen.nsi.double(), seen.local_error.double()
    within = [inference.rank(index[:, i].tolist(), off[:, i].tolist()) for i in range(index.shape[1])]
    return {
        "local_error": off.mean(0).tolist(),
        "summed_error": float(off.sum(1).mean()),
        "error_blocks": inference.known(inference.rank(index.mean(0).tolist(), off.mean(0).tolist())),
        "error_samples": inference.mean_known(within),
    }


def depths(names: Sequence[str]) -> list[int]:
    """The number of every block within its stage, from 1; the transition into a later stage is that stage's first update.

    The null model: where every increment adds the same variance to the state, NSI falls as 1 / sqrt(number).
    """
    return [n + 1 + (i > 0) for i, (first, last) in enumerate(stages(names)) for n in range(last - first)]


def stages(names: Sequence[str]) -> list[tuple[int, int]]:
    """First block and the one after the last of every stage."""
    ends = list(accumulate(len(list(group)) for _, group in groupby(names, key=_stage)))
    return list(zip([0, *ends], ends, strict=False))


def _stage(name: str) -> str:
    return name.rsplit("[", 1)[0]


def exponent(names: Sequence[str], index: Sequence[float]) -> float:
    """Slope of log NSI against log number within the stages, each stage on its own height: -1/2 is the null model.

    Least squares with one intercept a stage. NaN where no stage has two blocks.
    """
    points = list(zip(map(_stage, names), depths(names), index, strict=True))
    xy = xx = 0.0
    for _, group in groupby(points, key=lambda p: p[0]):
        logs = [(math.log(n), math.log(max(v, 1e-12))) for _, n, v in group]
        x0, y0 = (sum(column) / len(logs) for column in zip(*logs, strict=True))
        xy += sum((x - x0) * (y - y0) for x, y in logs)
        xx += sum((x - x0) ** 2 for x, _ in logs)
    return xy / xx if xx > 0 else math.nan


def shorter(settings: Settings) -> Settings:
    """Fewer images are looked at for the local error, which costs 33 evaluations of every block."""
    return replace(settings, probes=min(settings.probes, 128))


def larger(settings: Settings) -> Settings:
    """The same networks on images of twice as many pixels across, by half the stride of the first convolution."""
    return replace(settings, stem=max(1, settings.stem // 2))

"""Direct search over laws: CMA-ES on log work at equal error, all candidates on all instances at all tolerances at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.control.classical import Filter
from odebridge.control.features import FEATURES
from odebridge.control.linear import Coefficients
from odebridge.core.protocols import Method, StepController
from odebridge.train.calibration.equal import Curves, log_ratios
from odebridge.train.calibration.workload import Workload, measured, measured_many, wide

NO_OVERLAP = 1.0  # the score of an instance that a law fails, or whose errors it moves out of the range compared
DRIFT = 30.0  # how far a law may move the error at a tolerance before it is held back
RESCALED = (0.5, 0.7)
POPULATION, EVERY, LEAST = 16, 5, 0.01  # candidates, generations between two looks at others, the least spread
FAILED = 0.5  # and what is added where a solve of it failed
LINEAR = len(Coefficients._fields)
# How far a search may go in one unit of each number, and which of them are sizes that go by factors.
UNITS = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 2.0, 2.0, 10.0, 1.0, 1.0, 0.5, 0.0])
FACTORS = np.array([False] * 5 + [True] * 8)


def moved(base: Coefficients, z: Float[np.ndarray, "c 13"]) -> Float[Tensor, "c 13"]:
    """Coefficients at z = 0 are those of the base; sizes move by factors, gains by sums."""
    start = np.array([float(v) for v in base])
    near = np.clip(z * UNITS, -12.0, 12.0)
    out = np.where(FACTORS, start * np.exp(np.where(FACTORS, near, 0.0)), start + near)
    names = Coefficients._fields
    for name, low, high in (
        ("safety", 0.3, 1.2), ("lowest", 0.01, 0.7), ("highest", 1.2, 50.0), ("floor", 1e-12, 0.3),
        ("threshold", 0.3, 4.0), ("retry", 0.3, 2.0), ("retry_safety", 0.3, 0.98),
    ):  # fmt: skip
        out[:, names.index(name)] = out[:, names.index(name)].clip(low, high)
    return torch.from_numpy(out)


def as_filter(c: Float[Tensor, " 13"]) -> Filter:
    """Its numbers as a law."""
    b1, b2, b3, a2, a3, *rest = (float(v) for v in c)
    return Filter((b1, b2, b3), (a2, a3), *rest)


@dataclass(frozen=True, eq=False)
class Space:
    """What is searched: the numbers of the filter, the weights of the gate, or both."""

    base: Coefficients
    linear: bool
    gate: bool
    places: int = 0  # how many numbers of the state it sees

    @property
    def inputs(self) -> int:
        """How many numbers the gate sees."""
        return len(FEATURES) + self.places

    @property
    def size(self) -> int:
        """How many numbers."""
        return LINEAR * self.linear + 2 * self.inputs * self.gate

    def laws(self, z: Float[np.ndarray, "c p"]) -> tuple[Tensor, Tensor]:
        """Coefficients (c, 13) and weights (c, 2, f) of candidates."""
        c = len(z)
        coefficients = moved(self.base, z[:, :LINEAR] if self.linear else np.zeros((c, LINEAR)))
        weights = torch.zeros(c, 2, self.inputs, dtype=torch.float64)
        if self.gate:
            weights = torch.from_numpy(z[:, LINEAR * self.linear :].reshape(c, 2, -1).copy())
        return coefficients, weights


@dataclass(frozen=True, eq=False)
class Yardstick:
    """A law that others are measured by: at more and further tolerances, and at the same ones."""

    wide: Curves
    same: Curves


def yardstick(load: Workload, method: Method | str, law: StepController) -> Yardstick:
    """Both curves of a law."""
    return Yardstick(measured(wide(load), method, law), measured(load, method, law))


def score(ours: Curves, base: Yardstick) -> float:
    """Mean log ratio of work at equal error; a failed instance, or one without overlap, costs NO_OVERLAP.

    A law whose error at the same tolerance is more than DRIFT times larger or smaller pays for it, so that enough of the
    curves overlap.
    """
    ratios = log_ratios(ours, base.wide)
    failed = ~np.isfinite(ours.work).all(1)
    counted = np.where(np.isfinite(ratios), ratios, NO_OVERLAP) + FAILED * failed
    comparable = np.isfinite(base.wide.error).sum(1) >= 2
    return float(counted[comparable].mean()) + 0.1 * max(0.0, abs(drift(ours, base)) - math.log(DRIFT)) ** 2


def drift(ours: Curves, base: Yardstick) -> float:
    """Mean log of the error of ours over the base law's at the same tolerance."""
    both = np.isfinite(ours.error) & np.isfinite(base.same.error)
    return float((ours.error - base.same.error)[both].mean()) if both.any() else 0.0


@dataclass(frozen=True, eq=False)
class Trial:
    """Candidates of a space on a workload, against a yardstick."""

    space: Space
    load: Workload
    method: Method | str
    base: Yardstick

    def curves(self, z: Float[np.ndarray, "c p"], scale: float) -> list[Curves]:
        """What every candidate makes of the workload when errors are read times `scale`."""
        coefficients, weights = self.space.laws(z)
        coefficients[:, Coefficients._fields.index("scale")] = scale
        return measured_many(self.load, self.method, coefficients, weights)

    def __call__(self, z: Float[np.ndarray, "c p"], scale: float) -> tuple[Float[np.ndarray, " c"], float]:
        """The score of every candidate, and the drift of the first."""
        found = self.curves(z, scale)
        return np.array([score(one, self.base) for one in found]), drift(found[0], self.base)


Objective = Callable[[np.ndarray, float], tuple[np.ndarray, float]]  # candidates, scale -> scores, drift of the first


@dataclass(frozen=True, eq=False)
class Found:
    """The best candidate, the scale that it goes with, and its score on separate instances."""

    z: np.ndarray
    scale: float
    score: float


def search(
    objective: Objective,
    check: Objective,
    start: Float[np.ndarray, " p"],
    *,
    sigma: float,
    generations: int,
    seed: int,
    scale: float = 1.0,
    tell: Callable[[int, float], None] | None = None,
) -> Found:
    """The candidate that did best on separate instances, looked at every few generations.

    After the shares RESCALED of the generations the scale is set anew, so that errors at a tolerance are, in the geometric
    mean, those of the base law: rtol keeps its meaning. The rest of the search is made at the tolerances of its later use.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cma  # slow to import

    settings = {"seed": seed + 1, "popsize": POPULATION, "verbose": -9, "tolfun": 0, "tolx": 0, "maxfevals": np.inf}
    strategy = cma.CMAEvolutionStrategy(start, sigma, settings)
    first, _ = check(start[None], scale)
    best = Found(start, scale, float(first[0]))
    anew = {EVERY * round(share * generations / EVERY) for share in RESCALED}
    for generation in range(1, generations + 1):
        z = np.array(strategy.ask())
        values, _ = objective(z, scale)
        strategy.tell(list(z), list(np.where(np.isfinite(values), values, 10.0)))
        strategy.sigma = max(strategy.sigma, LEAST)  # without a floor it freezes before the gate has found its use
        if generation % EVERY == 0 or generation == generations:
            tried = np.array([strategy.mean, z[int(values.argmin())]])
            on_others, off = check(tried, scale)
            k = int(on_others.argmin())
            if on_others[k] < best.score:
                best = Found(tried[k], scale, float(on_others[k]))
            if generation in anew:
                scale *= math.exp(off)
                best = Found(tried[0], scale, float(check(tried[:1], scale)[0][0]))
                strategy.sigma = max(strategy.sigma, 0.5 * sigma)
            if tell is not None:
                tell(generation, best.score)
    return best

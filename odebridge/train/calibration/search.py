"""Direct search over laws: CMA-ES on log work at equal error, all candidates on all instances at all tolerances at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.control.classical import Filter
from odebridge.control.features import FEATURES
from odebridge.control.linear import Coefficients
from odebridge.core.protocols import Method, StepController
from odebridge.train.calibration.equal import Curves, log_ratios
from odebridge.train.calibration.workload import Workload, measured, measured_many, swarm_of, wide

NO_OVERLAP = 1.0  # the score of an instance that a law fails, or whose errors it moves out of the range compared
DRIFT = 30.0  # how far a law may move the error at a tolerance before it is held back
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

    A law whose error at the same tolerance is more than DRIFT times larger or smaller pays for it, so
    that enough of the curves overlap.
    """
    ratios = log_ratios(ours, base.wide)
    failed = ~np.isfinite(ours.work).all(1)
    counted = np.where(np.isfinite(ratios), ratios, NO_OVERLAP) + FAILED * failed
    comparable = np.isfinite(base.wide.error).sum(1) >= 2
    both = np.isfinite(ours.error) & np.isfinite(base.same.error)
    drift = abs(float((ours.error - base.same.error)[both].mean())) if both.any() else 0.0
    return float(counted[comparable].mean()) + 0.1 * max(0.0, drift - math.log(DRIFT)) ** 2


def scores(space: Space, z: Float[np.ndarray, "c p"], load: Workload, method: Method | str, base: Yardstick) -> np.ndarray:
    """The score of every candidate."""
    coefficients, weights = space.laws(z)
    found = measured_many(load, method, coefficients, weights)
    return np.array([score(one, base) for one in found])


def in_scale(
    load: Workload, method: Method | str, law: Filter, weights: Tensor | None, base: Yardstick, rounds: int = 3
) -> Filter:
    """The filter with its `scale` set so that errors at a tolerance are, in the geometric mean, those under the base law.

    Work at equal error stays what it was; what rtol means stays too. Weights: of the gate that goes with it.
    """
    for _ in range(rounds):
        ours = measured_many(load, method, *swarm_of([law], weights))[0]
        both = np.isfinite(ours.error) & np.isfinite(base.same.error)
        if not both.any():
            return law
        drift = float((ours.error - base.same.error)[both].mean())
        law = replace(law, scale=law.scale * math.exp(drift))
    return law


def search(
    objective: Callable[[np.ndarray], np.ndarray],
    check: Callable[[np.ndarray], np.ndarray],
    start: Float[np.ndarray, " p"],
    *,
    sigma: float,
    generations: int,
    seed: int,
    every: int = 10,
    population: int = 16,
    least: float = 0.01,
    tell: Callable[[int, float, float], None] | None = None,
) -> tuple[np.ndarray, float]:
    """The candidate that did best on separate instances, looked at every so many generations: (z, its score there)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cma  # slow to import

    settings = {"seed": seed + 1, "popsize": population, "verbose": -9, "tolfun": 0, "tolx": 0, "maxfevals": np.inf}
    strategy = cma.CMAEvolutionStrategy(start, sigma, settings)
    best, best_score = start, float(check(start[None])[0])
    for generation in range(1, generations + 1):
        z = np.array(strategy.ask())
        values = objective(z)
        strategy.tell(list(z), list(np.where(np.isfinite(values), values, 10.0)))
        strategy.sigma = max(strategy.sigma, least)  # without a floor it freezes before the gate has found its use
        if generation % every == 0 or generation == generations:
            tried = np.array([strategy.mean, z[int(values.argmin())]])
            on_others = check(tried)
            k = int(on_others.argmin())
            if on_others[k] < best_score:
                best, best_score = tried[k], float(on_others[k])
            if tell is not None:
                tell(generation, float(values.min()), best_score)
    return best, best_score

"""Times at equal achieved error: interpolated between the two tolerances that bracket it, never extrapolated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Point:
    """One tolerance: the error it achieved, and the time of every round in which it was measured."""

    rtol: float
    error: float
    times: tuple[float, ...]


@dataclass(frozen=True)
class Spread:
    """A median with the smallest and the largest of the rounds."""

    median: float
    low: float
    high: float


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    k = len(ordered)
    return (ordered[(k - 1) // 2] + ordered[k // 2]) / 2


def spread(values: Sequence[float]) -> Spread:
    """Median and range."""
    return Spread(median(values), min(values), max(values))


def bracket(points: Sequence[Point], target: float) -> tuple[Point, Point] | None:
    """The two neighbouring tolerances between whose errors the target lies, the looser first; None if there are none."""
    ordered = sorted((p for p in points if 0 < p.error < math.inf), key=lambda p: -p.rtol)
    for loose, tight in pairwise(ordered):
        if loose.error >= target >= tight.error:
            return loose, tight
    return None


def time_at(points: Sequence[Point], target: float) -> tuple[float, ...] | None:
    """Time at the target error in every round, by a straight line through log time over log error; None without a bracket."""
    found = bracket(points, target)
    if found is None:
        return None
    loose, tight = found
    width = math.log(loose.error / tight.error)
    share = math.log(loose.error / target) / width if width > 0 else 0.0
    return tuple(
        math.exp((1 - share) * math.log(a) + share * math.log(b)) for a, b in zip(loose.times, tight.times, strict=False)
    )


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times longer they take, round by round, as long as both were measured in the same round."""
    return spread([a / b for a, b in zip(theirs, ours, strict=False)])


def bootstrap(ratios: Sequence[float], draws: int = 2000, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of the median of ratios, by resampling them; None for fewer than three.

    Source: Efron, Ann. Statist. 7, 1979. The generator is seeded: equal ratios, equal bounds. Caveat: five rounds bound the
    noise within one run, not what another day or machine would show. Use: `bootstrap([1.9, 2.1, 2.0])`.
    """
    if len(ratios) < 3:
        return None
    values, tail = np.asarray(ratios, float), (1.0 - level) / 2.0
    chosen = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    low, high = np.quantile(np.median(values[chosen], axis=1), [tail, 1.0 - tail])
    return float(low), float(high)

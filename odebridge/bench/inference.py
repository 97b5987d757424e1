"""The statistics of the suites: paired differences, Holm's correction, equivalence, rank correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean and where it lies by Student's t, at 95 %; NaN bounds for fewer than two values."""

    mean: float
    low: float
    high: float
    sd: float
    n: int


class Difference(NamedTuple):
    """Mean of the paired differences, its interval, and the two-sided p value of Student's paired test."""

    mean: float
    low: float
    high: float
    sd: float
    n: int
    p: float


def interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean +- t_{n-1} sd / sqrt(n), sd with n - 1. ValueError for no values. Use: `interval([86.2, 86.5, 86.4])`."""
    if not len(values):
        raise ValueError("interval: give at least one value.")
    v = np.asarray(values, float)
    n, mean = len(v), float(v.mean())
    if n < 2:
        return Interval(mean, math.nan, math.nan, math.nan, n)
    sd = float(v.std(ddof=1))
    reach = float(stats.t.ppf(0.5 + level / 2, n - 1)) * sd / math.sqrt(n)
    return Interval(mean, mean - reach, mean + reach, sd, n)


def paired(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Difference:
    """A - b, pair by pair: Student's paired t-test. ValueError for unequal lengths.

    p is NaN for one pair, and where all differences are equal: nothing tells their spread, least of all with few test images.
    Caveat: takes the differences as normal, which few seeds cannot show. Use: `paired(of_se, of_fixed)`.
    """
    if len(a) != len(b):
        raise ValueError(f"paired: {len(a)} and {len(b)} values do not make pairs.")
    off = np.asarray(a, float) - np.asarray(b, float)
    found = interval(off.tolist(), level)
    test: Any = stats.ttest_1samp
    return Difference(*found, math.nan if _flat(found) else float(test(off, 0.0).pvalue))


def _flat(found: Interval) -> bool:
    return found.n < 2 or found.sd <= 1e-9 * max(1.0, abs(found.mean))


def holm(ps: Sequence[float]) -> list[float]:
    """Corrected p values of one family: max over the smaller ones of (m - rank) p, at most 1; NaN stays out of the family.

    The chance of a single false rejection in the family stays below the level. Source: Holm, Scand. J. Stat. 6, 1979.
    Use: `holm([0.01, 0.04, 0.03])` is [0.03, 0.06, 0.06].
    """
    known = sorted((p, i) for i, p in enumerate(ps) if not math.isnan(p))
    out, largest = [math.nan] * len(ps), 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        out[i] = largest
    return out


def equivalent(a: Sequence[float], b: Sequence[float], margin: float) -> float:
    """P value of |mean(a - b)| >= margin, by two one-sided paired t-tests; small: they are equal within the margin.

    Source: Schuirmann, J. Pharmacokin. Biopharm. 15, 1987. ValueError for a margin that is not positive. NaN as in `paired`.
    Caveat: a large p is no sign of a difference, only of too few pairs. Use: `equivalent(of_se, of_constant, margin=0.5)`.
    """
    if not margin > 0:
        raise ValueError(f"equivalent: margin must be positive, got {margin!r}.")
    if _flat(Interval(*paired(a, b)[:5])):
        return math.nan
    off = np.asarray(a, float) - np.asarray(b, float)
    test: Any = stats.ttest_1samp
    above, below = test(off, -margin, alternative="greater").pvalue, test(off, margin, alternative="less").pvalue
    return float(max(above, below))


def rank(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation over the pairs that are finite; NaN for fewer than three, or where one side is constant."""
    a, b = np.asarray(x, float), np.asarray(y, float)
    if a.shape != b.shape:
        raise ValueError(f"rank: {a.size} and {b.size} values do not make pairs.")
    good = np.isfinite(a) & np.isfinite(b)
    a, b = a[good], b[good]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    found: Any = stats.spearmanr(a, b)
    return float(found.statistic)


def rank_interval(x: Sequence[float], y: Sequence[float]) -> Interval:
    """Spearman's correlation and its 95 % interval: tanh(atanh r +- 1.96 sqrt((1 + r^2 / 2) / (n - 3))); sd is NaN.

    Source: Bonett & Wright, Psychometrika 65, 2000. Caveat: pairs from one network or one kind of gate are not independent,
    and the interval is then too narrow. Use: `rank_interval(tns, accuracies)`.
    """
    r, n = rank(x, y), len(x)
    if math.isnan(r) or n < 5 or abs(r) >= 1.0 - 1e-12:  # a perfect one may be off by a rounding
        return Interval(r, math.nan, math.nan, math.nan, n)
    reach = 1.959964 * math.sqrt((1.0 + r * r / 2.0) / (n - 3))
    low, high = math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)
    return Interval(r, low, high, math.nan, n)


def known(value: float) -> float | None:
    """None for NaN, as a row of results wants it: there was nothing to measure, which is no fault."""
    return None if math.isnan(value) else value


def mean_known(values: Sequence[float]) -> float | None:
    """The mean of those that are not NaN; None if there is none."""
    found = [v for v in values if not math.isnan(v)]
    return math.fsum(found) / len(found) if found else None

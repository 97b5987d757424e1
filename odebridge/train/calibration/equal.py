"""Work at equal error: curves of log work over log error, compared on the overlap of their errors and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

GRID = 9  # errors at which two curves are compared


@dataclass(frozen=True, eq=False)
class Curves:
    """Log work and log error of several instances at several tolerances, the loosest first; nan where a solve failed."""

    work: Float[np.ndarray, "i r"]
    error: Float[np.ndarray, "i r"]


def falling(values: Float[np.ndarray, " r"]) -> Float[np.ndarray, " r"]:
    """The nearest sequence that never rises (pool adjacent violators, equal weights).

    For a handful of values; scikit-learn's, which a test compares, takes twenty times as long for its checks of the input.
    """
    blocks: list[list[float]] = []  # sum and count
    for v in values:
        blocks.append([float(v), 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] < blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    return np.concatenate([np.full(int(count), total / count) for total, count in blocks])


def curve(work: Float[np.ndarray, " r"], error: Float[np.ndarray, " r"]) -> tuple[np.ndarray, np.ndarray]:
    """One instance as a function: rising log errors and the log work at each, errors made monotone in the tolerance."""
    good = np.isfinite(work) & np.isfinite(error)
    if good.sum() < 2:
        return np.empty(0), np.empty(0)
    errors = falling(error[good])[::-1]
    errors = errors + 1e-9 * np.arange(len(errors))  # pooled points stay apart
    return errors, work[good][::-1]


def log_ratios(ours: Curves, theirs: Curves) -> Float[np.ndarray, " i"]:
    """Mean over the overlap of log work of ours minus log work of theirs at equal error, per instance; nan without overlap."""
    return np.array([_log_ratio(*rows) for rows in zip(ours.work, ours.error, theirs.work, theirs.error, strict=True)])


def _log_ratio(work: np.ndarray, error: np.ndarray, other_work: np.ndarray, other_error: np.ndarray) -> float:
    (e, w), (other_e, other_w) = curve(work, error), curve(other_work, other_error)
    if not len(e) or not len(other_e):
        return float("nan")
    low, high = max(e[0], other_e[0]), min(e[-1], other_e[-1])
    if high - low < 0.1:
        return float("nan")
    at = np.linspace(low, high, GRID)
    return float(np.mean(np.interp(at, e, w) - np.interp(at, other_e, other_w)))


def interval(values: Float[np.ndarray, " i"], seed: int = 0, draws: int = 2000) -> tuple[float, float, float]:
    """Mean and its 95 percent interval by resampling the instances, nan left out."""
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = known[rng.integers(0, len(known), (draws, len(known)))].mean(1)
    return float(known.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))

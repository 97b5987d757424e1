"""Step laws calibrated on a family of flow maps, for the solvers of `solver-vs-network`."""

from __future__ import annotations

from functools import lru_cache

from odebridge.bench.flow_data import Pairs
from odebridge.bench.flows import FLOWS
from odebridge.control.calibrated import Calibrated
from odebridge.train.calibration.calibrate import calibrate

RTOLS = (1e-2, 1e-6)
APART = 50_000  # added to the seed: no training or held-out system is seen in the search


def law_for(found: Pairs, method: str, generations: int, seed: int) -> Calibrated:
    """The law for the family of these pairs, found once in a process. Its report has the seconds that it took."""
    return _law(found.task.name, method, generations, seed, float(found.error_scale.min()))


@lru_cache(maxsize=4)
def _law(family: str, method: str, generations: int, seed: int, smallest: float) -> Calibrated:
    return calibrate(
        lambda b, s: FLOWS[family].sample(b, APART + s)[0], method=method, rtols=RTOLS, generations=generations, seed=seed,
        atol_per_rtol=smallest, progress=False,
    )  # fmt: skip

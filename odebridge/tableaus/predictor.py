"""First guesses for implicit stages from the stages before them, by the abscissae alone."""

from __future__ import annotations

import numpy as np

from odebridge.tableaus.base import Row


def stage_predictor(c: Row, i: int, *, increments: bool = False, degree: int = 2) -> Row:
    """Weights alpha_ij, j < i, of the polynomial extrapolation of earlier stages to c_i.

    The least-norm solution of sum_j alpha_ij c_j^k = c_i^k for k = 0, ..., degree, as far as the earlier abscissae allow: for
    slopes F_j. With `increments` k starts at 1, for increments Y_j - x, which vanish at c = 0. Repeated abscissae share
    their weight. ValueError for i out of range. Use: `stage_predictor(KVAERNO5.c, 3)`.
    """
    if not 0 <= i < len(c):
        raise ValueError(f"stage_predictor: there is no stage {i} among {len(c)}.")
    earlier = np.array(c[:i])
    lowest = 1 if increments else 0
    distinct = len({v for v in c[:i] if not (increments and v == 0.0)})
    powers = range(lowest, lowest + min(distinct, degree + 1 - lowest))
    if not powers:
        return (0.0,) * i
    conditions = np.array([earlier**k for k in powers])
    weights, *_ = np.linalg.lstsq(conditions, np.array([c[i] ** k for k in powers]), rcond=None)
    return tuple(float(v) for v in weights)

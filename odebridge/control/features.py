"""What a learned law reads off the last try: scale-free numbers that cost no further f evaluation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.control.linear import History
from odebridge.core.protocols import Observation, StagePair
from odebridge.core.tolerance import Tolerance, row_sum

TINY = 1e-300
FEATURES = (
    "constant",
    "error", "error before", "error before that", "ratio", "ratio before", "rejected",  # what linear filters see
    "movement",  # log of the way of one step in units of the tolerance
    "curvature",  # log h |f1 - f0| / |x1 - x0|, the stiffness index of the paper per step
    "curvature before",
    "turning",  # cosine between the slopes at both ends
    "speeding up",  # (|f1|^2 - |f0|^2) / (|f1|^2 + |f0|^2)
    "expansion",  # h <f1 - f0, x1 - x0> / |x1 - x0|^2, a one-sided Lipschitz constant, squashed
    "smoothness",  # log error / (h |f1 - f0|): how much of the bend the method does not see
    "stiffness",  # log h |J e| / |e| along the error, or of two stages at the same time
    "direction",  # cosine between the error and the slope
    "tolerance",  # log rtol
)  # fmt: skip


class Past(NamedTuple):
    """What features look back on besides the filter's own history."""

    curvature: Float[Tensor, " b"]
    tolerance: Float[Tensor, " b"]

    @staticmethod
    def of(x: Tensor, tol: Tolerance | None) -> Past:
        """Before the first step."""
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return Past(zero, zero if tol is None else 0.2 * tol.rtol.double().log() + 2.0)


def features(
    seen: Observation, size: Tensor, k: Any, error0: Tensor, scale: Tensor, history: History, past: Past
) -> tuple[Float[Tensor, "b f"], Past]:
    """The numbers named in FEATURES, about 1 in size and within [-5, 5], (b, f) float64; and what to remember.

    size: log h; scale: log of what errors are read times, so that a law at tolerances divided by it sees the same.
    After a try that went wrong some of them are nan.

    Norms are those of the tolerance: every vector is divided by the weights of the last try.
    """
    last = seen.last
    if last is None:
        raise ValueError("controller: a learned law reads the last try, which only a span (t0, t1) shows; a grid has none.")
    rates = 1.0 / last.weights
    f0, f1, e = (_rows(v * rates) for v in (last.slope0, last.slope1, last.error))
    way, bend = _rows((last.x1 - last.x0) * rates), f1 - f0
    n = float(f0.shape[1])
    a, b, g, d, e2 = (row_sum(v * v) for v in (f0, f1, bend, way, e))
    half_a, half_g, half_d = (0.5 * (v + TINY).log() for v in (a, g, d))
    curvature = size + half_g - half_d
    zero = torch.zeros_like(size)
    ratio = torch.where(seen.accepted, size - history.size, zero) if seen.accepted is not None else zero
    rejected = zero if seen.accepted is None else (~seen.accepted).to(size.dtype)
    stiffness = _stiffness(seen, rates, e)
    columns = (
        torch.ones_like(size),
        _clipped(error0 / k), _clipped(history.error1 / k), _clipped(history.error2 / k),
        _clipped(ratio), _clipped(history.ratio), rejected,
        _clipped(0.25 * (size + half_a + scale - 0.5 * math.log(n) - 2.0)),
        _clipped(0.5 * curvature + 0.5),
        _clipped(0.5 * past.curvature + 0.5),
        row_sum(f0 * f1) / (a * b + TINY).sqrt(),
        2.0 * (b - a) / (a + b + TINY),
        squashed(seen.h * row_sum(bend * way) / (d + TINY)),
        _clipped(0.25 * (error0 - (size + half_g + scale - 0.5 * math.log(n))) + 1.0),
        _clipped(0.5 * (size + stiffness)),
        row_sum(f1 * e) / (b * e2 + TINY).sqrt(),
        past.tolerance - 0.2 * scale,
    )  # fmt: skip
    return torch.stack([v.double() for v in columns], 1), Past(_known(curvature.double()), past.tolerance)


def _stiffness(seen: Observation, rates: Tensor, e: Tensor) -> Tensor:
    """Log of a stiff rate: |J e| / |e| along the error, or |k_s - k_(s-1)| / |Y_s - Y_(s-1)| of a stage pair."""
    last = seen.last
    assert last is not None
    extra, x = last.extra, last.x1
    if isinstance(extra, StagePair):
        k = _rows((last.slope1 - extra.slope) * rates)
        y = _rows((x - extra.x) * rates)
        return 0.5 * ((row_sum(k * k) + TINY) / (row_sum(y * y) + TINY)).log()
    if isinstance(extra, Tensor) and extra.dim() == 3 and extra.shape[1] == extra.shape[2] == e.shape[1]:
        moved = _rows(rates) * (extra * _rows(last.error).unsqueeze(1)).sum(2)
        return 0.5 * ((row_sum(moved * moved) + TINY) / (row_sum(e * e) + TINY)).log()
    return torch.zeros_like(e[:, 0])


def _rows(v: Tensor) -> Tensor:
    return v.flatten(1)


def squashed(v: Tensor) -> Tensor:
    """The bounded v / (1 + |v|), in (-1, 1): a tanh without an exponential."""
    return v / (1.0 + v.abs())


def _clipped(v: Tensor) -> Tensor:
    return v.clamp(-5.0, 5.0)


def _known(v: Tensor) -> Tensor:
    """Without nan: a try that went wrong says nothing."""
    return torch.where(v == v, v, torch.zeros_like(v)).clamp(-20.0, 20.0)

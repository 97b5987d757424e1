"""The law that all classical ones are cases of: a linear filter of log errors and log step ratios, with thirteen numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Coefficients(NamedTuple):
    """The numbers of a linear filter: floats, or tensors (b,) where every trajectory has a law of its own.

    With e0, e1, e2 the last scaled errors of kept steps, r0, r1 the last step ratios, k the order of the error estimate + 1:
    kept      h' = h clip(safety e0^(-b1/k) e1^(-b2/k) e2^(-b3/k) r0^(-a2) r1^(-a3), lowest, highest)
    rejected  h' = h clip(retry_safety e0^(-retry/k), lowest, retry_safety)
    A try is kept if its error is at most `threshold`; errors below `floor` are read as that.
    Every error is read times `scale`: the same law with rtol and atol divided by it.
    """

    b1: Any
    b2: Any
    b3: Any
    a2: Any
    a3: Any
    safety: Any
    lowest: Any
    highest: Any
    floor: Any
    threshold: Any
    retry: Any
    retry_safety: Any
    scale: Any


class History(NamedTuple):
    """Logarithms of what a filter looks back on; errors and ratios start at 1."""

    error1: Float[Tensor, " b"]  # log error of the last kept step before this one
    error2: Float[Tensor, " b"]  # and of the one before
    size: Float[Tensor, " b"]  # log h of the last kept step
    ratio: Float[Tensor, " b"]  # log of the last step ratio

    @staticmethod
    def of_ones(x: Tensor) -> History:
        """Errors and ratios of 1 for a batch like x (b, *s)."""
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return History(zero, zero, zero, zero)


def linear_step(
    c: Coefficients,
    k: Any,
    h: Float[Tensor, " b"],
    error0: Float[Tensor, " b"],
    accepted: Bool[Tensor, " b"],
    past: History,
    push: Any = 0.0,
) -> tuple[Float[Tensor, " b"], History]:
    """The factor of h and the history after this try. error0: the log error, floored; push: added to the log of the factor."""
    size = h.log()
    ratio0 = size - past.size
    kept = -(c.b1 * error0 + c.b2 * past.error1 + c.b3 * past.error2) / k - c.a2 * ratio0 - c.a3 * past.ratio
    # exp(k log e), never e**k: a fractional power's last bit depends on the place in the batch.
    grow = clip(c.safety * (kept + push).exp(), c.lowest, c.highest)
    shrink = clip(c.retry_safety * (-(c.retry * error0) / k).exp(), c.lowest, c.retry_safety)
    factor = torch.where(accepted, grow, shrink)
    after = History(
        torch.where(accepted, error0, past.error1),
        torch.where(accepted, past.error1, past.error2),
        # After a rejection the retry is the new reference, so that its ratio is read as 1.
        torch.where(accepted, size, size + factor.log()),
        torch.where(accepted, ratio0, torch.zeros_like(ratio0)),
    )
    return factor, after


def clip(v: Tensor, low: Any, high: Any) -> Tensor:
    """`torch.clamp` for bounds that are numbers or tensors, whichever."""
    v = torch.maximum(v, low) if isinstance(low, Tensor) else v.clamp_min(low)
    return torch.minimum(v, high) if isinstance(high, Tensor) else v.clamp_max(high)

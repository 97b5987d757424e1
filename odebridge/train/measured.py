"""Measured trajectories: times, values, what was measured and how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Measured:
    """What was seen of one or more trajectories, for `ob.fit`.

    times: (k,), or (b, k) for trajectories with times of their own, rising. values: (k, d) for one trajectory, (b, k, d) for
    several; NaN where nothing was measured. mask: True where a value counts, broadcastable to the values; None: wherever it
    is finite. weights: residuals are multiplied by them, 1 / sigma of each value where that is known, broadcastable too.
    Use: `ob.Measured(t, y, weights=1 / sigma)`.
    """

    times: Any
    values: Any
    mask: Any = None
    weights: Any = None


class Table(NamedTuple):
    """The same as checked tensors."""

    times: Tensor  # (k,) or (b, k) float64
    values: Tensor  # (b, k, d), finite everywhere
    keep: Tensor  # (b, k, d) bool
    weights: Tensor  # (b, k, d)


def table(data: Any) -> Table:
    """Data as tensors: `Measured`, a pair (times, values), or anything with `times` and `values`. ValueError in a sentence."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and not hasattr(data, "_fields"):
        data = Measured(*data)
    times, values = getattr(data, "times", None), getattr(data, "values", None)
    if times is None or values is None or callable(values):
        raise TypeError(f"data: give (times, values) or ob.Measured(times, values, ...), got {type(data).__name__}.")
    times, values = torch.as_tensor(times, dtype=torch.float64), torch.as_tensor(values, dtype=torch.float64)
    if values.dim() == 2 and times.dim() == 1:
        values = values[None]
    if values.dim() != 3 or times.dim() not in (1, 2) or times.shape[-1] != values.shape[1]:
        raise ValueError(
            f"data: times {tuple(times.shape)} and values {tuple(values.shape)} do not go together; give times (k,) with "
            "values (k, d), or (b, k, d) for several trajectories."
        )
    if times.dim() == 2 and len(times) != len(values):
        raise ValueError(f"data: there are times of {len(times)} trajectories and values of {len(values)}.")
    if not bool(torch.isfinite(times).all()) or bool((times.diff(dim=-1) < 0).any()):
        raise ValueError("data: times must be finite and rising.")
    finite = torch.isfinite(values)
    keep = finite & _like("mask", getattr(data, "mask", None), values, True).bool()
    weights = _like("weights", getattr(data, "weights", None), values, 1.0)
    if bool((~(torch.isfinite(weights) & (weights >= 0)))[keep].any()):
        raise ValueError("data: weights must be finite and at least 0 wherever a value counts.")
    if not bool(keep.any()):
        raise ValueError("data: no value counts: all are NaN or masked.")
    return Table(times, torch.where(finite, values, 0.0), keep, torch.where(keep, weights, 0.0))


def _like(name: str, given: Any, values: Tensor, default: Any) -> Tensor:
    v = torch.as_tensor(default if given is None else given, dtype=torch.float64, device=values.device)
    try:
        return v.expand(values.shape)
    except RuntimeError:
        shapes = f"{tuple(v.shape)}, which cannot be spread over values of shape {tuple(values.shape)}"
        raise ValueError(f"data: {name} has shape {shapes}; the last axes must agree.") from None

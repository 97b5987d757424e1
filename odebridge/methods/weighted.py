"""Sums of slopes. Weights 0 and 1 leave no trace: a multiplication by 1 is a full-size operation in a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def weighted(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor | None:
    """sum_i w_i k_i, or None if all weights are 0."""
    total: Tensor | None = None
    for w, k in zip(weights, slopes, strict=False):
        if w == 0.0:
            continue
        total = (k if w == 1.0 else k * w) if total is None else torch.add(total, k, alpha=w)
    return total


def advanced(x: Tensor, h: Any, increment: Tensor | None) -> Tensor:
    """X + h increment, with the multiplication left out for the float 1.0."""
    if increment is None:
        return x
    return x + increment if isinstance(h, float) and h == 1.0 else x + h * increment


def hermite(x0: Tensor, x1: Tensor, slope0: Tensor, slope1: Tensor, h: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Cubic through both ends with both slopes: x0 + q1 s + q2 s^2 + q3 s^3."""
    rise, d0, d1 = x1 - x0, h * slope0, h * slope1
    return d0, 3.0 * rise - 2.0 * d0 - d1, d0 + d1 - 2.0 * rise

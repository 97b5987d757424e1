"""A problem as SciPy wants it: functions of one float and one array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class NumpyProblem:
    """One system as SciPy wants it: fun(t, y) -> (n,) and jac(t, y) -> (n, n), both float64 arrays.

    sparsity: bool (n, n), SciPy's `jac_sparsity`, or None. discontinuities: times at which SciPy should be stopped and
    started again, since it does not look for jumps.
    """

    fun: Callable[[float, np.ndarray], np.ndarray]
    jac: Callable[[float, np.ndarray], np.ndarray] | None
    y0: np.ndarray
    span: tuple[float, float]
    sparsity: np.ndarray | None = None
    discontinuities: tuple[float, ...] = ()


@dataclass(frozen=True)
class Divided:
    """M^-1 times the value of a field or of its Jacobian."""

    call: Callable[[float, np.ndarray], np.ndarray]
    mass: np.ndarray

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        """M^-1 f, (n,), or M^-1 df/dx, (n, n)."""
        value = self.call(t, y)
        if self.mass.ndim == 2:
            return np.linalg.solve(self.mass, value)
        return value / (self.mass if value.ndim == 1 else self.mass[:, None])


def is_singular(mass: np.ndarray) -> bool:
    """Does M, (n,) or (n, n), lack an inverse? Its rows are scaled first: farads and moles are small, not singular."""
    if mass.ndim == 1:
        return bool((mass == 0).any())
    largest = np.abs(mass).max(1, keepdims=True)
    return bool((largest == 0).any()) or int(np.linalg.matrix_rank(mass / largest)) < len(mass)


def pattern_of(sparsity: Any, n: int) -> np.ndarray:
    """Bool (n, n) of bandwidths (lower, upper) or of a bool tensor."""
    if isinstance(sparsity, Tensor):
        return sparsity.numpy()
    lower, upper = sparsity
    return np.tri(n, k=upper, dtype=bool) & ~np.tri(n, k=-lower - 1, dtype=bool)

"""A problem as SciPy wants it: functions of one float and one array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odebridge.problems.componentwise import Field, Jacobian


@dataclass(frozen=True)
class NumpyProblem:
    """One system as SciPy wants it: fun(t, y) -> (n,) and jac(t, y) -> (n, n), both float64 arrays."""

    fun: Callable[[float, np.ndarray], np.ndarray]
    jac: Callable[[float, np.ndarray], np.ndarray] | None
    y0: np.ndarray
    span: tuple[float, float]


def on_arrays(call: Callable[..., Tensor], args: Any) -> Callable[[float, np.ndarray], np.ndarray]:
    """A field or Jacobian of a batch of one, as a function of arrays."""
    more = () if args is None else (args,)

    def through_torch(t: float, y: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.array(y, dtype=np.float64, ndmin=2))  # a copy: SciPy may reuse its own y
        with torch.no_grad():
            out = call(torch.full((1,), float(t), dtype=torch.float64), x, *more)
        return out[0].detach().numpy().astype(np.float64, copy=False)

    if not isinstance(call, (Field, Jacobian)):
        return through_torch
    scalar = call.terms if isinstance(call, Field) else call.rows
    p = () if args is None else tuple(args[0].tolist())

    def on_floats(t: float, y: np.ndarray) -> np.ndarray:
        try:
            return np.array(scalar(float(t), np.asarray(y).tolist(), p), dtype=np.float64)
        except (ArithmeticError, ValueError):  # Python raises where an array would hold inf or NaN
            return through_torch(t, y)

    return on_floats

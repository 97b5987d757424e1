"""A batch-first field of PyTorch as SciPy and SUNDIALS want it: a function of one float and one NumPy array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

OnArrays = Callable[[float, np.ndarray], np.ndarray]


def on_arrays(call: Callable[..., Tensor], args: Any) -> OnArrays:
    """A field (b, n) or Jacobian (b, n, n) of one system as a function of arrays, (n,) or (n, n), float64.

    args: a nest of tensors with leading dimension 1, or None. A field with an attribute `on_numbers`, the same formulas on
    plain numbers, (t, components, parameters) -> components, runs on Python floats, a few microseconds a call; any other
    goes through a batch of one in PyTorch, about a microsecond per operation.
    """
    more = () if args is None else (args,)

    def through_torch(t: float, y: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.array(y, dtype=np.float64, ndmin=2))  # a copy: SciPy may reuse its own y
        with torch.no_grad():
            out = call(torch.full((1,), float(t), dtype=torch.float64), x, *more)
        return out[0].detach().numpy().astype(np.float64, copy=False)

    scalar = getattr(call, "on_numbers", None)
    if scalar is None or not (args is None or isinstance(args, Tensor)):
        return through_torch
    p = () if args is None else tuple(args[0].tolist())

    def on_floats(t: float, y: np.ndarray) -> np.ndarray:
        try:
            return np.array(scalar(float(t), np.asarray(y).tolist(), p), dtype=np.float64)
        except (ArithmeticError, ValueError):  # Python raises where an array would hold inf or NaN
            return through_torch(t, y)

    return on_floats

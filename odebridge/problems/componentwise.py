"""Fields of small systems, written once, component by component, as plain arithmetic on whatever is passed in.

The same function serves PyTorch, where a component is a tensor (b,), and SciPy, where it is a Python float and a call costs
a few microseconds instead of one per operation. Plain arithmetic has a second virtue: no bit of a trajectory's value
depends on the batch it sits in, which matrix-vector products and fractional powers cannot promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# (t, components of x, parameters) -> components of f
Terms = Callable[[Any, Sequence[Any], Sequence[Any]], Sequence[Any]]
# (t, components of x, parameters) -> rows of df/dx; an entry that is always zero is the number 0.0
Rows = Callable[[Any, Sequence[Any], Sequence[Any]], Sequence[Sequence[Any]]]


def sqrt(v: Any) -> Any:
    """Square root of a tensor or a float."""
    return v.sqrt() if isinstance(v, Tensor) else math.sqrt(v)


def sin(v: Any) -> Any:
    """Sine of a tensor or a float."""
    return v.sin() if isinstance(v, Tensor) else math.sin(v)


def cos(v: Any) -> Any:
    """Cosine of a tensor or a float."""
    return v.cos() if isinstance(v, Tensor) else math.cos(v)


def _stack(values: Sequence[Any], like: Tensor) -> Tensor:
    """Components, some of them plain numbers, side by side: (b,) each -> (b, len(values))."""
    filled = {v: torch.full_like(like, v) for v in values if not isinstance(v, Tensor)}
    return torch.stack([v if isinstance(v, Tensor) else filled[v] for v in values], -1)


@dataclass(frozen=True)
class Field:
    """f(t, x) or f(t, x, args). `terms` is a function of a module, so that problems can be pickled for other processes."""

    terms: Terms

    def __call__(self, t: Any, x: Float[Tensor, "b n"], args: Float[Tensor, "b p"] | None = None) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        y = x.unbind(-1)
        return _stack(self.terms(t, y, () if args is None else args.unbind(-1)), y[0])


@dataclass(frozen=True)
class Jacobian:
    """df/dx of such a field."""

    rows: Rows

    def __call__(self, t: Any, x: Float[Tensor, "b n"], args: Float[Tensor, "b p"] | None = None) -> Float[Tensor, "b n n"]:
        """Matrices of a batch: entry [k, i, j] is df_i/dx_j of trajectory k."""
        y = x.unbind(-1)
        rows = self.rows(t, y, () if args is None else args.unbind(-1))
        return _stack([v for row in rows for v in row], y[0]).unflatten(-1, (len(rows), len(rows)))

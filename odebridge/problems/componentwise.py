"""Fields of small systems, written once, component by component, as plain arithmetic on whatever is passed in.

The same function serves PyTorch, where a component is a tensor (b,), SciPy, where it is a Python float and a call costs a few
microseconds instead of one per operation, and JAX or any other library that keeps to the Python array API. Plain arithmetic
has a second virtue: no bit of a trajectory's value depends on the batch it sits in, which matrix-vector products and
fractional powers cannot promise.
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


def _library(v: Any) -> Any:
    """The functions that suit v: a tensor, a float, an array that names its library, or a number of mpmath."""
    if isinstance(v, Tensor):
        return torch
    if isinstance(v, (float, int)):
        return math
    named = getattr(v, "__array_namespace__", None)
    return v.context if named is None else named()


def _apply(name: str, v: Any) -> Any:
    return getattr(_library(v), name)(v)


def sqrt(v: Any) -> Any:
    """Square root."""
    return _apply("sqrt", v)


def sin(v: Any) -> Any:
    """Sine."""
    return _apply("sin", v)


def cos(v: Any) -> Any:
    """Cosine."""
    return _apply("cos", v)


def exp(v: Any) -> Any:
    """Exponential function."""
    return _apply("exp", v)


def expm1(v: Any) -> Any:
    """exp(v) - 1 without cancellation."""
    return _apply("expm1", v)


def over_expm1(z: Any) -> Any:
    """Z / (exp(z) - 1), with its limit 1 at z = 0: the rate of a channel that opens linearly above a threshold."""
    where = getattr(_library(z), "where", None)
    if where is None:  # a number
        return 1.0 if z == 0 else z / expm1(z)
    # The quotient's derivative loses its digits near 0, where the series (error 2e-18 at 0.1) has them all.
    near = abs(z) < 0.1
    s = where(near, z, 0.0)
    q = s * s
    series = 1 - s / 2 + q * (1 / 12 - q * (1 / 720 - q * (1 / 30240 - q / 1209600)))
    away = where(near, 1.0, z)
    return where(near, series, away / expm1(away))


def over_expm1_slope(z: Any) -> Any:
    """Derivative of z / (exp(z) - 1), -1/2 at z = 0."""
    where, small = getattr(_library(z), "where", None), abs(z) < 0.1
    s, away = (z, z) if where is None else (where(small, z, 0.0), where(small, 1.0, z))
    q = s * s
    series = -1 / 2 + s * (1 / 6 - q * (1 / 180 - q * (1 / 5040 - q / 151200)))
    if where is None and small:
        return series
    ratio = over_expm1(away)
    quotient = ratio / away * (1 - away - ratio)
    return quotient if where is None else where(small, series, quotient)


def _stack(values: Sequence[Any], like: Tensor) -> Tensor:
    """Components, some of them plain numbers, side by side: (b,) each -> (b, len(values))."""
    filled = {v: torch.full_like(like, v) for v in values if not isinstance(v, Tensor)}
    return torch.stack([v if isinstance(v, Tensor) else filled[v] for v in values], -1)


@dataclass(frozen=True)
class Field:
    """f(t, x) or f(t, x, args). `terms` is a function of a module, so that problems can be pickled for other processes."""

    terms: Terms

    @property
    def on_numbers(self) -> Terms:
        """The same for one system, of floats or of another library's scalars: (t, components, parameters) -> components."""
        return self.terms

    def __call__(self, t: Any, x: Float[Tensor, "b n"], args: Float[Tensor, "b p"] | None = None) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        y = x.unbind(-1)
        return _stack(self.terms(t, y, () if args is None else args.unbind(-1)), y[0])


@dataclass(frozen=True)
class Jacobian:
    """df/dx of such a field."""

    rows: Rows

    @property
    def on_numbers(self) -> Rows:
        """The same for one system, of floats or of another library's scalars: (t, components, parameters) -> rows."""
        return self.rows

    def __call__(self, t: Any, x: Float[Tensor, "b n"], args: Float[Tensor, "b p"] | None = None) -> Float[Tensor, "b n n"]:
        """Matrices of a batch: entry [k, i, j] is df_i/dx_j of trajectory k."""
        y = x.unbind(-1)
        rows = self.rows(t, y, () if args is None else args.unbind(-1))
        return _stack([v for row in rows for v in row], y[0]).unflatten(-1, (len(rows), len(rows)))

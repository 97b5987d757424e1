"""What a solve runs over: a span of time (the controller owns the clock) or a grid (the grid owns it)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Span:
    """From t0 to t1, floats or (b,) tensors, in either direction. The controller owns the clock and tries may be rejected.

    Use: `ob.integrate(f, x0, ob.Span(0.0, 9.0))`, or the pair itself, (0.0, 9.0).
    """

    t0: Any
    t1: Any


@dataclass(frozen=True)
class Grid:
    """The nodes ts[0], ..., ts[k]. The grid owns the clock; a controller only scales the increment, per channel if it likes.

    One step for each spacing, none rejected. ts: numbers, all rising or all falling; ValueError otherwise.
    Use: `ob.integrate(f, x0, ob.Grid((0.0, 0.1, 0.3)), method="rk4")`.
    """

    ts: tuple[float, ...]

    def __post_init__(self) -> None:
        try:
            ts = tuple(float(t) for t in self.ts)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"Grid: ts must hold numbers, the nodes in order; got {self.ts!r} ({error}).") from error
        object.__setattr__(self, "ts", ts)
        bad = next((i for i, t in enumerate(ts) if not math.isfinite(t)), None)
        if bad is not None:
            raise ValueError(f"Grid: ts[{bad}] is {ts[bad]}; every node must be a finite number.")
        signs = {(b > a) - (b < a) for a, b in pairwise(ts)}
        if len(ts) < 2 or signs not in ({1}, {-1}):
            raise ValueError(f"Grid: ts must hold at least two nodes, all rising or all falling; got {list(ts)[:6]}.")


def Steps(n: int) -> Grid:
    """N steps of length 1 from 0: the layers of a residual network are the nodes 0, 1, ..., n. Use: `ob.Steps(9)`."""
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"Steps: n must be a whole number of at least 1, got {n!r}.")
    return Grid(tuple(float(i) for i in range(n + 1)))

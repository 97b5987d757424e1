"""Other people's solvers under our method names: SciPy's and SUNDIALS' own code on one system in NumPy arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

OnArrays = Callable[[float, np.ndarray], np.ndarray]
# Names of this form are for `integrate`; their text says what the method is, as a doc string does for ours.
BORROWED: dict[str, str] = {
    "scipy:RK45": "Dormand and Prince 5(4), scipy.integrate",
    "scipy:Radau": "Radau IIA of order 5, scipy.integrate",
    "scipy:BDF": "NDF of orders 1 to 5, scipy.integrate",
    "scipy:LSODA": "Adams and BDF with automatic choice, scipy.integrate (ODEPACK)",
    "sundials:BDF": "CVODE's BDF of orders 1 to 5, scikit-sundae",
}


class OutOfTime(Exception):
    """The time limit has been used up inside a field evaluation."""


class NotFinite(Exception):
    """The field gives nothing finite any more; SciPy's RK45 asks such a field for ever if it begins so."""


NEVER_FINITE = 500  # calls in a row


@dataclass(frozen=True)
class Task:
    """x' = fun(t, y) from y0 at t0 to t1 != t0, either direction, all float64.

    jac: df/dx, (n, n), or None: the solver takes differences. bandwidths: (lower, upper) of df/dx. pattern: bool (n, n).
    atol: a number or (n,). at: times between t0 and t1 in the direction of the solve, where the state is wanted; None: at
    every step. deadline: in `time.monotonic` seconds. max_step: 0 for no bound.
    """

    fun: OnArrays
    y0: np.ndarray
    t0: float
    t1: float
    rtol: float
    atol: float | np.ndarray
    jac: OnArrays | None = None
    bandwidths: tuple[int, int] | None = None
    pattern: np.ndarray | None = None
    at: np.ndarray | None = None
    first_step: float | None = None
    max_step: float | None = None
    max_steps: int = 100_000
    deadline: float | None = None
    dense: bool = False


@dataclass(frozen=True)
class Walk:
    """How it went. ts (k,), ys (k, n): the start and every accepted step, or the times asked for that were reached.

    t, y: where it ended. counts: as the library counts, in our names; what it does not report is left out.
    stop: "" at the end of the span, else one of "max_steps", "time_limit", "step", "newton", "singular", "not_finite".
    """

    ts: np.ndarray
    ys: np.ndarray
    t: float
    y: np.ndarray
    counts: Mapping[str, int]
    stop: str = ""
    message: str = ""
    dense: tuple[Callable[[float], np.ndarray], ...] = field(default=())  # one for each step, where asked for


class Watched:
    """A field that remembers its last value, counts its calls and keeps an eye on the clock, at no cost worth naming."""

    def __init__(self, fun: OnArrays, deadline: float | None, most: int | None = None) -> None:
        self.fun, self.deadline, self.most, self.calls = fun, deadline, most, 0
        self.last, self.lost, self.spoilt = np.zeros(0), 0, False

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        """fun(t, y)."""
        self.calls += 1
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime
        if self.most is not None and self.calls > self.most:
            raise RuntimeError(f"max_num_steps: the field was called {self.most} times and the end is not in sight; raise it.")
        self.last = out = self.fun(t, y)
        self.lost = 0 if np.isfinite(out).all() else self.lost + 1
        self.spoilt = self.spoilt or self.lost > 0
        if self.lost > NEVER_FINITE:
            raise NotFinite("the field gives nothing finite any more")
        return out

    @property
    def finite(self) -> bool:
        """Was the last value finite?"""
        return bool(np.isfinite(self.last).all())

"""Classical laws as linear filters of the logarithms of errors and step ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from odebridge.control.base import Controller
from odebridge.control.linear import Coefficients, History, linear_step
from odebridge.core.protocols import Observation
from odebridge.core.records import replaced
from odebridge.core.tolerance import Tolerance


@dataclass(frozen=True)
class Filter(Controller):
    """h' = h safety e0^(-b1/k) e1^(-b2/k) e2^(-b3/k) r0^(-a2) r1^(-a3),  k = order of the error estimate + 1.

    e0, e1, e2 are the last scaled errors of kept steps, r0 = h0/h1 and r1 = h1/h2 the last step ratios. After a rejection
    h' = h retry_safety e0^(-retry/k), at most h retry_safety, and the history is left as it was: a rejected error says nothing
    about smoothness. A try is kept if its error is at most `threshold`. The factor is clipped to [lowest, highest].
    Shapes: everything (b,) float64; without a measured error h' = h, so that on a grid every filter is the identity.
    Source: Soderlind, ACM TOMS 29, 2003, and Soderlind & Wang, J. Comput. Appl. Math. 185, 2006. Soderlind puts the safety
    into the error's set point; here it multiplies h, as Hairer & Wanner do. ValueError for more than three b or two a.
    Use: `ob.integrate(f, x0, span, controller=ob.control.Filter(b=(0.6, -0.2)))`.
    """

    b: tuple[float, ...]
    a: tuple[float, ...] = ()
    safety: float = 0.9
    lowest: float = 0.2
    highest: float = 10.0
    floor: float = 1e-10  # errors below are read as this: an error of 0 is no reason for an infinite step
    threshold: float = 1.0  # the largest error of a try that is kept
    retry: float = 1.0  # how much of a rejected error is made up for
    retry_safety: float | None = None  # None: the safety
    scale: float = 1.0  # errors are read times this: the same law at tolerances divided by it

    def __post_init__(self) -> None:
        if not 1 <= len(self.b) <= 3 or len(self.a) > 2:
            raise ValueError(f"Filter: b holds 1 to 3 exponents and a at most 2, got b={self.b} and a={self.a}.")

    @property
    def coefficients(self) -> Coefficients:
        """Its numbers."""
        b1, b2, b3 = (*self.b, 0.0, 0.0)[:3]
        a2, a3 = (*self.a, 0.0, 0.0)[:2]
        retry_safety = self.safety if self.retry_safety is None else self.retry_safety
        return Coefficients(
            b1, b2, b3, a2, a3, self.safety, self.lowest, self.highest, self.floor, self.threshold, self.retry, retry_safety,
            self.scale,
        )  # fmt: skip

    def start(self, x: Tensor, tol: Tolerance | None) -> History:
        """Errors and ratios of 1."""
        return History.of_ones(x)

    def __call__(self, seen: Observation, memory: History) -> tuple[Any, History]:
        """The next step from the last error."""
        if not isinstance(seen.h, Tensor):  # a grid: nothing is measured there
            return seen.h, memory
        if seen.error is None or seen.order is None or seen.accepted is None:
            return seen.h, replaced(memory, size=seen.h.log())
        error0 = (seen.error.log() + math.log(self.scale)).clamp_min(math.log(self.floor))
        factor, after = linear_step(self.coefficients, seen.order + 1, seen.h, error0, seen.accepted, memory)
        return seen.h * factor, after

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """Scaled error at most `threshold`."""
        return error <= self.threshold / self.scale


@dataclass(frozen=True)
class Smaller(Controller):
    """h' = min of what two laws answer; a try is kept if both keep it. States x (b, *s), errors (b,).

    Use: `Smaller(ob.control.PREDICTIVE, ob.control.PI42)`.
    """

    first: Controller
    second: Controller

    def start(self, x: Tensor, tol: Tolerance | None) -> tuple[Any, Any]:
        """Both memories."""
        return self.first.start(x, tol), self.second.start(x, tol)

    def __call__(self, seen: Observation, memory: tuple[Any, Any]) -> tuple[Any, tuple[Any, Any]]:
        """The shorter of two answers."""
        h1, m1 = self.first(seen, memory[0])
        h2, m2 = self.second(seen, memory[1])
        return (torch.minimum(h1, h2) if isinstance(h1, Tensor) else min(h1, h2)), (m1, m2)

    def accepts(self, error: Tensor, memory: tuple[Any, Any]) -> Tensor:
        """Both agree."""
        return self.first.accepts(error, memory[0]) & self.second.accepts(error, memory[1])


I = Filter(b=(1.0,))  # noqa: E741 - the integral controller is called I everywhere
PI34 = Filter(b=(0.7, -0.4))  # Gustafsson 1991; 7/10 and 2/5 are also the defaults of OrdinaryDiffEq.jl
PI = PI34
PI42 = Filter(b=(0.6, -0.2))  # Soderlind 2003
PID = Filter(b=(0.49, -0.34, 0.10))  # Kennedy & Carpenter, Appl. Numer. Math. 44, 2003
H211B = Filter(b=(0.25, 0.25), a=(0.25,))  # Soderlind 2003 with b = 4: smooth step sequences
H312 = Filter(b=(1 / 18, 1 / 9, 1 / 18))  # H312PID, Soderlind 2003: order of filter 2
# Gustafsson, ACM TOMS 20, 1994, as in Radau5 without the Newton term: extrapolates the trend of h^k / e, never above I.
PREDICTIVE = Smaller(I, Filter(b=(2.0, -1.0), a=(-1.0,), floor=1e-2))

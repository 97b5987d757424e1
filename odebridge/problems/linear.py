"""Problems with a known solution."""

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from odebridge.problems.base import Problem
from odebridge.problems.componentwise import Field, Jacobian, cos, sin
from odebridge.problems.spread import Spread


def _prothero_robinson(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    (lam,) = p
    return (lam * (y[0] - cos(t)) - sin(t),)


def _prothero_robinson_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    return ((p[0],),)


def prothero_robinson(lam: float = -1e6) -> Problem:
    """Prothero and Robinson's problem, x' = lam (x - phi(t)) + phi'(t) with phi = cos, solved by x = phi(t); args = (lam).

    Prothero & Robinson, Math. Comp. 28 (1974) 145; Hairer & Wanner II, section IV.15. It shows order reduction: for lam h far
    below -1 the error of a stiff method follows its stage order. `sample` starts off the solution, with lam log-uniform from
    -100 to lam. Caveat: f = lam (x - phi) loses log10(-lam) digits of x to cancellation, in single precision nearly all.
    """
    if not (math.isfinite(lam) and lam < 0):
        raise ValueError(f"prothero_robinson: lam is {lam}; write a negative number.")
    return Problem(
        Field(_prothero_robinson),
        torch.tensor([1.0], dtype=torch.float64),
        (0.0, 10.0),
        torch.tensor([lam], dtype=torch.float64),
        Jacobian(_prothero_robinson_rows),
        name="prothero_robinson",
        reference=torch.tensor([math.cos(10.0)], dtype=torch.float64),
        source="exact: cos(10)",
        digits=16.0,
        stiff=lam < -50,
        spread=Spread(x0_add=0.5, args_range=(min(100.0, -lam), -lam)),
    )

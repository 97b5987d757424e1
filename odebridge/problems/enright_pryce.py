"""Stiff DETEST, classes A (linear, real), B (linear, complex) and C (coupled from slow to fast or fast to slow).

Enright, Hull & Lindberg, BIT 15 (1975) 10; Enright & Pryce, ACM Trans. Math. Softw. 13 (1987) 1 (algorithm 648).
"""

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from odebridge.problems.base import Problem
from odebridge.problems.build import from_terms
from odebridge.problems.spread import Spread


def _a2(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    out, coupling, back, loss, source = p
    inner = [y[i - 1] - 2 * y[i] + y[i + 1] for i in range(1, 8)]
    return coupling * y[1] - out * y[0], *inner, back * y[7] - loss * y[8] + source


def _a2_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    out, coupling, back, loss, _ = p
    band = {-1: 1.0, 0: -2.0, 1: 1.0}
    inner = [[band.get(j - i, 0.0) for j in range(9)] for i in range(1, 8)]
    return (-out, coupling, *(0.0,) * 7), *inner, (*(0.0,) * 7, back, -loss)


def stiff_a2() -> Problem:
    """Class A, problem 2: nine cells in a row with diffusion, fast ones at both ends; linear, real eigenvalues.

    y1' = -1800 y1 + 900 y2,   yi' = y(i-1) - 2 yi + y(i+1), i = 2..8,   y9' = 1000 y8 - 2000 y9 + 1000, from 0 on [0, 120];
    args = (1800, 900, 1000, 2000, 1000). Enright, Hull & Lindberg (1975), problem A2.
    Caveat: linear, so a method that refactors its matrix does work for nothing here.
    """
    return from_terms(
        "stiff_a2",
        _a2,
        _a2_rows,
        (0.0,) * 9,
        120.0,
        (1800.0, 900.0, 1000.0, 2000.0, 1000.0),
        stiff=True,
        spread=Spread(x0_add=0.1, args_log=0.1),
        sparsity=(1, 1),
    )


def _a3(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4 = y
    r1, r2, r3, r4 = p
    return 100 * y2 - r1 * y1 - 10 * y3 + y4, 10 * y3 - r2 * y2 - 10 * y4, 10 * y4 - r3 * y3, -r4 * y4


def _a3_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    r1, r2, r3, r4 = p
    return (-r1, 100.0, -10.0, 1.0), (0.0, -r2, 10.0, -10.0), (0.0, 0.0, -r3, 10.0), (0.0, 0.0, 0.0, -r4)


def stiff_a3() -> Problem:
    """Class A, problem 3: triangular, eigenvalues -1e4, -1e3, -1 and -0.1; linear.

    y1' = -1e4 y1 + 100 y2 - 10 y3 + y4,   y2' = -1e3 y2 + 10 y3 - 10 y4,   y3' = -y3 + 10 y4,   y4' = -0.1 y4, from
    (1, 1, 1, 1) on [0, 20]; args = the four rates of decay. Enright, Hull & Lindberg (1975), problem A3.
    Caveat: the matrix is not normal, but its transients are gone by t = 0.01 and show in the first steps only.
    """
    return from_terms(
        "stiff_a3",
        _a3,
        _a3_rows,
        (1.0, 1.0, 1.0, 1.0),
        20.0,
        (1e4, 1e3, 1.0, 0.1),
        stiff=True,
        spread=Spread(x0_log=0.3, args_log=0.2),
    )


def _b1(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4 = y
    slow, slow_square, fast, fast_square = p
    return y2 - slow * y1, -slow_square * y1 - slow * y2, y4 - fast * y3, -fast_square * y3 - fast * y4


def _b1_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    slow, slow_square, fast, fast_square = p
    return (
        (-slow, 1.0, 0.0, 0.0),
        (-slow_square, -slow, 0.0, 0.0),
        (0.0, 0.0, -fast, 1.0),
        (0.0, 0.0, -fast_square, -fast),
    )


def stiff_b1() -> Problem:
    """Class B, problem 1: two damped oscillators, eigenvalues -1 +- 10i and -100 +- 100i; linear.

    y1' = -y1 + y2,   y2' = -100 y1 - y2,   y3' = -100 y3 + y4,   y4' = -1e4 y3 - 100 y4, from (1, 0, 1, 0) on [0, 20];
    args = (1, 100, 100, 1e4). Enright, Hull & Lindberg (1975), problem B1.
    Caveat: y3 and y4 end below 1e-860, which is zero in double precision; score y1 and y2.
    """
    return from_terms(
        "stiff_b1",
        _b1,
        _b1_rows,
        (1.0, 0.0, 1.0, 0.0),
        20.0,
        (1.0, 100.0, 100.0, 1e4),
        stiff=True,
        spread=Spread(x0_add=0.3, args_log=0.1),
    )


def _b5(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, *others = y
    alpha, damping, *rates = p
    decay = [-rate * v for rate, v in zip(rates, others, strict=True)]
    return alpha * y2 - damping * y1, -alpha * y1 - damping * y2, *decay


def _b5_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    alpha, damping, *rates = p
    rows = [(-damping, alpha, 0.0, 0.0, 0.0, 0.0), (-alpha, -damping, 0.0, 0.0, 0.0, 0.0)]
    return *rows, *([0.0] * k + [-rate] + [0.0] * (5 - k) for k, rate in enumerate(rates, 2))


def stiff_b5(alpha: float = 100.0) -> Problem:
    """Class B, problems 2 to 5: eigenvalues -10 +- i alpha, -4, -1, -0.5 and -0.1; linear.

    y1' = -10 y1 + alpha y2,   y2' = -alpha y1 - 10 y2,   and four decays, from ones on [0, 20];
    args = (alpha, 10, 4, 1, 0.5, 0.1). alpha = 3, 8, 25, 100 are problems B2 to B5 of Enright, Hull & Lindberg (1975); the
    reference is that of B5. Caveat: the eigenvalues of B5 lie where BDF formulas of order 4 to 6 are unstable, which is what
    the problem is for: a code without order control creeps here.
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"stiff_b5: alpha is {alpha}; write a positive number.")
    return from_terms(
        "stiff_b5",
        _b5,
        _b5_rows,
        (1.0,) * 6,
        20.0,
        (alpha, 10.0, 4.0, 1.0, 0.5, 0.1),
        nominal=alpha == 100.0,
        stiff=True,
        spread=Spread(x0_log=0.3, args_log=(0.2, 0.2, 0.1, 0.1, 0.1, 0.1)),
    )


def _c5(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4 = y
    beta, r2, r3, r4 = p
    one = y1 * y1
    two = one + y2 * y2
    three = two + y3 * y3
    return 2 - y1, beta * one - r2 * y2, 4 * beta * two - r3 * y3, 10 * beta * three - r4 * y4


def _c5_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    y1, y2, y3, _ = y
    beta, r2, r3, r4 = p
    a, b, c = 2 * beta * y1, 2 * beta * y2, 2 * beta * y3
    return (-1.0, 0.0, 0.0, 0.0), (a, -r2, 0.0, 0.0), (4 * a, 4 * b, -r3, 0.0), (10 * a, 10 * b, 10 * c, -r4)


def stiff_c5(beta: float = 20.0) -> Problem:
    """Class C, problems 2 to 5: a slow component drives ever faster ones through squares.

    y1' = 2 - y1,   y2' = -10 y2 + beta y1^2,   y3' = -40 y3 + 4 beta (y1^2 + y2^2),
    y4' = -100 y4 + 10 beta (y1^2 + y2^2 + y3^2), from ones on [0, 20]; args = (beta, 10, 40, 100).
    beta = 0.1, 1, 10, 20 are problems C2 to C5 of Enright, Hull & Lindberg (1975); the reference is that of C5.
    Caveat: the components end between 2 and 1e4, so one atol for all of them asks for different accuracies.
    """
    if not (math.isfinite(beta) and beta > 0):
        raise ValueError(f"stiff_c5: beta is {beta}; write a positive number.")
    return from_terms(
        "stiff_c5",
        _c5,
        _c5_rows,
        (1.0,) * 4,
        20.0,
        (beta, 10.0, 40.0, 100.0),
        nominal=beta == 20.0,
        stiff=True,
        spread=Spread(x0_log=0.3, args_log=0.2),
    )

"""Stiff DETEST, classes D (non-linear, real), E (non-linear, complex) and F (chemical kinetics with large slopes).

Enright, Hull & Lindberg, BIT 15 (1975) 10; Enright & Pryce, ACM Trans. Math. Softw. 13 (1987) 1 (algorithm 648).
"""

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odebridge.problems.base import Problem
from odebridge.problems.build import from_terms
from odebridge.problems.componentwise import cos, exp, sin
from odebridge.problems.spread import Spread


def _d4(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3 = y
    slow, k1, k2 = p
    first, second = slow * y1 + k1 * y1 * y3, k2 * y2 * y3
    return -first, -second, -first - second


def _d4_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    y1, y2, y3 = y
    slow, k1, k2 = p
    by_1, by_2, by_3, and_3 = slow + k1 * y3, k2 * y3, k1 * y1, k2 * y2
    return (-by_1, 0.0, -by_3), (0.0, -by_2, -and_3), (-by_1, -by_2, -by_3 - and_3)


def stiff_d4() -> Problem:
    """Class D, problem 4: three reacting species, y3 small and negative.

    y1' = -0.013 y1 - 1000 y1 y3,   y2' = -2500 y2 y3,   y3' = y1' + y2', from (1, 1, 0) on [0, 50];
    args = (0.013, 1000, 2500). Gear (1969); Enright, Hull & Lindberg (1975), problem D4. y1 + y2 - y3 = 2 is conserved.
    Caveat: y3 is of size 1e-6, so atol must be far below that for its digits.
    """
    return from_terms(
        "stiff_d4",
        _d4,
        _d4_rows,
        (1.0, 1.0, 0.0),
        50.0,
        (0.013, 1000.0, 2500.0),
        stiff=True,
        spread=Spread(x0_log=0.2, args_log=0.2),
    )


def _d6(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3 = y
    r1, r2, k1, k2 = p
    first, second = k1 * y3 * (1 - y1) - r1 * y1, k2 * y3 * (1 - y2) - r2 * y2
    return first, second, -first - second


def _d6_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    y1, y2, y3 = y
    r1, r2, k1, k2 = p
    by_1, by_2, by_3, and_3 = r1 + k1 * y3, r2 + k2 * y3, k1 * (1 - y1), k2 * (1 - y2)
    return (-by_1, 0.0, by_3), (0.0, -by_2, and_3), (by_1, by_2, -by_3 - and_3)


def stiff_d6() -> Problem:
    """Class D, problem 6: a species y3 that is bound by two traps as fast as it is set free.

    y1' = -y1 + 1e8 y3 (1 - y1),   y2' = -10 y2 + 3e7 y3 (1 - y2),   y3' = -y1' - y2', from (1, 0, 0) on [0, 1];
    args = (1, 10, 1e8, 3e7). Enright, Hull & Lindberg (1975), problem D6. y1 + y2 + y3 = 1 is conserved.
    Caveat: y3 is of size 1e-8 and set by the difference of terms a hundred million times larger.
    """
    return from_terms(
        "stiff_d6",
        _d6,
        _d6_rows,
        (1.0, 0.0, 0.0),
        1.0,
        (1.0, 10.0, 1e8, 3e7),
        stiff=True,
        spread=Spread(args_log=0.2),
    )


def _e1(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4 = y
    (g,) = p
    cube = g * g * g
    restoring = (y1 * y1 - sin(y1) - cube * g) * y1 + (y2 * y3 / (y1 * y1 + 1) - 4 * cube) * y2
    return y2, y3, y4, restoring + (1 - 6 * g * g) * y3 + (10 * exp(-y4 * y4) - 4 * g) * y4 + 1


def _e1_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    y1, y2, y3, y4 = y
    (g,) = p
    cube, below, bell = g * g * g, y1 * y1 + 1, 10 * exp(-y4 * y4)
    by_1 = 3 * y1 * y1 - sin(y1) - y1 * cos(y1) - cube * g - 2 * y1 * y2 * y2 * y3 / (below * below)
    by_2 = 2 * y2 * y3 / below - 4 * cube
    by_3 = y2 * y2 / below + 1 - 6 * g * g
    return (
        (0.0, 1.0, 0.0, 0.0),
        (0.0, 0.0, 1.0, 0.0),
        (0.0, 0.0, 0.0, 1.0),
        (by_1, by_2, by_3, bell * (1 - 2 * y4 * y4) - 4 * g),
    )


def stiff_e1() -> Problem:
    """Class E, problem 1: an equation of fourth order near (d/dt + g)^4 y = 1, with non-linear terms; args = (g) = (100).

    y'''' = (y^2 - sin y - g^4) y + (y' y'' / (y^2 + 1) - 4 g^3) y' + (1 - 6 g^2) y'' + (10 exp(-y'''^2) - 4 g) y''' + 1,
    from 0 on [0, 1]. Enright, Hull & Lindberg (1975), problem E1.
    Caveat: four eigenvalues meet near -100, so they are ill-conditioned; the state stays as small as g^-4 = 1e-8, far below
    the default atol, and the derivatives end as rounding noise.
    """
    return from_terms(
        "stiff_e1",
        _e1,
        _e1_rows,
        (0.0, 0.0, 0.0, 0.0),
        1.0,
        (100.0,),
        stiff=True,
        spread=Spread(x0_add=(1e-8, 1e-6, 1e-4, 1e-2), args_log=0.1),
    )


def _e3(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3 = y
    loss, gain, exchange, growth = p
    return gain * y2 - (loss + y3) * y1, exchange * (y1 - y2), growth * y1


def _e3_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    y1, _, y3 = y
    loss, gain, exchange, growth = p
    return (-loss - y3, gain, -y1), (exchange, -exchange, 0.0), (growth, 0.0, 0.0)


def stiff_e3() -> Problem:
    """Class E, problem 3: a reactor with delayed feedback.

    y1' = -(55 + y3) y1 + 65 y2,   y2' = 0.0785 (y1 - y2),   y3' = 0.1 y1, from (1, 1, 0) on [0, 500];
    args = (55, 65, 0.0785, 0.1). Enright, Hull & Lindberg (1975), problem E3.
    Caveat: two slow eigenvalues are complex and drive slow oscillations beside the fast decay, at all times.
    """
    return from_terms(
        "stiff_e3",
        _e3,
        _e3_rows,
        (1.0, 1.0, 0.0),
        500.0,
        (55.0, 65.0, 0.0785, 0.1),
        stiff=True,
        spread=Spread(x0_log=0.3, args_log=0.05),
    )


def _f1(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4 = y
    heat, fed, activation, exponent = p
    k = exp(exponent - activation / y1)
    return (
        1.3 * (y3 - y1) + heat * k * y2,
        fed * (y4 - y2 * (1 + k)),
        1752 - 269 * y3 + 267 * y1,
        0.1 + 320 * y2 - 321 * y4,
    )


def _f1_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    y1, y2, _, _ = y
    heat, fed, activation, exponent = p
    k = exp(exponent - activation / y1)
    slope = k * activation / (y1 * y1)
    return (
        (-1.3 + heat * slope * y2, heat * k, 1.3, 0.0),
        (-fed * y2 * slope, -fed * (1 + k), 0.0, fed),
        (267.0, 0.0, -269.0, 0.0),
        (0.0, 320.0, 0.0, -321.0),
    )


def stiff_f1() -> Problem:
    """Class F, problem 1: a catalyst in a stirred reactor, temperatures y1 and y3 in kelvin, pressures y2 and y4.

    k = exp(20.7 - 1500 / y1);   y1' = 1.3 (y3 - y1) + 10400 k y2,   y2' = 1880 (y4 - y2 (1 + k)),
    y3' = 1752 - 269 y3 + 267 y1,   y4' = 0.1 + 320 y2 - 321 y4, from (761, 0, 600, 0.1) on [0, 1000];
    args = (10400, 1880, 1500, 20.7). Enright & Pryce (1987), problem F1.
    Caveat: y2 and y4 end twelve decades below the temperatures, so one atol cannot serve both.
    """
    return from_terms(
        "stiff_f1",
        _f1,
        _f1_rows,
        (761.0, 0.0, 600.0, 0.1),
        1000.0,
        (10400.0, 1880.0, 1500.0, 20.7),
        stiff=True,
        spread=Spread(x0_log=(0.05, 0.0, 0.05, 0.2), args_log=0.02),
    )


def _f3(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4, y5 = y
    bind, release, change, back = p
    first, second = bind * y2 * y1 - release * y3, bind * y2 * y5 - release * y4
    turned = change * y3 - back * y4
    return -first, -first - second, first - turned, turned + second, -second


def _f3_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    y1, y2, _, _, y5 = y
    bind, release, change, back = p
    by_1, by_2, by_5 = bind * y2, bind * y1, bind * y5
    return (
        (-by_1, -by_2, release, 0.0, 0.0),
        (-by_1, -by_2 - by_5, release, release, -by_1),
        (by_1, by_2, -release - change, back, 0.0),
        (0.0, by_5, change, -back - release, by_1),
        (0.0, -by_5, 0.0, release, -by_1),
    )


def stiff_f3() -> Problem:
    """Class F, problem 3: an enzyme y2 turns a substrate y1 into a product y5 through two complexes.

    r1 = 1e7 y2 y1 - 10 y3,   r2 = 1e7 y2 y5 - 10 y4,   s = 1e4 y3 - 1e-3 y4;
    y1' = -r1,   y2' = -r1 - r2,   y3' = r1 - s,   y4' = s + r2,   y5' = -r2, from (4e-6, 1e-6, 0, 0, 0) on [0, 100];
    args = (1e7, 10, 1e4, 1e-3). Enright & Pryce (1987), problem F3. y2 + y3 + y4 and y1 + y3 + y4 + y5 are conserved.
    Caveat: all concentrations are below 4e-6, so the default atol accepts anything.
    """
    return from_terms(
        "stiff_f3",
        _f3,
        _f3_rows,
        (4e-6, 1e-6, 0.0, 0.0, 0.0),
        100.0,
        (1e7, 10.0, 1e4, 1e-3),
        stiff=True,
        spread=Spread(x0_log=0.2, args_log=0.2),
    )


def _f5(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4 = y
    k1, k2, k3, k4 = p
    first, second = k1 * y1 * y2 - k2 * y4, k3 * y1 * y3 - k4 * y4
    return -first - second, -first, -second, first + second


def _f5_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    y1, y2, y3, _ = y
    k1, k2, k3, k4 = p
    a, b, c, d = k1 * y2, k1 * y1, k3 * y3, k3 * y1
    return (-a - c, -b, -d, k2 + k4), (-a, -b, 0.0, k2), (-c, 0.0, -d, k4), (a + c, b, d, -k2 - k4)


def stiff_f5() -> Problem:
    """Class F, problem 5: two species bound to y1 and set free again, rates up to 9e11.

    r1 = 3e11 y1 y2 - 2e7 y4,   r2 = 9e11 y1 y3 - 1e8 y4;   y1' = -r1 - r2,   y2' = -r1,   y3' = -r2,   y4' = r1 + r2, from
    (3.365e-7, 8.261e-3, 1.642e-3, 9.38e-6) on [0, 100]; args = (3e11, 2e7, 9e11, 1e8). Enright & Pryce (1987), problem F5.
    y1 + y4, y2 + y3 + y4 and so two sums are conserved: three of the four eigenvalues are at rest or nearly so.
    Caveat: it starts next to its equilibrium, so a loose solver that does nothing scores well.
    """
    return from_terms(
        "stiff_f5",
        _f5,
        _f5_rows,
        (3.365e-7, 8.261e-3, 1.642e-3, 9.38e-6),
        100.0,
        (3e11, 2e7, 9e11, 1e8),
        stiff=True,
        spread=Spread(x0_log=0.2, args_log=0.1),
    )

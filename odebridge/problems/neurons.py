"""Nerve cells: the FitzHugh-Nagumo caricature and the Hodgkin-Huxley membrane."""

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odebridge.problems.base import Problem
from odebridge.problems.build import from_terms
from odebridge.problems.componentwise import exp, over_expm1, over_expm1_slope
from odebridge.problems.spread import Spread


def _fitzhugh(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    v, w = y
    a, b, tau, current = p
    return v - v * v * v / 3 - w + current, (v + a - b * w) / tau


def _fitzhugh_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    v, _ = y
    _, b, tau, _ = p
    return (1 - v * v, -1.0), (1 / tau, -b / tau)


def fitzhugh_nagumo() -> Problem:
    """Excitable membrane in two variables, v' = v - v^3/3 - w + I, w' = (v + a - b w) / tau; args = (a, b, tau, I).

    FitzHugh, Biophys. J. 1 (1961) 445; Nagumo, Arimoto & Yoshizawa, Proc. IRE 50 (1962) 2061. (0.7, 0.8, 12.5, 0.5) from (1, 1)
    over [0, 30] as in SciMLBenchmarks: a limit cycle, not stiff.
    Caveat: near I = 0.33 the cycle is born, so a family that spreads I widely mixes cells at rest with cells that fire.
    """
    return from_terms(
        "fitzhugh_nagumo",
        _fitzhugh,
        _fitzhugh_rows,
        (1.0, 1.0),
        30.0,
        (0.7, 0.8, 12.5, 0.5),
        spread=Spread(x0_add=0.5, args_log=0.1),
    )


def _gates(v: Any) -> tuple[tuple[Any, Any], ...]:
    """Rates of opening and closing of the gates n, m and h, per millisecond, at v millivolts."""
    return (
        (0.1 * over_expm1(-(v + 55) / 10), 0.125 * exp(-(v + 65) / 80)),
        (over_expm1(-(v + 40) / 10), 4 * exp(-(v + 65) / 18)),
        (0.07 * exp(-(v + 65) / 20), 1 / (1 + exp(-(v + 35) / 10))),
    )


def _hodgkin_huxley(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    v, n, m, h = y
    current, g_na, g_k, g_l, e_na, e_k, e_l = p
    sodium, potassium = g_na * (m * m * m) * h * (v - e_na), g_k * (n * n) * (n * n) * (v - e_k)
    change = [opening * (1 - gate) - closing * gate for (opening, closing), gate in zip(_gates(v), (n, m, h), strict=True)]
    return current - sodium - potassium - g_l * (v - e_l), *change


def _hodgkin_huxley_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    v, n, m, h = y
    _, g_na, g_k, g_l, e_na, e_k, _ = p
    (an, bn), (am, bm), (ah, bh) = _gates(v)
    by_v = (
        -0.01 * over_expm1_slope(-(v + 55) / 10) * (1 - n) + bn / 80 * n,
        -0.1 * over_expm1_slope(-(v + 40) / 10) * (1 - m) + bm / 18 * m,
        -ah / 20 * (1 - h) - bh * (1 - bh) / 10 * h,
    )
    cube, fourth = m * m * m, (n * n) * (n * n)
    return (
        (
            -g_na * cube * h - g_k * fourth - g_l,
            -4 * g_k * (n * n * n) * (v - e_k),
            -3 * g_na * (m * m) * h * (v - e_na),
            -g_na * cube * (v - e_na),
        ),
        (by_v[0], -an - bn, 0.0, 0.0),
        (by_v[1], 0.0, -am - bm, 0.0),
        (by_v[2], 0.0, 0.0, -ah - bh),
    )


def hodgkin_huxley() -> Problem:
    """The squid's axon under a constant current: voltage v in mV and gates n, m, h, time in ms.

    v' = I - gNa m^3 h (v - ENa) - gK n^4 (v - EK) - gL (v - EL),   g' = alpha_g(v) (1 - g) - beta_g(v) g for g = n, m, h,
    alpha_n = 0.01 (v + 55) / (1 - exp(-(v + 55)/10)), alpha_m = 0.1 (v + 40) / (1 - exp(-(v + 40)/10)),
    alpha_h = 0.07 exp(-(v + 65)/20), beta_n = exp(-(v + 65)/80) / 8, beta_m = 4 exp(-(v + 65)/18),
    beta_h = 1 / (1 + exp(-(v + 35)/10));
    args = (I, gNa, gK, gL, ENa, EK, EL) = (10, 120, 36, 0.3, 50, -77, -54.387). Hodgkin & Huxley, J. Physiol. 117 (1952) 500,
    with the rest at -65 mV. Three spikes in [0, 40].
    Caveat: alpha_n and alpha_m are 0/0 at -55 and -40 mV, both on the path of every spike; written here so that they and their
    derivatives keep their digits there.
    """
    return from_terms(
        "hodgkin_huxley",
        _hodgkin_huxley,
        _hodgkin_huxley_rows,
        (-65.0, 0.3177, 0.0529, 0.5961),
        40.0,
        (10.0, 120.0, 36.0, 0.3, 50.0, -77.0, -54.387),
        spread=Spread(x0_add=(5.0, 0.05, 0.02, 0.05), args_log=(0.2, 0.05, 0.05, 0.05, 0.02, 0.02, 0.02)),
    )

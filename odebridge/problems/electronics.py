"""Electrical circuits of the IVP test set: the ring modulator, and the transistor amplifier as M x' = f with singular M."""

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from odebridge.problems.base import Problem
from odebridge.problems.build import from_terms, vector
from odebridge.problems.componentwise import exp, expm1, sin
from odebridge.problems.spread import Spread


def _diodes(t: Any, y: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """Voltages over the four diodes of the ring."""
    _, _, y3, y4, y5, y6, y7, *_ = y
    carrier = 2 * sin(2e4 * math.pi * t)
    return y3 - y5 - y7 - carrier, -y4 + y6 - y7 - carrier, y4 + y5 + y7 + carrier, -y3 - y6 + y7 + carrier


def _ring(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4, y5, y6, y7, y8, y9, y10, y11, y12, y13, y14, y15 = y
    c, cs, cp, r, rp, lh, ls1, ls2, ls3, rg1, rg2, rg3, ri, rc, gamma, delta = p
    q1, q2, q3, q4 = (gamma * expm1(delta * u) for u in _diodes(t, y))
    tone = 0.5 * sin(2e3 * math.pi * t)
    return (
        (y8 - 0.5 * y10 + 0.5 * y11 + y14 - y1 / r) / c,
        (y9 - 0.5 * y12 + 0.5 * y13 + y15 - y2 / r) / c,
        (y10 - q1 + q4) / cs,
        (-y11 + q2 - q3) / cs,
        (y12 + q1 - q3) / cs,
        (-y13 - q2 + q4) / cs,
        (-y7 / rp + q1 + q2 - q3 - q4) / cp,
        -y1 / lh,
        -y2 / lh,
        (0.5 * y1 - y3 - rg2 * y10) / ls2,
        (-0.5 * y1 + y4 - rg3 * y11) / ls3,
        (0.5 * y2 - y5 - rg2 * y12) / ls2,
        (-0.5 * y2 + y6 - rg3 * y13) / ls3,
        (-y1 + tone - (ri + rg1) * y14) / ls1,
        (-y2 - (rc + rg1) * y15) / ls1,
    )


def _ring_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    c, cs, cp, r, rp, lh, ls1, ls2, ls3, rg1, rg2, rg3, ri, rc, gamma, delta = p
    d1, d2, d3, d4 = (gamma * delta * exp(delta * u) for u in _diodes(t, y))
    z = 0.0
    half, half2, half3 = 0.5 / c, 0.5 / ls2, 0.5 / ls3
    a, b1, b2, b3, k = 1 / c, 1 / ls1, 1 / ls2, 1 / ls3, 1 / cs
    return (
        (-a / r, z, z, z, z, z, z, a, z, -half, half, z, z, a, z),
        (z, -a / r, z, z, z, z, z, z, a, z, z, -half, half, z, a),
        (z, z, (-d1 - d4) / cs, z, d1 / cs, -d4 / cs, (d1 + d4) / cs, z, z, k, z, z, z, z, z),
        (z, z, z, (-d2 - d3) / cs, -d3 / cs, d2 / cs, (-d2 - d3) / cs, z, z, z, -k, z, z, z, z),
        (z, z, d1 / cs, -d3 / cs, (-d1 - d3) / cs, z, (-d1 - d3) / cs, z, z, z, z, k, z, z, z),
        (z, z, -d4 / cs, d2 / cs, z, (-d2 - d4) / cs, (d2 + d4) / cs, z, z, z, z, z, -k, z, z),
        (
            *(z, z, (d1 + d4) / cp, (-d2 - d3) / cp, (-d1 - d3) / cp, (d2 + d4) / cp),
            *((-1 / rp - d1 - d2 - d3 - d4) / cp, z, z, z, z, z, z, z, z),
        ),
        (-1 / lh, z, z, z, z, z, z, z, z, z, z, z, z, z, z),
        (z, -1 / lh, z, z, z, z, z, z, z, z, z, z, z, z, z),
        (half2, z, -b2, z, z, z, z, z, z, -rg2 / ls2, z, z, z, z, z),
        (-half3, z, z, b3, z, z, z, z, z, z, -rg3 / ls3, z, z, z, z),
        (z, half2, z, z, -b2, z, z, z, z, z, z, -rg2 / ls2, z, z, z),
        (z, -half3, z, z, z, b3, z, z, z, z, z, z, -rg3 / ls3, z, z),
        (-b1, z, z, z, z, z, z, z, z, z, z, z, z, -(ri + rg1) / ls1, z),
        (z, -b1, z, z, z, z, z, z, z, z, z, z, z, z, -(rc + rg1) / ls1),
    )


def ring_modulator() -> Problem:
    """A low tone mixed with a carrier by a ring of four diodes: seven voltages and eight currents, driven in time; n = 15.

    C y1' = y8 - y10/2 + y11/2 + y14 - y1/R,   Cs y3' = y10 - q(U1) + q(U4),   Lh y8' = -y1,
    Cp y7' = -y7/Rp + q(U1) + q(U2) - q(U3) - q(U4),   Ls2 y10' = y1/2 - y3 - Rg2 y10,
    Ls1 y14' = -y1 + u1(t) - (Ri + Rg1) y14,   and alike for the others; q(U) = gamma (exp(delta U) - 1),
    U1 = y3 - y5 - y7 - u2(t) and three more sums, u1 = sin(2000 pi t)/2, u2 = 2 sin(20000 pi t);
    args = (C, Cs, Cp, R, Rp, Lh, Ls1, Ls2, Ls3, Rg1, Rg2, Rg3, Ri, Rc, gamma, delta).
    Kampowsky, Rentrop & Schmidt, Surveys Math. Indust. 2 (1992) 23; IVP test set 2.4, RING.
    Caveat: the parasitic Cs = 2e-12 makes fast oscillations that any method must follow, thousands of steps a millisecond.
    """
    published = (
        *(-0.2339057358486745e-1, -0.7367485485540825e-2, 0.2582956709291169, -0.4064465721283450),
        *(-0.4039455665149794, 0.2607966765422943, 0.1106761861269975, 0.2939904342435596e-6),
        *(-0.2840029933642329e-7, 0.7267198267264553e-3, 0.7929487196960840e-3, -0.7255283495698965e-3),
        *(-0.7941401968526521e-3, 0.7088495416976114e-4, 0.2390059075236570e-4),
    )
    return from_terms(
        "ring_modulator",
        _ring,
        _ring_rows,
        (0.0,) * 15,
        1e-3,
        (
            *(1.6e-8, 2e-12, 1e-8, 25e3, 50.0, 4.45, 2e-3, 5e-4, 5e-4),
            *(36.3, 17.3, 17.3, 50.0, 600.0, 40.67286402e-9, 17.7493332),
        ),
        stiff=True,
        spread=Spread(args_log=0.02),
        reference=vector(published),
        digits=8.0,  # as far as CVODE at rtol 1e-9, 1e-10 and 1e-11 is seen to close in on it
        source="IVP test set 2.4 (Mazzia & Magherini 2008), RING",
    )


_CAPACITIES = (1e-6, 2e-6, 3e-6, 4e-6, 5e-6)


def _amplifier(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4, y5, y6, y7, y8 = y
    ub, uf, alpha, beta, r0, r1, r2, r3, r4, r5, r6, r7, r8, r9 = p
    signal = 0.1 * sin(200 * math.pi * t)
    g23, g56 = beta * expm1((y2 - y3) / uf), beta * expm1((y5 - y6) / uf)
    return (
        (signal - y1) / r0,
        (ub - y2) / r2 - y2 / r1 - (1 - alpha) * g23,
        g23 - y3 / r3,
        (ub - y4) / r4 - alpha * g23,
        (ub - y5) / r6 - y5 / r5 - (1 - alpha) * g56,
        g56 - y6 / r7,
        (ub - y7) / r8 - alpha * g56,
        -y8 / r9,
    )


def _amplifier_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    _, y2, y3, _, y5, y6, _, _ = y
    _, uf, alpha, beta, r0, r1, r2, r3, r4, r5, r6, r7, r8, r9 = p
    d23, d56 = beta / uf * exp((y2 - y3) / uf), beta / uf * exp((y5 - y6) / uf)
    z, base = 0.0, 1 - alpha
    return (
        (-1 / r0, z, z, z, z, z, z, z),
        (z, -1 / r1 - 1 / r2 - base * d23, base * d23, z, z, z, z, z),
        (z, d23, -1 / r3 - d23, z, z, z, z, z),
        (z, -alpha * d23, alpha * d23, -1 / r4, z, z, z, z),
        (z, z, z, z, -1 / r5 - 1 / r6 - base * d56, base * d56, z, z),
        (z, z, z, z, d56, -1 / r7 - d56, z, z),
        (z, z, z, z, -alpha * d56, alpha * d56, -1 / r8, z),
        (z, z, z, z, z, z, z, -1 / r9),
    )


def _at_rest(args: Tensor) -> Tensor:
    """The state without a signal, which satisfies the algebraic equations: (b, 14) -> (b, 8)."""
    ub, _, _, _, _, r1, r2, _, _, r5, r6, *_ = args.unbind(-1)
    first, second, nothing = ub * r1 / (r1 + r2), ub * r5 / (r5 + r6), torch.zeros_like(ub)
    return torch.stack([nothing, first, first, ub, second, second, ub, nothing], -1)


def _consistent_amplifier(problem: Problem, b: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    _, args = Spread(args_log=(0.1, 0.02, 0.0, 0.1, *(0.1,) * 10))(problem, b, generator)
    return _at_rest(args).to(problem.x0.dtype), args


def transistor_amplifier() -> Problem:
    """Two transistors amplify a tone: M x' = f(t, x) for eight node voltages, M of rank 5, index 1.

    M couples the nodes of each capacitor: C1 (y1' - y2') enters equation 1 and its negative equation 2, the same for C3 with
    nodes 4 and 5 and C5 with 7 and 8; C2 y3' and C4 y6' stand alone, C_k = k microfarad. The right sides are
    (u - y1)/R0,   (Ub - y2)/R2 - y2/R1 - (1 - a) g(y2 - y3),   g(y2 - y3) - y3/R3,   (Ub - y4)/R4 - a g(y2 - y3),
    (Ub - y5)/R6 - y5/R5 - (1 - a) g(y5 - y6),   g(y5 - y6) - y6/R7,   (Ub - y7)/R8 - a g(y5 - y6),   -y8/R9,
    u = sin(200 pi t)/10, g(U) = beta (exp(U / Uf) - 1). args = (Ub, Uf, a, beta, R0, ..., R9).
    Hairer, Lubich & Roche (1989) LNM 1409, p. 108; IVP test set 2.4, TRANSAMP. `sample` starts at rest, consistently.
    Caveat: entries of M are 1e-6, so a pivot or a rank judged by its absolute size finds M to be zero.
    """
    c1, c2, c3, c4, c5 = _CAPACITIES
    mass = torch.diag(vector((-c1, -c1, -c2, -c3, -c3, -c4, -c5, -c5)))
    for i, c in ((0, c1), (3, c3), (6, c5)):
        mass[i, i + 1] = mass[i + 1, i] = c
    args = (6.0, 0.026, 0.99, 1e-6, 1e3, *(9e3,) * 9)
    return from_terms(
        "transistor_amplifier",
        _amplifier,
        _amplifier_rows,
        _at_rest(vector(args)[None])[0].tolist(),
        0.2,
        args,
        stiff=True,
        spread=_consistent_amplifier,
        mass=-mass,
    )

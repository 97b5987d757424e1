"""Reaction kinetics, the classical source of stiffness: Robertson, HIRES, Oregonator, POLLU."""

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from odebridge.problems.base import Problem
from odebridge.problems.componentwise import Field, Jacobian
from odebridge.problems.spread import Spread

_TEST_SET = "IVP test set 2.4 (Mazzia & Magherini 2008), "


def _robertson(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    a, b, c = y
    k1, k2, k3 = p
    slow, fast, back = k1 * a, k2 * b * b, k3 * b * c
    return back - slow, slow - back - fast, fast


def _robertson_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    _, b, c = y
    k1, k2, k3 = p
    fast, by_b, by_c = 2 * k2 * b, k3 * c, k3 * b
    return (-k1, by_b, by_c), (k1, -by_b - fast, -by_c), (0.0, fast, 0.0)


def robertson(t1: float = 1e11) -> Problem:
    """Robertson's autocatalysis, a' = -k1 a + k3 b c, b' = k1 a - k3 b c - k2 b^2, c' = k2 b^2; args = (0.04, 3e7, 1e4).

    Robertson (1966) in Walsh, Numerical Analysis: an Introduction, 178. The reference is the test set's at t1 = 1e11; for any
    other t1 there is none. `sample` draws the three rates log-normally with sigma 0.3. a + b + c = 1 is conserved.
    Caveat: b is about 1e-13 at the end and negative values of it blow up, so atol must be far below 1e-6.
    """
    end = [0.2083340149701255e-7, 0.8333360770334713e-13, 0.9999999791665050]
    return Problem(
        Field(_robertson),
        torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64),
        (0.0, t1),
        torch.tensor([0.04, 3e7, 1e4], dtype=torch.float64),
        Jacobian(_robertson_rows),
        name="robertson",
        reference=torch.tensor(end, dtype=torch.float64) if t1 == 1e11 else None,
        source=_TEST_SET + "ROBER",
        digits=12.0 if t1 == 1e11 else None,
        stiff=True,
        spread=Spread(args_log=0.3),
    )


def _hires(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    y1, y2, y3, y4, y5, y6, y7, y8 = y
    k1, k2, k3, k4, k5, k6, bind, split, decay, source = p
    bound, freed = bind * y6 * y8, (k2 + split + decay) * y7
    return (
        k2 * y2 + k6 * y3 + source - k1 * y1,
        k1 * y1 - (k2 + k3) * y2,
        k2 * y4 + k5 * y5 - (k6 + k1) * y3,
        k3 * y2 + k1 * y3 - (k4 + k2) * y4,
        k2 * y6 + k2 * y7 - (k5 + k1) * y5,
        k4 * y4 + k1 * y5 - k2 * y6 + split * y7 - bound,
        bound - freed,
        freed - bound,
    )


def _hires_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    k1, k2, k3, k4, k5, k6, bind, split, decay, _ = p
    by_6, by_8, freed = bind * y[7], bind * y[5], k2 + split + decay
    return (
        (-k1, k2, k6, 0.0, 0.0, 0.0, 0.0, 0.0),
        (k1, -(k2 + k3), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, -(k6 + k1), k2, k5, 0.0, 0.0, 0.0),
        (0.0, k3, k1, -(k4 + k2), 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0, -(k5 + k1), k2, k2, 0.0),
        (0.0, 0.0, 0.0, k4, k1, -k2 - by_6, split, -by_8),
        (0.0, 0.0, 0.0, 0.0, 0.0, by_6, -freed, by_8),
        (0.0, 0.0, 0.0, 0.0, 0.0, -by_6, freed, -by_8),
    )


def hires() -> Problem:
    """High irradiance response of a plant: eight species, nine rates and a source; all linear but y6 + y8 -> y7.

    args = (k1..k6, k+, k-, k*, source) = (1.71, 0.43, 8.32, 0.69, 0.035, 8.32, 280, 0.69, 0.69, 0.0007).
    Schaefer, J. Math. Biol. 2 (1975) 41; Hairer & Wanner II, section IV.10. y7 + y8 = 0.0057 is conserved.
    Caveat: the span ends inside a steep fall, just where y7 and y8 cross, so an error of phase shows in full.
    """
    return Problem(
        Field(_hires),
        torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0.0057], dtype=torch.float64),
        (0.0, 321.8122),
        torch.tensor([1.71, 0.43, 8.32, 0.69, 0.035, 8.32, 280.0, 0.69, 0.69, 0.0007], dtype=torch.float64),
        Jacobian(_hires_rows),
        name="hires",
        reference=torch.tensor(
            [
                *(0.7371312573325668e-3, 0.1442485726316185e-3, 0.5888729740967575e-4, 0.1175651343283149e-2),
                *(0.2386356198831331e-2, 0.6238968252742796e-2, 0.2849998395185769e-2, 0.2850001604814231e-2),
            ],
            dtype=torch.float64,
        ),
        source=_TEST_SET + "HIRES",
        digits=14.0,
        stiff=True,
        spread=Spread(x0_log=0.2, args_log=0.1),
    )


def _orego(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    a, b, c = y
    s, q, w = p
    return s * (b + a * (1 - q * a - b)), (c - (1 + a) * b) / s, w * (a - c)


def _orego_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    a, b, _ = y
    s, q, w = p
    return (s * (1 - 2 * q * a - b), s * (1 - a), 0.0), (-b / s, -(1 + a) / s, 1 / s), (w, 0.0, -w)


def orego() -> Problem:
    """Oregonator, a' = s (b + a (1 - q a - b)), b' = (c - (1 + a) b) / s, c' = w (a - c); args = (77.27, 8.375e-6, 0.161).

    Field & Noyes, J. Chem. Phys. 60 (1974) 1877: the Belousov-Zhabotinskii reaction. Caveat: a limit cycle with jumps over
    five decades, so a small error of phase is a large error of state; score it near the reference time only.
    """
    return Problem(
        Field(_orego),
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
        (0.0, 360.0),
        torch.tensor([77.27, 8.375e-6, 0.161], dtype=torch.float64),
        Jacobian(_orego_rows),
        name="orego",
        reference=torch.tensor([0.1000814870318523e1, 0.1228178521549917e4, 0.1320554942846706e3], dtype=torch.float64),
        source=_TEST_SET + "OREGO",
        digits=13.0,
        stiff=True,
        spread=Spread(x0_log=0.3, args_log=0.05),
    )


# One line per reaction of POLLU, species counted from 1: rate constant, the one or two species it is proportional to, then
# the net gain of every species.
_POLLU: tuple[tuple[float, tuple[int, ...], dict[int, int]], ...] = (
    (0.35, (1,), {1: -1, 2: 1, 3: 1}),
    (26.6, (2, 4), {1: 1, 2: -1, 4: -1}),
    (1.23e4, (2, 5), {1: 1, 2: -1, 5: -1, 6: 1}),
    (8.6e-4, (7,), {5: 2, 7: -1, 8: 1}),
    (8.2e-4, (7,), {7: -1, 8: 1}),
    (1.5e4, (6, 7), {5: 1, 6: -1, 7: -1, 8: 1}),
    (1.3e-4, (9,), {5: 1, 8: 1, 9: -1, 10: 1}),
    (2.4e4, (6, 9), {6: -1, 9: -1, 11: 1}),
    (1.65e4, (2, 11), {1: 1, 2: -1, 10: 1, 11: -1, 12: 1}),
    (9.0e3, (1, 11), {1: -1, 11: -1, 13: 1}),
    (0.022, (13,), {1: 1, 11: 1, 13: -1}),
    (1.2e4, (2, 10), {1: 1, 2: -1, 10: -1, 14: 1}),
    (1.88, (14,), {5: 1, 7: 1, 14: -1}),
    (1.63e4, (1, 6), {1: -1, 6: -1, 15: 1}),
    (4.8e6, (3,), {3: -1, 4: 1}),
    (3.5e-4, (4,), {4: -1, 16: 1}),
    (0.0175, (4,), {3: 1, 4: -1}),
    (1.0e8, (16,), {6: 2, 16: -1}),
    (4.44e11, (16,), {3: 1, 16: -1}),
    (1.24e3, (6, 17), {5: 1, 6: -1, 17: -1, 18: 1}),
    (2.1, (19,), {2: 1, 19: -1}),
    (5.78, (19,), {1: 1, 3: 1, 19: -1}),
    (0.0474, (1, 4), {1: -1, 4: -1, 19: 1}),
    (1.78e3, (1, 19), {1: -1, 19: -1, 20: 1}),
    (3.12, (20,), {1: 1, 19: 1, 20: -1}),
)


def _add(total: Any, gain: int, rate: Any) -> Any:
    """Total + gain * rate; a total that is still the number 0.0 costs nothing."""
    term = rate if gain in (1, -1) else abs(gain) * rate
    if isinstance(total, float) and total == 0.0:
        return term if gain > 0 else -term
    return total + term if gain > 0 else total - term


def _pollu(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    f: list[Any] = [0.0] * 20
    for k, (_, species, gains) in zip(p, _POLLU, strict=True):
        rate = k * y[species[0] - 1]
        if len(species) == 2:
            rate = rate * y[species[1] - 1]
        for i, gain in gains.items():
            f[i - 1] = _add(f[i - 1], gain, rate)
    return f


def _pollu_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    rows: list[list[Any]] = [[0.0] * 20 for _ in range(20)]
    for k, (_, species, gains) in zip(p, _POLLU, strict=True):
        # d(k y_a y_b)/dy_a = k y_b and the other way round; a reaction of one species has the constant slope k.
        a, b = species[0], species[-1]
        slopes = {a: k} if len(species) == 1 else {a: k * y[b - 1], b: k * y[a - 1]}
        for j, slope in slopes.items():
            for i, gain in gains.items():
                rows[i - 1][j - 1] = _add(rows[i - 1][j - 1], gain, slope)
    return rows


def pollu() -> Problem:
    """Air pollution model of the Dutch RIVM: 20 species, 25 reactions of mass action; args = the 25 rate constants.

    Verwer, SIAM J. Sci. Comput. 15 (1994) 1243. Caveat: species 16 ends at 4e-18 and the rates span 15 decades, so relative
    accuracy there needs a tiny atol; judge it by max|y - reference| / (|reference| + atol), not component by component.
    """
    x0 = torch.zeros(20, dtype=torch.float64)
    for species, amount in {2: 0.2, 4: 0.04, 7: 0.1, 8: 0.3, 9: 0.01, 17: 0.007}.items():
        x0[species - 1] = amount
    return Problem(
        Field(_pollu),
        x0,
        (0.0, 60.0),
        torch.tensor([k for k, _, _ in _POLLU], dtype=torch.float64),
        Jacobian(_pollu_rows),
        name="pollu",
        reference=torch.tensor(
            [
                *(0.5646255480022769e-1, 0.1342484130422339, 0.4139734331099427e-8, 0.5523140207484359e-2),
                *(0.2018977262302196e-6, 0.1464541863493966e-6, 0.7784249118997964e-1, 0.3245075353396018),
                *(0.7494013383880406e-2, 0.1622293157301561e-7, 0.1135863833257075e-7, 0.2230505975721359e-2),
                *(0.2087162882798630e-3, 0.1396921016840158e-4, 0.8964884856898295e-2, 0.4352846369330103e-17),
                *(0.6899219696263405e-2, 0.1007803037365946e-3, 0.1772146513969984e-5, 0.5682943292316392e-4),
            ],
            dtype=torch.float64,
        ),
        source=_TEST_SET + "POLLU",
        digits=13.0,
        stiff=True,
        spread=Spread(x0_log=0.2, args_log=0.2),
    )

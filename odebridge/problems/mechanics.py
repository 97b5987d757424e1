"""Bodies in orbit: the Pleiades problem and Arenstorf's orbit. Neither is stiff; both need steps of very different length."""

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.problems.base import Problem
from odebridge.problems.build import from_terms
from odebridge.problems.componentwise import Field, sqrt
from odebridge.problems.spread import Spread


def _pleiades(t: Any, x: Float[Tensor, "b 28"], masses: Float[Tensor, "b 7"]) -> Float[Tensor, "b 28"]:
    p = x[:, :14].unflatten(1, (2, 7))
    d = p[:, :, None, :] - p[:, :, :, None]  # (b, 2, i, j): from star i to star j, in x and in y
    itself = torch.eye(7, dtype=x.dtype, device=x.device)  # no star pulls itself: 0 / 1, not 0 / 0
    square = d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1] + itself
    pull = masses[:, None, :] / (square * square.sqrt())
    # Summed in a fixed order: the order inside sum() may depend on the size of the batch.
    total, *rest = (pull[:, None] * d).unbind(-1)
    for force in rest:
        total = total + force
    return torch.cat([x[:, 14:], total.flatten(1)], -1)


def pleiades() -> Problem:
    """Seven stars in a plane, p_i'' = sum_j m_j (p_j - p_i) / |p_j - p_i|^3 with m_j = j; n = 28, args = the masses (7,).

    The state is x_1..x_7, y_1..y_7, x_1'..x_7', y_1'..y_7'. Hairer, Norsett & Wanner I, section II.10 ("Pleiades").
    Caveat: near collisions amplify errors some 400 times; two stars that meet exactly give infinite values.
    """
    return Problem(
        _pleiades,
        torch.tensor(
            [3, 3, -1, -3, 2, -2, 2, 3, -3, 2, 0, 0, -4, 4, 0, 0, 0, 0, 0, 1.75, -1.5, 0, 0, 0, -1.25, 1, 0, 0],
            dtype=torch.float64,
        ),
        (0.0, 3.0),
        torch.arange(1.0, 8.0, dtype=torch.float64),
        name="pleiades",
        reference=torch.tensor(
            [
                *(0.3706139143970502, 3.237284092057233, -3.222559032418324, 0.6597091455775310),
                *(0.3425581707156584, 1.562172101400631, -0.7003092922212495),
                *(-3.943437585517392, -3.271380973972550, 5.225081843456543, -2.590612434977470),
                *(1.198213693392275, -0.2429682344935824, 1.091449240428980),
                *(3.417003806314313, 1.354584501625501, -2.590065597810775, 2.025053734714242),
                *(-1.155815100160448, -0.8072988170223021, 0.5952396354208710),
                *(-3.741244961234010, 0.3773459685750630, 0.9386858869551073, 0.3667922227200571),
                *(-0.3474046353808490, 2.344915448180937, -1.947020434263292),
            ],
            dtype=torch.float64,
        ),
        source="IVP test set 2.4 (Mazzia & Magherini 2008), PLEI",
        digits=12.0,
        spread=Spread(x0_add=0.02, args_log=0.02),
    )


def _arenstorf(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    a, b, va, vb = y
    (mu,) = p
    to_earth, to_moon = a + mu, a - (1 - mu)
    square, other = to_earth * to_earth + b * b, to_moon * to_moon + b * b
    earth = (1 - mu) / (square * sqrt(square))
    moon = mu / (other * sqrt(other))
    return va, vb, a + 2 * vb - earth * to_earth - moon * to_moon, b - 2 * va - earth * b - moon * b


def arenstorf() -> Problem:
    """Arenstorf's orbit of a satellite around earth and moon, seen from the rotating frame; state (a, b, a', b'), args = (mu).

    a'' = a + 2 b' - (1 - mu) (a + mu) / D1 - mu (a - 1 + mu) / D2,   D1 = ((a + mu)^2 + b^2)^(3/2),
    b'' = b - 2 a' - (1 - mu) b / D1 - mu b / D2,                     D2 = ((a - 1 + mu)^2 + b^2)^(3/2).
    Arenstorf, Amer. J. Math. 85 (1963) 27. One period, so the solution ends where it began.
    Caveat: it passes the moon closely and amplifies errors two million times, so double precision keeps 10 digits.
    """
    x0 = torch.tensor([0.994, 0.0, 0.0, -2.00158510637908252240537862224], dtype=torch.float64)
    return Problem(
        Field(_arenstorf),
        x0,
        (0.0, 17.0652165601579625588917206249),
        torch.tensor([0.012277471], dtype=torch.float64),
        name="arenstorf",
        reference=x0.clone(),
        source="periodic: the initial state (Hairer, Norsett & Wanner I, 2nd ed. 1993, chapter II, eq. 0.2)",
        digits=10.0,
        spread=Spread(x0_add=(5e-4, 5e-4, 5e-3, 5e-3)),
    )


def _henon_heiles(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    a, b, pa, pb = y
    (lam,) = p
    return pa, pb, -a - 2 * lam * a * b, -b - lam * (a * a - b * b)


def _henon_heiles_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    a, b, _, _ = y
    (lam,) = p
    by_a, by_b = 2 * lam * a, 2 * lam * b
    return (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0), (-1 - by_b, -by_a, 0.0, 0.0), (-by_a, by_b - 1, 0.0, 0.0)


def henon_heiles() -> Problem:
    """A star in a galaxy with an axis, H = (pa^2 + pb^2 + a^2 + b^2)/2 + lam (a^2 b - b^3/3); state (a, b, pa, pb).

    a' = pa,   b' = pb,   pa' = -a - 2 lam a b,   pb' = -b - lam (a^2 - b^2), from (0, 0.1, 0.5, 0) over [0, 20];
    args = (lam) = (1). Henon & Heiles, Astron. J. 69 (1964) 73. H = 0.12967 is conserved; above 1/6 trajectories escape.
    Caveat: at this energy most orbits are chaotic, so the span is short.
    """
    return from_terms(
        "henon_heiles",
        _henon_heiles,
        _henon_heiles_rows,
        (0.0, 0.1, 0.5, 0.0),
        20.0,
        (1.0,),
        spread=Spread(x0_add=0.02, args_log=0.02),
    )

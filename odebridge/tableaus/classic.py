"""Explicit tableaus that other libraries name and the catalogue has no use for; checked like the others."""

from __future__ import annotations

from odebridge.tableaus.base import ButcherTableau

MIDPOINT = ButcherTableau(
    name="midpoint",
    order=2,
    a=((), (1 / 2,)),
    b=(0.0, 1.0),
    c=(0.0, 1 / 2),
    reference="Runge, Math. Ann. 46, 1895",
)

HEUN3 = ButcherTableau(
    name="heun3",
    order=3,
    a=((), (1 / 3,), (0.0, 2 / 3)),
    b=(1 / 4, 0.0, 3 / 4),
    c=(0.0, 1 / 3, 2 / 3),
    reference="Heun, Z. Math. Phys. 45, 1900",
)

RK4_38 = ButcherTableau(
    name="rk4_38",
    order=4,
    a=((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    c=(0.0, 1 / 3, 2 / 3, 1.0),
    reference="Kutta, Z. Math. Phys. 46, 1901 (the 3/8 rule)",
)

FEHLBERG2 = ButcherTableau(
    name="fehlberg2",
    order=2,
    a=((), (1 / 2,), (1 / 256, 255 / 256)),
    b=(1 / 512, 255 / 256, 1 / 512),
    c=(0.0, 1 / 2, 1.0),
    b_hat=(1 / 256, 255 / 256, 0.0),
    embedded_order=1,
    reference="Fehlberg, NASA TR R-315, 1969 (RKF1(2), the second order carried on)",
)

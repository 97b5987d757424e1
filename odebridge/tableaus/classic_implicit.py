"""Small implicit tableaus that other libraries name; the embedded weights are there for the interface, nobody steps by them."""

from __future__ import annotations

import math

from odebridge.tableaus.base import DirkTableau
from odebridge.tableaus.collocation import collocation, gauss_nodes

IMPLICIT_EULER = DirkTableau(
    name="implicit_euler",
    order=1,
    gamma=1.0,
    a=((), (0.0,)),
    b=(0.0, 1.0),
    c=(0.0, 1.0),
    b_hat=(1 / 2, 1 / 2),
    embedded_order=2,
    reference="Euler backward; Curtiss & Hirschfelder, Proc. Natl. Acad. Sci. 38, 1952",
)

TRAPEZOID = DirkTableau(
    name="trapezoid",
    order=2,
    gamma=1 / 2,
    a=((), (1 / 2,)),
    b=(1 / 2, 1 / 2),
    c=(0.0, 1.0),
    b_hat=(0.0, 1.0),
    embedded_order=1,
    reference="Crank & Nicolson, Proc. Camb. Phil. Soc. 43, 1947",
)

_G = 1.0 - 1.0 / math.sqrt(2.0)

SDIRK2 = DirkTableau(
    name="sdirk2",
    order=2,
    gamma=_G,
    a=((), (0.0,), (0.0, 1.0 - _G)),
    b=(0.0, 1.0 - _G, _G),
    c=(0.0, _G, 1.0),
    b_hat=(0.0, 1.0, 0.0),
    embedded_order=1,
    reference="Alexander, SIAM J. Numer. Anal. 14, 1977; an explicit first stage of weight 0 is added",
)

IMPLICIT_MIDPOINT = collocation("implicit_midpoint", 2, gauss_nodes(1), "Gauss with one stage; Kuntzmann, 1961")

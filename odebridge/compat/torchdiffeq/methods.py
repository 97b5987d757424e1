"""torchdiffeq's method names, and those of the catalogue beside them."""

from __future__ import annotations

from odebridge.core.names import lookup
from odebridge.core.protocols import Method
from odebridge.methods.adams import AdamsBashforth, AdamsMoulton
from odebridge.methods.catalogue import METHODS
from odebridge.methods.collocation import Collocation
from odebridge.methods.dirk import Dirk
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.tableaus import classic, classic_implicit, collocation, dirk, explicit

ADAPTIVE: dict[str, Method] = {
    "dopri8": ExplicitRK(explicit.DOPRI8),
    "dopri5": ExplicitRK(explicit.DOPRI5),
    "tsit5": ExplicitRK(explicit.TSIT5),
    "bosh3": ExplicitRK(explicit.BOSH3),
    "fehlberg2": ExplicitRK(classic.FEHLBERG2),
    "adaptive_heun": ExplicitRK(explicit.HEUN),
}

FIXED: dict[str, Method] = {
    "euler": ExplicitRK(explicit.EULER),
    "midpoint": ExplicitRK(classic.MIDPOINT),
    "heun2": ExplicitRK(explicit.HEUN),
    "heun3": ExplicitRK(classic.HEUN3),
    "rk4": ExplicitRK(classic.RK4_38),
    "explicit_adams": AdamsBashforth(),
    "implicit_adams": AdamsMoulton(),
    "fixed_adams": AdamsMoulton(),
    "implicit_euler": Dirk(classic_implicit.IMPLICIT_EULER),
    "implicit_midpoint": Collocation(classic_implicit.IMPLICIT_MIDPOINT),
    "gl2": Collocation(classic_implicit.IMPLICIT_MIDPOINT),
    "trapezoid": Dirk(classic_implicit.TRAPEZOID),
    "radauIIA3": Collocation(collocation.RADAU3),
    "radauIIA5": Collocation(collocation.RADAU5),
    "gl4": Collocation(collocation.GAUSS4),
    "gl6": Collocation(collocation.GAUSS6),
    "sdirk2": Dirk(classic_implicit.SDIRK2),
    "trbdf2": Dirk(dirk.TR_BDF2),
}

SCIPY = "scipy_solver"


def method_of(name: str | Method | None) -> tuple[Method, bool]:
    """The method and whether its steps are given; None is dopri5. ValueError for an unknown name."""
    if not isinstance(name, str) and name is not None:
        if not callable(getattr(name, "step", None)) or isinstance(name, type):
            raise TypeError(f"method: must be a name or a Method, got {name!r}.")
        return name, name.error_order is None
    name = "dopri5" if name is None else name
    if name in ADAPTIVE:
        return ADAPTIVE[name], False
    if name in FIXED:
        return FIXED[name], True
    method = lookup("method", name, METHODS | ADAPTIVE | FIXED)
    return method, method.error_order is None or method.law == "fixed"

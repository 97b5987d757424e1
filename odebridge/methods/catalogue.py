"""METHODS: a new method is one tableau and one line here; the contract tests and the docs tables follow."""

from __future__ import annotations

from odebridge.core.names import matching
from odebridge.core.protocols import Method
from odebridge.methods import symplectic
from odebridge.methods.adams import AdamsBashforth, AdamsMoulton
from odebridge.methods.auto import Auto
from odebridge.methods.bdf import Bdf
from odebridge.methods.borrowed import BORROWED
from odebridge.methods.collocation import Collocation
from odebridge.methods.dirk import Dirk
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Rosenbrock
from odebridge.methods.stabilised import RKC2, RKL2
from odebridge.methods.symplectic import Symplectic
from odebridge.tableaus import collocation, dirk, explicit, rosenbrock, rosenbrock_w

METHODS: dict[str, Method] = {
    "euler": ExplicitRK(explicit.EULER, law="fixed"),
    "heun": ExplicitRK(explicit.HEUN),
    "rk4": ExplicitRK(explicit.RK4, law="fixed"),
    "bosh3": ExplicitRK(explicit.BOSH3),
    "dopri5": ExplicitRK(explicit.DOPRI5),
    "tsit5": ExplicitRK(explicit.TSIT5),
    "dopri8": ExplicitRK(explicit.DOPRI8),
    "rosenbrock23": Rosenbrock(rosenbrock.ROSENBROCK23),
    "rodas4": Rosenbrock(rosenbrock.RODAS4),
    "rodas3p": Rosenbrock(rosenbrock.RODAS3P),
    "rodas4pw": Rosenbrock(rosenbrock_w.RODAS4PW),
    "ros34pw2": Rosenbrock(rosenbrock_w.ROS34PW2, algebraic=False),
    "rodas5p": Rosenbrock(rosenbrock.RODAS5P),
    "tr_bdf2": Dirk(dirk.TR_BDF2),
    "kvaerno3": Dirk(dirk.KVAERNO3),
    "kvaerno4": Dirk(dirk.KVAERNO4),
    "kvaerno5": Dirk(dirk.KVAERNO5),
    "kencarp3": Dirk(dirk.KENCARP3),
    "kencarp4": Dirk(dirk.KENCARP4),
    "kencarp5": Dirk(dirk.KENCARP5),
    "radau3": Collocation(collocation.RADAU3),
    "radau5": Collocation(collocation.RADAU5),
    "radau9": Collocation(collocation.RADAU9),
    "gauss4": Collocation(collocation.GAUSS4),
    "gauss6": Collocation(collocation.GAUSS6),
    "bdf": Bdf(),
    "rkc2": RKC2(),
    "rkl2": RKL2(),
    "verlet": Symplectic(symplectic.VERLET),
    "leapfrog": Symplectic(symplectic.LEAPFROG),
    "yoshida4": Symplectic(symplectic.YOSHIDA4),
    "explicit_adams": AdamsBashforth(),
    "implicit_adams": AdamsMoulton(),
    "auto": Auto(ExplicitRK(explicit.TSIT5), Rosenbrock(rosenbrock.RODAS5P)),
}


def list_methods(pattern: str = "*") -> list[str]:
    """Names of the methods that match a wildcard pattern, the borrowed ones last: `ob.list_methods("rodas*")`."""
    return matching({**METHODS, **BORROWED}, pattern)

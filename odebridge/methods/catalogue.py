"""METHODS: a new method is one tableau and one line here; the contract tests and the docs tables follow."""

from __future__ import annotations

from odebridge.core.names import matching
from odebridge.core.protocols import Method
from odebridge.methods.auto import Auto
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Rosenbrock
from odebridge.tableaus import explicit, rosenbrock

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
    "rodas5p": Rosenbrock(rosenbrock.RODAS5P),
    "auto": Auto(ExplicitRK(explicit.TSIT5), Rosenbrock(rosenbrock.RODAS5P)),
}


def list_methods(pattern: str = "*") -> list[str]:
    """Names of the methods that match a wildcard pattern: `ob.list_methods("rodas*")`."""
    return matching(METHODS, pattern)

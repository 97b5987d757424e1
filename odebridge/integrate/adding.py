"""Do the errors of the steps add up to more than was asked for? Told of BDF and methods of order 2 at tight tolerances."""

from __future__ import annotations

import warnings

from odebridge.core.protocols import Method
from odebridge.core.result import Result
from odebridge.core.told import outside
from odebridge.integrate.loops import Lanes
from odebridge.methods.bdf import Bdf

MANY = 250  # kept steps from which on it is told: 250 SHARE = 100 tolerances
# What a step leaves, in tolerances: 0.24 (Rosenbrock23, BDF) and 0.12 (TR-BDF2) on x'' = -w^2 x at every rtol, and at most 0.4
# on 10,000 random problems (benchmarks/reliability.py).
SHARE = 0.4


def told_from(method: Method) -> float:
    """The rtol from which on a method adds up errors that count; 0: it does not.

    A method that carries on the solution whose error it measures leaves in every step about what the tolerance lets pass, and
    where the problem does not damp them N steps leave N times that: E ~ N rtol ~ rtol^(p / (p + 1)), Hairer, Norsett & Wanner
    I, II.3 and II.4. At order 2 tight tolerances need many steps; BDF rises to order 5. A method that carries on the better
    of its two solutions (local extrapolation) leaves less, E ~ rtol.
    """
    if isinstance(method, Bdf):
        return 1e-7
    return 1e-5 if method.error_order is not None and method.error_order >= method.order and method.order <= 2 else 0.0


def tell_of_sums(method: Method, lanes: Lanes) -> None:
    """Warn once where a trajectory that arrived has taken `MANY` steps under a tight tolerance by such a method."""
    tight = told_from(method)
    if tight == 0.0:
        return
    steps = lanes.counts.accepted * ((lanes.tol.rtol <= tight) & (lanes.result == int(Result.OK)))
    most = int(steps.max())
    if most >= MANY:
        which = int(lanes.ids[steps.argmax()])
        order = "1 to 5" if isinstance(method, Bdf) else method.order
        words = (
            f"method {method.name!r} of order {order} took {most} steps (trajectory {which}). Each is within the tolerance, "
            "but their errors add up where the problem does not damp them: the end may be "
            f"{int(SHARE * most)} tolerances off. Take a method that leaves less of a step, 'rodas5p' or 'radau5'."
        )
        warnings.warn(words, RuntimeWarning, stacklevel=outside())

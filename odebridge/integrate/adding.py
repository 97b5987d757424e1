"""Do the errors of the steps add up to more than was asked for? Told of methods of order 2 at tight tolerances."""

from __future__ import annotations

import warnings

from odebridge.core.protocols import Method
from odebridge.core.result import Result
from odebridge.core.told import outside
from odebridge.integrate.loops import Lanes

MANY = 400  # kept steps from which on it is told: 400 SHARE = 100 tolerances
TIGHT = 1e-5  # rtol up to which it is told: at looser ones nobody expects digits
SHARE = (
    0.25  # of a tolerance that a step leaves in the end on x'' = -w^2 x: 0.24 of Rosenbrock23, 0.12 of TR-BDF2, at every rtol
)


def adds_up(method: Method) -> bool:
    """The method carries on the solution whose error it measures, at an order so low that tight tolerances need many steps.

    Every step then leaves about what the tolerance lets pass, and where the problem does not damp them N steps leave N times
    that: E ~ N rtol ~ rtol^(p / (p + 1)), Hairer, Norsett & Wanner I, II.3 and II.4. A method that carries on the better of
    its two solutions (local extrapolation) leaves less, E ~ rtol.
    """
    return method.error_order is not None and method.error_order >= method.order and method.order <= 2


def tell_of_sums(method: Method, lanes: Lanes) -> None:
    """Warn once where a trajectory that arrived has taken `MANY` steps under a tight tolerance by such a method."""
    if not adds_up(method):
        return
    steps = lanes.counts.accepted * ((lanes.tol.rtol <= TIGHT) & (lanes.result == int(Result.OK)))
    most = int(steps.max())
    if most >= MANY:
        which = int(lanes.ids[steps.argmax()])
        words = (
            f"method {method.name!r} of order {method.order} took {most} steps (trajectory {which}). Each is within the "
            "tolerance, but their errors add up where the problem does not damp them: the end may be "
            f"{int(SHARE * most)} tolerances off. A method of higher order takes fewer: try method='rodas5p'."
        )
        warnings.warn(words, RuntimeWarning, stacklevel=outside())

"""Every problem by name. A new problem is one function and one line here; the contract tests pick it up."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from odebridge.core.names import lookup, matching, nearest
from odebridge.problems.base import Problem
from odebridge.problems.chemistry import hires, orego, pollu, robertson
from odebridge.problems.linear import prothero_robinson
from odebridge.problems.mechanics import arenstorf, pleiades
from odebridge.problems.oscillators import lorenz, lotka_volterra, van_der_pol

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "van_der_pol": van_der_pol,
    "robertson": robertson,
    "hires": hires,
    "orego": orego,
    "pollu": pollu,
    "prothero_robinson": prothero_robinson,
    "lotka_volterra": lotka_volterra,
    "lorenz": lorenz,
    "pleiades": pleiades,
    "arenstorf": arenstorf,
}


def problem(name: str, **settings: Any) -> Problem:
    """Build a problem by its name, with the settings of its builder.

    Raises ValueError for an unknown name and TypeError for an unknown setting, with the nearest valid one.
    Example: `problem("van_der_pol", mu=5.0)`
    """
    builder = lookup("problem", name, PROBLEMS)
    known = inspect.signature(builder).parameters
    for setting in settings:
        if setting not in known:
            hint = nearest(setting, known) if known else "it has none; change a Problem with dataclasses.replace."
            raise TypeError(f"Problem {name!r} has no setting {setting!r}: {hint}")
    return builder(**settings)


def list_problems(pattern: str = "*") -> list[str]:
    """Names of the problems that match a wildcard pattern."""
    return matching(PROBLEMS, pattern)

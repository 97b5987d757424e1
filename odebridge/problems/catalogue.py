"""Every problem by name. A new problem is one function and one line here; the contract tests pick it up."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from odebridge.core.names import lookup, matching, nearest
from odebridge.problems.base import Problem
from odebridge.problems.beam import beam
from odebridge.problems.chemistry import hires, orego, pollu, robertson
from odebridge.problems.electronics import ring_modulator, transistor_amplifier
from odebridge.problems.enright_pryce import stiff_a2, stiff_a3, stiff_b1, stiff_b5, stiff_c5
from odebridge.problems.enright_pryce_nonlinear import stiff_d4, stiff_d6, stiff_e1, stiff_e3, stiff_f1, stiff_f3, stiff_f5
from odebridge.problems.kinetics import chemical_akzo_nobel, e5
from odebridge.problems.linear import prothero_robinson
from odebridge.problems.mechanics import arenstorf, henon_heiles, pleiades
from odebridge.problems.neurons import fitzhugh_nagumo, hodgkin_huxley
from odebridge.problems.oscillators import duffing, lorenz, lotka_volterra, rossler, van_der_pol
from odebridge.problems.reaction_diffusion import brusselator_1d, brusselator_2d, gray_scott, medical_akzo_nobel
from odebridge.problems.waves_fronts import allen_cahn, burgers, heat, kuramoto_sivashinsky

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "van_der_pol": van_der_pol,
    "robertson": robertson,
    "hires": hires,
    "orego": orego,
    "pollu": pollu,
    "e5": e5,
    "ring_modulator": ring_modulator,
    "medical_akzo_nobel": medical_akzo_nobel,
    "beam": beam,
    "chemical_akzo_nobel": chemical_akzo_nobel,
    "transistor_amplifier": transistor_amplifier,
    "prothero_robinson": prothero_robinson,
    "stiff_a2": stiff_a2,
    "stiff_a3": stiff_a3,
    "stiff_b1": stiff_b1,
    "stiff_b5": stiff_b5,
    "stiff_c5": stiff_c5,
    "stiff_d4": stiff_d4,
    "stiff_d6": stiff_d6,
    "stiff_e1": stiff_e1,
    "stiff_e3": stiff_e3,
    "stiff_f1": stiff_f1,
    "stiff_f3": stiff_f3,
    "stiff_f5": stiff_f5,
    "heat": heat,
    "allen_cahn": allen_cahn,
    "burgers": burgers,
    "kuramoto_sivashinsky": kuramoto_sivashinsky,
    "brusselator_1d": brusselator_1d,
    "brusselator_2d": brusselator_2d,
    "gray_scott": gray_scott,
    "lotka_volterra": lotka_volterra,
    "lorenz": lorenz,
    "rossler": rossler,
    "duffing": duffing,
    "fitzhugh_nagumo": fitzhugh_nagumo,
    "hodgkin_huxley": hodgkin_huxley,
    "henon_heiles": henon_heiles,
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
    """Names of the problems that match a wildcard pattern: `ob.list_problems("stiff*")`."""
    return matching(PROBLEMS, pattern)

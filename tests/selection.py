"""Which methods of the catalogue the fast suite tries where a test is dear; the others run with `pytest -m slow`."""

import pytest

FAST = {"euler", "rk4", "tsit5", "dopri8", "rosenbrock23", "rodas5p", "kvaerno5", "radau5", "bdf", "rkc2", "auto"}


def dear(methods):
    """One of each family now, the rest marked slow."""
    return [m if m in FAST else pytest.param(m, marks=pytest.mark.slow) for m in methods]

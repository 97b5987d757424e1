"""The limit of the stability function, against the function itself far out."""

from dataclasses import replace

import numpy as np
import pytest

from odebridge.tableaus import dirk, rosenbrock, rosenbrock_w
from odebridge.tableaus.base import RosenbrockTableau
from odebridge.tableaus.conditions import at_infinity, implicit_matrix, standard_form

TABLEAUS = [dirk.KVAERNO3, dirk.KENCARP3, dirk.KENCARP4, rosenbrock.RODAS3P, rosenbrock_w.ROS34PW2]


def stability(tableau, z, embedded):
    """R(z) by the weights of the standard form."""
    if isinstance(tableau, RosenbrockTableau):
        form = standard_form(tableau)
        matrix, b = form.alpha + form.gamma, form.b - form.error if embedded else form.b
    else:
        matrix, b = implicit_matrix(tableau), np.array(tableau.b_hat if embedded else tableau.b)
    ones = np.ones(len(b))
    return 1.0 + z * b @ np.linalg.solve(np.eye(len(b)) - z * matrix, ones)


@pytest.mark.parametrize("tableau", TABLEAUS, ids=lambda t: t.name)
@pytest.mark.parametrize("embedded", [True, False])
def test_the_limit_at_infinity_is_the_limit(tableau, embedded):
    moved = tableau
    if isinstance(tableau, RosenbrockTableau):  # others have no limit with other weights
        draw = np.random.default_rng(0)
        moved = replace(
            tableau, **{k: tuple(np.add(getattr(tableau, k), 1e-3 * draw.normal(size=tableau.stages))) for k in ("m", "e")}
        )
    limit = at_infinity(moved, embedded=embedded)
    assert stability(moved, -1e9, embedded) == pytest.approx(limit, abs=1e-5)
    if not embedded:
        assert at_infinity(moved) == limit


@pytest.mark.parametrize("size", [1e-12, -1e-12, 1e-6, -1e-6])
def test_an_unbounded_stability_function_is_told_beyond_rounding(size):
    tableau = dirk.KVAERNO3
    limit = at_infinity(replace(tableau, b=(tableau.b[0] + size, *tableau.b[1:])))
    assert limit == (np.inf if abs(size) > 1e-9 else pytest.approx(at_infinity(tableau), abs=1e-9))

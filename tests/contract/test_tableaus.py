"""The numbers are right: rooted trees, row sums, stability at infinity. No solver is run."""

from dataclasses import replace

import numpy as np
import pytest

from odebridge.tableaus import explicit, rosenbrock
from odebridge.tableaus.base import ButcherTableau, RosenbrockTableau
from odebridge.tableaus.conditions import at_infinity, check_butcher, check_rosenbrock, density, trees, vertices

BUTCHER = [v for v in vars(explicit).values() if isinstance(v, ButcherTableau)]
ROSENBROCK = [v for v in vars(rosenbrock).values() if isinstance(v, RosenbrockTableau)]
ROUNDING = 1e-12


def name(tableau):
    return tableau.name


def test_trees_are_counted_as_in_the_literature():
    assert [len(trees(p)) for p in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert all(vertices(t) == 6 for t in trees(6))
    assert density(((((),),),)) == 24  # the tall tree: 4!
    assert density(((), (), ())) == 4  # the bushy one


@pytest.mark.parametrize("tableau", BUTCHER, ids=name)
def test_explicit_tableau_has_the_orders_it_states_and_no_more(tableau):
    report = check_butcher(tableau)
    assert max(report.main, report.embedded, report.dense) < ROUNDING
    assert report.beyond > 1e-7
    rows = [sum(row) for row in tableau.a]
    np.testing.assert_allclose(rows, tableau.c, atol=1e-14)
    assert tableau.fsal == (tableau.name in {"bosh3", "dopri5", "tsit5", "dopri8"})


@pytest.mark.parametrize("tableau", ROSENBROCK, ids=name)
def test_rosenbrock_tableau_has_the_orders_it_states_and_damps_at_infinity(tableau):
    report = check_rosenbrock(tableau)
    assert max(report.main, report.embedded, report.dense) < ROUNDING
    assert report.beyond > 1e-7
    assert abs(at_infinity(tableau)) < ROUNDING
    assert tableau.fsal == (tableau.name == "rosenbrock23")


def test_swapped_weights_are_caught():
    """torchdiffeq's git head carried on Tsit5's embedded weights; row sums cannot see that."""
    tsit5 = explicit.TSIT5
    assert tsit5.b_hat is not None
    swapped = replace(tsit5, b=tsit5.b_hat, b_hat=tsit5.b)
    assert abs(sum(swapped.b) - 1) < 1e-14
    assert check_butcher(swapped).main > 1e-5


def test_a_mistyped_digit_is_caught():
    wrong = (*rosenbrock.RODAS5P.d[:2], rosenbrock.RODAS5P.d[2] + 1e-6, *rosenbrock.RODAS5P.d[3:])
    assert check_rosenbrock(replace(rosenbrock.RODAS5P, d=wrong)).main > 1e-8

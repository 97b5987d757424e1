"""The numbers are right: rooted trees, row sums, stability at infinity. No solver is run."""

from dataclasses import replace

import numpy as np
import pytest

from odebridge.tableaus import collocation, dirk, explicit, rosenbrock, rosenbrock_w
from odebridge.tableaus.base import ButcherTableau, DirkTableau, RosenbrockTableau
from odebridge.tableaus.collocation import CollocationTableau
from odebridge.tableaus.conditions import (
    additive_residual,
    at_infinity,
    check_butcher,
    check_dirk,
    check_rosenbrock,
    dense_matrix,
    density,
    implicit_matrix,
    residual,
    standard_form,
    trees,
    vertices,
    w_order,
    w_orders,
)
from odebridge.tableaus.predictor import stage_predictor


def tableaus(kind, *modules):
    return list({v.name: v for module in modules for v in vars(module).values() if isinstance(v, kind)}.values())


BUTCHER = tableaus(ButcherTableau, explicit)
ROSENBROCK = tableaus(RosenbrockTableau, rosenbrock, rosenbrock_w)
DIRK = tableaus(DirkTableau, dirk)
PAIRS = [t for t in DIRK if t.explicit is not None]
COLLOCATION = tableaus(CollocationTableau, collocation)
ROUNDING, BEYOND = 1e-12, 1e-7


def name(tableau):
    return tableau.name


def test_trees_are_counted_as_in_the_literature():
    assert [len(trees(p)) for p in range(1, 11)] == [1, 1, 2, 4, 9, 20, 48, 115, 286, 719]
    assert all(vertices(t) == 6 for t in trees(6))
    assert density(((((),),),)) == 24  # the tall tree: 4!
    assert density(((), (), ())) == 4  # the bushy one


def states_its_orders(report):
    """Every stated order is reached, and none could be stated higher."""
    assert max(report.main, report.embedded, report.dense) < ROUNDING
    assert min(report.beyond, report.embedded_beyond, report.dense_beyond) > BEYOND


@pytest.mark.parametrize("tableau", BUTCHER, ids=name)
def test_explicit_tableau_has_the_orders_it_states_and_no_more(tableau):
    states_its_orders(check_butcher(tableau))
    rows = [sum(row) for row in tableau.a]
    np.testing.assert_allclose(rows, tableau.c, atol=1e-14)
    assert tableau.fsal == (tableau.name in {"bosh3", "dopri5", "tsit5", "dopri8"})


# W-orders of main weights, embedded weights and dense output, and R(infinity) of the embedded weights.
ROSENBROCK_FACTS = {
    "rosenbrock23": ((2, 2, 1), 1.6095),
    "rodas3p": ((1, 2, 1), 0.0),
    "rodas4": ((1, 1, 1), 0.0),
    "rodas5p": ((2, 1, 1), 0.0),
    "rodas4pw": ((4, 3, 3), 0.0),
    "ros34pw2": ((3, 2, 2), -0.4783),
}


def test_every_rosenbrock_tableau_is_in_the_table():
    assert {t.name for t in ROSENBROCK} == set(ROSENBROCK_FACTS)


@pytest.mark.parametrize("tableau", ROSENBROCK, ids=name)
def test_rosenbrock_tableau_has_the_orders_it_states_and_damps_at_infinity(tableau):
    states_its_orders(check_rosenbrock(tableau))
    orders, embedded = ROSENBROCK_FACTS[tableau.name]
    assert abs(at_infinity(tableau)) < ROUNDING
    assert at_infinity(tableau, embedded=True) == pytest.approx(embedded, abs=1e-4)
    assert w_orders(tableau) == orders
    assert tableau.fsal == (tableau.name == "rosenbrock23")


@pytest.mark.parametrize("tableau", ROSENBROCK, ids=name)
def test_the_w_order_is_that_of_a_linear_problem_with_a_wrong_jacobian(tableau):
    """x' = lambda x with J = mu: R(z, w) - exp(z) = O(z^(p+1)), summed by hand and not by trees."""
    form = standard_form(tableau)

    def error(z):
        matrix = form.alpha * z + form.gamma * (-2.0 * z)  # mu = -2 lambda
        ones = np.ones(tableau.stages)
        return abs(1.0 + z * form.b @ np.linalg.solve(np.eye(tableau.stages) - matrix, ones) - np.exp(z))

    slope = np.log2(error(2.0**-4) / error(2.0**-5)) - 1.0
    assert slope > w_order(tableau) - 0.25


def test_the_dense_output_of_ros34pw2_stays_bounded_at_infinity():
    tableau = rosenbrock_w.ROS34PW2
    form = standard_form(tableau)
    assert tableau.dense is not None
    first, second = np.array(tableau.dense) @ form.gamma
    inner = np.linalg.solve(form.alpha + form.gamma, np.ones(4))
    s = np.linspace(0.0, 1.0, 101)[:, None]
    weights = s * form.b + s * (1 - s) * (first + s * second)
    at_infinity_of_s = 1.0 - weights @ inner
    assert np.abs(at_infinity_of_s).max() < 1.0 + ROUNDING
    assert abs(at_infinity_of_s[-1]) < ROUNDING


# R(infinity) of the embedded weights, and whether there is an explicit partner.
DIRK_FACTS = {
    "tr_bdf2": (np.inf, False),
    "kvaerno3": (-0.957, False),
    "kvaerno4": (-0.553, False),
    "kvaerno5": (-0.748, False),
    "kencarp3": (-0.075, True),
    "kencarp4": (-0.150, True),
    "kencarp5": (0.200, True),
}


def test_every_dirk_tableau_is_in_the_table():
    assert {t.name for t in DIRK} == set(DIRK_FACTS)


@pytest.mark.parametrize("tableau", DIRK, ids=name)
def test_dirk_tableau_has_the_orders_it_states_and_damps_at_infinity(tableau):
    states_its_orders(check_dirk(tableau))
    embedded, additive = DIRK_FACTS[tableau.name]
    assert abs(at_infinity(tableau)) < ROUNDING
    assert at_infinity(tableau, embedded=True) == pytest.approx(embedded, abs=6e-4)
    assert (tableau.explicit is not None) == additive
    assert tableau.stages == len(tableau.a) == len(tableau.c) == len(tableau.b_hat)


@pytest.mark.parametrize("tableau", DIRK, ids=name)
def test_dirk_tableau_has_stage_order_two_and_its_row_sums(tableau):
    a, c = implicit_matrix(tableau), np.array(tableau.c)
    np.testing.assert_allclose(a.sum(1), c, atol=1e-14)
    np.testing.assert_allclose(a @ c, c**2 / 2, atol=1e-14)
    assert np.abs(a @ c**2 - c**3 / 3).max() > 1e-2
    assert tableau.b == (*tableau.a[-1], tableau.gamma)  # stiffly accurate, to the bit
    if tableau.explicit is not None:
        np.testing.assert_allclose([sum(row) for row in tableau.explicit], c, atol=1e-14)
        assert [len(row) for row in tableau.explicit] == list(range(tableau.stages))


@pytest.mark.parametrize("tableau", PAIRS, ids=name)
def test_additive_pair_is_right_alone_and_together(tableau):
    """Kennedy & Carpenter's two-coloured trees; each part by itself has the order too, and is not the other."""
    parts = (implicit_matrix(tableau), dense_matrix(tableau.explicit, tableau.stages))
    b = np.array(tableau.b)
    for p in range(1, tableau.order + 1):
        assert max(residual(b, a, a, p) for a in parts) < ROUNDING
        assert additive_residual(b, parts, p) < ROUNDING
    wrong = (parts[0], parts[1].copy())
    wrong[1][3, :2] += 1e-6, -1e-6  # row sums and uncoupled conditions of order 2 cannot see it
    assert additive_residual(b, wrong, 2) < ROUNDING
    assert max(additive_residual(b, wrong, p) for p in range(3, tableau.order + 1)) > 1e-9


@pytest.mark.parametrize("tableau", DIRK, ids=name)
def test_stage_predictor_extrapolates_polynomials(tableau):
    """Exact for the slopes of a quadratic where three distinct abscissae lie before the stage, of a line where two do."""
    for i in range(1, tableau.stages):
        earlier = np.array(tableau.c[:i])
        weights = np.array(stage_predictor(tableau.c, i))
        for k in range(min(len(set(tableau.c[:i])), 3)):
            assert weights @ earlier**k == pytest.approx(tableau.c[i] ** k, abs=1e-12)
        first = list(tableau.c).index(tableau.c[i])
        if first < i:  # a repeated abscissa: no other weights have a smaller norm
            assert weights @ weights <= 1.0 + 1e-12


@pytest.mark.parametrize("tableau", COLLOCATION, ids=name)
def test_collocation_fulfils_the_simplifying_assumptions(tableau):
    """B(p), C(s) and D(p - s) (Butcher, 1964), and the trees, which do not know of them."""
    a, b, c, s = tableau.a, tableau.b, tableau.c, tableau.stages
    for k in range(1, tableau.order + 1):
        assert abs(b @ c ** (k - 1) - 1 / k) < 1e-14
        assert residual(b, a, a, k) < 1e-14
    for k in range(1, s + 1):
        np.testing.assert_allclose(a @ c ** (k - 1), c**k / k, atol=1e-14)
    for k in range(1, tableau.order - s + 1):
        np.testing.assert_allclose((b * c ** (k - 1)) @ a, b * (1 - c**k) / k, atol=1e-14)
    assert abs(b @ c**tableau.order - 1 / (tableau.order + 1)) > BEYOND
    assert residual(b, a, a, tableau.order + 1) > BEYOND
    assert tableau.stage_order == s
    at_end = 1.0 - b @ tableau.a_inv @ np.ones(s)
    radau = tableau.name.startswith("radau")
    assert at_end == pytest.approx(0.0 if radau else (-1.0) ** s, abs=ROUNDING)
    assert tableau.order == (2 * s - 1 if radau else 2 * s)
    assert (c[-1] == 1.0 and np.array_equal(a[-1], b)) == radau


@pytest.mark.parametrize("tableau", COLLOCATION, ids=name)
def test_modes_decouple_the_stages(tableau):
    s, m = tableau.stages, len(tableau.eigenvalues)
    assert m == (s + 1) // 2
    assert tableau.to_modes.shape == (m, s)
    assert tableau.from_modes.shape == (s, m)
    scale = np.abs(tableau.spectrum).max()
    np.testing.assert_allclose(tableau.a @ tableau.a_inv, np.eye(s), atol=1e-13)
    np.testing.assert_allclose(tableau.t_inv @ tableau.a_inv @ tableau.t, np.diag(tableau.spectrum), atol=1e-13 * scale)
    assert np.all(tableau.eigenvalues.real > 0)
    assert np.all(tableau.eigenvalues.imag >= 0)
    assert tableau.shared == (tableau.eigenvalues[0].imag == 0.0)
    # Real data there and back, and the solution of a decoupled system against the full one: x' = -3 x, h = 0.7.
    z = np.linspace(-1.0, 2.0, s)
    np.testing.assert_allclose((tableau.from_modes @ (tableau.to_modes @ z)).real, z, atol=1e-13)
    h, jac = 0.7, -3.0
    full = np.linalg.solve(tableau.a_inv / h - jac * np.eye(s), z)
    modes = (tableau.to_modes @ z) / (tableau.eigenvalues / h - jac)
    np.testing.assert_allclose((tableau.from_modes @ modes).real, full, atol=1e-13)


@pytest.mark.parametrize("tableau", COLLOCATION, ids=name)
def test_error_formula_of_a_collocation_method_has_order_s(tableau):
    s = tableau.stages
    a = np.zeros((s + 1, s + 1))  # with f(x0) as a stage of its own
    a[1:, 1:] = tableau.a
    weights = np.array([tableau.gamma0, *tableau.b_hat])
    assert max(residual(weights, a, a, p) for p in range(1, s + 1)) < 1e-14
    assert residual(weights, a, a, s + 1) > 1e-4
    # The form in increments: gamma0 (h f0 + sum e_i z_i) = x_hat - x1 for any slopes.
    slopes = np.cos(np.arange(s + 1.0))
    z = tableau.a @ slopes[1:]
    by_increments = tableau.gamma0 * (slopes[0] + np.array(tableau.error) @ z)
    by_weights = weights @ slopes - tableau.b @ slopes[1:]
    assert by_increments == pytest.approx(by_weights, abs=1e-14)


def test_radau5_has_the_published_constants():
    """Hairer & Wanner II, IV.8: nodes, eigenvalues, and e = gamma0 (-13 - 7 sqrt 6, -13 + 7 sqrt 6, -1) / 3 over gamma0."""
    radau, six = collocation.RADAU5, np.sqrt(6.0)
    np.testing.assert_allclose(radau.c, [(4 - six) / 10, (4 + six) / 10, 1.0], atol=1e-15)
    np.testing.assert_allclose(radau.error, [(-13 - 7 * six) / 3, (-13 + 7 * six) / 3, -1 / 3], atol=1e-13)
    real = 3 + 3 ** (2 / 3) - 3 ** (1 / 3)
    pair = 3 + (3 ** (1 / 3) - 3 ** (2 / 3)) / 2 + 1j * (3 ** (5 / 6) + 3 ** (7 / 6)) / 2
    np.testing.assert_allclose(radau.eigenvalues, [real, pair], atol=1e-13)
    assert radau.gamma0 == pytest.approx(1 / real, abs=1e-14)


@pytest.mark.parametrize("tableau", COLLOCATION, ids=name)
def test_collocation_polynomial_passes_through_start_stages_and_end(tableau):
    s = tableau.stages
    powers = tableau.c[:, None] ** np.arange(1, s + 1)
    np.testing.assert_allclose(powers @ tableau.dense, np.eye(s), atol=1e-13)
    np.testing.assert_allclose(tableau.dense.sum(0), tableau.end, atol=1e-13)
    for theta in (0.2, 0.5, 0.9):
        weights = theta ** np.arange(1, s + 1) @ tableau.dense @ tableau.a
        worst = [residual(weights, tableau.a, tableau.a, p, theta) for p in range(1, tableau.dense_order + 1)]
        assert max(worst) < ROUNDING
    # One order more holds at single points only, the nodes of the next method up.
    beyond = [
        residual(t ** np.arange(1, s + 1) @ tableau.dense @ tableau.a, tableau.a, tableau.a, s + 1, t) for t in (0.2, 0.35, 0.8)
    ]
    assert max(beyond) > 1e-5


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


def test_a_mistyped_digit_of_a_dirk_tableau_is_caught():
    """The last digits but one of a denominator, as some codes carry it: 719 for 749."""
    pair = dirk.KENCARP5
    row = (*pair.a[6][:5], -4269925059573 / 7827059040719)
    assert check_dirk(replace(pair, a=(*pair.a[:6], row, pair.a[7]))).main > ROUNDING


def test_the_other_gamma_takes_kvaerno4_its_damping():
    tableau = dirk.kvaerno4(0.43586652150845899942)
    assert check_dirk(tableau).main < ROUNDING
    assert abs(at_infinity(tableau)) > 0.1


def test_a_shifted_node_of_a_collocation_method_is_caught():
    nodes = collocation.radau_nodes(3) + np.array([1e-9, 0.0, 0.0])
    shifted = collocation.collocation("shifted", 5, nodes, "none")
    assert residual(shifted.b, shifted.a, shifted.a, 3) < 1e-14  # any nodes give order s
    assert residual(shifted.b, shifted.a, shifted.a, 4) > 1e-12

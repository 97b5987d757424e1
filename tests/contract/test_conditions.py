"""The order conditions themselves, against sums written out by hand, on tableaus that fulfil none of them."""

import itertools
from dataclasses import replace
from math import prod

import numpy as np
import pytest

from odebridge.tableaus import dirk, explicit, rosenbrock, rosenbrock_w
from odebridge.tableaus.conditions import (
    additive_residual,
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
    w_residual,
)

DRAW = np.random.default_rng(0)
A, B, C = DRAW.normal(size=(3, 4, 4))
WEIGHTS = DRAW.normal(size=4)
POINTS = (0.2, 0.5, 0.9)


def edges(tree, parent=0, counter=None):
    """(parent, child, number of children of the parent) of a tree whose vertices are numbered, the root being 0."""
    counter = itertools.count(1) if counter is None else counter
    for child in tree:
        me = next(counter)
        yield parent, me, len(tree)
        yield from edges(child, me, counter)


def factorials(tree):
    """gamma: the product over all vertices of the number of vertices of their subtree."""
    return vertices_by_hand(tree) * prod(map(factorials, tree))


def vertices_by_hand(tree):
    return str(tree).count("(")


def summed(weights, tree, matrices):
    """The sum over all placements of the vertices at stages: weight of the root's, an entry of a matrix for every edge."""
    found = list(edges(tree))
    return sum(
        weights[at[0]] * prod(m[at[i], at[j]] for (i, j, _), m in zip(found, matrices, strict=True))
        for at in itertools.product(range(len(weights)), repeat=len(found) + 1)
    )


def violation(weights, order, choices, s=1.0, mixed=1.0):
    """Max over trees and choices of a matrix for every edge; mixed: what all choices but the first must give."""
    worst = 0.0
    for tree in trees(order):
        each = [choices(children) for *_, children in edges(tree)]
        for picked in itertools.product(*(range(len(e)) for e in each)):
            target = s**order / factorials(tree) * (mixed if any(picked) else 1.0)
            value = summed(weights, tree, [e[k] for e, k in zip(each, picked, strict=True)])
            worst = max(worst, abs(value - target))
    return worst


def test_trees_are_all_different_and_their_numbers_are_those_counted():
    for order in range(1, 8):
        found = trees(order)
        assert len({canonical(tree) for tree in found}) == len(found)
        for tree in found:
            assert vertices(tree) == vertices_by_hand(tree) == order
            assert density(tree) == factorials(tree)


def canonical(tree):
    """The same whatever the order of branches."""
    return tuple(sorted(map(canonical, tree)))


@pytest.mark.parametrize("s", [1.0, 0.3])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_violations_are_the_sums_written_out(order, s):
    def rosenbrock_edges(children):
        return (B,) if children == 1 else (A,)

    def w_edges(children):
        return (A, B) if children == 1 else (A,)

    assert residual(WEIGHTS, A, B, order, s) == pytest.approx(violation(WEIGHTS, order, rosenbrock_edges, s), rel=1e-12)
    assert w_residual(WEIGHTS, A, B, order, s) == pytest.approx(violation(WEIGHTS, order, w_edges, s, 0.0), rel=1e-12)
    parts = (A, B, C)[: 3 if order < 4 else 2]
    assert additive_residual(WEIGHTS, parts, order, s) == pytest.approx(
        violation(WEIGHTS, order, lambda _: parts, s), rel=1e-12
    )
    if s == 1.0:
        assert residual(WEIGHTS, A, B, order) == residual(WEIGHTS, A, B, order, s)
        assert w_residual(WEIGHTS, A, B, order) == w_residual(WEIGHTS, A, B, order, s)
        assert additive_residual(WEIGHTS, parts, order) == additive_residual(WEIGHTS, parts, order, s)


def test_conditions_that_one_matrix_alone_violates_are_seen():
    """A part that is right in the first place and one that is not; a Gamma that does not vanish."""
    euler = np.zeros((1, 1))
    one = np.ones(1)
    assert additive_residual(one, (0.5 * np.ones((1, 1)), euler), 2) == 0.5
    assert w_residual(one, 0.5 * np.ones((1, 1)), np.full((1, 1), 0.25), 2) == 0.25


def test_rows_of_unequal_length():
    np.testing.assert_array_equal(dense_matrix(((), (1.0,), (2.0, 3.0)), 3), [[0, 0, 0], [1, 0, 0], [2, 3, 0]])
    tableau = dirk.KVAERNO3
    expected = np.array([[*row, *[0.0] * (4 - len(row))] for row in tableau.a]) + tableau.gamma * np.diag([0.0, 1, 1, 1])
    np.testing.assert_array_equal(implicit_matrix(tableau), expected)


# Reports on tableaus that noise has made wrong: every number of them by its definition


def noisy(values, size=1e-3):
    return tuple(noisy(v, size) if isinstance(v, tuple) else v + size * DRAW.normal() for v in values)


def spoilt(tableau, *names):
    return replace(tableau, **{k: noisy(getattr(tableau, k)) for k in names if getattr(tableau, k) is not None})


def upto(measure, weights, order, s=1.0):
    return max(measure(weights, p, s) for p in range(1, order + 1))


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def agrees(report, measure, main, embedded, dense, also=0.0):
    """Report of the weights (values, order), and of the dense ones (function, order)."""
    b, order = main
    assert report.main == close(max(upto(measure, b, order), also))
    assert report.beyond == close(measure(b, order + 1, 1.0))
    if embedded is None:
        assert (report.embedded, report.embedded_beyond) == (0.0, np.inf)
    else:
        assert report.embedded == close(upto(measure, *embedded))
        assert report.embedded_beyond == close(measure(embedded[0], embedded[1] + 1, 1.0))
    if dense is None:
        assert (report.dense, report.dense_beyond) == (0.0, np.inf)
        return
    at, order = dense
    at_end = np.abs(at(1.0) - b).max()
    assert report.dense == close(max(at_end, *(upto(measure, at(s), order, s) for s in POINTS)))
    assert report.dense_beyond == close(max(measure(at(s), order + 1, s) for s in POINTS))


def polynomials(rows):
    return lambda s: np.array([sum(q * s**k for k, q in enumerate(row, start=1)) for row in rows])


@pytest.mark.parametrize("name", ["EULER", "RK4", "BOSH3", "DOPRI5", "TSIT5"])
@pytest.mark.parametrize("parts", [(), ("b",), ("b_hat",), ("dense",), ("a", "b", "b_hat", "dense")], ids="-".join)
def test_report_of_an_explicit_tableau(name, parts):
    tableau = spoilt(getattr(explicit, name), *parts)
    a, b = dense_matrix(tableau.a, tableau.stages), np.array(tableau.b)
    embedded = None if tableau.b_hat is None else (np.array(tableau.b_hat), tableau.embedded_order)
    dense = None if tableau.dense is None else (polynomials(tableau.dense), tableau.dense_order)
    agrees(check_butcher(tableau), lambda w, p, s: residual(w, a, a, p, s), (b, tableau.order), embedded, dense)


def test_weights_without_an_order_are_no_embedded_ones():
    for missing in ("b_hat", "embedded_order"):
        report = check_butcher(replace(explicit.BOSH3, **{missing: None}))
        assert (report.embedded, report.embedded_beyond) == (0.0, np.inf)


DIRKS = [dirk.TR_BDF2, dirk.KVAERNO3, dirk.KENCARP3, dirk.KENCARP4]
SPOILT = [("b",), ("b_hat", "dense"), ("c",), ("a", "explicit"), ("a", "explicit", "b", "c", "b_hat", "dense")]


@pytest.mark.parametrize("tableau", DIRKS, ids=lambda t: t.name)
@pytest.mark.parametrize("parts", SPOILT, ids="-".join)
def test_report_of_a_diagonally_implicit_tableau(tableau, parts):
    tableau = spoilt(tableau, *parts)
    a, b = implicit_matrix(tableau), np.array(tableau.b)
    both = (a,) if tableau.explicit is None else (a, dense_matrix(tableau.explicit, tableau.stages))
    off = max(np.abs(a[-1] - b).max(), *(np.abs(m.sum(1) - np.array(tableau.c)).max() for m in both))
    dense = None if tableau.dense is None else (polynomials(tableau.dense), tableau.dense_order)
    embedded = (np.array(tableau.b_hat), tableau.embedded_order)
    agrees(
        check_dirk(tableau), lambda w, p, s: additive_residual(w, both, p, s), (b, tableau.order), embedded, dense, off
    )  # fmt: skip


@pytest.mark.parametrize("part", ["b", "c", "explicit"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_row_sums_and_a_last_row_that_are_off_are_told(part, sign):
    """One number far off: more than any tree would make of it."""
    tableau = dirk.KENCARP3
    moved = [*getattr(tableau, part)]
    moved[1] = moved[1] + sign if part != "explicit" else (moved[1][0] + sign,)
    assert check_dirk(replace(tableau, **{part: tuple(moved)})).main >= 1.0 - 1e-12


@pytest.mark.parametrize("tableau", [rosenbrock.RODAS3P, rosenbrock.RODAS4, rosenbrock_w.ROS34PW2], ids=lambda t: t.name)
@pytest.mark.parametrize(
    "parts", [("c",), ("d",), ("m",), ("e",), ("dense",), ("a", "C", "c", "d", "m", "e", "dense")], ids="-".join
)
def test_report_of_a_rosenbrock_tableau(tableau, parts):
    tableau = spoilt(tableau, *parts)
    form = standard_form(tableau)
    rows = max(np.abs(form.alpha.sum(1) - np.array(tableau.c)).max(), np.abs(form.gamma.sum(1) - np.array(tableau.d)).max())
    agrees(
        check_rosenbrock(tableau), lambda w, p, s: residual(w, form.alpha, form.alpha + form.gamma, p, s),
        (form.b, tableau.order), (form.b - form.error, tableau.embedded_order), interpolant(tableau, form), rows,
    )  # fmt: skip


def interpolant(tableau, form):
    """Weights of k at s, by the formula of the tableau: (1 - s) x + s (x1 + (1 - s) (q_1 + s (q_2 + s q_3 ...)))."""
    if tableau.dense is None:
        return None

    def at(s):
        inner = np.zeros(tableau.stages)
        for row in reversed(tableau.dense):
            inner = np.array(row) @ form.to_k + s * inner
        return s * (form.b + (1 - s) * inner)

    return at, tableau.dense_order


@pytest.mark.parametrize("tableau", [rosenbrock.RODAS3P, rosenbrock_w.ROS34PW2], ids=lambda t: t.name)
def test_the_standard_form_makes_the_same_step(tableau):
    """u by the tableau's own recursion and k by the standard form, on x' = L x of two components, in one step from x."""
    form, s, h = standard_form(tableau), tableau.stages, 0.3
    jac, x = np.array([[0.2, 1.0], [-0.7, -1.1]]), np.array([1.0, -2.0])
    u = np.zeros((s, 2))
    for i in range(s):
        inside = x + sum((a * u[j] for j, a in enumerate(tableau.a[i])), np.zeros(2))
        rhs = jac @ inside + sum((c * u[j] for j, c in enumerate(tableau.C[i])), np.zeros(2)) / h
        u[i] = np.linalg.solve(np.eye(2) / (tableau.gamma * h) - jac, rhs)
    big = np.kron(np.eye(s), np.eye(2)) - h * np.kron(form.alpha + form.gamma, jac)
    k = np.linalg.solve(big, np.kron(np.ones(s), h * jac @ x)).reshape(s, 2)
    np.testing.assert_allclose(form.to_k @ k, u, atol=1e-12)
    np.testing.assert_allclose(form.b @ k, np.array(tableau.m) @ u, atol=1e-12)
    np.testing.assert_allclose(form.error @ k, np.array(tableau.e) @ u, atol=1e-12)


@pytest.mark.parametrize("tableau", [rosenbrock_w.RODAS4PW, rosenbrock_w.ROS34PW2], ids=lambda t: t.name)
def test_w_orders_are_lost_beyond_rounding_only(tableau):
    full = w_orders(tableau)
    assert w_order(tableau) == full.main
    for size, same in ((1e-13, True), (1e-8, False)):
        moved = w_orders(replace(tableau, **{k: tuple(v * (1 + size) for v in getattr(tableau, k)) for k in ("m", "e")}))
        assert (moved.main == full.main) == same
        assert (moved.embedded == full.embedded) == same
    assert w_orders(replace(tableau, m=tuple(2 * v for v in tableau.m))).main == 0
    assert w_orders(replace(tableau, dense=None)).dense == 0


@pytest.mark.parametrize("point", POINTS)
def test_a_dense_output_has_the_order_that_it_has_everywhere(point):
    """Right at one point only: q_1 + s q_2 with (s - point) v added, v of any sum but 0."""
    tableau = rosenbrock_w.ROS34PW2
    first, second = (np.array(row) for row in tableau.dense)
    moved = (tuple(first - point * 0.1), tuple(second + 0.1))
    assert w_orders(tableau).dense > 0
    assert w_orders(replace(tableau, dense=moved)).dense == 0


def test_w_orders_are_sought_up_to_the_orders_that_are_stated():
    tableau = rosenbrock_w.ROS34PW2
    orders = w_orders(tableau)
    for main, embedded in ((2, 1), (1, 2), (3, 1)):
        top = max(main, embedded)
        found = w_orders(replace(tableau, order=main, embedded_order=embedded))
        assert found == tuple(min(v, top) for v in orders)

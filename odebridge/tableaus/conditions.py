"""Rooted trees and order conditions: proof that the numbers of a tableau are right, without running a solver.

A Runge-Kutta method has order p if sum_i b_i Phi_i(t) = 1 / gamma(t) for every rooted tree t with at most p vertices,
where Phi_i(t) = prod over the children u of the root of sum_j a_ij Phi_j(u) and gamma is the density of the tree
(Hairer, Norsett & Wanner I, II.2). For a Rosenbrock method a vertex with one child carries alpha + Gamma, one with more
children alpha (Hairer & Wanner II, IV.7). The parts of an additive pair must pass with every choice of part at every edge.
Row sums alone cannot see swapped or mistyped weights; the trees do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from odebridge.tableaus.base import ButcherTableau, DirkTableau, RosenbrockTableau

Tree = tuple["Tree", ...]  # a vertex is the sorted tuple of the subtrees that hang on it; () is a leaf


@cache
def vertices(tree: Tree) -> int:
    """Number of vertices, the order of the tree."""
    return 1 + sum(map(vertices, tree))


@cache
def density(tree: Tree) -> int:
    """gamma(t) = |t| prod gamma(children)."""
    product = vertices(tree)
    for child in tree:
        product *= density(child)
    return product


@cache
def trees(order: int) -> tuple[Tree, ...]:
    """All rooted trees with `order` vertices: 1, 1, 2, 4, 9, 20, 48, 115 of them for orders 1 to 8."""

    def forests(size: int, largest: Tree | None) -> Iterator[Tree]:
        if size == 0:
            yield ()
            return
        for part in range(1, size + 1):
            for head in trees(part):
                if largest is None or (vertices(head), head) <= (vertices(largest), largest):
                    for rest in forests(size - part, head):
                        yield (head, *rest)

    return tuple(forests(order - 1, None))


def dense_matrix(rows: tuple[tuple[float, ...], ...], size: int) -> np.ndarray:
    """Rows of unequal length as a square matrix, zeros beyond."""
    out = np.zeros((size, size))
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def elementary(tree: Tree, size: int, choices: Callable[[int], tuple[np.ndarray, ...]]) -> list[tuple[np.ndarray, bool]]:
    """Phi(t) for every choice of a matrix at every edge, and whether the first one was chosen everywhere.

    choices(n) are the matrices that an edge from a vertex with n children may carry.
    """
    vectors = [(np.ones(size), True)]
    for child in tree:
        below = elementary(child, size, choices)
        branches = [(m @ v, pure and k == 0) for v, pure in below for k, m in enumerate(choices(len(tree)))]
        vectors = [(v * w, p and q) for v, p in vectors for w, q in branches]
    return vectors


def residual(weights: np.ndarray, alpha: np.ndarray, beta: np.ndarray, order: int, s: float = 1.0) -> float:
    """Max |sum_i w_i Phi_i(t) - s^|t| / gamma(t)| over the trees with exactly `order` vertices.

    alpha is used at vertices with several children, beta at vertices with one; for Runge-Kutta methods both are A.
    With s < 1 and the dense weights at s it checks an interpolant.
    """

    def choices(children: int) -> tuple[np.ndarray, ...]:
        return (beta,) if children == 1 else (alpha,)

    return _worst(weights, order, choices, s, mixed=1.0)


def additive_residual(weights: np.ndarray, parts: tuple[np.ndarray, ...], order: int, s: float = 1.0) -> float:
    """As `residual` for a field split into parts, each with its own A: every edge may carry every one (two-coloured trees).

    The parts share their weights, so that the colour of the root does not matter. Source: Kennedy & Carpenter, 2003.
    """
    return _worst(weights, order, lambda _: parts, s, mixed=1.0)


def w_residual(weights: np.ndarray, alpha: np.ndarray, gamma: np.ndarray, order: int, s: float = 1.0) -> float:
    """As `residual` for any matrix in place of J: a vertex with one child carries alpha or Gamma, and Gamma must give 0.

    Source: Hairer & Wanner II, IV.7 (W-methods of Steihaug & Wolfbrandt, 1979).
    """

    def choices(children: int) -> tuple[np.ndarray, ...]:
        return (alpha, gamma) if children == 1 else (alpha,)

    return _worst(weights, order, choices, s, mixed=0.0)


def _worst(weights: np.ndarray, order: int, choices: Callable[[int], tuple[np.ndarray, ...]], s: float, mixed: float) -> float:
    worst = 0.0
    for tree in trees(order):
        for vector, pure in elementary(tree, len(weights), choices):
            target = (1.0 if pure else mixed) * s**order / density(tree)
            worst = max(worst, abs(float(weights @ vector) - target))
    return worst


class StandardForm(NamedTuple):
    """A Rosenbrock method as it stands in the theory: k_i = h f(x + sum alpha_ij k_j) + h J sum Gamma_ij k_j."""

    alpha: np.ndarray
    gamma: np.ndarray
    b: np.ndarray
    error: np.ndarray
    to_k: np.ndarray  # u = to_k @ k


def standard_form(tableau: RosenbrockTableau) -> StandardForm:
    """Undo u = Gamma k: Gamma = (I/gamma - C)^-1, alpha = A Gamma, b = Gamma^T m."""
    s = tableau.stages
    gamma = np.linalg.inv(np.eye(s) / tableau.gamma - dense_matrix(tableau.C, s))
    alpha = dense_matrix(tableau.a, s) @ gamma
    return StandardForm(alpha, gamma, np.array(tableau.m) @ gamma, np.array(tableau.e) @ gamma, gamma)


class Report(NamedTuple):
    """Largest violation of the order conditions of the main weights, the embedded weights and the dense output."""

    main: float
    embedded: float
    dense: float
    beyond: float  # violation one order above the main one: must be large, or the stated order is too low
    embedded_beyond: float = np.inf  # the same of the embedded weights
    dense_beyond: float = np.inf  # and of the dense output


def _report(
    violation: Callable[[np.ndarray, int, float], float],
    main: tuple[np.ndarray, int],
    embedded: tuple[np.ndarray, int] | None,
    dense: tuple[Callable[[float], np.ndarray], int] | None,
) -> Report:
    """All orders of all weights of a tableau by one measure violation(weights, order, s)."""

    def upto(weights: np.ndarray, order: int, s: float = 1.0) -> float:
        return max(violation(weights, p, s) for p in range(1, order + 1))

    b, order = main
    out = Report(upto(b, order), 0.0, 0.0, violation(b, order + 1, 1.0))
    if embedded is not None:
        b_hat, order = embedded
        out = out._replace(embedded=upto(b_hat, order), embedded_beyond=violation(b_hat, order + 1, 1.0))
    if dense is not None:
        at, order = dense
        out = out._replace(
            dense=max(float(np.abs(at(1.0) - b).max()), *(upto(at(s), order, s) for s in (0.2, 0.5, 0.9))),
            dense_beyond=max(violation(at(s), order + 1, s) for s in (0.2, 0.5, 0.9)),
        )
    return out


def _polynomials(rows: tuple[tuple[float, ...], ...]) -> Callable[[float], np.ndarray]:
    return lambda s: np.array([sum(q * s ** (k + 1) for k, q in enumerate(row)) for row in rows])


def check_butcher(tableau: ButcherTableau) -> Report:
    """Order conditions of an explicit Runge-Kutta tableau."""
    a = dense_matrix(tableau.a, tableau.stages)
    embedded = dense = None
    if tableau.b_hat is not None and tableau.embedded_order is not None:
        embedded = (np.array(tableau.b_hat), tableau.embedded_order)
    if tableau.dense is not None:
        dense = (_polynomials(tableau.dense), tableau.dense_order)
    return _report(lambda w, p, s: residual(w, a, a, p, s), (np.array(tableau.b), tableau.order), embedded, dense)


def implicit_matrix(tableau: DirkTableau) -> np.ndarray:
    """A with its diagonal (0, gamma, ..., gamma)."""
    diagonal = np.full(tableau.stages, tableau.gamma)
    diagonal[0] = 0.0
    return dense_matrix(tableau.a, tableau.stages) + np.diag(diagonal)


def check_dirk(tableau: DirkTableau) -> Report:
    """Order conditions of an ESDIRK tableau, its row sums and last row; of an IMEX pair with all coupling conditions."""
    parts = [implicit_matrix(tableau)]
    slips = float(np.abs(parts[0][-1] - tableau.b).max())
    if tableau.explicit is not None:
        parts.append(dense_matrix(tableau.explicit, tableau.stages))
    rows = max(float(np.abs(a.sum(1) - tableau.c).max()) for a in parts)
    dense = None if tableau.dense is None else (_polynomials(tableau.dense), tableau.dense_order)
    report = _report(
        lambda w, p, s: additive_residual(w, tuple(parts), p, s),
        (np.array(tableau.b), tableau.order),
        (np.array(tableau.b_hat), tableau.embedded_order),
        dense,
    )
    return report._replace(main=max(report.main, rows, slips))


def check_rosenbrock(tableau: RosenbrockTableau) -> Report:
    """Order conditions of a Rosenbrock tableau, the row sums that non-autonomous fields need among them."""
    form = standard_form(tableau)
    beta, ones = form.alpha + form.gamma, np.ones(tableau.stages)
    rows = max(float(np.abs(form.alpha @ ones - tableau.c).max()), float(np.abs(form.gamma @ ones - tableau.d).max()))
    dense = None if tableau.dense is None else (_interpolant(tableau, form), tableau.dense_order)
    report = _report(
        lambda w, p, s: residual(w, form.alpha, beta, p, s),
        (form.b, tableau.order),
        (form.b - form.error, tableau.embedded_order),
        dense,
    )
    return report._replace(main=max(report.main, rows))


def _interpolant(tableau: RosenbrockTableau, form: StandardForm) -> Callable[[float], np.ndarray]:
    rows = np.array(tableau.dense) @ form.gamma
    return lambda s: s * form.b + s * (1 - s) * sum(q * s**k for k, q in enumerate(rows))


class WOrders(NamedTuple):
    """Orders that hold for any matrix in place of J."""

    main: int
    embedded: int
    dense: int


def w_orders(tableau: RosenbrockTableau) -> WOrders:
    """Orders of main weights, embedded weights and dense output as a W-method; J of any age or precision keeps them.

    Source: Hairer & Wanner II, IV.7. Caveat: M u' = f with a singular M loses order with an old J all the same
    (Steinebach, 2024). Use: `w_orders(ROS34PW2).main == 3`.
    """
    form = standard_form(tableau)

    def order(violation: Callable[[int], float]) -> int:
        p = 0
        while p < max(tableau.order, tableau.embedded_order) and violation(p + 1) < 1e-10:
            p += 1
        return p

    def of(weights: np.ndarray, s: float = 1.0) -> int:
        return order(lambda p: w_residual(weights, form.alpha, form.gamma, p, s))

    dense = 0 if tableau.dense is None else min(of(_interpolant(tableau, form)(s), s) for s in (0.2, 0.5, 0.9))
    return WOrders(of(form.b), of(form.b - form.error), dense)


def w_order(tableau: RosenbrockTableau) -> int:
    """Order of the main weights whatever matrix stands in for J. Use: `w_order(RODAS4PW) == 4`."""
    return w_orders(tableau).main


def at_infinity(tableau: RosenbrockTableau | DirkTableau, *, embedded: bool = False) -> float:
    """R(infinity): 0 for a method that damps infinitely stiff components at once; infinite where R is not bounded.

    1 - b^T (alpha + Gamma)^-1 1 for a Rosenbrock method, the stiff part alone for an IMEX pair. With `embedded` that of the
    embedded weights: where it is not 0 the error estimate exaggerates stiff components until it is filtered.
    """
    if isinstance(tableau, RosenbrockTableau):
        form = standard_form(tableau)
        b = form.b - form.error if embedded else form.b
        return float(1.0 - b @ np.linalg.solve(form.alpha + form.gamma, np.ones(tableau.stages)))
    # The explicit first stage makes A singular: with A = [0 0; a H], Y = -H^-1 a - (1/z) (H^-1 1 + H^-2 a) + O(1/z^2).
    matrix, b = implicit_matrix(tableau), np.array(tableau.b_hat if embedded else tableau.b)
    inner = matrix[1:, 1:]
    first = np.linalg.solve(inner, matrix[1:, 0])
    if abs(b[0] - b[1:] @ first) > 1e-10:
        return float("inf")
    return float(1.0 - b[1:] @ np.linalg.solve(inner, 1.0 + first))

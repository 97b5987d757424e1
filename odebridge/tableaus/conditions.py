"""Rooted trees and order conditions: proof that the numbers of a tableau are right, without running a solver.

A Runge-Kutta method has order p if sum_i b_i Phi_i(t) = 1 / gamma(t) for every rooted tree t with at most p vertices,
where Phi_i(t) = prod over the children u of the root of sum_j a_ij Phi_j(u) and gamma is the density of the tree
(Hairer, Norsett & Wanner I, II.2). For a Rosenbrock method a vertex with one child carries alpha + Gamma, one with more
children alpha (Hairer & Wanner II, IV.7). Row sums alone cannot see swapped or mistyped weights; the trees do.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from odebridge.tableaus.base import ButcherTableau, RosenbrockTableau

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


def residual(weights: np.ndarray, alpha: np.ndarray, beta: np.ndarray, order: int, s: float = 1.0) -> float:
    """Max |sum_i w_i Phi_i(t) - s^|t| / gamma(t)| over the trees with exactly `order` vertices.

    alpha is used at vertices with several children, beta at vertices with one; for Runge-Kutta methods both are A.
    With s < 1 and the dense weights at s it checks an interpolant.
    """

    def phi(tree: Tree) -> np.ndarray:
        matrix = beta if len(tree) == 1 else alpha
        out = np.ones(len(weights))
        for child in tree:
            out = out * (matrix @ phi(child))
        return out

    return max(abs(float(weights @ phi(t)) - s**order / density(t)) for t in trees(order))


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


def check_butcher(tableau: ButcherTableau) -> Report:
    """Order conditions of an explicit Runge-Kutta tableau."""
    a, b = dense_matrix(tableau.a, tableau.stages), np.array(tableau.b)
    embedded = dense = 0.0
    if tableau.b_hat is not None and tableau.embedded_order is not None:
        embedded = max(residual(np.array(tableau.b_hat), a, a, p) for p in range(1, tableau.embedded_order + 1))
    if tableau.dense is not None:
        for s in (0.2, 0.5, 0.9, 1.0):
            weights = np.array([sum(q * s ** (k + 1) for k, q in enumerate(row)) for row in tableau.dense])
            dense = max(dense, *(residual(weights, a, a, p, s) for p in range(1, tableau.dense_order + 1)))
    main = max(residual(b, a, a, p) for p in range(1, tableau.order + 1))
    return Report(main, embedded, dense, residual(b, a, a, tableau.order + 1))


def check_rosenbrock(tableau: RosenbrockTableau) -> Report:
    """Order conditions of a Rosenbrock tableau, the row sums that non-autonomous fields need among them."""
    form = standard_form(tableau)
    beta, ones = form.alpha + form.gamma, np.ones(tableau.stages)
    rows = max(np.abs(form.alpha @ ones - tableau.c).max(), np.abs(form.gamma @ ones - tableau.d).max())
    main = max(residual(form.b, form.alpha, beta, p) for p in range(1, tableau.order + 1))
    b_hat = form.b - form.error
    embedded = max(residual(b_hat, form.alpha, beta, p) for p in range(1, tableau.embedded_order + 1))
    dense = 0.0
    if tableau.dense is not None:
        rows_q = np.array(tableau.dense) @ form.gamma
        for s in (0.2, 0.5, 0.9):
            inner = sum(q * s**k for k, q in enumerate(rows_q))
            weights = s * form.b + s * (1 - s) * inner
            dense = max(dense, *(residual(weights, form.alpha, beta, p, s) for p in range(1, tableau.dense_order + 1)))
    return Report(max(main, rows), embedded, dense, residual(form.b, form.alpha, beta, tableau.order + 1))


def at_infinity(tableau: RosenbrockTableau) -> float:
    """R(infinity) = 1 - b^T (alpha + Gamma)^-1 1: 0 for a method that damps infinitely stiff components at once."""
    form = standard_form(tableau)
    return float(1.0 - form.b @ np.linalg.solve(form.alpha + form.gamma, np.ones(tableau.stages)))

"""Radau IIA collocation in multi-precision arithmetic, for the reference states of small systems; no script of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
import torch
from scipy.linalg import lu_factor, lu_solve

from odebridge.problems import Problem
from odebridge.problems.componentwise import Field, Jacobian

ZERO = 1e-20  # what is below this part of a component's largest size counts as zero
Vector = list[Any]  # of mpmath numbers


@cache
def _radau(stages: int) -> tuple[Vector, list[Vector], Vector]:
    """Abscissae c, the matrix D with h y'(c_i) = sum_j D_ij (y(c_j) - y(0)), and barycentric weights of 0 and c."""
    # The abscissae are the zeros of P_s - P_(s-1) on [0, 1]; 1 is one of them.
    coefficients = mpmath.taylor(lambda x: mpmath.legendre(stages, x) - mpmath.legendre(stages - 1, x), 0, stages)
    roots = mpmath.polyroots(coefficients[::-1], maxsteps=500, extraprec=400)
    c = sorted((mpmath.re(r) + 1) / 2 for r in roots)
    nodes = [mpmath.mpf(0), *c]
    w = [1 / mpmath.fprod(a - b for b in nodes if b is not a) for a in nodes]
    rows = []
    for i in range(1, stages + 1):
        row = [w[j] / w[i] / (nodes[i] - nodes[j]) if j != i else mpmath.mpf(0) for j in range(stages + 1)]
        row[i] = -mpmath.fsum(row)
        rows.append(row[1:])
    return c, rows, w


class Collocation:
    """Radau IIA collocation of M x' = f in multi-precision arithmetic; the polynomial's last coefficient chooses the step."""

    def __init__(self, task: Problem, stages: int, tol: float, typical: np.ndarray) -> None:
        if not isinstance(task.field, Field) or not isinstance(task.jacobian, Jacobian):
            raise TypeError(f"{task.name}: its field runs on tensors only.")
        self.terms, self.rows, self.stages, self.tol, self.typical = task.field.terms, task.jacobian.rows, stages, tol, typical
        n = len(task.x0)
        mass = torch.ones(n, dtype=torch.float64) if task.mass is None else task.mass
        self.mass = (torch.diag(mass) if mass.dim() == 1 else mass).numpy()
        self.entries = [[(k, mpmath.mpf(v)) for k, v in enumerate(row) if v] for row in self.mass.tolist()]
        self.float_args = task.args.tolist()
        self.args = [mpmath.mpf(v) for v in self.float_args]
        self.c, self.d, self.w = _radau(stages)
        self.inner = [1 / mpmath.fprod(a - b for b in self.c if b is not a) for a in self.c]
        self.d_float = np.array([[float(v) for v in row] for row in self.d])
        self.task = task

    def slopes(self, t: Any, y: Vector) -> Vector:
        """f(t, y) in multi-precision numbers."""
        return list(self.terms(t, y, self.args))

    def residual(self, t: Any, h: Any, y: Vector, z: list[Vector]) -> list[Vector]:
        """Of every stage, h f - M D z."""
        out = []
        for i, ci in enumerate(self.c):
            moved = [mpmath.fdot(self.d[i], [zj[k] for zj in z]) for k in range(len(y))]
            f = self.slopes(t + ci * h, [a + b for a, b in zip(y, z[i], strict=True)])
            out.append([h * fk - mpmath.fdot((m, moved[j]) for j, m in row) for fk, row in zip(f, self.entries, strict=True)])
        return out

    def matrix(self, t: Any, h: Any, y: Vector, z: list[Vector]) -> Callable[[np.ndarray], np.ndarray]:
        """Newton's matrix in double precision, its columns in units of the components, its rows of their largest entry."""
        scale = self.scale(y, z, 1e-10)
        full = np.kron(self.d_float, self.mass)
        n = len(y)
        for i, ci in enumerate(self.c):
            at = [float(a + b) for a, b in zip(y, z[i], strict=True)]
            block = slice(i * n, i * n + n)
            full[block, block] -= float(h) * np.array(self.rows(float(t + ci * h), at, self.float_args), dtype=float)
        full *= np.tile(scale, self.stages)
        size = np.abs(full).max(1)
        factors = lu_factor(full / size[:, None])
        return lambda r: lu_solve(factors, r / size) * np.tile(scale, self.stages)

    def step(self, t: Any, h: Any, y: Vector, z: list[Vector]) -> tuple[list[Vector], float] | None:
        """Stages of one step and its scaled error, or None where Newton's iteration does not settle."""
        solve = self.matrix(t, h, y, z)
        before = np.inf
        for k in range(40):
            r = np.array([float(v) for row in self.residual(t, h, y, z) for v in row])
            change = solve(r).reshape(self.stages, -1)
            z = [[a + mpmath.mpf(float(b)) for a, b in zip(zi, ci, strict=True)] for zi, ci in zip(z, change, strict=True)]
            scale = self.scale(y, z, ZERO)
            size = float(np.max(np.abs(change) / scale))
            if not np.isfinite(size) or size > 1e6 or (k > 3 and size > 2 * before):
                return None
            if size < self.tol * 1e-4:
                # Through the stages alone: an algebraic component may start a rounding away from where it has to be.
                last = np.array([float(mpmath.fdot(self.inner, [zj[i] for zj in z])) for i in range(len(y))])
                return z, float(np.max(np.abs(last) / scale)) * 2.0 ** (3 - 2 * self.stages)
            if size > 0.05 * before or size > 1e-2:
                solve = self.matrix(t, h, y, z)
            before = size
        return None

    def scale(self, y: Vector, z: list[Vector], least: float) -> np.ndarray:
        """Largest size of every component over the step, at least this part of its largest over the span."""
        ends = [[abs(float(a))] + [abs(float(a + zi[k])) for zi in z] for k, a in enumerate(y)]
        return np.array([max(v) for v in ends]) + least * self.typical

    def ahead(self, z: list[Vector], ratio: Any) -> list[Vector]:
        """The polynomial of the last step at the abscissae of the next, which is `ratio` times as long."""
        nodes, values = [mpmath.mpf(0), *self.c], [[mpmath.mpf(0)] * len(z[0]), *z]
        out = []
        for ci in self.c:
            s = 1 + ratio * ci
            weights = [w / (s - node) for w, node in zip(self.w, nodes, strict=True)]
            total = mpmath.fsum(weights)
            at = [mpmath.fdot(weights, [v[k] for v in values]) / total for k in range(len(z[0]))]
            out.append([a - b for a, b in zip(at, z[-1], strict=True)])
        return out

    def run(self, first: float) -> tuple[Vector, int]:
        """End state and number of steps."""
        t, t1 = mpmath.mpf(self.task.span[0]), mpmath.mpf(self.task.span[1])
        y = [mpmath.mpf(v) for v in self.task.x0.tolist()]
        h, z, taken, count = mpmath.mpf(first), None, None, 0
        while t < t1:
            h = t1 - t if h > 0.99 * (t1 - t) else h
            guess = self.ahead(z, h / taken) if z is not None and h < 3 * taken else [[mpmath.mpf(0)] * len(y) for _ in self.c]
            tried = self.step(t, h, y, guess)
            if tried is None:
                h, z = h / 4, None
                if h < 1e-30 * (t1 - self.task.span[0]):
                    raise RuntimeError(f"{self.task.name}: stuck at t = {t}")
                continue
            new, error = tried
            factor = min(8.0, 0.8 * (self.tol / max(error, 1e-300)) ** (1 / (self.stages - 1)))
            if error > self.tol:
                h *= min(factor, 0.7)
                continue
            y = [a + b for a, b in zip(y, new[-1], strict=True)]
            t, z, taken, count = t + h, new, h, count + 1
            h *= factor
        return y, count

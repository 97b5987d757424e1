"""What a tableau is. Data only: no method imports are needed to write or to check one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

Row = tuple[float, ...]


@dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta method.

    k_i = f(t + c_i h, x + h sum_j a_ij k_j),  x1 = x + h sum_i b_i k_i,  error = h sum_i (b_i - b_hat_i) k_i,
    x(t + s h) = x + h sum_i (dense_i1 s + dense_i2 s^2 + ...) k_i.
    """

    name: str
    order: int
    a: tuple[Row, ...]  # a[i] holds the i entries of stage i
    b: Row
    c: Row
    reference: str
    b_hat: Row | None = None  # embedded weights
    embedded_order: int | None = None
    dense: tuple[Row, ...] | None = None  # one polynomial without constant term per stage; None: cubic Hermite
    dense_order: int = 3

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.b)

    @property
    def fsal(self) -> bool:
        """The last stage is f at the end of the step (first same as last)."""
        return self.stages > 1 and self.a[-1] == self.b[:-1] and self.b[-1] == 0.0 and self.c[-1] == 1.0


@dataclass(frozen=True)
class RosenbrockTableau:
    """A Rosenbrock (ROW) method in the form without matrix-vector products (Hairer & Wanner II, IV.7).

    (I/(gamma h) - J) u_i = f(t + c_i h, x + sum_j a_ij u_j) + sum_j C_ij u_j / h + d_i h df/dt,
    x1 = x + sum_i m_i u_i,  error = sum_i e_i u_i,
    x(t + s h) = (1 - s) x + s (x1 + (1 - s) (q_1 + s (q_2 + s q_3 ...))),  q_k = sum_i dense_ki u_i.
    """

    name: str
    order: int
    embedded_order: int
    gamma: float
    a: tuple[Row, ...]
    C: tuple[Row, ...]
    c: Row
    d: Row
    m: Row
    e: Row
    reference: str
    dense: tuple[Row, ...] | None = None
    dense_order: int = 3
    w_order: int = 1  # order with any matrix in the place of J, checked by trees
    checks_end: bool = False  # the error is at least what the slope at the end says of it, see `Rosenbrock`

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.m)

    @property
    def fsal(self) -> bool:
        """The last stage evaluates f at the end of the step."""
        return self.a[-1] == self.m[:-1] and self.m[-1] == 0.0 and self.c[-1] == 1.0

    @cached_property
    def sources(self) -> tuple[int, ...]:
        """For each stage the first one with the same point (c_i, x + sum_j a_ij u_j), whose f serves both."""
        points: dict[tuple[float, Row], int] = {}
        full = [(*row, *(0.0,) * (self.stages - len(row))) for row in self.a]
        return tuple(points.setdefault((c, row), i) for i, (c, row) in enumerate(zip(self.c, full, strict=True)))

    @property
    def evaluations(self) -> int:
        """Evaluations of f in a step whose first slope is known."""
        return len(set(self.sources)) - 1 + self.checks_end

    @cached_property
    def end_slope(self) -> Row:
        """Weights of h times the slope of the interpolant at the end, h x'(t + h) = sum_i (m_i - sum_k dense_ki) u_i."""
        columns = zip(self.m, *(self.dense or ()), strict=True)
        return tuple(m - sum(q) for m, *q in columns)


@dataclass(frozen=True)
class DirkTableau:
    """A diagonally implicit Runge-Kutta method with an explicit first stage (ESDIRK), stiffly accurate.

    Y_1 = x,  Y_i = x + h sum_(j<i) a_ij F_j + h gamma F_i,  F_i = f(t + c_i h, Y_i),  x1 = Y_s = x + h sum_i b_i F_i,
    error = h sum_i (b_i - b_hat_i) F_i. With `explicit` it is an additive (IMEX) pair for f = f_stiff + f_nonstiff:
    Y_i = x + h sum_(j<i) (a_ij S_j + explicit_ij N_j) + h gamma S_i, and b, b_hat, c and dense serve both parts; there x1 is
    not Y_s, since the last explicit row is not b.
    """

    name: str
    order: int
    gamma: float  # the common diagonal entry of stages 2 to s
    a: tuple[Row, ...]  # a[i] holds the i entries of row i before its diagonal
    b: Row  # the last row with its diagonal
    c: Row
    b_hat: Row  # embedded weights
    embedded_order: int
    reference: str
    explicit: tuple[Row, ...] | None = None  # strictly lower rows of the explicit partner
    dense: tuple[Row, ...] | None = None  # one polynomial without constant term per stage; None: cubic Hermite
    dense_order: int = 3

    @property
    def stages(self) -> int:
        """Number of stages, the explicit first one counted."""
        return len(self.b)

    @property
    def ends_twice(self) -> bool:
        """The embedded solution is the last stage but one, Kvaerno's design: it damps like the other one."""
        return self.b_hat == (*self.a[-2], self.gamma, 0.0)

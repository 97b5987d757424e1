"""Fully implicit collocation methods, Radau IIA and Gauss: tables computed from their nodes, and the modes that decouple them.

Checked by rooted trees and simplifying assumptions in tests/contract/test_tableaus.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Complex, Float
from numpy.polynomial import legendre


@dataclass(frozen=True, eq=False)
class CollocationTableau:
    """A collocation method with s stages in increments z_i = Y_i - x0, and the transformation that decouples its stages.

    z_i = h sum_j a_ij f(t + c_j h, x0 + z_j),  x1 = x0 + sum_i end_i z_i  (for Radau end = (0, ..., 0, 1): x1 = Y_s).

    Modes: with L = A^-1 and t_inv L t = diag(spectrum), simplified Newton (L kron I / h - I kron J) dZ = F(Z) - L Z / h falls
    apart into m systems instead of one of size s n, for the real eigenvalue and one member of each conjugate pair:
    (eigenvalues_k / h I - J) dW_k = sum_i to_modes_ki (F(Z) - L Z / h)_i,  dz_i = Re sum_k from_modes_ik dW_k.
    The columns of from_modes that stand for a pair hold the factor 2 already. With a mass matrix M the left is
    eigenvalues_k / h M - J.

    Error: x_hat = x0 + h (gamma0 f(x0) + sum_i b_hat_i f(Y_i)) has order s, with sum_i b_hat_i c_i^(k-1) = 1/k for k = 2..s and
    1 - gamma0 for k = 1. Its filtered difference is
    x_hat - x1 ~ (I/(gamma0 h) - J)^-1 (f(t, x0) + sum_i error_i z_i / h),  error = (b_hat - b)^T L / gamma0.
    In Hairer & Wanner's notation error_i = e_i / gamma0, and both sides there are multiplied by gamma0 h. For odd s,
    1/gamma0 is the real eigenvalue, so that its factors serve again; for even s there is none, gamma0 = 1/|first eigenvalue|,
    and the filter costs one real factorisation of its own.

    Dense output: x(t + theta h) = x0 + sum_k q_k theta^k,  q_k = sum_i dense_ki z_i (row 0 is k = 1): the polynomial of degree
    s through x0 and the stages, which passes through x1 as well. Its order is s between the ends.

    Shapes: s stages, m = (s + 1) // 2 modes; float64 and complex128, read-only. Source: Hairer & Wanner II, IV.5 and IV.8.
    Caveat: Gauss is symmetric, |R(infinity)| = 1, and does not damp stiff components. Use: `RADAU5.to_modes @ z`.
    """

    name: str
    order: int
    stage_order: int
    a: Float[np.ndarray, "s s"]
    b: Float[np.ndarray, " s"]
    c: Float[np.ndarray, " s"]
    a_inv: Float[np.ndarray, "s s"]
    spectrum: Complex[np.ndarray, " s"]  # of A^-1: the real one first, if any, then pairs, positive imaginary part first
    t: Complex[np.ndarray, "s s"]
    t_inv: Complex[np.ndarray, "s s"]
    gamma0: float
    b_hat: Float[np.ndarray, " s"]
    error: tuple[float, ...]
    end: tuple[float, ...]
    dense: Float[np.ndarray, "s s"]
    reference: str
    checks_end: bool = False  # the error is at least what the slope at the end says of it, see `methods.Collocation`

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.b)

    @property
    def embedded_order(self) -> int:
        """Order of x_hat."""
        return self.stages

    @property
    def dense_order(self) -> int:
        """Order of the collocation polynomial between the ends."""
        return self.stages

    @property
    def shared(self) -> bool:
        """The filter of the error estimate has the matrix of the real mode."""
        return self.stages % 2 == 1

    @property
    def kept(self) -> list[int]:
        """Which entries of the spectrum are solved for: the real one and the first of each pair."""
        return [i for i, v in enumerate(self.spectrum) if v.imag >= 0.0]

    @property
    def eigenvalues(self) -> Complex[np.ndarray, " m"]:
        """Those entries: the real one first, if any."""
        return self.spectrum[self.kept]

    @property
    def to_modes(self) -> Complex[np.ndarray, "m s"]:
        """W = to_modes Z."""
        return self.t_inv[self.kept]

    @property
    def from_modes(self) -> Complex[np.ndarray, "s m"]:
        """Z = Re(from_modes W)."""
        twice = np.where(np.imag(self.eigenvalues) > 0.0, 2.0, 1.0)
        return self.t[:, self.kept] * twice


def radau_nodes(s: int) -> Float[np.ndarray, " s"]:
    """Zeros of P_s - P_(s-1) on [0, 1], ascending; the last is 1 to the bit. Use: `radau_nodes(3)`."""
    series = np.zeros(s + 1)
    series[s - 1 :] = -1.0, 1.0
    nodes = _polished(series)
    nodes[-1] = 1.0
    return nodes


def gauss_nodes(s: int) -> Float[np.ndarray, " s"]:
    """Zeros of P_s on [0, 1], ascending. Use: `gauss_nodes(2)`."""
    return _polished(np.eye(s + 1)[s])


def _polished(series: Float[np.ndarray, " s1"]) -> Float[np.ndarray, " s"]:
    x = np.sort(legendre.legroots(series).real)
    for _ in range(3):
        x = x - legendre.legval(x, series) / legendre.legval(x, legendre.legder(series))
    return (1.0 + x) / 2.0


def collocation(name: str, order: int, c: Float[np.ndarray, " s"], reference: str) -> CollocationTableau:
    """The collocation method with nodes c: a_ij is the integral of the j-th Lagrange polynomial over [0, c_i].

    Shapes: c (s,), distinct, none 0. Source: Hairer & Wanner II, IV.5; Guillou & Soule, 1969. Caveat: `order` is taken as
    said, for nodes of one's own it is s at least. Use: `collocation("radau13", 13, radau_nodes(7), "...")`.
    """
    s = len(c)
    others = [np.delete(c, j) for j in range(s)]
    x, w = legendre.leggauss(s)

    def integrals(to: float) -> Float[np.ndarray, " s"]:
        # A quadrature that is exact for degree 2 s - 1: no power of c is formed, nothing cancels.
        points = to * (1.0 + x) / 2.0
        values = [np.prod((points[:, None] - o) / (c[j] - o), axis=1) for j, o in enumerate(others)]
        return np.array([to / 2.0 * (w @ v) for v in values])

    a, b = np.array([integrals(float(v)) for v in c]), integrals(1.0)
    a_inv = np.linalg.inv(a)
    spectrum, t, t_inv = _modes(a_inv)
    gamma0 = float(1.0 / abs(spectrum[0]))
    # sum_i b_hat_i c_i^(k-1) = 1/k - gamma0 [k = 1]: b itself solves the part without gamma0.
    lagrange_at_zero = np.array([np.prod(-o / (c[j] - o)) for j, o in enumerate(others)])
    b_hat = b - gamma0 * lagrange_at_zero
    error = (b_hat - b) @ a_inv / gamma0
    # z(theta) = sum_i z_i theta/c_i prod_(j != i) (theta - c_j)/(c_i - c_j); np.poly has the highest power first.
    dense = np.array([np.atleast_1d(np.poly(o))[::-1] / (c[j] * np.prod(c[j] - o)) for j, o in enumerate(others)]).T
    end = np.eye(s)[-1] if c[-1] == 1.0 else b @ a_inv
    for array in (a, b, c, a_inv, spectrum, t, t_inv, b_hat, dense):
        array.setflags(write=False)
    return CollocationTableau(
        name=name,
        order=order,
        stage_order=s,
        a=a,
        b=b,
        c=c,
        a_inv=a_inv,
        spectrum=spectrum,
        t=t,
        t_inv=t_inv,
        gamma0=gamma0,
        b_hat=b_hat,
        error=tuple(float(v) for v in error),
        end=tuple(float(v) for v in end),
        dense=np.ascontiguousarray(dense),
        reference=reference,
    )


def _modes(
    matrix: Float[np.ndarray, "s s"],
) -> tuple[Complex[np.ndarray, " s"], Complex[np.ndarray, "s s"], Complex[np.ndarray, "s s"]]:
    """Eigenvalues in the order real, pair, pair, ...; eigenvectors of a pair exactly conjugate, of the real one real."""
    values, vectors = np.linalg.eig(matrix)
    values, vectors = values.astype(complex), vectors.astype(complex)
    vectors = vectors / vectors[-1]  # as in Hairer & Wanner, and no phase is left to the eigenvalue routine
    real = [i for i, v in enumerate(values) if v.imag == 0.0]
    upper = sorted((i for i, v in enumerate(values) if v.imag > 0.0), key=lambda i: values[i].imag)
    spectrum = [values[i] for i in real] + [u for i in upper for u in (values[i], values[i].conj())]
    columns = [vectors[:, i] for i in real] + [u for i in upper for u in (vectors[:, i], vectors[:, i].conj())]
    t = np.stack(columns, axis=1)
    return np.array(spectrum), t, np.linalg.inv(t)


_RADAU = "Hairer & Wanner, J. Comput. Appl. Math. 111, 1999 (Radau IIA); Ehle, 1969; Axelsson, 1969"
_GAUSS = "Kuntzmann, 1961; Butcher, Math. Comp. 18, 1964 (Gauss)"

RADAU3 = collocation("radau3", 3, radau_nodes(2), _RADAU)
RADAU5 = collocation("radau5", 5, radau_nodes(3), _RADAU)
RADAU9 = collocation("radau9", 9, radau_nodes(5), _RADAU)
GAUSS4 = collocation("gauss4", 4, gauss_nodes(2), _GAUSS)
# Its x1 is no stage and is not damped, and an estimate from inside the step does not see how far off a stiff component ends.
# Gauss 4 has the same fault to a lesser degree; there the end slope asks for three times the steps at tight tolerances.
GAUSS6 = replace(collocation("gauss6", 6, gauss_nodes(3), _GAUSS), checks_end=True)

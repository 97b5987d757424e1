"""Matrix-free solution with a M - df/dx: restarted GMRES, each trajectory on its own terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.func import jvp, vjp

from odebridge.core.protocols import System
from odebridge.core.shapes import every, per_sample, real_dtype
from odebridge.core.tolerance import row_sum
from odebridge.linalg.jacobian import time_derivative
from odebridge.linalg.structure import times_mass

Linear = Callable[[Tensor], Tensor]  # (b, n) -> (b, n)
Preconditioner = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Point(NamedTuple):
    """Where the field is linearised: all that is known of J."""

    t: Float[Tensor, " b"]
    x: Float[Tensor, "b *s"]


class KrylovFactors(NamedTuple):
    """Nothing is factored: the operator itself."""

    t: Float[Tensor, " b"]
    x: Float[Tensor, "b *s"]
    shift: Float[Tensor, " b"]
    singular: Bool[Tensor, " b"]


@dataclass(frozen=True)
class Krylov:
    """(shift M - df/dx) y = r by GMRES(restart), with df/dx v by forward mode at the point that was differentiated.

    Each product costs one more field evaluation with its derivative (two for a complex shift), no matrix is ever held: memory
    b (restart + 1) n. Residuals are measured per component in units of atol + rtol |x| where the solve has tolerances, so that
    small components count. A trajectory is done when |r - W y| <= rtol |r| and is frozen then, so that it does not depend on
    its company; without a mass matrix also when the rms of the residual is below `share` |shift|: if df/dx damps, the error of
    y is then below that share of the tolerance of the step. One that is not done after `max_restarts` cycles is nan, which
    rejects the step. Gradients by the implicit function theorem: backward solves with the transpose, by reverse mode; first
    derivatives only.

    preconditioner(t, x, shift, v) -> P^-1 v approximates W^-1 v, with v (b, *s), linear in v, in torch operations, each
    trajectory by itself, and real or complex as shift is; applied from the right. Shapes: x (b, *s). Source: Saad & Schultz,
    SIAM J. Sci. Stat. Comput. 7, 1986; Brown & Hindmarsh, Appl. Math. Comput. 31, 1989. Caveat: without a preconditioner the
    number of products grows with the stiffness, like its square root for diffusion. `norm` is None.
    Use: `ob.integrate(f, x0, (0.0, 1.0), method="kvaerno5", sparsity=Krylov())`.
    """

    restart: int = 30
    max_restarts: int = 20
    rtol: float = 1e-8
    share: float = 1e-3
    preconditioner: Preconditioner | None = None

    def __post_init__(self) -> None:
        if self.restart < 1 or self.max_restarts < 1:
            raise ValueError(
                f"Krylov: restart and max_restarts must be at least 1, got {self.restart} and {self.max_restarts}."
            )
        if not 0.0 < self.rtol < 1.0 or self.share < 0.0:
            raise ValueError(f"Krylov: rtol must be between 0 and 1 and share not negative, got {self.rtol} and {self.share}.")

    def empty(self, x: Tensor) -> Point:
        """The point itself, at time 0."""
        return Point(torch.zeros(len(x), dtype=torch.float64, device=x.device), torch.zeros_like(x))

    def differentiate(self, f: System, t: Float[Tensor, " b"], x: Tensor) -> tuple[Point, Tensor]:
        """(t, x), at which products are taken, and df/dt."""
        return Point(t, x), time_derivative(f, t, x)

    def factor(self, f: System, jac: Point, shift: Tensor) -> KrylovFactors:
        """Singular says only that the operator is not finite: a singular one shows when GMRES stalls."""
        finite = torch.isfinite(shift) & every(torch.isfinite(jac.x)) & torch.isfinite(jac.t)
        return KrylovFactors(jac.t, jac.x, shift, ~finite)

    def solve(self, f: System, factors: KrylovFactors, rhs: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """W^-1 rhs, nan where GMRES has not converged."""
        fixed = KrylovFactors(*(part.detach() for part in factors))
        dtype = torch.promote_types(rhs.dtype, factors.shift.dtype)
        rhs = rhs.to(dtype)
        with torch.no_grad():
            y = self._inverse(f, fixed, rhs.detach(), coarse=True).detach()
        if not _in_graph(f, factors, rhs):
            return y
        # What is left of the equation vanishes in value and carries the derivatives of rhs, t, x, shift and f's own weights.
        return y + _Inverse.apply(rhs - apply(f, factors, y), self, f, fixed)

    def norm(self, jac: Point) -> None:
        """Nothing is known for free."""

    def _inverse(self, f: System, at: KrylovFactors, rhs: Tensor, transposed: bool = False, coarse: bool = False) -> Tensor:
        """W^-1 rhs or W^-H rhs, flattened for GMRES and back; coarse: the tolerance of the step may end it."""
        shape, dtype = rhs.shape, rhs.dtype
        operator = _transposed(f, at) if transposed else lambda v: apply(f, at, v)
        first = self.preconditioner
        before: Linear = lambda v: v  # noqa: E731
        if first is not None and transposed:
            like = torch.zeros_like(rhs)
            back = vjp(lambda v: first(at.t, at.x, at.shift, v).to(dtype), like)[1]
            before = lambda v: back(v)[0]  # noqa: E731
        elif first is not None:
            before = lambda v: first(at.t, at.x, at.shift, v).to(dtype)  # noqa: E731
        weights = torch.ones_like(at.x) if f.tol is None else f.tol.weights(at.x, at.x)
        weights = (1.0 / weights if transposed else weights).flatten(1)
        # P^-H comes first in the transpose of W P^-1, but the residual that counts is that of W^H y: so right, there too.
        scaled = lambda v: (operator(before((weights * v).reshape(shape))).flatten(1) / weights).contiguous()  # noqa: E731
        floor = torch.zeros(len(rhs), dtype=real_dtype(rhs), device=rhs.device)
        if coarse and f.tol is not None and f.mass is None:
            floor = self.share * at.shift.abs().to(floor) * weights.shape[1] ** 0.5
        rtol = max(self.rtol, 20.0 * torch.finfo(dtype).eps)
        y, done = gmres(
            scaled, (rhs.flatten(1) / weights).contiguous(), self.restart, self.max_restarts, rtol, floor, at.singular
        )
        out = before((weights * y).reshape(shape))
        return torch.where(done.reshape(-1, *(1,) * (rhs.dim() - 1)), out, torch.nan)


def apply(f: System, at: KrylovFactors, v: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
    """(shift M - df/dx) v; a complex v takes both its parts through the field in one call."""
    if v.is_complex():
        both = torch.cat([v.real, v.imag])
        moved = jvp(lambda x: f.repeated(2)(at.t.repeat(2), x), (torch.cat([at.x, at.x]),), (both,))[1]
        jv = torch.complex(moved[: len(v)], moved[len(v) :])
    else:
        jv = jvp(lambda x: f(at.t, x), (at.x,), (v,))[1]
    return _per_lane(at.shift, v) * times_mass(f.mass, v) - jv


def _per_lane(shift: Tensor, v: Tensor) -> Tensor:
    return shift.reshape(-1, *(1,) * (v.dim() - 1)) if shift.is_complex() else per_sample(shift, v)


def _transposed(f: System, at: KrylovFactors) -> Linear:
    """W^H v = conj(shift) M^T v - J^T v by reverse mode; the field is evaluated once."""
    with torch.enable_grad():
        back = vjp(lambda x: f(at.t, x), at.x)[1]
    mass = None if f.mass is None else f.mass.mT if f.mass.dim() == 2 else f.mass

    def operator(v: Tensor) -> Tensor:
        jv = torch.complex(back(v.real)[0], back(v.imag)[0]) if v.is_complex() else back(v)[0]
        return _per_lane(at.shift.conj(), v) * times_mass(mass, v) - jv

    return operator


def _in_graph(f: System, factors: KrylovFactors, rhs: Tensor) -> bool:
    """Whether anything that the solution depends on has a derivative; f's own weights show in its value only."""
    parts = (rhs, *factors)
    return any(map(_has_derivative, parts)) or _has_derivative(f(factors.t, factors.x))


def _has_derivative(v: Tensor) -> bool:
    return (v.requires_grad and torch.is_grad_enabled()) or forward_ad.unpack_dual(v).tangent is not None


class _Inverse(torch.autograd.Function):
    """W^-1 r for an r that vanishes in value: the forward result is 0, its derivatives are those of W^-1 with W fixed."""

    @staticmethod
    def forward(residual: Tensor, _form: Krylov, _f: System, _at: KrylovFactors) -> Tensor:
        """Nought."""
        return torch.zeros_like(residual)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        """Keep the operator."""
        _, ctx.form, ctx.f, ctx.at = inputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        """W^-H grad."""
        return ctx.form._inverse(ctx.f, ctx.at, grad, transposed=True), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:  # type: ignore[override]
        """W^-1 tangent."""
        return ctx.form._inverse(ctx.f, ctx.at, tangent)


def gmres(
    operator: Linear,
    rhs: Float[Tensor, " b n"],
    restart: int,
    max_restarts: int,
    rtol: float,
    floor: Float[Tensor, " b"],
    skip: Bool[Tensor, " b"],
) -> tuple[Float[Tensor, " b n"], Bool[Tensor, " b"]]:
    """Solution of operator(y) = rhs from y = 0 and where |rhs - operator(y)| <= max(rtol |rhs|, floor), Euclidean norms.

    Arnoldi's process by classical Gram-Schmidt, done twice, Givens rotations, restarts from the true residual, by which
    convergence is judged. Trajectories in `skip` and those whose numbers are not finite are left at 0, not done.
    """
    y = torch.zeros_like(rhs)
    goal = torch.maximum(rtol * _norm(rhs), floor)
    residual, left = rhs, _norm(rhs)
    done = left <= goal
    active = ~done & ~skip & torch.isfinite(left)
    for _ in range(max_restarts):
        if not bool(active.any()):
            break
        y = torch.where(active[:, None], y + _cycle(operator, residual, left, active, min(restart, rhs.shape[1]), goal), y)
        new = rhs - operator(y)
        size = _norm(new)
        done = done | (active & (size <= goal))
        stalled = ~(size < left)  # not finite, or exact arithmetic would have made it smaller
        active = active & ~done & ~stalled
        residual, left = new, size
    return y, done & ~skip


def _norm(v: Float[Tensor, " b n"]) -> Float[Tensor, " b"]:
    squares = v.real * v.real + v.imag * v.imag if v.is_complex() else v * v
    return row_sum(squares).sqrt()


def _cycle(operator: Linear, residual: Tensor, size: Tensor, active: Tensor, steps: int, goal: Tensor) -> Float[Tensor, " b n"]:
    """The correction of one cycle. A trajectory leaves when its estimated residual meets its goal, columns after that are 0."""
    b, n = residual.shape
    basis = [torch.where(active[:, None], residual / _safe(size)[:, None], 0.0)]
    upper: list[list[Tensor]] = []  # columns of R
    turns: list[tuple[Tensor, Tensor]] = []
    ends = [torch.where(active, size, 0.0).to(residual.dtype)]
    for j in range(steps):
        w = operator(basis[j])
        before = _norm(w)
        v = torch.stack(basis, 1)
        h = torch.zeros(b, j + 1, dtype=w.dtype, device=w.device)
        for _ in range(2):
            more = row_sum((v.conj() * w[:, None]).reshape(b * (j + 1), n)).reshape(b, j + 1)
            w = w - (v * more[:, :, None]).sum(1)
            h = h + more
        after = _norm(w)
        broke = after <= 10.0 * torch.finfo(after.dtype).eps * before  # the space is invariant: the solution lies in it
        column = list(h.unbind(1))
        for i, (c, s) in enumerate(turns):
            column[i], column[i + 1] = c * column[i] + s * column[i + 1], c * column[i + 1] - s.conj() * column[i]
        c, s, top = _rotation(column[j], torch.where(broke, 0.0, after))
        column[j] = torch.where(active, top, 1.0)
        turns.append((c, s))
        upper.append([torch.where(active, entry, 0.0) for entry in column[:j]] + [column[j]])
        ends.append(torch.where(active, -s.conj() * ends[j], 0.0))
        ends[j] = torch.where(active, c * ends[j], 0.0)
        active = active & (ends[j + 1].abs() > 0.5 * goal) & ~broke & torch.isfinite(after)
        basis.append(torch.where(active[:, None], w / _safe(after)[:, None], 0.0))
        if not bool(active.any()):
            break
    k = len(upper)
    weights: list[Tensor] = [torch.zeros_like(ends[0])] * k
    for j in reversed(range(k)):
        known = ends[j]
        for i in range(j + 1, k):
            known = known - upper[i][j] * weights[i]
        weights[j] = torch.where(known == 0, 0.0, known / _safe(upper[j][j]))
    out = torch.zeros_like(residual)
    for weight, direction in zip(weights, basis, strict=False):
        out = out + weight[:, None] * direction
    return out


def _safe(v: Tensor) -> Tensor:
    return torch.where(v == 0, torch.ones_like(v), v)


def _rotation(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """C real and s with c a + s b = r and c b - conj(s) a = 0, b real: what turns the new entry below the diagonal to 0."""
    size = a.abs()
    r = torch.hypot(size, b)
    c = torch.where(r == 0, 1.0, size / _safe(r))
    phase = torch.where(size == 0, torch.ones_like(a), a / _safe(size))
    s = torch.where(r == 0, torch.zeros_like(a), phase * b / _safe(r))
    return c, s, phase * r

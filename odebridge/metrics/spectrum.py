"""Stiffness in the textbooks' sense, from the Jacobian of a field: spectral radius, logarithmic norm, stiffness ratio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vjp

from odebridge.integrate.system import BoundField
from odebridge.linalg.jacobian import jacobian

Field = Callable[[Tensor, Tensor], Tensor]
EXACT = 256  # components up to which the whole Jacobian is formed
KRYLOV = 60  # products with J or its transpose, where it is not


def spectral_radius(f: Field, t: Tensor | float, x: Float[Tensor, "b *s"]) -> Float[Tensor, " b"]:
    """max_i |lambda_i(J)|,  J = df/dx(t, x): beyond about 2 / h explicit Euler is unstable at the step h.

    f(t, x) -> (b, *s) as in `integrate`; t a number or (b,). Returns (b,). Exact up to 256 components; beyond, the largest of
    60 Ritz values of Arnoldi's iteration, each a product with J by forward mode, near where one eigenvalue dominates. NaN where
    J is not finite. Source: Hairer & Wanner II, IV.2. Caveat: eigenvalues say little of matrices far from normal; see
    `log_norm`. Use: `spectral_radius(f, 0.0, x)`; for a block of a network `lambda t, x: block(x)` is f.
    """
    t = _clock(t, x)
    if x[0].numel() <= EXACT:
        return _eigenvalues(_whole(f, t, x)).abs().amax(1)
    return _ritz(lambda v: jvp(lambda y: f(t, y), (x,), (v,))[1], x, symmetric=False).abs().amax(1)


def log_norm(f: Field, t: Tensor | float, x: Float[Tensor, "b *s"]) -> Float[Tensor, " b"]:
    """mu_2(J) = largest eigenvalue of (J + J^T) / 2: two solutions part no faster than exp(mu t); below 0 they approach.

    f, t and shapes as in `spectral_radius`; returns (b,), of either sign. Exact up to 256 components; beyond, by Lanczos'
    iteration with products by J and its transpose, a bound from below. Source: Dahlquist 1958; Soderlind, BIT 46, 2006.
    Caveat: positive for every field that grows in some direction for a moment, stable ones too. Use: `log_norm(f, 0.0, x)`.
    """
    t = _clock(t, x)
    if x[0].numel() <= EXACT:
        jac = _whole(f, t, x)
        bad = ~torch.isfinite(jac).flatten(1).all(1)
        even = torch.where(bad[:, None, None], 0.0, 0.5 * (jac + jac.mT))
        return torch.where(bad, torch.nan, torch.linalg.eigvalsh(even)[:, -1])

    def even_part(v: Tensor) -> Tensor:
        back: Any = vjp(lambda y: f(t, y), x)[1]
        return 0.5 * (jvp(lambda y: f(t, y), (x,), (v,))[1] + back(v)[0])

    return _ritz(even_part, x, symmetric=True).real.amax(1)


def stiffness_ratio(f: Field, t: Tensor | float, x: Float[Tensor, "b *s"]) -> Float[Tensor, " b"]:
    """Max |Re lambda| / min |Re lambda| over the eigenvalues of df/dx(t, x) that decay, Re lambda < 0.

    f, t and shapes as in `spectral_radius`; returns (b,), 1 for a single rate, NaN where nothing decays or J is not finite.
    Eigenvalues within n roundings of the spectral radius count as 0 (invariants, such as the mass of a reaction): left out.
    ValueError beyond 256 components, since the slowest rate takes all eigenvalues. Source: Lambert, Numerical Methods for
    Ordinary Differential Systems, 6.2. Caveat: it ignores how long the span is: a large ratio over a short span is not stiff.
    Use: `stiffness_ratio(problem.field, 0.0, x)`.
    """
    n = x[0].numel()
    if n > EXACT:
        raise ValueError(
            f"stiffness_ratio: takes all eigenvalues, of up to {EXACT} components, and x has {n}; see spectral_radius."
        )
    values = _eigenvalues(_whole(f, _clock(t, x), x))
    rate = -values.real
    decays = rate > n * torch.finfo(x.dtype).eps * values.abs().amax(1, keepdim=True)
    fast = torch.where(decays, rate, -torch.inf).amax(1)
    slow = torch.where(decays, rate, torch.inf).amin(1)
    return torch.where(decays.any(1), fast / slow, torch.nan)


def _clock(t: Tensor | float, x: Tensor) -> Float[Tensor, " b"]:
    if x.dim() < 2:
        raise ValueError(f"x must be a batch of states (b, *s), got {tuple(x.shape)}; for one state write x[None].")
    return torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))


@torch.no_grad()
def _whole(f: Field, t: Tensor, x: Tensor) -> Float[Tensor, " b n n"]:
    return jacobian(BoundField(f), t, x)[0]


def _eigenvalues(jac: Float[Tensor, " b n n"]) -> Tensor:
    """Of every matrix, complex; NaN for one that is not finite, which LAPACK would refuse."""
    bad = ~torch.isfinite(jac).flatten(1).all(1)
    values = torch.linalg.eigvals(torch.where(bad[:, None, None], 0.0, jac))
    return torch.where(bad[:, None], torch.nan, values)


@torch.no_grad()
def _ritz(product: Callable[[Tensor], Tensor], x: Tensor, symmetric: bool) -> Tensor:
    """Eigenvalues of the projection on a Krylov space, (b, k), from a start that no mode is orthogonal to."""
    shape, steps = x.shape, min(KRYLOV, x[0].numel())
    number = torch.arange(1, x[0].numel() + 1, dtype=torch.float64, device=x.device)
    chirp = torch.cos(0.7071 * number * number).to(x.dtype)
    basis = [(chirp / chirp.norm()).expand(len(x), -1)]
    h = x.new_zeros(len(x), steps + 1, steps)
    for k in range(steps):
        w = product(basis[k].reshape(shape)).reshape(len(x), -1)
        for _ in range(2):  # once more against rounding
            for j, v in enumerate(basis):
                part = (v * w).sum(1)
                h[:, j, k] += part
                w = w - part[:, None] * v
        size = w.norm(dim=1)
        h[:, k + 1, k] = size
        basis.append(torch.where((size > 0)[:, None], w / size.clamp_min(torch.finfo(x.dtype).tiny)[:, None], 0.0))
    square = h[:, :steps]
    return _eigenvalues(0.5 * (square + square.mT) if symmetric else square)

"""What a solve knows of M x' = f(t, x) beyond f: the mass matrix, the structure of df/dx, consistent initial values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from odebridge.core.protocols import Method
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.system import BoundField
from odebridge.linalg.banded import structure_of
from odebridge.linalg.colouring import detect
from odebridge.linalg.krylov import Krylov
from odebridge.linalg.structure import Dense, Structure, full_mass


def mass_matrix(value: Any, x0: Tensor, method: Method) -> Tensor | None:
    """M as (n,) or (n, n) in the dtype of x0."""
    if value is None:
        return None
    if not getattr(method, "takes_mass", False):
        raise ValueError(
            f"mass: method {method.name!r} solves x' = f(t, x) only; use 'rodas5p', 'kvaerno5' or 'radau5', or divide f by M."
        )
    try:
        m = torch.as_tensor(value, dtype=x0.dtype, device=x0.device).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"mass: must be a tensor (n,) or (n, n), got {value!r}.") from error
    n = x0[0].numel()
    if m.shape not in ((n,), (n, n)):
        raise ValueError(f"mass: must have shape ({n},) for a diagonal or ({n}, {n}), the same for all, got {tuple(m.shape)}.")
    if not bool(torch.isfinite(m).all()):
        raise ValueError("mass: holds values that are not finite.")
    if not bool(m.any()):
        raise ValueError("mass: is all zero, so nothing would move; solve 0 = f(x) by a root finder.")
    if not getattr(method, "algebraic", True) and int(torch.linalg.matrix_rank(full_mass(m).double())) < n:
        raise ValueError(
            f"mass: is singular, and method {method.name!r} does not damp the errors of algebraic components; use 'rodas5p', "
            "'radau5' or 'kvaerno5'."
        )
    return m


def structure(value: Any, x0: Tensor) -> Structure:
    """How df/dx is held, as far as it is known before the field is; "detect" waits for `detected`."""
    if value is None or (isinstance(value, str) and value == "detect"):
        return Dense()
    if isinstance(value, str):
        if value == "krylov":
            return Krylov()
        raise ValueError(f"sparsity: {value!r} is not known; write 'detect', 'krylov', bandwidths (lower, upper) or a pattern.")
    if all(callable(getattr(value, part, None)) for part in ("differentiate", "factor", "solve")):
        return value
    return structure_of(value, x0[0].numel())


@torch.no_grad()
def detected(value: Any, f: BoundField, t0: Tensor, x0: Tensor) -> Structure:
    """The structure in force: for "detect" the one that forward mode shows at a few points near the start."""
    if isinstance(value, str) and value == "detect":
        return structure_of(detect(f, t0.detach(), x0.detach()))
    return f.structure


@torch.no_grad()
def check_consistent(f: BoundField, t0: Tensor, x0: Tensor, slope: Tensor, tol: Tolerance) -> None:
    """Rows of 0 = f must hold at the start: refuse initial values that are further off than the tolerance.

    With U0 and V0 spanning the left and right null spaces of M the algebraic equations are U0^T f = 0 and are solved for
    V0^T x; their Jacobian U0^T J V0 must be regular, which is what index 1 means (Hairer & Wanner II, VI.1).
    """
    if f.mass is None:
        return
    left, sizes, right = torch.linalg.svd(full_mass(f.mass).double())
    null = sizes <= sizes.max() * len(sizes) * torch.finfo(x0.dtype).eps
    if not bool(null.any()):
        return
    u0, v0 = left[:, null], right[null].T
    g = slope.detach().flatten(1).double() @ u0
    jac, _ = Dense().differentiate(f, t0.detach(), x0.detach())
    own = u0.T @ jac.double() @ v0
    values = torch.linalg.svdvals(own)
    flat = values[:, -1] <= values[:, 0] * 1e-13
    if bool(flat.any()):
        i = int(flat.nonzero()[0, 0])
        raise ValueError(
            f"mass: the algebraic equations of trajectory {i} do not determine the algebraic components at t0 (their Jacobian "
            "is singular), so the index is above 1; differentiate the constraints until it is 1."
        )
    shift = -torch.linalg.solve(own, g[:, :, None])[:, :, 0] @ v0.T
    better = x0.detach() + shift.reshape(x0.shape).to(x0.dtype)
    off = tol.ratio(better - x0.detach(), x0.detach(), better)
    if bool((off > 1.0).any()):
        i = int((off > 1.0).nonzero()[0, 0])
        row = [float(f"{v:.6g}") for v in better[i].reshape(-1)[:12]]
        raise ValueError(
            f"x0: trajectory {i} does not fulfil the algebraic equations 0 = f of the mass matrix: it is {float(off[i]):.3g} "
            f"tolerances away. One Newton step from it leads to {row}{' ...' if x0[i].numel() > 12 else ''}; start there."
        )

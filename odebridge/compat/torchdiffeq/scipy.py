"""torchdiffeq's `scipy_solver`: SciPy's `solve_ivp`, on the CPU, without a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from odebridge.compat.torchdiffeq.options import MOST
from odebridge.compat.torchdiffeq.state import Form
from odebridge.core.names import lookup
from odebridge.integrate import check
from odebridge.integrate.leaves import hides_leaves
from odebridge.methods.borrowed import Watched

SOLVERS: dict[str, None] = dict.fromkeys(("RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"))
CALLS = 20  # of the field, for every step that max_num_steps allows


def by_scipy(
    func: Callable[..., Any], form: Form, y0: Any, t: Tensor, rtol: Any, atol: Any, options: dict[str, Any], event_fn: Any
) -> Any:
    """The states at t; ValueError where a gradient is asked for: there is none, and torchdiffeq returns None for it."""
    x0 = form.flat(y0)
    if event_fn is not None:
        raise ValueError("event_fn: 'scipy_solver' has no events here; use a method of the catalogue, 'bdf' or 'rodas5p'.")
    if torch.is_grad_enabled() and (x0.requires_grad or t.requires_grad or hides_leaves(func)):
        raise ValueError(
            "gradient: SciPy computes none. Wrap the call in torch.no_grad(), or use a stiff method of ours ('rodas5p', "
            "'kvaerno5', 'bdf')."
        )

    solver = options.get("solver", "LSODA")
    lookup("solver of SciPy", solver, SOLVERS)
    most = options.get("max_num_steps", MOST)
    check.whole("max_num_steps", most)

    @torch.no_grad()
    def rows(s: float, x: Any) -> Any:
        state = form.parts(torch.as_tensor(x, dtype=x0.dtype, device=x0.device))
        out = func(torch.tensor(s, dtype=x0.real.dtype, device=x0.device), state)
        return form.flat(out, x0).cpu().numpy()

    field = Watched(rows, None, CALLS * most)  # SciPy itself knows no end
    if len(t) == 1:
        return form.parts(x0[None])
    when = t.detach().double().cpu().numpy()
    bounds = {k: options[k] for k in ("max_step", "first_step") if options.get(k) is not None}
    sol = solve_ivp(
        field,
        (when[0], when[-1]),
        x0.detach().cpu().numpy(),
        solver,
        when,
        rtol=rtol,
        atol=atol,
        **bounds,
    )
    if not sol.success or not np.isfinite(sol.y).all():
        raise RuntimeError(f"scipy_solver: {sol.message}")
    return form.parts(torch.as_tensor(sol.y.T, dtype=x0.dtype, device=x0.device))

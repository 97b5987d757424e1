"""odeint_adjoint: the gradient from a solve backward in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.compat.torchdiffeq.methods import method_of
from odebridge.compat.torchdiffeq.options import setting, watched
from odebridge.compat.torchdiffeq.reroute import rerouted
from odebridge.compat.torchdiffeq.solve import checked, solved, times
from odebridge.compat.torchdiffeq.state import Form
from odebridge.integrate.adjoint import Adjoint


def odeint_adjoint(
    func: Callable[..., Any], y0: Any, t: Tensor, *, rtol: Any = 1e-7, atol: Any = 1e-9, method: Any = None,
    options: dict[str, Any] | None = None, event_fn: Callable[..., Tensor] | None = None, adjoint_rtol: Any = None,
    adjoint_atol: Any = None, adjoint_method: Any = None, adjoint_options: dict[str, Any] | None = None,
    adjoint_params: Any = None,
) -> Any:  # fmt: skip
    """Torchdiffeq's `odeint_adjoint`: as `odeint`, the gradient by `ob.Adjoint`, a backsolve that watches for drift.

    y0 (*s), or a tuple of such; t (k,); returns (k, *s). func need not be a module: tensors in closures are found.
    adjoint_params: tensors that need a gradient beside those.
    Warns with `ob.DriftWarning` where the gradient is wrong. ValueError, TypeError, SolveError as `odeint`.
    Use: `odeint_adjoint(net, y0, t, adjoint_options={"norm": "seminorm"})`.
    """
    if adjoint_method is not None and adjoint_method != method and options is not None and adjoint_options is None:
        raise ValueError("adjoint_options: give them too, options do not say what the other adjoint_method needs.")
    form, t = Form.of(y0), times(t)
    checked(func, event_fn, options=options, adjoint_options=adjoint_options)
    given = dict(options or {}) if adjoint_options is None else dict(adjoint_options)
    given.pop("norm", None)  # the parameter integral is in no norm, which is what "seminorm" asks for
    scheme, fixed = method_of(method if adjoint_method is None else adjoint_method)
    read = setting(func, form, form.flat(y0)[None].detach(), t, scheme, fixed, given, "_adjoint")
    owned = tuple(func.parameters()) if isinstance(func, nn.Module) and adjoint_params is None else tuple(adjoint_params or ())
    policy = Adjoint(
        method=scheme, rtol=adjoint_rtol, atol=adjoint_atol, max_steps=read.max_steps, controller=read.law,
        first_step=read.first_step, trying=watched(func, form, "_adjoint"), parameters=owned,
    )  # fmt: skip
    if event_fn is None:
        return solved(func, y0, t, rtol, atol, method, options, None, policy)
    with torch.no_grad():
        event_t, _ = solved(func, y0, t, rtol, atol, method, options, event_fn, policy)
    if bool(event_t == t[0]):
        return event_t, form.parts(form.flat(y0).expand(2, -1))
    span = torch.cat([t[:1], event_t.reshape(1)])
    y = solved(func, y0, span, rtol, atol, method, options, None, policy)
    xs = torch.stack([form.flat(v) for v in (y.unbind(0) if form.single else zip(*(p.unbind(0) for p in y), strict=True))])
    event_t, end = rerouted(func, form, event_fn, event_t, xs[1])
    return event_t, form.parts(torch.stack([xs[0], end]))

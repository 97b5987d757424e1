"""odeint_event: until something happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from odebridge.compat.torchdiffeq.solve import odeint


def odeint_event(
    func: Callable[..., Any], y0: Any, t0: Tensor, *, event_fn: Callable[..., Tensor], reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint, **kwargs: Any,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Torchdiffeq's `odeint_event`: (event_t, y (2, *shape)) at t0 and where a component of event_fn(t, y) changes its sign.

    The gradients of event_t and of the state there come with `odeint` and `odeint_adjoint` themselves. event_fn and func see
    the time as it is, in either direction. Use: `odeint_event(fall, y0, torch.tensor(0.0), event_fn=lambda t, y: y[0])`.
    """
    start = t0.reshape(-1)
    t = torch.cat([start, start.detach() + (-1.0 if reverse_time else 1.0)])
    return odeint_interface(func, y0, t, event_fn=event_fn, **kwargs)

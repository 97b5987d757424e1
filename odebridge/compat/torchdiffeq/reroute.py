"""The gradient of an event's time and state, where the state at that time has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from odebridge.compat.torchdiffeq.state import Form


def rerouted(
    func: Callable[..., Any], form: Form, event_fn: Callable[..., Tensor], t: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """(t, x) unchanged in value, with dt/dp = -(dg/dx dx/dp + dg/dp) / (dg/dt along the solution) and dx/dp + f dt/dp.

    t (), x (n,) with its graph at constant t. Of several components of event_fn the one nearest to 0 is the event.
    """
    clock = t.detach().to(x.real.dtype)
    with torch.no_grad():
        slope = form.flat(func(clock, form.parts(x.detach())), x)
        number = int(event_fn(clock, form.parts(x.detach())).reshape(-1).abs().argmin())

    def level(s: Tensor, v: Tensor) -> Tensor:
        return event_fn(s, form.parts(v)).reshape(-1)[number]

    with torch.enable_grad():
        s, v = clock.clone().requires_grad_(), x.detach().clone().requires_grad_()
        by_t, by_x = torch.autograd.grad(level(s, v), (s, v), allow_unused=True)
    rate = (0.0 if by_t is None else by_t) + (0.0 if by_x is None else (by_x * slope).sum())
    value = level(clock, x)
    moved = t.detach() - ((value - value.detach()) / rate).to(t.dtype)
    return moved, x + slope * (moved - moved.detach()).to(x.dtype)

"""The dictionary `options` of torchdiffeq as the parts of a solve."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from odebridge.compat.torchdiffeq.laws import Elementary, Nodes, Shortest
from odebridge.compat.torchdiffeq.methods import ADAPTIVE
from odebridge.compat.torchdiffeq.state import Form
from odebridge.control.base import Fixed
from odebridge.control.catalogue import CONTROLLERS
from odebridge.control.compose import AtTimes, Bounded
from odebridge.core.names import nearest
from odebridge.core.protocols import Method
from odebridge.integrate import check
from odebridge.integrate.loops import Attempt, Lanes, Trying, attempt

# Tries over the whole solve. torchdiffeq has none to speak of, and loops for ever where the steps collapse.
MOST = 10_000
MOST_GIVEN = 10_000_000  # where the steps are given, and so the end is certain
FIXED_OPTIONS = {"step_size", "grid_constructor", "grid_points"}
KNOWN = FIXED_OPTIONS | {
    "norm", "jump_t", "step_t", "perturb", "first_step", "max_num_steps", "min_step", "max_step", "safety", "ifactor",
    "dfactor", "dtype", "interp", "eps", "max_order", "max_iters", "solver",
}  # fmt: skip
CALLBACKS = ("callback_step", "callback_accept_step", "callback_reject_step")


class Setting(NamedTuple):
    """What the options say."""

    law: Any
    first_step: Any
    norm: Callable[[Any], Tensor] | None
    jump_t: Any
    max_steps: int
    trying: Trying


def setting(
    func: Any, form: Form, x0: Tensor, t: Tensor, method: Method, fixed: bool, options: dict[str, Any], suffix: str = ""
) -> Setting:
    """The options read; a name that nobody knows is warned of, as torchdiffeq does. ValueError for values that cannot be."""
    unknown = sorted(map(str, options.keys() - KNOWN))
    if unknown:
        words = f"odeint: unexpected options {', '.join(unknown)}; {nearest(unknown[0], KNOWN)}"
        warnings.warn(words, UserWarning, stacklevel=5)
    for name in ("first_step", "max_step", "step_size", "safety", "ifactor", "dfactor"):
        check.positive(name, options.get(name))
    if options.get("min_step"):
        check.positive("min_step", options["min_step"])
    check.functions(norm=None if isinstance(options.get("norm"), str) else options.get("norm"))
    jump_t, low = _times("jump_t", options.get("jump_t")), float(options.get("min_step") or 0.0)
    first = options.get("first_step")
    if fixed:
        law, first, jump_t = _grid(form, func, x0, t, options)
    else:
        law = _adaptive(method, options)
        if options.get("max_step") is not None:
            law = Bounded(law, highest=float(options["max_step"]))
        if low > 0.0:
            law = Shortest(law, low)
        stops = [*_times("step_t", options.get("step_t")), *jump_t]
        if len(set(stops)) < len(stops):
            raise ValueError("step_t, jump_t: must not have a time in common, or one twice.")
        law = AtTimes(law, stops) if stops else law
    most = options.get("max_num_steps", MOST_GIVEN if fixed else MOST)
    check.whole("max_num_steps", most)
    return Setting(law, None if first is None else float(first), options.get("norm"), jump_t, most, watched(func, form, suffix))


def _times(name: str, given: Any) -> tuple[float, ...]:
    """Finite times as numbers."""
    if given is None:
        return ()
    try:
        times = tuple(torch.as_tensor(given, dtype=torch.float64).reshape(-1).tolist())
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: must be times, a tensor (k,) of numbers, got {given!r}.") from error
    if bad := [i for i, t in enumerate(times) if not math.isfinite(t)]:
        raise ValueError(f"{name}: is {times[bad[0]]} at index {bad[0]}; give finite times.")
    return times


def _adaptive(method: Method, options: dict[str, Any]) -> Any:
    """Torchdiffeq's law for its own methods and where one of its factors is given, else the method's own."""
    factors = {name: float(options[name]) for name in ("safety", "ifactor", "dfactor") if options.get(name) is not None}
    theirs = any(method == m for m in ADAPTIVE.values())
    return Elementary(**factors) if theirs or factors else CONTROLLERS[method.law]


def _grid(form: Form, func: Any, x0: Tensor, t: Tensor, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Law, first step and jumps of a solve with given steps."""
    size, maker = options.get("step_size"), options.get("grid_constructor")
    if size is not None and maker is not None:
        raise ValueError("step_size, grid_constructor: give one of them.")
    now = t.detach().double()
    if maker is not None:
        nodes = torch.as_tensor(maker(func, form.parts(x0[0].detach()), t.detach())).detach().double()
        if nodes.dim() != 1 or float(nodes[0]) != float(now[0]) or float(nodes[-1]) != float(now[-1]):
            raise ValueError("grid_constructor: must return a grid from t[0] to t[-1].")
    elif size is not None:
        span = now[-1] - now[0]
        count = int(torch.ceil(span.abs() / float(size) - 1e-9).clamp_min(1))
        if count > MOST_GIVEN:
            raise ValueError(f"step_size: {size!r} makes {count} steps, more than {MOST_GIVEN}; choose a longer one.")
        nodes = now[0] + torch.sign(span) * float(size) * torch.arange(count + 1, dtype=torch.float64, device=t.device)
        nodes[-1] = now[-1]
    else:
        nodes = now
    nodes = nodes.sort().values
    jump_t = tuple(nodes.tolist()) if options.get("perturb") else ()
    if size is not None and jump_t == ():
        return Fixed(), float(size), ()
    return Nodes(nodes.contiguous()), 1.0, jump_t


def watched(func: Any, form: Form, suffix: str = "") -> Trying:
    """One round that tells func's callbacks of it: callback(t0, y0, dt), called once the try is known."""
    step, kept, lost = (getattr(func, name + suffix, None) for name in CALLBACKS)
    if step is None and kept is None and lost is None:
        return attempt

    def trying(*given: Any) -> tuple[Lanes, Attempt]:
        lanes, tried = attempt(*given)
        y0 = form.parts(tried.x0[0, : form.size].detach())  # the adjoint's rounds have more behind the state
        for callback, wanted in ((step, True), (kept, bool(tried.kept[0])), (lost, not bool(tried.kept[0]))):
            if callback is not None and wanted:
                callback(tried.t0[0].detach(), y0, tried.dt[0].detach())
        return lanes, tried

    return trying

"""Bad input gets a sentence before the first step: the argument, the index or value, what to write instead."""

from __future__ import annotations

import math
import warnings
from dataclasses import fields, is_dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odebridge.core.over import Grid, Span
from odebridge.core.protocols import StepController
from odebridge.core.shapes import real_dtype
from odebridge.core.told import outside
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.save import At, Dense, Every, Last, clock_values
from odebridge.methods.explicit_rk import ExplicitRK


def state(x0: Any) -> Tensor:
    """x0 as a floating or complex tensor (b, *s)."""
    if not isinstance(x0, Tensor):
        try:
            x0 = torch.as_tensor(x0)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"x0: must be a tensor or something a tensor can be made of, got {type(x0).__name__} ({error})."
            ) from error
        x0 = x0.to(torch.get_default_dtype()) if not x0.is_complex() else x0
    if x0.layout != torch.strided:
        raise TypeError(f"x0: is of layout {x0.layout}; give a dense tensor of numbers, x0.to_dense().")
    if not x0.is_floating_point():
        if x0.is_complex():
            return x0
        raise TypeError(f"x0: holds {x0.dtype}; steps are fractions, so write x0.to(torch.float64) or x0.float().")
    return x0


def complex_state(x0: Tensor, method: Any) -> None:
    """Only explicit Runge-Kutta methods take complex states: they need sums of slopes and the size of an error, no more."""
    if x0.is_complex() and not isinstance(method, ExplicitRK):
        raise TypeError(
            f"x0: complex states ({x0.dtype}) work with explicit Runge-Kutta methods such as 'tsit5'; method {method.name!r} "
            "is for real ones (most others need df/dx, which a field of complex numbers need not have). Split them, "
            "torch.view_as_real(x0)."
        )


def span_only(**given: Any) -> None:
    """Keywords that ask for something between given steps."""
    for name, value in given.items():
        if not (value is False or value is None or (isinstance(value, (tuple, list)) and not value)):
            raise ValueError(f"{name}: works over a span (t0, t1), where steps are chosen; on a grid they are given.")


def spanned_state(x0: Tensor) -> None:
    """The further demands of a solve over a span: a batch axis, entries, finite values."""
    if x0.device.type == "meta":  # on a grid, where nothing is decided on data, shapes are enough
        raise TypeError("x0: is on the meta device, which holds no numbers; over a span steps are chosen by them.")
    if x0.dim() < 2:
        fix = f"x0[None] for one system of {x0.numel()} components, or x0[:, None] for {x0.numel()} trajectories of one"
        raise ValueError(
            f"x0: has shape {tuple(x0.shape)} but needs a batch axis first; write {fix if x0.dim() else 'x0.reshape(1, 1)'}."
        )
    if x0.numel() == 0:
        raise ValueError(f"x0: is empty, shape {tuple(x0.shape)}; give at least one trajectory with one component.")
    if x0.dtype in (torch.float16, torch.bfloat16, torch.complex32):
        raise TypeError(f"x0: {x0.dtype} has too few digits for step-size control; write x0.float() or x0.double().")
    bad = (~torch.isfinite(x0)).nonzero()
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise ValueError(f"x0: is {x0[index].item()} at index {index}; initial values must be finite.")


def over(value: Any) -> Span | Grid:
    """(t0, t1), a Span or a Grid."""
    if isinstance(value, (Span, Grid)):
        return value
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return Span(*value)
    hint = "; for output at given times write over=(t0, t1), save=ob.At(times)" if isinstance(value, Tensor) else ""
    raise TypeError(f"over: give (t0, t1), ob.Span(t0, t1), ob.Grid(ts) or ob.Steps(n), got {value!r}{hint}.")


def moment(name: str, value: Any, x0: Tensor) -> Tensor:
    """t0 or t1 as (b,) float64, finite."""
    t = clock_values(f"over: {name}", value, x0)
    if t.dim() > 1 or (t.dim() == 1 and len(t) not in (1, len(x0))):
        raise ValueError(f"over: {name} must be a number or have shape ({len(x0)},), got {tuple(t.shape)}.")
    bad = (~torch.isfinite(t.reshape(-1))).nonzero()
    if len(bad):
        raise ValueError(f"over: {name} is {float(t.reshape(-1)[bad[0, 0]])} (index {int(bad[0, 0])}); it must be finite.")
    return t.expand(len(x0)) if t.dim() else t.repeat(len(x0))


def tolerance(rtol: Any, atol: Any, x0: Tensor) -> Tolerance:
    """Rtol (b,) and atol (b, 1, ..., 1) or (b, *s) in the dtype of x0."""
    out = []
    for name, value in (("rtol", rtol), ("atol", atol)):
        if isinstance(value, (str, bool)) or value is None:
            raise TypeError(f"{name}: must be a number or a tensor, got {value!r} of type {type(value).__name__}.")
        try:
            v = torch.as_tensor(value, dtype=real_dtype(x0), device=x0.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{name}: must be a number or a tensor, got {value!r}.") from error
        bad = (~(torch.isfinite(v) & (v >= 0))).reshape(-1).nonzero()
        if len(bad):
            i = int(bad[0, 0])
            raise ValueError(f"{name}: is {float(v.reshape(-1)[i])} at index {i}; it must be finite and at least 0.")
        out.append(v)
    r, a = out
    if r.dim() > 1 or (r.dim() == 1 and len(r) != len(x0)):
        raise ValueError(f"rtol: must be a number or have shape ({len(x0)},), got {tuple(r.shape)}.")
    if a.dim() == 0:
        a = a.reshape((1,) * x0.dim())
    if a.dim() != x0.dim() or any(m not in (1, n) for m, n in zip(a.shape, x0.shape, strict=True)):
        raise ValueError(
            f"atol: must be a number or a tensor with as many dimensions as x0 {tuple(x0.shape)}, each 1 or equal, "
            f"got {tuple(a.shape)}."
        )
    a = a.expand(len(x0), *a.shape[1:])
    if bool(((r.expand(len(x0)).reshape(-1, *(1,) * (x0.dim() - 1)) == 0) & (a == 0)).any()):
        raise ValueError("rtol, atol: are both 0; at least one of them must be positive.")
    # Below about 100 roundings of the dtype the error estimate is noise, and no step would ever pass; 0 means atol alone.
    lowest = 100 * torch.finfo(x0.dtype).eps
    if bool(((r > 0) & (r < lowest)).any()):
        kind = str(real_dtype(x0)).removeprefix("torch.")
        fix = "; for more digits write x0.double()" if kind == "float32" else ""
        words = f"rtol: is below 100 roundings of {kind} and read as {lowest:.2g}{fix}."
        warnings.warn(words, RuntimeWarning, stacklevel=outside())
    r = torch.where(r == 0, 0.0, r.clamp_min(lowest)).expand(len(x0))
    bad = ((a == 0) & (x0 == 0)).nonzero()
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise ValueError(
            f"atol: is 0 where x0 is 0 (index {index}), so that no error is small enough; give a positive atol there."
        )
    return Tolerance(r.contiguous(), a.contiguous())


def truth(**given: Any) -> None:
    """Each is True or False."""
    for name, value in given.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name}: must be True or False, got {value!r}.")


def positive(name: str, value: Any, b: int | None = None) -> None:
    """A number above 0, or (b,) of them where b is given, or None."""
    if value is None:
        return
    kind = "a positive number" if b is None else f"a positive number or a tensor of shape ({b},)"
    if isinstance(value, (bool, str)):
        raise TypeError(f"{name}: must be {kind}, got {value!r}.")
    try:
        v = torch.as_tensor(value, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: must be {kind}, got {value!r}.") from error
    if v.dim() and (b is None or v.shape != (b,)):
        raise ValueError(f"{name}: must be {kind}, got shape {tuple(v.shape)}.")
    if bool((~(v > 0)).any()):
        raise ValueError(f"{name}: must be {kind}, got {value!r}.")


def whole(name: str, value: Any) -> None:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: must be a whole number of at least 1, got {value!r}.")
    if not 1 <= int(value) < 2**63:
        raise ValueError(
            f"{name}: must be a whole number of at least 1{', below 2^63' if int(value) > 1 else ''}, got {value!r}."
        )


def unused(rtol: Any, atol: Any, first_step: Any, max_step: Any, max_steps: Any, time_limit: Any) -> None:
    """What a grid does not look at must make sense all the same; tensors are left alone."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if isinstance(value, (str, bool)) or value is None:
            raise TypeError(f"{name}: must be a number or a tensor, got {value!r}.")
        if isinstance(value, (int, float)) and not 0.0 <= value < math.inf:
            raise ValueError(f"{name}: must be finite and at least 0, got {value!r}.")
    for name, value in (("first_step", first_step), ("max_step", max_step), ("time_limit", time_limit)):
        if not isinstance(value, Tensor):
            positive(name, value)
    whole("max_steps", max_steps)


def functions(**given: Any) -> None:
    """Each is callable, or None if it may be left out (all but the field)."""
    for name, value in given.items():
        if not callable(value) and (name == "field" or value is not None):
            raise TypeError(f"{name}: must be a function, got {value!r}.")


def parts(law: Any) -> list[Any]:
    """A controller and those it is wrapped around."""
    inner = [getattr(law, f.name) for f in fields(law)] if is_dataclass(law) else []
    return [law] + [p for c in inner if callable(c) and not isinstance(c, type) for p in parts(c)]


def answer(given: Any, x0: Tensor, controller: StepController) -> tuple[Tensor, Any]:
    """The first answer of a controller over a span, (h, memory): h positive, one number per trajectory."""
    who = type(controller).__name__
    if not isinstance(given, tuple) or len(given) != 2:
        raise TypeError(f"controller: {who} must answer with two things, the step and its memory: return h, memory.")
    h, memory = given
    if isinstance(h, (int, float)):
        raise TypeError(
            f"controller: {who} answers with the number {h!r}; over a span every trajectory has a step of its own, so write "
            f"torch.full_like(seen.h, {h!r})."
        )
    if not isinstance(h, Tensor) or h.shape != (len(x0),):
        got = tuple(h.shape) if isinstance(h, Tensor) else type(h).__name__
        raise ValueError(
            f"controller: {who} answers with {got}, but over a span there is one step per trajectory, shape ({len(x0)},): "
            "per-channel steps have no common clock. Use over=ob.Grid(...) or ob.Steps(n)."
        )
    if bool((~(h > 0)).any()):
        raise ValueError(f"controller: {who} answers with the step {float(h[~(h > 0)][0])}; steps are positive and finite.")
    return h.double(), memory


def arguments(args: Any, x0: Tensor, path: str = "args") -> None:
    """Every tensor in args has the trajectories first."""
    if isinstance(args, Tensor):
        if args.dim() == 0 or len(args) != len(x0):
            raise ValueError(
                f"{path}: has shape {tuple(args.shape)}; every tensor in args belongs to the trajectories and needs the "
                f"leading dimension b={len(x0)}. Keep shared weights in the field itself (module or closure)."
            )
    elif isinstance(args, np.ndarray):
        raise TypeError(f"{path}: is a numpy array, which cannot be gathered like a tensor; write torch.as_tensor(...).")
    elif isinstance(args, dict):
        for key, value in args.items():
            arguments(value, x0, f"{path}[{key!r}]")
    elif isinstance(args, (tuple, list)):
        for i, value in enumerate(args):
            arguments(value, x0, f"{path}[{i}]")


def save(value: Any) -> None:
    """One of the four policies, not a list of times, a name or a class."""
    if not isinstance(value, (Last, At, Every, Dense)):
        raise TypeError(f"save: give ob.Last(), ob.At([0.5, 1.0]), ob.Every() or ob.Dense(), got {value!r}.")
    of = getattr(value, "of", None)
    if of is not None and not callable(of):
        raise TypeError(f"save: of must be a function of(t, x) that returns what to keep, (b, ...), got {of!r}.")

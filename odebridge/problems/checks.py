"""What a user hands to `Problem`, checked and turned into tensors, or refused in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_state(what: str, value: Any) -> Tensor:
    """x0 or a reference as a finite floating tensor of one or two dimensions."""
    if not isinstance(value, Tensor):
        try:
            value = torch.from_numpy(np.array(value, dtype=np.complex128 if np.iscomplexobj(value) else np.float64))
        except (TypeError, ValueError):
            raise TypeError(f"Problem: {what} is {value!r}; write numbers, (n,) or (b, n) for a batch.") from None
    if not (value.is_floating_point() or value.is_complex()):
        value = value.double()
    if value.dim() not in (1, 2) or value.numel() == 0:
        raise ValueError(f"Problem: {what} has shape {tuple(value.shape)}; write (n,) for one system or (b, n) for a batch.")
    bad = (~torch.isfinite(value)).nonzero().tolist()
    if bad:
        place = ", ".join(map(str, bad[0]))
        raise ValueError(f"Problem: {what}[{place}] is {value[tuple(bad[0])].item()}; every component must be a finite number.")
    return value


def as_span(span: Any, b: int | None) -> tuple[Any, Any]:
    """The two ends as floats, or as (b,) float64 tensors for a batch whose trajectories have their own clocks."""
    if isinstance(span, (str, dict)) or not hasattr(span, "__len__") or len(span) != 2:
        raise ValueError(f"Problem: span is {span!r}; write the two ends of the time span, (t0, t1).")
    ends: list[Any] = []
    for which, t in zip(("t0", "t1"), span, strict=True):
        try:
            end = torch.as_tensor(t, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"Problem: {which} of the span is {t!r}; write a number.") from None
        if not bool(torch.isfinite(end).all()):
            raise ValueError(f"Problem: {which} of the span is {t!r}; write a finite number.")
        if end.dim() and (b is None or end.shape != (b,)):
            allowed = "a number" if b is None else f"a number or one per trajectory, shape ({b},)"
            raise ValueError(f"Problem: {which} of the span has shape {tuple(end.shape)}; write {allowed}.")
        ends.append(end if end.dim() else float(end))
    return ends[0], ends[1]


def as_parameters(args: Any, b: int | None) -> Any:
    """Arrays become tensors; in a batch every tensor must have one entry per trajectory."""

    def convert(v: Any) -> Any:
        if isinstance(v, dict):
            return {k: convert(w) for k, w in v.items()}
        if isinstance(v, (tuple, list)):
            items = [convert(w) for w in v]
            return type(v)(*items) if hasattr(v, "_fields") else type(v)(items)
        v = torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v
        if b is not None and isinstance(v, Tensor) and (v.dim() == 0 or len(v) != b):
            raise ValueError(
                f"Problem: a tensor of args has shape {tuple(v.shape)} and x0 holds {b} trajectories; every tensor needs "
                f"leading dimension {b}, one entry per trajectory. Repeat what all share, or let the field capture it."
            )
        return v

    return convert(args)


def as_mass(mass: Any, x0: Tensor) -> Tensor | None:
    """M as a finite (n,) or (n, n) tensor, or None."""
    if mass is None:
        return None
    n = x0.shape[-1]
    try:
        value = mass if isinstance(mass, Tensor) else torch.from_numpy(np.array(mass, dtype=np.float64)).to(x0.device)
    except (TypeError, ValueError):
        raise TypeError(f"Problem: mass is {mass!r}; write numbers, (n,) for a diagonal matrix or (n, n).") from None
    if tuple(value.shape) not in ((n,), (n, n)):
        raise ValueError(
            f"Problem: mass has shape {tuple(value.shape)} and the state {n} components; write ({n},) for a diagonal matrix "
            f"or ({n}, {n}), the same for all trajectories."
        )
    if not bool(torch.isfinite(value).all()):
        raise ValueError("Problem: mass holds a value that is not finite; every entry must be a finite number.")
    return value if value.is_floating_point() else value.to(x0.dtype)


def as_sparsity(sparsity: Any, n: int) -> Any:
    """Two bandwidths below n, or a bool (n, n) tensor, or None."""
    if sparsity is None:
        return None
    if isinstance(sparsity, np.ndarray):
        sparsity = torch.from_numpy(sparsity.copy())
    if isinstance(sparsity, Tensor):
        if sparsity.dtype != torch.bool or tuple(sparsity.shape) != (n, n):
            raise ValueError(
                f"Problem: sparsity is a tensor of {sparsity.dtype} and shape {tuple(sparsity.shape)}; write bool ({n}, {n}), "
                "True where df/dx may be non-zero, or the bandwidths (lower, upper)."
            )
        return sparsity
    fits = isinstance(sparsity, (tuple, list)) and len(sparsity) == 2
    if not fits or not all(isinstance(k, int) and not isinstance(k, bool) and 0 <= k < n for k in sparsity):
        raise ValueError(
            f"Problem: sparsity is {sparsity!r}; write the bandwidths (lower, upper), whole numbers from 0 to {n - 1}, or a "
            f"bool tensor ({n}, {n})."
        )
    return tuple(sparsity)


def as_times(times: Any) -> tuple[float, ...]:
    """Finite times in rising order."""
    try:
        values = tuple(float(t) for t in times)
    except (TypeError, ValueError):
        raise TypeError(f"Problem: discontinuities is {times!r}; write a tuple of times, (5.0,).") from None
    if not all(np.isfinite(values)):
        raise ValueError(f"Problem: discontinuities is {times!r}; every time must be a finite number.")
    return tuple(sorted(set(values)))

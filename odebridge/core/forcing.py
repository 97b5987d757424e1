"""Tabulated forcing: measured values at given times as a function of time inside a field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.tolerance import row_sum

KINDS = ("previous", "linear", "cubic")


@dataclass(frozen=True, eq=False)
class Forcing:
    """u(t) through the values at the times ts (k,), rising, for use inside a field: u(t), t (b,) -> (b,) or (b, m).

    kind: "previous", u = v_i for t_i <= t < t_(i+1), a staircase; "linear"; "cubic", the natural cubic spline, twice
    continuously differentiable with u'' = 0 at both ends (de Boor, A Practical Guide to Splines, IV). Outside the table the
    end values are held. values: (k,) or (k, m), the same for all trajectories. Values of their own belong to the trajectories
    and go through args, u(t, args) with args (b, k) or (b, k, m); then values may be left out or be (b, k, m).
    Gradients flow to the values, and to t. `knots` are the times at which u or a low derivative of it jumps, for
    `discontinuities`. ValueError or TypeError for tables that do not fit. Caveat: "cubic" holds a (k, k) matrix, and
    overshoots between steep values. Use: `u = ob.Forcing(hours, inflow)`, in the field `u(t)`, and
    `ob.integrate(f, x0, span, discontinuities=u.knots)`.
    """

    ts: Any
    values: Any = None
    kind: str = "linear"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Forcing: kind must be one of {', '.join(map(repr, KINDS))}, got {self.kind!r}.")
        try:
            ts = torch.as_tensor(self.ts, dtype=torch.float64).detach()
            values = self.values if self.values is None or isinstance(self.values, Tensor) else torch.as_tensor(self.values)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"Forcing: ts and values must be tensors or lists of numbers ({error}).") from error
        if ts.dim() != 1 or len(ts) < 2 or not bool(torch.isfinite(ts).all() & (ts[1:] > ts[:-1]).all()):
            raise ValueError(
                f"Forcing: ts must be at least two finite times, each above the last, got shape {tuple(ts.shape)}."
            )
        if values is not None:
            if not values.is_floating_point():
                values = values.to(torch.get_default_dtype())
            k = values.shape[1] if values.dim() == 3 else len(values) if values.dim() else 0
            if values.dim() not in (1, 2, 3) or k != len(ts):
                raise ValueError(
                    f"Forcing: values must have shape (k,), (k, m) or (b, k, m) with k={len(ts)}, got {tuple(values.shape)}."
                )
        object.__setattr__(self, "ts", ts)
        object.__setattr__(self, "values", values)

    @property
    def knots(self) -> tuple[float, ...]:
        """All times of the table: values jump there (previous), slopes (linear) or third derivatives (cubic)."""
        return tuple(self.ts.tolist())

    def __call__(self, t: Float[Tensor, " b"], values: Tensor | None = None) -> Float[Tensor, "b *m"]:
        """u(t); values (b, k) or (b, k, m) are those of the trajectories."""
        given = self.values if values is None else values
        own = values is not None or (given is not None and given.dim() == 3)
        if given is None:
            raise ValueError(
                "Forcing: has no values; call it as u(t, values) with those of the trajectories, (b, k) or (b, k, m)."
            )
        b, k = len(t), len(self.ts)
        if own and (given.dim() not in (2, 3) or tuple(given.shape[:2]) != (b, k)):
            raise ValueError(
                f"Forcing: values of the trajectories must have shape ({b}, {k}) or ({b}, {k}, m) here, got "
                f"{tuple(given.shape)}. Finished trajectories leave the batch, so pass them as args=..., and write u(t, args)."
            )
        ts = self.ts.to(t.device)
        place = torch.searchsorted(ts, t.detach().double().contiguous(), right=True) - 1
        cell = place.clamp(0, k - 2)
        if self.kind == "previous":
            return _row(given, place.clamp(0, k - 1), own)
        left, right = _row(given, cell, own), _row(given, cell + 1, own)
        width = ts[cell + 1] - ts[cell]
        s = ((t - ts[cell]) / width).clamp(0.0, 1.0)
        one = s.to(given.dtype).reshape(-1, *(1,) * (left.dim() - 1))
        u = left + one * (right - left)
        if self.kind == "linear":
            return u
        r, square = 1.0 - s, width * width / 6.0
        cubes = [(r * r * r - r) * square, (s * s * s - s) * square]
        bends = self._bends(t.device)
        weights = cubes[0][:, None] * bends[cell] + cubes[1][:, None] * bends[cell + 1]  # (b, k), of every value
        weights = weights.to(given.dtype)
        columns = given if given.dim() > (2 if own else 1) else given[..., None]
        columns = columns.transpose(-1, -2) if own else columns.T[None]  # (b | 1, m, k)
        products = weights[:, None, :] * columns
        bend = row_sum(products.reshape(-1, k)).reshape(b, -1)
        return u + bend.reshape(u.shape)

    @cached_property
    def _second(self) -> Float[Tensor, "k k"]:
        """The matrix that takes the values to the second derivatives of the natural spline at the knots."""
        k, d = len(self.ts), self.ts.diff().cpu()
        out = torch.zeros(k, k, dtype=torch.float64)
        if k > 2:
            lower, upper = d[:-1], d[1:]
            matrix = torch.diag(2.0 * (lower + upper)) + torch.diag(upper[:-1], 1) + torch.diag(upper[:-1], -1)
            rhs = torch.zeros(k - 2, k, dtype=torch.float64)
            i = torch.arange(k - 2)
            rhs[i, i], rhs[i, i + 1], rhs[i, i + 2] = 6.0 / lower, -6.0 / lower - 6.0 / upper, 6.0 / upper
            out[1:-1] = torch.linalg.solve(matrix, rhs)
        return out

    def _bends(self, device: torch.device) -> Tensor:
        return self._second.to(device)


def _row(values: Tensor, place: Tensor, own: bool) -> Tensor:
    """The value at a place in the table for each trajectory."""
    return values[torch.arange(len(place), device=values.device), place] if own else values[place]

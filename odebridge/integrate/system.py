"""The user's field with its arguments bound, in the one form the methods call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from odebridge.core.fields import Separable, Split
from odebridge.core.protocols import DepthField
from odebridge.core.shapes import real_dtype, repeat, take
from odebridge.core.tolerance import Tolerance
from odebridge.linalg.structure import Dense, Structure

EDITED = "field: changes its input x or t in place; work on a copy (x * 2 instead of x.mul_(2), no inplace=True)."


def version(x: Any) -> int:
    """How often a tensor has been written to; 0 for what does not count that."""
    return x._version if isinstance(x, Tensor) and not x.is_inference() else 0


@dataclass
class Tally:
    """Rows of field evaluations that were computed, Jacobian columns and idle lanes included."""

    rows: int = 0


@dataclass(frozen=True)
class _Part:
    """Half of a two-part field; a type of its own, so that the half has no parts."""

    field: Callable[..., Tensor]

    def __call__(self, *given: Any) -> Tensor:
        return self.field(*given)


@dataclass(eq=False)  # not frozen: TorchDynamo cannot trace a frozen one that is made inside of a graph before torch 2.13
class BoundField:
    """f(t, x) = field(t, x) or field(t, x, args), of M x' = f(t, x).

    The clock is float64 in the loop; the field gets it in the dtype of x (a `DepthField` gets a Python float on a grid).
    An output of another shape or dtype than x is refused: broadcasting would hide the mistake in a wrong answer.
    """

    field: Callable[..., Tensor]
    args: Any = None
    user_jacobian: Callable[..., Tensor] | None = None
    mass: Tensor | None = None
    structure: Structure = dataclasses.field(default_factory=Dense)
    tol: Tolerance | None = None
    tally: Tally | None = None
    derivatives: int = 1  # how often what a search has found must be differentiable
    window: tuple[Tensor, Tensor] | None = None  # the field is asked at times between these (b,) only: it jumps outside

    def __call__(self, t: Any, x: Tensor) -> Tensor:
        """f(t, x), (b, *s)."""
        if isinstance(self.field, DepthField):
            if isinstance(t, Tensor):
                raise TypeError(
                    "A network's layers have no time between them: integrate them over ob.Steps(n) by an explicit method."
                )
            time: Any = t
        else:
            time = self._clock(t, x)
        if self.tally is not None and not torch.compiler.is_compiling():
            self.tally.rows += len(x)
        before = None if torch.compiler.is_compiling() else (version(x), version(time))
        out = self.field(time, x) if self.args is None else self.field(time, x, self.args)
        if before is not None and (version(x), version(time)) != before:
            raise ValueError(EDITED)
        check_output(out, x)
        return out

    def _clock(self, t: Any, x: Tensor) -> Tensor:
        """The time (b,) in the (real) dtype of x, held inside the window; the derivative to t is kept."""
        if not isinstance(t, Tensor):
            return torch.full((len(x),), t, dtype=real_dtype(x), device=x.device)
        if self.window is not None:
            t = t + (torch.clamp(t, *self.window) - t).detach()
        return t.to(real_dtype(x))

    @property
    def parts(self) -> tuple[Callable[[Any, Tensor], Tensor], Callable[[Any, Tensor], Tensor]] | None:
        """The two halves of a `Split` or `Separable` field, each bound like the whole; None for other fields."""
        if not isinstance(self.field, (Split, Separable)):
            return None
        first, second = self.field.parts
        return replace(self, field=_Part(first)), replace(self, field=_Part(second))

    @property
    def jacobian(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The user's Jacobian with its arguments bound, or None."""
        if self.user_jacobian is None:
            return None
        user = self.user_jacobian

        def bound(t: Tensor, x: Tensor) -> Tensor:
            time, flat = self._clock(t, x), x.flatten(1)
            out = user(time, flat) if self.args is None else user(time, flat, self.args)
            n = flat.shape[1]
            if not isinstance(out, Tensor) or out.shape != (len(x), n, n):
                got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise ValueError(
                    f"jacobian: must return a tensor of shape {(len(x), n, n)} for x of shape {tuple(flat.shape)}, got {got}."
                )
            return out

        return bound

    def take(self, index: Tensor) -> BoundField:
        """The same field for the trajectories `index`."""
        if self.args is None and self.tol is None and self.window is None:
            return self
        return replace(self, args=take(self.args, index), tol=take(self.tol, index), window=take(self.window, index))

    def repeated(self, times: int) -> BoundField:
        """The same field for the whole batch `times` over."""
        if self.args is None and self.window is None:
            return self
        return replace(self, args=repeat(self.args, times), tol=None, window=repeat(self.window, times))


def check_output(out: Any, x: Tensor) -> None:
    """Refuse a field output that is no tensor of the shape and dtype of x."""
    if not isinstance(out, Tensor):
        raise TypeError(f"field: must return a tensor of shape {tuple(x.shape)} like x, got {type(out).__name__}.")
    if out.shape != x.shape:
        hint = (
            " (t has shape (b,): write t[:, None] to multiply a state (b, n))"
            if out.dim() > x.dim() or len(x) in out.shape[1:]
            else ""
        )
        raise ValueError(
            f"field: returned shape {tuple(out.shape)} for a state of shape {tuple(x.shape)}; it must be the same, "
            f"nothing is broadcast{hint}."
        )
    if out.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"field: returned {out.dtype} for a state of {x.dtype}; give x0 and the field's parameters one dtype.")

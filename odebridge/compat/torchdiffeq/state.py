"""A state of any shape, or a tuple of such, as one trajectory (1, n)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from odebridge.core.tolerance import Tolerance


@dataclass(frozen=True)
class Form:
    """The shapes of the state; `single`: it is one tensor and not a tuple."""

    shapes: tuple[torch.Size, ...]
    single: bool

    @classmethod
    def of(cls, y0: Any) -> Form:
        """The form of y0; TypeError for what is no tensor or tuple of floating or complex tensors of one dtype."""
        parts = (y0,) if isinstance(y0, Tensor) else y0
        if not isinstance(parts, (tuple, list)) or not parts or not all(isinstance(v, Tensor) for v in parts):
            raise TypeError(f"y0: must be a tensor or a tuple of tensors, got {type(y0).__name__}.")
        for v in parts:
            if not (v.is_floating_point() or v.is_complex()):
                raise TypeError(f"y0: must be floating or complex, got {v.dtype}.")
        if sum(v.numel() for v in parts) == 0:
            raise ValueError("y0: is empty; give at least one component.")
        return cls(tuple(v.shape for v in parts), isinstance(y0, Tensor))

    @property
    def size(self) -> int:
        """Numbers in the state."""
        return sum(prod(s) for s in self.shapes)

    def flat(self, y: Any, like: Tensor | None = None) -> Tensor:
        """(n,) of a state. TypeError, ValueError for what is no state of this form: nothing is broadcast."""
        if not self.single and not isinstance(y, (tuple, list)):
            raise TypeError(f"func: must return a tuple of {len(self.shapes)} tensors like y0, got {type(y).__name__}.")
        parts: tuple[Any, ...] = (y,) if self.single else tuple(y)
        if len(parts) != len(self.shapes):
            raise ValueError(f"func: returned {len(parts)} parts for a state of {len(self.shapes)}.")
        for v, s in zip(parts, self.shapes, strict=True):
            if not isinstance(v, Tensor):
                raise TypeError(f"func: must return a tensor of shape {tuple(s)} like y0, got {type(v).__name__}.")
            if v.shape != s:
                raise ValueError(
                    f"func: returned shape {tuple(v.shape)} for a state of shape {tuple(s)}; it must be the same, nothing is "
                    "broadcast."
                )
        rows: list[Tensor] = [v.reshape(-1) for v in parts]
        out = rows[0] if len(rows) == 1 else torch.cat(rows)
        return out if like is None else out.to(like.dtype)

    def parts(self, x: Tensor) -> Any:
        """The state of x (*lead, n)."""
        split = x.split([prod(s) for s in self.shapes], -1)
        out = tuple(v.reshape((*x.shape[:-1], *s)) for v, s in zip(split, self.shapes, strict=True))
        return out[0] if self.single else out

    def rows(self, function: Callable[..., Any]) -> Callable[[Tensor, Tensor], Tensor]:
        """function(t, y) of one state as f(t (b,), x (b, n)) -> (b, n)."""

        def field(t: Tensor, x: Tensor) -> Tensor:
            return torch.stack(
                [self.flat(function(s, self.parts(v)), v) for s, v in zip(t.unbind(0), x.unbind(0), strict=True)]
            )

        return field

    def tolerance(self, rtol: Any, atol: Any, x: Tensor, norm: Any, most: float) -> Tolerance:
        """Tolerances, numbers or tuples of one for each part, read as at most `most`; ValueError below 0. norm: of a state."""
        each = [self._spread(name, v, x) for name, v in (("rtol", rtol), ("atol", atol))]
        if bool(((each[0] == 0.0) & (each[1] == 0.0)).any()):
            raise ValueError("rtol, atol: are both 0; at least one of them must be positive.")
        relative, absolute = (v[None].clamp_max(most) for v in each)

        class Scaled(Tolerance):
            """Weights with an rtol for each component, and the norm of the user."""

            def weights(self, x0: Tensor, x1: Tensor) -> Tensor:
                return self.atol + relative * torch.maximum(x0.abs(), x1.abs())

            def ratio(self, error: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
                if norm is None:
                    return super().ratio(error, x0, x1)
                scaled = (error / self.weights(x0, x1)).unbind(0)
                return torch.stack([torch.as_tensor(norm(form.parts(v))).abs().double().reshape(()) for v in scaled])

        form = self
        return Scaled(relative.amax(1), absolute)

    def _spread(self, name: str, given: Any, x: Tensor) -> Tensor:
        several = isinstance(given, (tuple, list))
        try:
            v = torch.stack([torch.as_tensor(w).min() for w in given]) if several else torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{name}: must be a number, a tensor or a tuple of them, got {given!r}.") from error
        if not several and v.dim() and (not self.single or not _fits(v.shape, self.shapes[0])):
            raise ValueError(f"{name}: has shape {tuple(v.shape)} for a state of {[tuple(s) for s in self.shapes]}.")
        if not bool((torch.isfinite(v) & (v >= 0)).all()):
            raise ValueError(f"{name}: must be finite and at least 0, got {given!r}.")
        if isinstance(given, (tuple, list)):
            if len(given) != len(self.shapes):
                raise ValueError(f"{name}: has {len(given)} parts for a state of {len(self.shapes)}.")
            rows = [torch.as_tensor(v, device=x.device).expand(s).reshape(-1) for v, s in zip(given, self.shapes, strict=True)]
            return torch.cat(rows).to(x.real.dtype)
        v = torch.as_tensor(given, dtype=x.real.dtype, device=x.device)
        return v.expand(x.shape[1]) if v.dim() == 0 else v.expand(self.shapes[0]).reshape(-1)


def _fits(shape: torch.Size, into: torch.Size) -> bool:
    return len(shape) <= len(into) and all(m in (1, n) for m, n in zip(reversed(shape), reversed(into), strict=False))

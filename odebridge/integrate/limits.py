"""States that must not be negative: a try that is too far below 0 is rejected, a rounding below is set to 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Nonnegative:
    """What follows a step where marked components must stay at or above 0: the user's `after`, then max(x, 0)."""

    marked: Bool[Tensor, "*s"]
    after: Callable[[Tensor], Tensor] | None = None

    def __call__(self, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The state that is kept."""
        y = x if self.after is None else self.after(x)
        return torch.where(self.marked & (y < 0.0), 0.0, y)

    def undershoot(self, x: Float[Tensor, "b *s"], weights: Float[Tensor, "b *s"]) -> Float[Tensor, " b"]:
        """How far below 0 a try has gone, max_i -x_i / w_i over the marked components, (b,) float64: an error like another."""
        below = torch.where(self.marked & (x < 0.0), -x / weights, 0.0)
        return below.flatten(1).amax(1).double()


def nonnegative(given: Any, after: Any, x0: Float[Tensor, "b *s"]) -> Any:
    """The keyword `nonnegative` and `after` as one function after each step; TypeError or ValueError in a sentence."""
    if given is False or given is None:
        return after
    if x0.is_complex():
        raise TypeError("nonnegative: complex states have no order; leave it out.")
    if given is not True and not (isinstance(given, Tensor) and given.dtype == torch.bool):
        raise TypeError(f"nonnegative: give True, or a bool tensor of the shape of one state, got {given!r}.")
    shape = tuple(x0.shape[1:])
    if isinstance(given, Tensor) and tuple(given.shape) != shape:
        raise ValueError(f"nonnegative: must have the shape of one state, {shape}, got {tuple(given.shape)}.")
    marked = torch.ones(shape, dtype=torch.bool, device=x0.device) if given is True else given.to(x0.device)
    bad = (marked & (x0 < 0.0)).nonzero()
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise ValueError(f"nonnegative: x0 is {float(x0[index])} at index {index}, so it starts below 0; mend x0 or unmark it.")
    return Nonnegative(marked, after)

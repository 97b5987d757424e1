"""Times at which the field jumps: steps end on them, and the field is seen from one side at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from odebridge.core.shapes import real_dtype

ULPS = 4.0  # how far from a jump the field is kept, in roundings of the dtype that it gets its time in


class Piece(NamedTuple):
    """Between which jumps a lane is."""

    stop: Float[Tensor, " b"]  # the jump ahead; infinite where there is none
    low: Float[Tensor, " b"]  # the field is asked at times from low to high only, low < high in either direction
    high: Float[Tensor, " b"]

    def way(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """How far the jump ahead is, (b,)."""
        return (self.stop - t).abs()

    @property
    def window(self) -> tuple[Tensor, Tensor]:
        """The times at which the field may be asked."""
        return self.low, self.high


@dataclass(frozen=True)
class Jumps:
    """The jumps of one field, rising, with an infinite one at either end."""

    times: Float[Tensor, " k"]
    gaps: Float[Tensor, " k"]

    @property
    def inner(self) -> tuple[float, ...]:
        """The finite ones."""
        return tuple(self.times[1:-1].tolist())

    def piece(self, t: Float[Tensor, " b"], sign: Float[Tensor, " b"]) -> Piece:
        """The piece that begins at t or holds it, in the direction of sign (b,). At a jump it is the one ahead."""
        t = t.detach().contiguous()
        above = torch.where(sign > 0, torch.searchsorted(self.times, t, right=True), torch.searchsorted(self.times, t))
        lower, upper = self.times[above - 1], self.times[above]
        low, high = lower + self.gaps[above - 1], upper - self.gaps[above]
        middle = 0.5 * (lower + upper)  # of two jumps that are closer than their gaps
        crossed = low > high
        low, high = torch.where(crossed, middle, low), torch.where(crossed, middle, high)
        return Piece(torch.where(sign > 0, upper, lower), low, high)

    def landed(self, t: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Is t one of the jumps."""
        t = t.detach().contiguous()
        return self.times[torch.searchsorted(self.times, t).clamp_max(len(self.times) - 1)] == t


def jumps(given: Any, x0: Tensor, span: Float[Tensor, " b"]) -> Jumps | None:
    """The keyword `discontinuities` as `Jumps`, None if there are none; TypeError or ValueError in a sentence.

    The clock lands on each time exactly. The field, which gets its time in the dtype of x, is asked at most 4 roundings of
    that dtype short of it by the step that ends there, and 4 beyond it by the next: 2e-15 of t in float64, 5e-7 in float32.
    """
    what = "discontinuities: give the times at which the field jumps as numbers, (5.0,) or a tensor of shape (k,)"
    if isinstance(given, (str, bool)) or given is None:
        raise TypeError(f"{what}; got {given!r}.")
    try:
        times = torch.as_tensor(given, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what}; got {given!r} ({error}).") from error
    if times.dim() > 1:
        raise ValueError(f"{what}, the same for all trajectories; got shape {tuple(times.shape)}.")
    times = times.reshape(-1)
    bad = (~torch.isfinite(times)).nonzero()
    if len(bad):
        raise ValueError(f"discontinuities: is {float(times[bad[0, 0]])} at index {int(bad[0, 0])}; give finite times.")
    if len(times) == 0:
        return None
    eps = torch.finfo(real_dtype(x0)).eps
    times = times.unique()
    gaps = ULPS * eps * torch.maximum(times.abs(), eps * span.detach().abs().max().cpu())
    ends, none = torch.tensor([torch.inf], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    return Jumps(torch.cat([-ends, times, ends]).to(x0.device), torch.cat([none, gaps, none]).to(x0.device))

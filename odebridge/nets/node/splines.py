"""Cubic splines through irregular series, as coefficients: the controls of neural CDEs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Spline(NamedTuple):
    """X(t) = a_i + s (b_i + s (c_i + s d_i)),  s = t - knots_i  in the interval i that t is in; channel by channel.

    knots, a, b, c, d: (b, channels, k - 1), each row rising in `knots`; end (b, channels): where the last interval ends. After
    it, and before the first knot, X stands still. Every channel may have its own knots: values are missing one by one.
    It is a nest of tensors with leading dimension b, so that it goes into `args` of `integrate`.
    """

    knots: Float[Tensor, "b c k"]
    end: Float[Tensor, "b c"]
    a: Float[Tensor, "b c k"]
    b: Float[Tensor, "b c k"]
    c: Float[Tensor, "b c k"]
    d: Float[Tensor, "b c k"]

    def value(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b c"]:
        """X(t), each trajectory at its own time."""
        s, (a, b, c, d), _ = self._at(t)
        return a + s * (b + s * (c + s * d))

    def slope(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b c"]:
        """dX/dt."""
        s, (_, b, c, d), inside = self._at(t)
        return torch.where(inside, b + s * (2.0 * c + s * (3.0 * d)), 0.0)

    def _at(self, t: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        clock = t.to(self.knots)[:, None].expand_as(self.end)
        within = torch.minimum(torch.maximum(clock, self.knots[..., 0]), self.end)
        index = (torch.searchsorted(self.knots.contiguous(), within[..., None].contiguous(), right=True) - 1).clamp_min(0)
        parts = [v.gather(-1, index)[..., 0] for v in (self.knots, self.a, self.b, self.c, self.d)]
        # At its ends the slope is the one from inside; beyond, the path stands still.
        return within - parts[0], parts[1:], (clock >= self.knots[..., 0]) & (clock <= self.end)


def natural_cubic(
    times: Float[Tensor, "*b k"], values: Float[Tensor, "b k c"], mask: Bool[Tensor, "b k c"] | None = None
) -> Spline:
    """The natural cubic spline (second derivative 0 at both ends) through what was observed; one tridiagonal solve.

    times (k,) or (b, k), rising; mask: True where observed, at least once in every channel. Differentiable in the values.
    Source: Kidger et al., Neural controlled differential equations, NeurIPS 2020; the numbers are SciPy's CubicSpline(natural).
    Caveat: it looks ahead: a later value moves the whole path. Use: `natural_cubic(times, values).slope(t)`.
    """
    t, x, count = _packed(times, values, mask)
    h, rise = _differences(t, x, count)
    k = x.shape[-1]
    place = torch.arange(k, device=x.device)
    inner = (place > 0) & (place < (count - 1)[..., None])
    # h_(i-1) M_(i-1) + 2 (h_(i-1) + h_i) M_i + h_i M_(i+1) = 6 (rise_i - rise_(i-1)); M = 0 at the ends and beyond the last.
    left, right = torch.nn.functional.pad(h, (1, 0), value=1.0), torch.nn.functional.pad(h, (0, 1), value=1.0)
    jump = torch.nn.functional.pad(rise, (0, 1)) - torch.nn.functional.pad(rise, (1, 0))
    lower, upper = torch.where(inner, left, 0.0), torch.where(inner, right, 0.0)
    m = _tridiagonal(lower, torch.where(inner, 2.0 * (left + right), 1.0), upper, torch.where(inner, 6.0 * jump, 0.0))
    slope = rise - h * (2.0 * m[..., :-1] + m[..., 1:]) / 6.0
    return _spline(t, count, x[..., :-1], slope, 0.5 * m[..., :-1], m.diff(dim=-1) / (6.0 * h))


def hermite_cubic(
    times: Float[Tensor, "*b k"], values: Float[Tensor, "b k c"], mask: Bool[Tensor, "b k c"] | None = None,
    slopes: Float[Tensor, "b k c"] | None = None,
) -> Spline:  # fmt: skip
    """The cubic between every two observed values with given slopes at both; None: the difference to the value before.

    With backward differences the path up to a time needs only what was observed up to the end of its interval.
    Shapes and mask as for `natural_cubic`. Source: Morrill, Kidger, Yang & Lyons, Neural CDEs for online prediction tasks,
    2021, arXiv 2106.11028. Caveat: only once differentiable at the knots. Use: `hermite_cubic(times, values)`.
    """
    t, x, count = _packed(times, values, mask)
    h, rise = _differences(t, x, count)
    at = torch.cat([rise[..., :1], rise], -1) if slopes is None else _packed(times, slopes, mask)[1]
    left, right = at[..., :-1], at[..., 1:]
    return _spline(t, count, x[..., :-1], left, (3.0 * rise - 2.0 * left - right) / h, (left + right - 2.0 * rise) / h**2)


def check_mask(mask: Tensor | None, values: Tensor) -> None:
    """TypeError or ValueError in a sentence for a mask that is not True and False in the shape of the values."""
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(f"mask: must be bool, True where observed, got {mask.dtype}; write mask.bool().")
    if mask.shape != values.shape:
        raise ValueError(f"mask: must have the shape of the values, {tuple(values.shape)}, got {tuple(mask.shape)}.")


def _packed(times: Tensor, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Times and values (b, c, k) with what was observed in front, the last of it repeated, and how many these are (b, c)."""
    b, k, c = values.shape
    clock = torch.as_tensor(times, dtype=values.dtype, device=values.device)
    if clock.shape not in ((k,), (b, k)):
        raise ValueError(
            f"times: must have shape ({k},) or ({b}, {k}) for values of shape {(b, k, c)}, got {tuple(clock.shape)}."
        )
    clock = clock.expand(b, k)[..., None].expand(b, k, c).movedim(2, 1)
    if k < 2 or not bool((clock[:, 0].diff(dim=-1) > 0).all()):
        raise ValueError("times: must rise and hold at least two; merge values of the same time into one.")
    check_mask(mask, values)
    if bool(torch.isnan(values if mask is None else torch.where(mask, values, 0.0)).any()):
        raise ValueError("values: hold NaN where they count as observed; write mask=~values.isnan() to leave those out.")
    x = values.movedim(2, 1)
    if mask is None:
        return clock, x, torch.full((b, c), k, device=values.device)
    seen = mask.movedim(2, 1)
    count = seen.sum(-1)
    if not bool((count > 0).all()):
        row, channel = (count == 0).nonzero()[0].tolist()
        raise ValueError(f"mask: trajectory {row} has no observed value in channel {channel}; a path needs one.")
    order = (~seen).long().argsort(dim=-1, stable=True)
    order = torch.where(torch.arange(k, device=x.device) < count[..., None], order, order.gather(-1, (count - 1)[..., None]))
    return clock.gather(-1, order), x.gather(-1, order), count


def _differences(t: Tensor, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Spacings h (1 beyond the last value, where nothing rises) and slopes of the chords, (b, c, k - 1)."""
    real = torch.arange(t.shape[-1] - 1, device=t.device) < (count - 1)[..., None]
    h = torch.where(real, t.diff(dim=-1), 1.0)
    return h, x.diff(dim=-1) / h


def _spline(t: Tensor, count: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Spline:
    """Intervals beyond the last observed value begin at infinity and are never looked up."""
    place = torch.arange(a.shape[-1], device=a.device)
    real = (place < (count - 1)[..., None]) | (place == 0)
    end = t.gather(-1, (count - 1)[..., None])[..., 0]
    return Spline(torch.where(real, t[..., :-1], torch.inf), end, a, b, c, d)


def _tridiagonal(lower: Tensor, diagonal: Tensor, upper: Tensor, right: Tensor) -> Tensor:
    """Solve the systems in the last dimension by elimination without pivots: they are diagonally dominant."""
    k, ups, rights = right.shape[-1], [], []
    for i in range(k):
        pivot = diagonal[..., i] - (lower[..., i] * ups[-1] if i else 0.0)
        ups.append(upper[..., i] / pivot)
        rights.append((right[..., i] - (lower[..., i] * rights[-1] if i else 0.0)) / pivot)
    out = [rights[-1]]
    for i in range(k - 2, -1, -1):
        out.append(rights[i] - ups[i] * out[-1])
    return torch.stack(out[::-1], -1)

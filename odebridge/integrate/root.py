"""One root of one function per trajectory, bracketed by a change of sign."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

MOST = 60  # a bisection of [0, 1] has reached the last place of a float64 by then


def bracketed_root(
    g: Callable[[Tensor], Tensor], g0: Float[Tensor, " k"], g1: Float[Tensor, " k"], near: Float[Tensor, " k"]
) -> Float[Tensor, " k"]:
    """Where g(s), s (k,) -> (k,), changes its sign between s = 0 and s = 1; g0 < 0 <= g1 or g0 > 0 >= g1 are its ends.

    The interpolate-truncate-project iteration for all at once: regula falsi, pulled towards the middle and held so near to
    it that it is never more than one iteration behind bisection (Oliveira & Takahashi, ACM TOMS 47, 2020, with
    kappa_1 = 0.2, kappa_2 = 2, n_0 = 1). Returned is the end of the last bracket, not longer than 2 near (k,), at which the
    change of sign has happened. Finished lanes are frozen, so that none depends on the others. Caveat: of several roots it
    finds one.
    """
    turn = torch.where(g0 < 0.0, 1.0, -1.0)
    a, b = torch.zeros_like(near), torch.ones_like(near)
    low, high = turn * g0, turn * g1
    allowed = (1 - torch.frexp(near).exponent).clamp_min(1) + 1  # halvings from 1 to 2 near, and one more
    j = 0
    while j < MOST and bool((active := b - a > 2.0 * near).any()):
        middle = 0.5 * (a + b)
        falsi = (high * a - low * b) / (high - low)
        falsi = torch.where(torch.isfinite(falsi), falsi, middle)
        side = torch.sign(middle - falsi)
        pull = 0.2 * (b - a) * (b - a)
        guess = torch.where(pull <= (middle - falsi).abs(), falsi + side * pull, middle)
        radius = torch.ldexp(near, (allowed - j).to(near.dtype)) - 0.5 * (b - a)
        s = torch.where((guess - middle).abs() <= radius, guess, middle - side * radius)
        s = torch.minimum(torch.maximum(s, a), b)
        value = turn * g(s)
        beyond = value >= 0.0
        b, high = torch.where(active & beyond, s, b), torch.where(active & beyond, value, high)
        a, low = torch.where(active & ~beyond, s, a), torch.where(active & ~beyond, value, low)
        j += 1
    return b

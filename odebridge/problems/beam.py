"""An elastic beam of the IVP test set: stiff because it is fast, not because it is damped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.problems.base import Problem
from odebridge.problems.build import computed, vector
from odebridge.problems.spread import Spread


@dataclass(frozen=True)
class Beam:
    """Angles and angular speeds of n segments, (b, 2n) -> (b, 2n); args (b, 1), the strength of the force."""

    segments: int

    def __call__(self, t: Float[Tensor, " b"], x: Float[Tensor, "b n"], args: Float[Tensor, "b 1"]) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        n = self.segments
        angle, speed = x[:, :n], x[:, n:]
        swing = torch.where(t <= math.pi, torch.sin(t), 0.0)[:, None]
        force = args * swing * swing  # upwards and to the left: (-force, force)
        load = force * (angle.cos() + angle.sin())
        fixed, free = -angle[:, :1], angle[:, -1:]  # mirrored at the clamped end, straight at the free one
        bend = torch.cat([fixed, angle, free], 1)
        v = n**4 * (bend[:, 2:] - 2 * angle + bend[:, :-2]) + n**2 * load
        step = angle[:, 1:] - angle[:, :-1]
        c, s = step.cos(), step.sin()
        nothing = torch.zeros_like(fixed)
        above, below = torch.cat([s, nothing], 1), torch.cat([nothing, s], 1)
        ahead, behind = torch.cat([v[:, 1:], nothing], 1), torch.cat([nothing, v[:, :-1]], 1)
        w = _solve(c, above * ahead - below * behind + speed * speed)
        diagonal = torch.full((n,), 2.0, dtype=x.dtype, device=x.device)
        diagonal[0], diagonal[-1] = 1.0, 3.0
        w_ahead, w_behind = torch.cat([w[:, 1:], nothing], 1), torch.cat([nothing, w[:, :-1]], 1)
        c_above, c_below = torch.cat([c, nothing], 1), torch.cat([nothing, c], 1)
        turn = diagonal * v - c_above * ahead - c_below * behind + above * w_ahead - below * w_behind
        return torch.cat([speed, turn], 1)


def _solve(c: Float[Tensor, "b m"], rhs: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Solve the symmetric tridiagonal system with diagonal (1, 2, ..., 2, 3) and off-diagonals -c."""
    off, r = c.unbind(1), list(rhs.unbind(1))
    n = len(r)
    pivots: list[Any] = [torch.ones_like(r[0])]
    for i in range(1, n):
        factor = off[i - 1] / pivots[-1]
        pivots.append((3.0 if i == n - 1 else 2.0) - factor * off[i - 1])
        r[i] = r[i] + factor * r[i - 1]
    r[-1] = r[-1] / pivots[-1]
    for i in range(n - 2, -1, -1):
        r[i] = (r[i] + off[i] * r[i + 1]) / pivots[i]
    return torch.stack(r, 1)


def beam(segments: int = 40) -> Problem:
    """A thin rod clamped at one end and pulled at the other until t = pi: `segments` angles and as many angular speeds.

    With theta the angles, v_k = n^4 (theta_(k-1) - 2 theta_k + theta_(k+1)) + n^2 (Fy cos theta_k - Fx sin theta_k),
    theta_0 = -theta_1, theta_(n+1) = theta_n, and C, D tridiagonal with cos and sin of the angles between neighbours:
    C w = D v + theta'^2,   theta'' = C v + D w;   -Fx = Fy = 1.5 sin(t)^2 until pi, then 0. args = (1.5).
    Hairer & Wanner II, section IV.1, eqs. (1.10') to (1.20); IVP test set 2.4, BEAM. The reference belongs to 40 segments.
    Caveat: the eigenvalues are on the imaginary axis up to 6400 i, where BDF formulas above order 2 are unstable.
    """
    if not (isinstance(segments, int) and segments >= 3):
        raise ValueError(f"beam: segments is {segments}; write a whole number of at least 3.")
    known = computed("beam", segments == 40)
    return Problem(
        Beam(segments),
        torch.zeros(2 * segments, dtype=torch.float64),
        (0.0, 5.0),
        vector((1.5,)),
        name="beam",
        stiff=True,
        spread=Spread(args_log=0.2),
        discontinuities=(math.pi,),
        **known,
    )

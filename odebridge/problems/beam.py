"""An elastic beam of the IVP test set: stiff because it is fast, not because it is damped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

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
        bend = torch.cat([-angle[:, :1], angle, angle[:, -1:]], 1)  # mirrored at the clamped end, straight at the free one
        v = n**4 * (bend[:, 2:] - 2 * angle + bend[:, :-2]) + n**2 * load
        step = angle[:, 1:] - angle[:, :-1]
        c, s = step.cos(), step.sin()
        w = _solve(c, pad(s * v[:, 1:], (0, 1)) - pad(s * v[:, :-1], (1, 0)) + speed * speed)
        diagonal = torch.full_like(v[:1], 2.0)
        diagonal[:, 0], diagonal[:, -1] = 1.0, 3.0
        turn = diagonal * v + pad(s * w[:, 1:] - c * v[:, 1:], (0, 1)) - pad(s * w[:, :-1] + c * v[:, :-1], (1, 0))
        return torch.cat([speed, turn], 1)


def _solve(c: Float[Tensor, "b m"], rhs: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Solve the symmetric tridiagonal system with diagonal (1, 2, ..., 2, 3) and off-diagonals -c, by cyclic reduction.

    Every row is freed of its two neighbours by theirs, which couples it to rows twice as far away, until there are none:
    log2(n) rounds on whole rows, where elimination would take 2 n steps of one component.
    """
    d = torch.full_like(rhs, 2.0)
    d[:, 0], d[:, -1] = 1.0, 3.0
    r, reach, n = rhs, 1, rhs.shape[1]
    while reach < n:
        up, down = c / d[:, reach:], c / d[:, :-reach]
        r, d = (
            r + pad(up * r[:, reach:], (0, reach)) + pad(down * r[:, :-reach], (reach, 0)),
            d - pad(up * c, (0, reach)) - pad(down * c, (reach, 0)),
        )
        c = up[:, :-reach] * c[:, reach:]
        reach = 2 * reach
    return r / d


def beam(segments: int = 40) -> Problem:
    """A thin rod clamped at one end and pulled at the other until t = pi: `segments` angles and as many angular speeds.

    With theta the angles, v_k = n^4 (theta_(k-1) - 2 theta_k + theta_(k+1)) + n^2 (Fy cos theta_k - Fx sin theta_k),
    theta_0 = -theta_1, theta_(n+1) = theta_n, and C, D tridiagonal with cos and sin of the angles between neighbours:
    C w = D v + theta'^2,   theta'' = C v + D w;   -Fx = Fy = 1.5 sin(t)^2 until pi, then 0. args = (1.5).
    Hairer & Wanner II, section IV.1; IVP test set 2.4, BEAM. The reference belongs to 40 segments.
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

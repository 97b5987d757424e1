"""Symplectic methods for separable Hamiltonian systems: kicks and drifts in turn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from odebridge.core.fields import Separable
from odebridge.core.protocols import Counts, Field, Step, System
from odebridge.methods.weighted import hermite

W1 = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
W0 = 1.0 - 2.0 * W1


@dataclass(frozen=True)
class Composition:
    """Shares of h in turn: `outer` ones at even places (first and last), inner ones at odd places. Both add up to 1."""

    name: str
    order: int
    kicks_outside: bool
    shares: tuple[float, ...]
    reference: str


VERLET = Composition("verlet", 2, True, (0.5, 1.0, 0.5), "Verlet, Phys. Rev. 159, 1967, in velocity form")
LEAPFROG = Composition("leapfrog", 2, False, (0.5, 1.0, 0.5), "Hairer, Lubich & Wanner, Geometric Numerical Integration, I.1.4")
YOSHIDA4 = Composition(
    "yoshida4", 4, True, (W1 / 2, W1, (W1 + W0) / 2, W0, (W1 + W0) / 2, W1, W1 / 2), "Yoshida, Phys. Lett. A 150, 1990"
)


@dataclass(frozen=True)
class Symplectic:
    """Kick p <- p + a h dp(t, q) and drift q <- q + a h dq(t, p) in turn, with the shares a of a `Composition`.

    `verlet` is kick-drift-kick with shares 1/2, 1, 1/2, `leapfrog` drift-kick-drift with the same, `yoshida4` three steps of
    verlet with shares w1, w0, w1 = 1 / (2 - 2^(1/3)). Each step is a symplectic map and equals its own inverse with -h, so
    that the energy of an autonomous system swings and does not drift. In time-dependent systems the inner part moves the
    clock and is evaluated halfway, the outer one where the clock stands, which keeps order and symmetry.

    Shapes: x (b, ..., 2m), q in the first half of the last dimension; h a float or (b, 1, ..., 1). The field must be a
    `Separable`, else ValueError. `stats.f_evals` counts evaluations of dp, forces being the dear half. Source: Hairer,
    Lubich & Wanner, Geometric Numerical Integration, II.4 and VI.3. Caveat: no error estimate, for a step that varies with
    the state destroys what these methods are for. Use: `ob.integrate(ob.Separable(dq, dp), x0, ob.Grid(ts), method="verlet")`.
    """

    composition: Composition
    law: str = "fixed"
    traceable: bool = True

    @property
    def name(self) -> str:
        """Name of the composition."""
        return self.composition.name

    @property
    def order(self) -> int:
        """Order of the composition."""
        return self.composition.order

    @property
    def error_order(self) -> int | None:
        """There is no estimate."""
        return None

    @property
    def dense_order(self) -> int:
        """Order of the cubic Hermite interpolant, at most the method's own."""
        return min(3, self.order)

    def start(self, field: System, t: Any, x: Tensor) -> None:
        """Nothing is remembered; refuses a field that is not separable."""
        self._halves(field, x)

    def _halves(self, field: System, x: Tensor) -> tuple[Field, Field]:
        parts = getattr(field, "parts", None)
        # A Split field has two parts as well.
        if parts is None or not isinstance(getattr(field, "field", None), Separable):
            raise ValueError(
                f"method {self.name!r}: needs ob.Separable(dq, dp) as its field, q' = dq(t, p), p' = dp(t, q); for other "
                "fields use a method such as 'tsit5'."
            )
        if x.shape[-1] % 2:
            raise ValueError(f"x0: the last dimension holds q and p, so it must be even, got shape {tuple(x.shape)}.")
        return parts

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: None) -> Step:
        """One step from (t, x) with slope = f(t, x), whose outer half is the first kick or drift."""
        if isinstance(h, Tensor) and h.dim() > 0 and h.numel() != h.shape[0]:
            raise ValueError(
                f"controller: method {self.name!r} needs one step a trajectory, not {tuple(h.shape)}: q and p of a system "
                "share their step."
            )
        scheme, parts = self.composition, self._halves(field, x)
        # `outer` moves the half number `one` of the state and is a function of the other half, number 1 - one.
        one = 1 if scheme.kicks_outside else 0
        outer, inner = parts[one], parts[1 - one]
        state, last = list(x.chunk(2, -1)), slope.chunk(2, -1)[one]
        clock = [0.0, *accumulate(scheme.shares[1::2])]
        clock[-1] = 1.0  # to the last bit
        for i, share in enumerate(scheme.shares):
            if i % 2:
                middle = clock[i // 2] + 0.5 * share
                state[1 - one] = state[1 - one] + (share * h) * inner(t + middle * dt, state[one])
            else:
                last = last if i == 0 else outer(t + clock[i // 2] * dt, state[1 - one])
                state[one] = state[one] + (share * h) * last
        ends = [last, last]
        ends[1 - one] = inner(t + dt, state[one])
        turns = len(scheme.shares) // 2
        return Step(torch.cat(state, -1), None, torch.cat(ends, -1), cost=Counts(f_evals=turns if one else turns + 1))

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """Cubic Hermite."""
        return hermite(x0, step.x, slope0, slope1, h)

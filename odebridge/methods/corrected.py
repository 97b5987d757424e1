"""A Runge-Kutta method with a learned correction: hypersolvers and NeurVec are one class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from odebridge.core.protocols import Step, System
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.weighted import hermite
from odebridge.tableaus.base import ButcherTableau

# net(t, x, slope) -> (b, *s): what is missing in the increment; t a float or (b,), slope = f(t, x).
Correction = Callable[[Any, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Corrected:
    """x1 = x + h psi(t, x; h) + h^power g(t, x, slope): psi of the tableau `base`, g the network, slope = f(t, x).

    power None: order + 1 of the base, the hypersolver of Poli et al. (2020): g learns the leading term of the local
    error, and the order of the base stays whatever g is. power 1 with Euler: NeurVec, x + h (f(x) + g(x)) (Huang et al.
    2023): g is made for one coarse h, and h -> 0 no longer converges to the ODE. With g = 0 it is the base to the bit.
    Shapes: x (b, *s); net(t, x, slope) -> (b, *s), t a float on a grid; h anything that multiplies x.
    Raises ValueError for a power below 1, or a net whose output has another shape.
    Caveats: an evaluation of g is not counted among `stats.f_evals`; there is no error estimate, so it goes over a grid, where
    the gradient to g is plain autograd; the free slope at the end of a base such as Tsit5 is lost, for the end moves.
    Use: `ob.integrate(f, x0, ob.Grid(ts), method=Corrected(EULER, net))`; trained by `correction_task` of odebridge.train.
    """

    base: ButcherTableau
    net: Correction | nn.Module
    power: int | None = None
    law: str = field(default="fixed", init=False)
    error_order: None = field(default=None, init=False)  # what the embedded weights estimate is no longer the error made
    scheme: ExplicitRK = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.power is not None and (isinstance(self.power, bool) or not isinstance(self.power, int) or self.power < 1):
            raise ValueError(f"Corrected: power must be a whole number of at least 1 or None, got {self.power!r}.")
        object.__setattr__(self, "scheme", ExplicitRK(self.base))

    @property
    def name(self) -> str:
        """Name of the base, with a plus."""
        return f"{self.base.name}+net"

    @property
    def exponent(self) -> int:
        """Power of h before the network."""
        return self.base.order + 1 if self.power is None else self.power

    @property
    def order(self) -> int:
        """Order that holds for any network: that of the base, less if the power is too low to keep it."""
        return min(self.base.order, self.exponent - 1)

    @property
    def dense_order(self) -> int:
        """Order of the cubic Hermite interpolant."""
        return min(3, self.order)

    def start(self, field: System, t: Any, x: Tensor) -> None:
        """Nothing is remembered."""

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: None) -> Step:
        """One step from (t, x) with slope = f(t, x)."""
        plain, more = self.scheme.step(field, t, x, dt, h, slope, None), self.net(t, x, slope)
        if more.shape != x.shape:
            raise ValueError(f"Corrected: the network must return shape {tuple(x.shape)} like x, got {tuple(more.shape)}.")
        scale = h
        for _ in range(self.exponent - 1):  # no fractional pow, whose bits depend on the batch
            scale = scale * h
        return Step(plain.x + scale * more, cost=plain.cost)

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """Cubic Hermite."""
        return hermite(x0, step.x, slope0, slope1, h)

    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return list(self.net.parameters()) if isinstance(self.net, nn.Module) else []

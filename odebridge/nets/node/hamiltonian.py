"""Hamiltonian neural networks: the motion keeps a learned energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.fields import Separable
from odebridge.nets.node.fields import mlp
from odebridge.nets.node.pullback import pullback
from odebridge.nets.node.solver import DEFAULT, Solver


class Energy(nn.Module):
    """H(q, p) = net([q, p]): any energy. `field()` is (dH/dp, -dH/dq), for every method but the symplectic ones.

    m: positions; the state is (b, 2 m). Shapes: (b, ..., 2 m) -> (b, ...). Caveat: use a smooth activation, H enters by its
    derivatives, and training needs the second ones. Source: Greydanus, Dzamba & Yosinski, NeurIPS 2019.
    Use: `HamiltonianODE(Energy(1))`.
    """

    def __init__(
        self, m: int, hidden: Sequence[int] = (64, 64), *, activation: str = "tanh", dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.net = mlp([2 * m, *hidden, 1], activation, dtype=dtype)

    def forward(self, x: Float[Tensor, "*b e"]) -> Float[Tensor, "*b"]:
        """The energy."""
        return self.net(x)[..., 0]

    def field(self) -> Callable[[Tensor, Tensor], Tensor]:
        """J grad H."""

        def slope(_t: Tensor, x: Tensor) -> Tensor:
            dq, dp = pullback(self, x)[1].chunk(2, -1)
            return torch.cat([dp, -dq], -1)

        return slope

    @property
    def counted(self) -> nn.Module:
        """The module whose calls are the f evaluations."""
        return self


class SeparableEnergy(nn.Module):
    """H(q, p) = T(p) + V(q), two networks. `field()` is `ob.Separable(dT/dp, -dV/dq)`, for symplectic methods and all others.

    Shapes: (b, ..., 2 m) -> (b, ...). `counted` is V: forces are what symplectic methods count.
    Source: Chen, Zhang, Arjovsky & Bottou, Symplectic recurrent neural networks, ICLR 2020.
    Use: `HamiltonianODE(SeparableEnergy(1), Solver("verlet", steps=4))`.
    """

    def __init__(
        self, m: int, hidden: Sequence[int] = (64, 64), *, activation: str = "tanh", dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.kinetic = mlp([m, *hidden, 1], activation, dtype=dtype)
        self.potential = mlp([m, *hidden, 1], activation, dtype=dtype)

    def forward(self, x: Float[Tensor, "*b e"]) -> Float[Tensor, "*b"]:
        """The energy."""
        q, p = x.chunk(2, -1)
        return self.kinetic(p)[..., 0] + self.potential(q)[..., 0]

    def field(self) -> Separable:
        """(dT/dp, -dV/dq)."""
        return Separable(lambda _t, p: pullback(self.kinetic, p)[1], lambda _t, q: -pullback(self.potential, q)[1])

    @property
    def counted(self) -> nn.Module:
        """The module whose calls are the f evaluations."""
        return self.potential


class HamiltonianODE(nn.Module):
    """q' = dH/dp,  p' = -dH/dq with a learned H.

    energy: `Energy` or `SeparableEnergy`, or a module with `field()` and `forward(x) -> H`. Shapes: states (b, 2 m).
    `path(x, times)` the motion, `drift(x, times)` how far its own H strays on the way. Symplectic methods (verlet, leapfrog,
    yoshida4) take a `SeparableEnergy` and `Solver(steps=...)`, else `integrate` refuses them in a sentence.
    Source: Greydanus, Dzamba & Yosinski, Hamiltonian neural networks, NeurIPS 2019, arXiv 1906.01563; they fit slopes, here
    whole paths are fitted. Caveat: friction, or coordinates that are not canonical, cannot be learned.
    Use: `net = HamiltonianODE(SeparableEnergy(1), Solver("verlet", steps=4)); net.path(x, times)`.
    """

    def __init__(self, energy: Energy | SeparableEnergy, solver: Solver = DEFAULT) -> None:
        super().__init__()
        self.energy, self.solver = energy, solver

    def path(self, x: Float[Tensor, "b e"], times: Float[Tensor, "*b k"]) -> Float[Tensor, "b k e"]:
        """The states at `times`, from x at the first of them."""
        return self.solver.path(self.energy.field(), x, times)[0]

    def forward(self, x: Float[Tensor, "b e"], t1: float = 1.0) -> Float[Tensor, "b e"]:
        """The state after the time t1."""
        return self.solver.solve(self.energy.field(), x, (0.0, t1)).x1

    def drift(self, x: Float[Tensor, "b e"], times: Float[Tensor, "*b k"]) -> Float[Tensor, "b k"]:
        """H(x(t)) - H(x(0)) at `times`, of the learned energy: what the integrator alone is to blame for."""
        with torch.no_grad():
            energy = self.energy(self.path(x, times))
            return energy - energy[:, :1]

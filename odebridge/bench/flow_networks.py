"""The networks of `solver-vs-network`: each maps features and a scaled start to a scaled end with K steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.bench.flow_data import Pairs
from odebridge.core.over import Grid
from odebridge.integrate import integrate
from odebridge.methods.catalogue import METHODS
from odebridge.methods.corrected import Corrected
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.nets.gates import gates_of, per_block
from odebridge.nets.stage import Stage

HIDDEN = 32


def _lift(n: int) -> int:
    return max(16, 2 * n)


def _block(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


class Residual(nn.Module):
    """readout(x_K), x_{k+1} = x_k + h_k W2 tanh(W1 x_k + b1), x_0 = lift(features)."""

    def __init__(self, found: Pairs, steps: int, gate: str | None) -> None:
        super().__init__()
        d, n = found.features.shape[1], found.end.shape[1]
        width = _lift(n)
        blocks = [_block(width, max(HIDDEN, width), width) for _ in range(steps)]
        self.lift, self.readout = nn.Linear(d, width), nn.Linear(width, n)
        self.stage = Stage(blocks, per_block(gates_of(gate), width, steps), method="euler", per_unit=steps)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(b, d), (b, n) -> (b, n)."""
        return self.readout(self.stage(self.lift(z)))


class Tied(nn.Module):
    """The same with one block for all steps of 1/K."""

    def __init__(self, found: Pairs, steps: int) -> None:
        super().__init__()
        d, n = found.features.shape[1], found.end.shape[1]
        width = _lift(n)
        self.block = _block(width, max(HIDDEN, width), width)
        self.lift, self.readout = nn.Linear(d, width), nn.Linear(width, n)
        self.over = Grid(tuple(i / steps for i in range(steps + 1)))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(b, d), (b, n) -> (b, n)."""
        return self.readout(integrate(lambda _, x: self.block(x), self.lift(z), self.over, method="euler").x1)


class Continuous(nn.Module):
    """The same with one field whose depth is an input, walked by RK4 in K steps: a neural ODE in the lifted space."""

    def __init__(self, found: Pairs, steps: int) -> None:
        super().__init__()
        d, n = found.features.shape[1], found.end.shape[1]
        width = _lift(n)
        self.lift, self.readout = nn.Linear(d, width), nn.Linear(width, n)
        self.field = _block(width + 1, max(HIDDEN, width), width)
        self.over = Grid(tuple(i / steps for i in range(steps + 1)))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(b, d), (b, n) -> (b, n)."""

        def field(t: Any, x: Tensor) -> Tensor:
            return self.field(torch.cat([x, t[:, None]], 1))

        return self.readout(integrate(field, self.lift(z), self.over, method="rk4").x1)


class NeuralField(nn.Module):
    """dy/dt = g(y, features) in the space of the states, walked by RK4 in K steps: a neural ODE of the system itself."""

    def __init__(self, found: Pairs, steps: int) -> None:
        super().__init__()
        d, n = found.features.shape[1], found.end.shape[1]
        self.net = nn.Sequential(
            nn.Linear(n + d, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, n)
        )
        self.over = Grid(tuple(i / steps for i in range(steps + 1)))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(b, d), (b, n) -> (b, n)."""
        return integrate(lambda _, x: self.net(torch.cat([x, z], 1)), y, self.over, method="rk4").x1


class OnField(nn.Module):
    """Steps along the known field, in scaled units: what is learned is a gate on Euler's increment, or a correction of it.

    gate: "constant", "se" or "stepnet", one per step. power: of h before the correction, None without one; the correction sees
    the state, the features, and for a hypersolver (power 2) the slope. Caveat: of the known field, K evaluations are needed.
    """

    def __init__(self, found: Pairs, steps: int, gate: str | None = None, power: int | None = None) -> None:
        super().__init__()
        d, n = found.features.shape[1], found.end.shape[1]
        t0, t1 = (float(t) for t in found.task.span)
        self.problem, self.t0, self.length, self.power = found.task.field, t0, t1 - t0, power
        self.over = Grid(tuple(i / steps for i in range(steps + 1)))
        self.controller = per_block(gates_of(gate), n, steps)
        self.takes_args = found.task.args is not None
        self.register_buffer("scale", found.scale.float())
        self.register_buffer("centre", found.centre.float())
        if power is not None:
            seen = n + d + (n if power > 1 else 0)
            self.net = nn.Sequential(
                nn.Linear(seen, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, n)
            )
            for p in self.net[-1].parameters():  # training starts at the base method
                nn.init.zeros_(p)

    def forward(self, z: Tensor, y: Tensor, args: Tensor | None = None) -> Tensor:
        """(b, d), (b, n), (b, p) -> (b, n)."""
        scale, centre = self.get_buffer("scale"), self.get_buffer("centre")

        def field(t: Any, x: Tensor) -> Tensor:
            clock = self.t0 + self.length * t
            raw = centre + scale * x
            return self.length * (self.problem(clock, raw, args) if self.takes_args else self.problem(clock, raw)) / scale

        def correction(_t: Any, x: Tensor, slope: Tensor) -> Tensor:
            return self.net(torch.cat([x, z, *([slope] if self.power != 1 else [])], 1))

        euler = METHODS["euler"]
        assert isinstance(euler, ExplicitRK)
        method = euler if self.power is None else Corrected(euler.tableau, correction, self.power)
        return integrate(field, y, self.over, method=method, controller=self.controller).x1


class Operator(nn.Module):
    """x(t)_i = sum_j branch_ij(features) trunk_j(t): a small DeepONet, shown eight times of every trajectory.

    Source: Lu, Jin, Pang, Zhang & Karniadakis, Nature Machine Intelligence 3, 2021.
    """

    MODES = 16

    def __init__(self, found: Pairs, steps: int) -> None:
        super().__init__()
        d, self.n = found.features.shape[1], found.end.shape[1]
        self.branch = nn.Sequential(
            nn.Linear(d, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, self.n * self.MODES)
        )
        self.trunk = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, self.MODES))
        self.bias = nn.Parameter(torch.zeros(self.n))

    def way(self, z: Tensor, t: Tensor) -> Tensor:
        """(b, d), times in (0, 1] (k,) -> (b, k, n)."""
        coefficients = self.branch(z).reshape(len(z), self.n, self.MODES)
        return torch.einsum("bnm,km->bkn", coefficients, self.trunk(t[:, None])) + self.bias

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(b, d), (b, n) -> (b, n)."""
        return self.way(z, torch.ones(1, dtype=z.dtype, device=z.device))[:, 0]


@dataclass(frozen=True)
class Kind:
    """A kind of network. calls(K): its evaluations of f, and of a block or network, for K steps. known: needs the field."""

    title: str
    make: Callable[[Pairs, int], nn.Module]
    calls: Callable[[int], tuple[int, int]]
    steps: tuple[int, ...] = (2, 4, 8)
    known: bool = False


KINDS: Mapping[str, Kind] = {
    "fixed": Kind("residual, step 1/K", partial(Residual, gate=None), lambda k: (0, k)),
    "constant": Kind("residual, learned constant steps", partial(Residual, gate="constant"), lambda k: (0, k)),
    "se": Kind("residual, SE steps", partial(Residual, gate="se"), lambda k: (0, k)),
    "stepnet": Kind("residual, StepNet steps (reconstruction)", partial(Residual, gate="stepnet"), lambda k: (0, k)),
    "tied": Kind("residual, one block for all steps", Tied, lambda k: (0, k), (4, 8)),
    "continuous": Kind("continuous depth, RK4", Continuous, lambda k: (0, 4 * k), (2,)),
    "node": Kind("neural ODE of the state, RK4", NeuralField, lambda k: (0, 4 * k), (2,)),
    "hypersolver": Kind("hypersolver, Euler on f", partial(OnField, power=2), lambda k: (k, k), (8,), True),
    "neurvec": Kind("NeurVec, Euler on f", partial(OnField, power=1), lambda k: (k, k), (8,), True),
    "f_constant": Kind("Euler on f, learned constant steps", partial(OnField, gate="constant"), lambda k: (k, 0), (8,), True),
    "f_se": Kind("Euler on f, SE steps", partial(OnField, gate="se"), lambda k: (k, 0), (8,), True),
    "f_stepnet": Kind(
        "Euler on f, StepNet steps (reconstruction)", partial(OnField, gate="stepnet"), lambda k: (k, 0), (8,), True
    ),
    "deeponet": Kind("DeepONet", Operator, lambda _: (0, 1), (1,)),
}


def built(kind: str, found: Pairs, steps: int, seed: int) -> nn.Module:
    """The network with the first weights of that seed; a block's are those of every other kind that has it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KINDS[kind].make(found, steps).to(found.features.device)

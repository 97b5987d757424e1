"""Fixed-K explicit Euler on the true field of stiff families, x_{k+1} = x_k + h_k f(x_k): what is learned is h_k alone.

Two ways to step. On the clock: one size for a trajectory, a share of the time that is left, so that the K steps end at T
whatever the gate says, and the method stays a consistent one. By channel: a size for each component, as in a residual network,
where no clock is kept.
"""

# ruff: noqa: ARG001 - every field has the same arguments, used or not

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.bench.flow_data import integrated
from odebridge.bench.flows import FLOWS, Family, between, log_between
from odebridge.control.attention import SE, Attention, Constant, StepNet
from odebridge.core.over import Grid
from odebridge.core.protocols import Observation
from odebridge.core.tolerance import Tolerance
from odebridge.integrate import integrate
from odebridge.problems import Problem, van_der_pol
from odebridge.problems.componentwise import Field

REFERENCE_RTOL = 1e-9
TRAIN, CHOOSE, TEST = 2048, 512, 1024
EPS = 1e-9  # log odds of a gate stay within +-20.7


def _van_der_pol(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x0, mu = between(u[:, :2], -2.5, 2.5), log_between(u[:, 2:], 1.0, 10.0)
    return x0, mu, x0


def _linear_spiral(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    """The mean decays at the rate p; around it a slow spiral, eigenvalues -0.3 +- 2i."""
    a, b, c = y
    (rate,) = p
    mean, turn = (a + b + c) / 3, 2.0 / math.sqrt(3.0)
    pull = (0.3 - rate) * mean
    return pull - 0.3 * a + turn * (b - c), pull - 0.3 * b + turn * (c - a), pull - 0.3 * c + turn * (a - b)


def _linear_spirals(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x0, rate = between(u[:, :3], -1.0, 1.0), log_between(u[:, 3:], 5.0, 100.0)
    return x0, rate, x0


_THREE = torch.zeros(3, dtype=torch.float64, device="cpu")
_LINEAR = Problem(Field(_linear_spiral), _THREE, (0.0, 2.0), torch.ones(1, dtype=torch.float64, device="cpu"), stiff=True)
FAMILIES: Mapping[str, Family] = {
    f.name: f
    for f in (
        Family(
            "van_der_pol", "van der Pol, µ 1 to 10, T = 1", True, 3,
            replace(van_der_pol(10.0), span=(0.0, 1.0)), _van_der_pol,
        ),
        Family("linear_spiral", "linear spiral, rate 5 to 100, T = 2", True, 4, _LINEAR, _linear_spirals),
        FLOWS["brusselator"],
        FLOWS["fitzhugh_nagumo"],
        replace(
            FLOWS["robertson"], title="Robertson in log time, t from 10⁻⁴ to 0.1",
            problem=replace(FLOWS["robertson"].problem, span=(math.log(1e-4), math.log(0.1))),
        ),
    )
}  # fmt: skip


class Sample(NamedTuple):
    """Starts and ends in units of order one, and the parameters, float64."""

    start: Float[Tensor, "b n"]
    args: Float[Tensor, "b p"]
    end: Float[Tensor, "b n"]


@dataclass(frozen=True, eq=False)
class Data:
    """A family with its units (n,) and the samples that all seeds share. weight: errors come in deviations of the ends."""

    family: Family
    scale: Tensor
    centre: Tensor
    weight: Tensor
    choose: Sample
    test: Sample

    @property
    def n(self) -> int:
        """Components of a state."""
        return len(self.scale)

    def train(self, seed: int, b: int = TRAIN) -> Sample:
        """What a seed trains on: drawn by it alone, the same for every gate."""
        return self.solved(b, 1000 + seed)

    def solved(self, b: int, seed: int) -> Sample:
        """Starts of that seed with their ends."""
        raw = _solved(self.family, b, seed)
        return Sample((raw.start - self.centre) / self.scale, raw.args, (raw.end - self.centre) / self.scale)


@lru_cache(maxsize=64)
def _solved(family: Family, b: int, seed: int) -> Sample:
    task, _ = family.sample(b, seed)
    method = "rodas5p" if family.stiff else "dopri8"
    rough = integrated(task, method, 1e-4, None, throw=True).x1.std(0)
    return Sample(task.x0, task.args, integrated(task, method, REFERENCE_RTOL, rough, throw=True).x1)


@lru_cache(maxsize=4)
def data(name: str, choose: int = CHOOSE, test: int = TEST) -> Data:
    """Units from the sample that candidates are chosen on. SolveError where a reference solve fails."""
    family = FAMILIES[name]
    raw, held_out = _solved(family, choose, 1), _solved(family, test, 2)
    both = torch.cat([raw.start, raw.end])
    scale, centre = both.std(0), both.mean(0)

    def in_units(s: Sample) -> Sample:
        return Sample((s.start - centre) / scale, s.args, (s.end - centre) / scale)

    return Data(family, scale, centre, scale / raw.end.std(0), in_units(raw), in_units(held_out))


class Blind(nn.Module):
    """StepNet that sees zeros: as many weights as with sight, and what it says is a constant."""

    def __init__(self, inner: Attention) -> None:
        super().__init__()
        self.inner = inner

    def gate(self, x: Tensor, slope: Tensor) -> Tensor:
        """What the weights say of nothing."""
        return self.inner.gate(torch.zeros_like(x), torch.zeros_like(slope))


class Odds(nn.Module):
    """A step controller that reads the odds w = a / (1 - a) of one gate per step, of the state and asinh of the slope.

    On the clock, the last component of the state, h = (1 - clock) w v / (w v + K - 1 - k), w the geometric mean over the
    channels: the last step takes what is left. By channel h_c = spacing w_c v. base (K,): log v, where the gates start; 0
    there and a = 1/2 are equal steps. The compression is there because slopes of a stiff system go over orders of magnitude.
    """

    def __init__(self, gates: Sequence[nn.Module], base: Float[Tensor, " k"], clock: bool) -> None:
        super().__init__()
        self.gates, self.clock = nn.ModuleList(gates), clock
        self.register_buffer("base", base)

    def start(self, x: Tensor, tol: Tolerance | None) -> None:
        """No memory."""

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """Nobody asks on a grid."""
        return error <= 1.0

    def forward(self, seen: Observation, memory: None) -> tuple[Tensor, None]:
        """The size of step seen.n: (b, 1) on the clock, (b, n) by channel."""
        assert isinstance(seen.n, int)
        gate: Any = self.gates[seen.n]
        n = seen.x.shape[1] - self.clock
        log_odds = gate.gate(seen.x[:, :n], seen.slope[:, :n].asinh()).logit(EPS) + self.get_buffer("base")[seen.n]
        if not self.clock:
            return seen.h * log_odds.exp(), None
        odds = log_odds.mean(1, keepdim=True).exp()
        return (1.0 - seen.x[:, n:]) * odds / (odds + (len(self.gates) - 1 - seen.n)), None


def base_of(sizes: Sequence[float], clock: bool) -> Float[Tensor, " k"]:
    """Log v with which gates of 1/2 take these sizes, whose sum is the span; ValueError for one that is not positive."""
    if not all(h > 0 for h in sizes):
        raise ValueError(f"sizes: every one must be positive, got {list(sizes)}.")
    h = torch.tensor(sizes, dtype=torch.float64, device="cpu")
    if not clock:
        return (h * len(h) / h.sum()).log()
    left = h.flip(0).cumsum(0).flip(0)[1:]  # after each step but the last
    many = torch.arange(len(h) - 1, 0, -1, device="cpu")
    return torch.cat([(h[:-1] / left * many).log(), torch.zeros_like(h[:1])])


class Walk(nn.Module):
    """K Euler steps along the known field, sizes by `Odds`."""

    def __init__(self, found: Data, gates: Sequence[nn.Module], base: Float[Tensor, " k"], clock: bool) -> None:
        super().__init__()
        t0, t1 = (float(t) for t in found.family.problem.span)
        self.problem, self.t0, self.length = found.family.problem.field, t0, t1 - t0
        self.law, self.clock = Odds(gates, base, clock), clock
        self.over = Grid(tuple(i / len(gates) for i in range(len(gates) + 1)))
        self.register_buffer("scale", found.scale)
        self.register_buffer("centre", found.centre)

    def solve(self, start: Float[Tensor, "b n"], args: Float[Tensor, "b p"], bound: float = math.inf, **more: Any) -> Any:
        """The Solution in the units of the data, on the clock with the clock as the last component.

        bound: a state beyond it goes no further. A cubic field carries a state that ran away out of the range of numbers in
        six steps, and nothing could be learned from it.
        """
        scale, centre = self.get_buffer("scale"), self.get_buffer("centre")
        n = start.shape[1]

        def field(t: Any, z: Tensor) -> Tensor:
            x, clock = (z[:, :n], z[:, n]) if self.clock else (z, t)
            slope = self.length * self.problem(self.t0 + self.length * clock, centre + scale * x, args) / scale
            if self.clock:
                slope = torch.cat([slope, torch.ones_like(z[:, :1])], 1)
            return slope if bound == math.inf else torch.where(x.abs().amax(1, keepdim=True) < bound, slope, 0.0)

        z = torch.cat([start, torch.zeros_like(start[:, :1])], 1) if self.clock else start
        return integrate(field, z, self.over, method="euler", controller=self.law, **more)

    def forward(self, start: Tensor, args: Tensor, bound: float = math.inf) -> Float[Tensor, "b n"]:
        """The end."""
        return self.solve(start, args, bound).x1[:, : start.shape[1]]


def _se(n: int) -> Attention:
    return SE(n, n / (3 * n + 1))


def _stepnet(n: int) -> Attention:
    return StepNet(n, n / (2 * n + 1))


# A gate of one step from the number of components, and of channels where it is a constant. SE and StepNet have equally many
# weights: hidden widths 3n + 1 and 2n + 1 make (2n + 1)(3n + 1) + n of both.
KINDS: Mapping[str, Callable[[int, int], nn.Module]] = {
    "equal": lambda _, channels: Constant(channels).requires_grad_(False),
    "constant": lambda _, channels: Constant(channels),
    "blind": lambda n, _: Blind(_stepnet(n)),
    "se": lambda n, _: _se(n),
    "stepnet": lambda n, _: _stepnet(n),
}


def built(kind: str, found: Data, sizes: Sequence[float], clock: bool, seed: int) -> Walk:
    """First weights by the seed, but for the last layer of every gate, which is 0: all kinds start at these sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gates = [KINDS[kind](found.n, 1 if clock else found.n) for _ in sizes]
    for gate in gates:
        for module in gate.modules():
            if isinstance(module, (SE, StepNet)):
                for p in module.excite[2].parameters():
                    nn.init.zeros_(p)
    return Walk(found, gates, base_of(sizes, clock), clock).double()


def formulas(steps: int) -> dict[str, list[float]]:
    """Sizes that one would write down: geometric ones, and those of super time stepping in three orders.

    Super time stepping: h_j = 1 / (1 + nu - (1 - nu) cos((2j - 1) pi / 2K)), the roots of a Chebyshev polynomial, with which K
    steps are stable over up to K times the way of K equal ones. Source: Alexiades, Amiez & Gremaud, Commun. Numer. Methods
    Eng. 12, 1996. Rising, falling, and small and large ones in turn, since in between they are not stable.
    """
    out = {
        f"geometric {q:.3g}": [q ** (k / steps) for k in range(steps)] for q in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    }
    for nu in (0.3, 0.1, 0.03, 0.01, 0.003, 0.001):
        cosines = [math.cos((2 * j + 1) * math.pi / (2 * steps)) for j in range(steps)]
        rising = sorted(1.0 / (1.0 + nu - (1.0 - nu) * c) for c in cosines)
        turns = [rising[-1 - k // 2 if k % 2 else k // 2] for k in range(steps)]
        for order, sizes in (("rising", rising), ("falling", rising[::-1]), ("in turn", turns)):
            out[f"Chebyshev {nu:g} {order}"] = sizes
    return out

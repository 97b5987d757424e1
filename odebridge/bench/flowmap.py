"""Solver against network on one axis: where does van der Pol's flow carry a state in one unit of time?

Solvers step through the equation; a residual network of K blocks learns the map x0 -> x(T) from end states that our own solver
has computed. Both are judged on initial values that neither has seen, against evaluations of f or of a block.

mu = 5, T = 1: in the box of initial values the fastest rate, mu |1 - x^2|, is 26, so that explicit methods need some 15 steps
for stability alone, and the map is still smooth enough to be learned in a second. With mu = 1000 the end state jumps between
two branches as a function of x0, and a small network could only learn the jump's place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.bench.networks import shortened
from odebridge.bench.runner import Case, Outcome, Part, affordable, best_of
from odebridge.core.over import Grid
from odebridge.core.result import Solution
from odebridge.integrate import integrate
from odebridge.nets import flow_map
from odebridge.problems import van_der_pol
from odebridge.train import fit_loss

BUDGET = 34.0  # seconds for the whole part; about 24 on one core of the machine it was written on
MU, T = 5.0, 1.0
BOX = (2.5, 8.0)  # initial values are uniform in |x| <= 2.5, |v| <= 8: the cycle, and what falls onto it
STEPS = {
    "euler": (2, 4, 8, 16, 32, 64, 128),
    "heun": (1, 2, 4, 8, 16, 32, 64),
    "tsit5": (1, 2, 4, 8, 16, 32),
    "rosenbrock23": (1, 2, 4, 8, 16, 32),  # L-stable: what a stiff method does with as few evaluations
}
ADAPTIVE = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # rtol = atol of Tsit5 with its own controller
BLOCKS, CONTROLLERS = (2, 4, 8), ("fixed", "se", "stepnet")  # "fixed": every step is T / K
LIFT, HIDDEN, EPOCHS, BATCH, LR = 16, 32, 40, 512, 2e-2
TRAIN, HELD_OUT, SEEDS = 4096, 1024, 3
DATA_RTOL = 1e-9


@dataclass(frozen=True)
class Settings:
    """What to compare; the tests take less. Seeds are seed, seed + 1, ..."""

    seed: int = 0
    seeds: int = SEEDS
    steps: tuple[tuple[str, tuple[int, ...]], ...] = tuple(STEPS.items())
    adaptive: Sequence[float] = ADAPTIVE
    blocks: Sequence[int] = BLOCKS
    controllers: Sequence[str] = CONTROLLERS
    epochs: int = EPOCHS
    train: int = TRAIN
    held_out: int = HELD_OUT
    budget: float = BUDGET


@dataclass(frozen=True)
class Flow:
    """Pairs of states T apart, (n, 2) float64, and the scale of errors: the standard deviation of the training end states."""

    x0: Tensor
    x1: Tensor
    test0: Tensor
    test1: Tensor
    shift0: Tensor
    scale0: Tensor
    shift1: Tensor
    scale1: Tensor
    f_evals: int
    seconds: float


def make_flow(settings: Settings) -> Flow:
    """Sample initial values by the seed alone and solve all of them by Tsit5 at rtol 1e-9, as one batch."""
    chance = torch.Generator().manual_seed(settings.seed)
    ends, starts, cost = [], [], []
    for n in (settings.train, settings.held_out):
        x0 = (2 * torch.rand(n, 2, generator=chance, dtype=torch.float64) - 1) * torch.tensor(BOX, dtype=torch.float64)
        began = time.perf_counter()
        sol = _solve(x0, (0.0, T), "tsit5", rtol=DATA_RTOL, atol=DATA_RTOL)
        cost.append((int(sol.stats.f_evals.sum()), time.perf_counter() - began))
        if sol.failures:
            raise RuntimeError(f"The reference solve failed: {sol.message}")
        starts.append(x0)
        ends.append(sol.x1)
    (x0, test0), (x1, test1) = starts, ends
    return Flow(x0, x1, test0, test1, x0.mean(0), x0.std(0), x1.mean(0), x1.std(0), *cost[0])


def judged(x1: Tensor, flow: Flow) -> dict[str, float]:
    """Errors on the held-out initial values: rms over the components, each in units of its own standard deviation.

    A trajectory that overflowed counts as infinitely wrong; quantiles are members of the sample: infinities do not mix in.
    """
    off = ((x1.double() - flow.test1) / flow.scale1).square().mean(1).sqrt()
    ranked = torch.where(torch.isfinite(off), off, torch.inf).sort().values
    n = len(ranked)
    return {
        "median": float(ranked[n // 2]),
        "p90": float(ranked[min(n - 1, round(0.9 * n))]),
        "not_finite_states": int(torch.isinf(ranked).sum()),
        "states": n,
    }


def part(settings: Settings = Settings()) -> Part:
    """Data, solvers, then every seed of every network."""
    flow = cache(lambda: make_flow(settings))
    base = {
        "problem": "van_der_pol",
        "mu": MU,
        "t1": T,
        "box": list(BOX),
        "held_out": settings.held_out,
        "data_seed": settings.seed,
    }
    cases = [
        Case("training data", {**base, "what": "data", "train": settings.train, "rtol": DATA_RTOL}, lambda _: _data(flow()))
    ]
    for method, counts in settings.steps:
        for n in counts:
            run = partial(_by_solver, flow, method, Grid(tuple(T * i / n for i in range(n + 1))), {})
            cases.append(Case(f"{method}, {n} steps", {**base, "what": "solver", "method": method, "steps": n}, run))
    for rtol in settings.adaptive:
        run = partial(_by_solver, flow, "tsit5", (0.0, T), {"rtol": rtol, "atol": rtol})
        configuration = {**base, "what": "solver", "method": "tsit5", "controller": "pi", "rtol": rtol, "atol": rtol}
        cases.append(Case(f"tsit5, adaptive, rtol {rtol:.0e}", configuration, run))
    return Part("flowmap", settings.budget, cases + _network_cases(settings, flow, base))


def _network_cases(settings: Settings, flow: Callable[[], Flow], base: dict[str, Any]) -> list[Case]:
    def train(controller: str, blocks: int, seed: int, epochs: int, budget: float | None) -> tuple[nn.Module, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = flow_map(2, blocks, HIDDEN, None if controller == "fixed" else controller, LIFT)
        pairs = flow()
        inputs, targets = (pairs.x0 - pairs.shift0) / pairs.scale0, (pairs.x1 - pairs.shift1) / pairs.scale1
        return net, fit_loss(
            net,
            inputs.float(),
            targets.float(),
            epochs=epochs,
            batch_size=BATCH,
            lr=LR,
            device="cpu",
            seed=seed,
            time_budget=budget,
        )

    planned: list[int] = []

    def probes() -> list[Callable[[], float]]:
        train(settings.controllers[0], settings.blocks[0], settings.seed, 1, None)  # the first training of a process is slow
        kinds = [(c, k) for c in settings.controllers for k in settings.blocks]
        return [lambda c=c, k=k: train(c, k, settings.seed, 1, None)[1].seconds for c, k in kinds]

    def by_network(controller: str, blocks: int, seed: int, left: float) -> Outcome:
        if not planned:
            planned.append(affordable(settings.epochs, left, probes(), settings.seeds))
        net, history = train(controller, blocks, seed, planned[0], max(left - 0.3, 0.1))
        if history.ended == "not finite":
            return Outcome({"evaluations": blocks}, "failed", history.message)
        pairs = flow()

        @torch.no_grad()
        def evaluate() -> Tensor:
            scaled = ((pairs.test0 - pairs.shift0) / pairs.scale0).float()
            return net(scaled).double() * pairs.scale1 + pairs.shift1

        net.eval()
        x1, times = best_of(evaluate, enough=0.1)
        values = {
            **judged(x1, pairs), "evaluations": blocks, "time": min(times), "train_seconds": history.seconds,
            "data_f_evals": pairs.f_evals, "data_seconds": pairs.seconds, "epochs": len(history.epochs),
            "parameters": sum(p.numel() for p in net.parameters()),
        }  # fmt: skip
        return Outcome(values, *shortened(len(history.epochs), settings.epochs, history.ended))

    cases = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for controller in settings.controllers:
            for k in settings.blocks:
                configuration = {
                    **base, "what": "network", "controller": controller, "blocks": k, "lift": LIFT, "hidden": HIDDEN,
                    "train": settings.train, "epochs": settings.epochs, "batch_size": BATCH, "lr": LR, "optimiser": "adamw",
                    "schedule": "cosine",
                }  # fmt: skip
                cases.append(
                    Case(
                        f"{k} blocks, {controller}, seed {seed}", configuration, partial(by_network, controller, k, seed), seed
                    )
                )
    return cases


def _solve(x0: Tensor, over: Any, method: str, **settings: Any) -> Solution:
    equation = van_der_pol(MU)
    args = equation.args.expand(len(x0), -1).contiguous()
    return integrate(
        equation.field, x0, over, args=args, method=method, jacobian=equation.jacobian, throw=False, **settings
    )  # fmt: skip


def _data(flow: Flow) -> Outcome:
    return Outcome({"train_seconds": flow.seconds, "data_f_evals": flow.f_evals, "states": len(flow.x0)})


def _by_solver(flow: Callable[[], Flow], method: str, over: Any, settings: dict[str, Any], left: float) -> Outcome:
    pairs = flow()
    how = settings if isinstance(over, Grid) else {**settings, "time_limit": left}
    sol, times = best_of(lambda: _solve(pairs.test0, over, method, **how), enough=0.1)
    scored = judged(sol.x1, pairs)
    values = {**scored, "evaluations": float(sol.stats.f_evals.double().mean()), "time": min(times)}
    lost = scored["not_finite_states"]
    if not lost:
        return Outcome(values)
    first = f"; the first: {sol.failures[0]}" if sol.failures else ""
    return Outcome(values, "failed", f"{lost} of {scored['states']} trajectories have an end state that is not finite{first}")

"""`odebridge bench stiffness`: what the paper's index says of textbook equations, and of a small network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.bench import inference, paired
from odebridge.bench.paired import Settings
from odebridge.bench.runner import Case, Outcome, Part
from odebridge.core.result import Solution
from odebridge.integrate import Every
from odebridge.metrics import log_norm, nsi, sai, spectral_radius
from odebridge.metrics.local import FrozenBlock, local_error
from odebridge.nets import Stage
from odebridge.nets.mode import evaluating
from odebridge.problems import Problem, problem, solve

BUDGET = 600.0  # seconds; about 100 on one core of the machine it was written on
PROBLEMS: tuple[tuple[str, dict[str, float]], ...] = (
    ("van_der_pol", {"mu": 1.0}),
    ("van_der_pol", {"mu": 50.0}),
    ("van_der_pol", {"mu": 1000.0}),
    ("robertson", {"t1": 40.0}),
    ("orego", {}),
)
METHODS = {"dopri5": "explicit", "radau5": "implicit"}


@dataclass(frozen=True)
class Equations:
    """What to solve. An explicit method on a stiff problem is stopped after max_steps tries; its row says how far it got."""

    problems: Sequence[tuple[str, dict[str, float]]] = PROBLEMS
    rtol: float = 1e-6
    atol: float = 1e-10
    max_steps: int = 20_000


NETWORK = Settings("digits", None, 0, 3, width=8, stem=1, epochs=4, batch_size=64, probes=8)


def part(equations: Equations = Equations(), network: Settings = NETWORK, budget: float = BUDGET) -> Part:
    """Every equation by an explicit and an implicit method of ours, and plain networks of several seeds."""
    cases = []
    for name, settings in equations.problems:
        for method in METHODS:
            configuration = {
                "what": "equation", "problem": name, "settings": dict(settings), "method": method, "rtol": equations.rtol,
                "atol": equations.atol, "max_steps": equations.max_steps,
            }  # fmt: skip
            shown = ", ".join([name, *(f"{k} {v:g}" for k, v in settings.items()), method])
            cases.append(Case(shown, configuration, _walk(equations, name, settings, method)))
    for seed in network.every_seed:
        configuration = {**network.about(), "what": "network", "controller": "fixed"}
        cases.append(Case(f"network, seed {seed}", configuration, _network(network, seed), seed))
    return Part("stiffness", budget, cases)


def network(seed: int) -> Settings:
    """The network of the suite, its seeds from this one on."""
    return replace(NETWORK, seed=seed)


def quick(seed: int = 0) -> Part:
    """Three equations, fewer tries, one network."""
    return part(Equations(PROBLEMS[:2] + PROBLEMS[3:4], max_steps=1500), replace(NETWORK, seed=seed, seeds=1, epochs=2))


def _walk(equations: Equations, name: str, settings: dict[str, float], method: str) -> Callable[[float], Outcome]:
    def run(left: float) -> Outcome:
        task = problem(name, **settings)
        sol = solve(
            task, method=method, rtol=equations.rtol, atol=equations.atol, max_steps=equations.max_steps, time_limit=left,
            save=Every(), throw=False,
        )  # fmt: skip
        return Outcome(walked(task, sol))

    return run


def walked(task: Problem, sol: Solution) -> dict[str, Any]:
    """Rank correlations along the kept steps: of the index and of the spectral radius with 1 / h, and of the two.

    The first step was guessed and the last cut to the end of the span; both are left out. Means are over time.
    """
    assert sol.ts is not None
    assert sol.xs is not None
    keep = torch.isfinite(sol.ts)
    ts, xs = sol.ts[keep], sol.xs[keep]
    if len(ts) < 6:
        raise ValueError(f"{task.name}: only {len(ts)} states were kept, too few for a correlation. {sol.message}")
    h = ts.diff()[1:-1]
    index = sai(xs[None], ts)[0, 1:-1]
    radius = _radius(task, ts[1:-2], xs[1:-2])
    every = [v.tolist() for v in (index, radius, 1.0 / h)]
    index_h, radius_h, both = ((0, 2), (1, 2), (0, 1))
    t0, t1 = (float(t) for t in task.span)
    return {
        "steps": len(ts) - 1,
        "reached": float((ts[-1] - t0) / (t1 - t0)),
        **{
            name: inference.known(inference.rank(every[a], every[b]))
            for name, (a, b) in {"index_and_1/h": index_h, "radius_and_1/h": radius_h, "index_and_radius": both}.items()
        },
        "index_mean": float((index * h).sum() / h.sum()),
        "radius_mean": float((radius * h).sum() / h.sum()),
        "radius_h_median": float((radius * h).median()),
    }


def _radius(task: Problem, ts: Tensor, xs: Tensor) -> Tensor:
    """Spectral radius at every state, the states as a batch."""
    args = task.batched().args  # (1, p): the same for all states, however many the Jacobian puts side by side

    def field(t: Tensor, x: Tensor) -> Tensor:
        return task.field(t, x) if args is None else task.field(t, x, args)

    return spectral_radius(field, ts, xs)


def _network(settings: Settings, seed: int) -> Callable[[float], Outcome]:
    def run(left: float) -> Outcome:
        net, history = paired.trained(settings, "fixed", seed, left)
        return paired.outcome(net, history, settings.epochs, lambda: blocks(net, settings))

    return run


def blocks(net: nn.Module, settings: Settings) -> dict[str, Any]:
    """NSI of every block and sample beside its local error, spectral radius and logarithmic norm; rank correlations, pooled."""
    data = paired.images(settings.data, settings.train)
    rows: dict[str, list[Tensor]] = {k: [] for k in ("nsi", "local_error", "radius", "log_norm")}
    for stage, x in entered(net, data.test_x[: settings.probes]):
        sol = stage.solve(x, save=Every())
        assert sol.xs is not None
        memory = stage.controller.start(x, None)
        index = nsi(sol.xs)
        for i in range(len(stage)):
            field, state = FrozenBlock(stage, i, memory), sol.xs[:, i]
            rows["nsi"].append(index[:, i])
            rows["local_error"].append(local_error(field, 0.0, state, after=stage.after))
            rows["radius"].append(spectral_radius(field, 0.0, state))
            rows["log_norm"].append(log_norm(field, 0.0, state))
    rows = {k: [v.detach() for v in some] for k, some in rows.items()}
    pooled = {k: torch.cat(v).tolist() for k, v in rows.items()}
    ranks = {f"nsi_and_{k}": inference.known(inference.rank(pooled["nsi"], v)) for k, v in pooled.items() if k != "nsi"}
    means = {k: [float(v.mean()) for v in some] for k, some in rows.items()}
    beyond = sum(r > 2.0 for r in pooled["radius"]) / len(pooled["radius"])
    return {**ranks, **means, "pairs": len(pooled["nsi"]), "share_beyond_2": beyond}


@torch.no_grad()
def entered(net: nn.Module, images: Tensor) -> Iterator[tuple[Stage, Tensor]]:
    """Every stage with the states that enter it."""
    found: list[tuple[Stage, Tensor]] = []

    def note(stage: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(stage, Stage)
        found.append((stage, args[0]))

    hooks = [m.register_forward_pre_hook(note) for m in net.modules() if isinstance(m, Stage)]
    try:
        with evaluating(net):
            net(images)
            for hook in hooks:
                hook.remove()
            yield from found
    finally:
        for hook in hooks:
            hook.remove()

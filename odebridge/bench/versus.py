"""`odebridge bench solver-vs-network`: the flow map of seven families by solvers and by networks, on the same axes.

Every setting of a solver, every network with all its seeds, and the interleaved clock of a family is a case of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from odebridge.bench.arithmetic import flops
from odebridge.bench.flow_data import DATA_RTOL, TRUTH_RTOL, Pairs, integrated, judged, pairs
from odebridge.bench.flow_laws import RTOLS, law_for
from odebridge.bench.flow_networks import KINDS, built
from odebridge.bench.flow_training import Recipe, end_state, inputs, train
from odebridge.bench.flows import FLOWS
from odebridge.bench.runner import Case, Outcome, Part
from odebridge.control.calibrated import Calibrated
from odebridge.core.over import Grid
from odebridge.integrate import integrate

GRID = {
    "euler": (2, 4, 8, 16, 32, 64, 128), "heun": (1, 2, 4, 8, 16, 32, 64), "rk4": (1, 2, 4, 8, 16, 32),
    "rosenbrock23": (1, 2, 4, 8, 16, 32), "rodas5p": (1, 2, 4, 8),
}  # fmt: skip
ADAPTIVE = {
    "tsit5": tuple(10.0**-k for k in range(1, 8)), "dopri8": tuple(10.0**-k for k in range(2, 9)),
    "rosenbrock23": tuple(10.0**-k for k in range(1, 5)), "rodas5p": tuple(10.0**-k for k in range(1, 9)),
    "kvaerno5": (1e-2, 1e-3, 1e-4, 1e-5, 1e-6), "bdf": (1e-2, 1e-4, 1e-6),
}  # fmt: skip
COMPILED, EXPLICIT = ("tsit5", "rodas5p"), ("tsit5", "dopri8")
GENERATIONS = 100  # of the search for a calibrated law
STEPS = 2000  # tries of an adaptive solve; explicit methods use them up where a family is very stiff
FLOPS_ON = 64  # states that operations are counted on
ROUNDS = 5  # of the clock
SLOW, LEAST = 2.0, 5e-3  # seconds: above, a solve is not repeated; below, a measurement takes several


@dataclass(frozen=True)
class Settings:
    """What to compare. Seeds are seed, seed + 1, ...; the data depend on the first alone."""

    families: Sequence[str] = tuple(FLOWS)
    kinds: Sequence[str] = tuple(KINDS)
    seed: int = 0
    seeds: int = 5
    train: int = 4096
    held_out: int = 1024
    iterations: int = 1500
    batch: int = 256
    steps: Mapping[str, tuple[int, ...]] | None = None  # K of a kind, instead of its own
    grid: Mapping[str, tuple[int, ...]] | None = None
    adaptive: Mapping[str, tuple[float, ...]] | None = None
    compiled: Sequence[str] = COMPILED
    calibrated: int = GENERATIONS  # 0: no calibrated laws
    rounds: int = ROUNDS
    device: str = "cpu"
    each: float = 240.0

    def pairs(self, family: str) -> Pairs:
        """The data."""
        return pairs(family, self.train, self.held_out, self.seed, self.device)

    @property
    def recipe(self) -> Recipe:
        """How networks are trained."""
        return Recipe(self.iterations, self.batch)

    def about(self, family: str) -> dict[str, Any]:
        """What all rows of a family share."""
        more = {"train": self.train, "held_out": self.held_out, "data_seed": self.seed, "device": self.device}
        return {"family": family, "stiff": FLOWS[family].stiff, **more}


def settings(size: str, seed: int, device: str) -> Settings:
    """The three sizes."""
    if size == "quick":
        return Settings(
            ("lotka_volterra", "stiff_spiral"), ("constant", "se", "stepnet", "hypersolver"), seed, 2, 512, 128, 150,
            steps={"constant": (2,), "se": (2,), "stepnet": (2,)}, grid={"rk4": (1, 4, 16)},
            adaptive={"tsit5": (1e-2, 1e-4), "rodas5p": (1e-2, 1e-4)}, compiled=(), calibrated=0, rounds=3, device=device,
        )  # fmt: skip
    if size == "standard":
        return Settings(seed=seed, device=device)
    gates = {kind: (2, 4, 8, 16) for kind in ("fixed", "constant", "se", "stepnet")}
    return Settings(seed=seed, seeds=10, train=65_536, iterations=20_000, batch=512, steps=gates, device=device, each=3600.0)


def parts(these: Settings) -> list[Part]:
    """Family by family: data, solvers, networks, clock."""
    cases: list[Case] = []
    for family in these.families:
        about = {**these.about(family), "rtol_data": DATA_RTOL, "rtol_truth": TRUTH_RTOL}
        cases.append(Case(f"{family}, data", {**about, "what": "data"}, partial(_data, these, family)))
        for run in solvers(these, family):
            about = {**these.about(family), "what": "solver", **run}
            cases.append(Case(f"{family}, {named(run)}", about, partial(_solver, these, family, run)))
        recipe = {**vars(these.recipe), "seeds": list(_seeds(these)), "optimiser": "adam", "schedule": "warm cosine"}
        for kind, k in networks(these):
            about = {**these.about(family), "what": "network", "kind": kind, "steps": k, **recipe}
            cases.append(Case(f"{family}, {kind}, K={k}", about, partial(_network, these, family, kind, k)))
        about = {**these.about(family), "what": "clock", "rounds": these.rounds, "kinds": list(these.kinds)}
        cases.append(Case(f"{family}, clock", about, partial(_clock, these, family)))
    return [Part("versus", math.inf, cases, each=these.each)]


def _seeds(these: Settings) -> range:
    return range(these.seed, these.seed + these.seeds)


def solvers(these: Settings, family: str) -> list[dict[str, Any]]:
    """Settings of solvers: on grids, adaptive, and adaptive by the compiled loop where that can run."""
    runs: list[dict[str, Any]] = []
    for method, counts in (GRID if these.grid is None else these.grid).items():
        runs += [{"method": method, "steps": n} for n in counts]
    chosen = ADAPTIVE if these.adaptive is None else these.adaptive
    if not FLOWS[family].explicit:
        chosen = {m: rtols for m, rtols in chosen.items() if m not in EXPLICIT} | {EXPLICIT[0]: (1e-3,)}
    for method, rtols in chosen.items():
        runs += [{"method": method, "rtol": r} for r in rtols]
    if FLOWS[family].problem.jacobian is not None:  # component by component, as the compiled loop wants a field
        able = _compiled(these, family)
        fast: list[dict[str, Any]] = [{"method": m, "rtol": r, "compiled": True} for m in able for r in chosen.get(m, ())]
        law = {"calibrated": these.calibrated, "law_seed": these.seed}
        runs += fast + [{**r, **law} for r in fast if these.calibrated and RTOLS[0] >= r["rtol"] >= RTOLS[1]]
    return runs


def _compiled(these: Settings, family: str) -> list[str]:
    return [m for m in these.compiled if FLOWS[family].explicit or m not in EXPLICIT]


def networks(these: Settings) -> list[tuple[str, int]]:
    """Kinds with their numbers of steps."""
    own = these.steps or {}
    return [(kind, k) for kind in these.kinds for k in own.get(kind, KINDS[kind].steps)]


def named(run: Mapping[str, Any]) -> str:
    """A setting of a solver in words that are unique in a family."""
    if "steps" in run:
        return f"{run['method']}, {run['steps']} steps"
    law = ", calibrated" if run.get("calibrated") else ""
    return f"{run['method']}, rtol {run['rtol']:.0e}{', compiled' if run.get('compiled') else ''}{law}"


def _data(these: Settings, family: str, left: float) -> Outcome:  # noqa: ARG001 - every case has the same arguments
    found = these.pairs(family)
    return Outcome({"data_f_evals": found.f_evals, "data_seconds": found.seconds, "scale": found.error_scale.tolist()})


def solve(found: Pairs, run: Mapping[str, Any], left: float, first: int | None = None) -> Any:
    """All held-out states by one setting of a solver."""
    task = found.test
    if first is not None:
        args = None if task.args is None else task.args[:first]
        task = replace(task, x0=task.x0[:first], args=args)
    if "steps" in run:
        t0, t1 = (float(t) for t in task.span)
        n = run["steps"]
        grid = Grid(tuple(t0 + (t1 - t0) * i / n for i in range(n + 1)))
        return integrate(task.field, task.x0, grid, args=task.args, jacobian=task.jacobian, method=run["method"], throw=False)
    more = {"controller": calibrated(found, run)} if run.get("calibrated") else {}
    return integrated(
        task, run["method"], run["rtol"], found.error_scale, max_steps=STEPS, time_limit=max(left, 0.1), throw=False,
        compile=bool(run.get("compiled")), **more,
    )  # fmt: skip


def calibrated(found: Pairs, run: Mapping[str, Any]) -> Calibrated:
    """The law of a setting."""
    return law_for(found, run["method"], run["calibrated"], run["law_seed"])


def _solver(these: Settings, family: str, run: dict[str, Any], left: float) -> Outcome:
    found = these.pairs(family)
    law = calibrated(found, run) if run.get("calibrated") else None
    sol = solve(found, run, min(left, 20.0))
    scored = judged(sol.x1, found)
    counts = {k: float(v.double().mean()) for k, v in vars(sol.stats).items() if k != "work"}
    values = {**scored, **counts, "f_calls": counts["f_evals"], "net_calls": 0}
    if law is not None:
        values |= {"kept": law.report["kept"], "train_seconds": law.report["cpu_seconds"]}
    if not run.get("compiled") and scored["not_finite_states"] == 0:
        values["flops"] = flops(lambda: solve(found, run, min(left, 20.0), FLOPS_ON)) / FLOPS_ON
        values["flops_f"] = flops_f(found)
    lost = scored["not_finite_states"]
    if lost == 0:
        return Outcome(values)
    first = f"; the first: {sol.failures[0]}" if sol.failures else ""
    known = {k: v for k, v in values.items() if v != float("inf")}
    return Outcome(known, "failed", f"{lost} of {len(found.test_end)} end states are not finite{first}"[:300])


def flops_f(found: Pairs) -> float:
    """Operations of one evaluation of the field, for one state."""
    task = found.test
    t, more = torch.zeros_like(task.x0[:, 0]), () if task.args is None else (task.args,)
    return flops(lambda: task.field(t, task.x0, *more)) / len(task.x0)


def _network(these: Settings, family: str, kind: str, k: int, left: float) -> Outcome:
    found = these.pairs(family)
    given = inputs(found, found.test_features, found.test, KINDS[kind].known)
    fitted = train(kind, k, found, list(_seeds(these)), these.recipe, 0.8 * left)
    with torch.no_grad():
        scores = [judged(end_state(net, found, given), found) for net in fitted.nets]
    few: Any = tuple(v[:FLOPS_ON] for v in given)
    f_calls, net_calls = KINDS[kind].calls(k)
    values: dict[str, Any] = {key: [_known(s[key]) for s in scores] for key in scores[0]}
    values |= {
        "f_calls": f_calls, "net_calls": net_calls, "flops": flops(lambda: fitted.nets[0](*few)) / FLOPS_ON,
        "flops_f": flops_f(found), "parameters": sum(p.numel() for p in fitted.nets[0].parameters()),
        "train_seconds": fitted.seconds, "stacked_seconds": fitted.stacked, "iterations": fitted.done,
        "loss": [_known(v) for v in fitted.losses],
    }  # fmt: skip
    if all(m is None for m in values["median"]):
        return Outcome(values, "failed", "Half of the end states or more are not finite, with every seed.")
    if fitted.done < these.iterations:
        return Outcome(values, "shortened", f"Trained for {fitted.done} of {these.iterations} iterations.")
    return Outcome(values)


def _known(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _clock(these: Settings, family: str, left: float) -> Outcome:
    """Seconds for all held-out states in rounds: solvers and networks take turns; first weights cost what trained ones do."""
    found, began = these.pairs(family), time.monotonic()
    todo: dict[str, Callable[[], Any]] = {}
    for run in solvers(these, family):
        todo[named(run)] = partial(solve, found, run, 4 * SLOW)
    for kind, k in networks(these):
        net, given = built(kind, found, k, these.seed), inputs(found, found.test_features, found.test, KINDS[kind].known)
        todo[f"{kind}, K={k}"] = partial(end_state, net, found, given)
    times: dict[str, list[float]] = {}
    with torch.no_grad():
        for name, go in todo.items():
            go()  # the first of its kind compiles, or fills caches
            times[name] = [_seconds(go, found.scale)]
        for _ in range(1, these.rounds):
            if time.monotonic() - began > 0.8 * left:
                break
            for name, go in todo.items():
                if times[name][0] < SLOW:
                    times[name].append(_seconds(go, found.scale))
    return Outcome({"times": times, "states": len(found.test_end)})


def _seconds(go: Callable[[], Any], like: Tensor) -> float:
    """One measurement: the mean of as many calls as make it long enough."""
    spent, n = 0.0, 0
    while spent < LEAST:
        start = time.perf_counter()
        go()
        if like.is_cuda:
            torch.cuda.synchronize()
        spent, n = spent + time.perf_counter() - start, n + 1
    return spent / n

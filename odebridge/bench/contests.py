"""The contests of the suites `solvers`, `ensembles`, `nonstiff` and `gradients`: who meets whom, on what, at which errors.

Each contest is one case: its contenders take turns in one process, so that a slow minute of the machine hits all of them.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial

import torch
from threadpoolctl import threadpool_limits

from odebridge.bench import gradient_network as network
from odebridge.bench import gradient_stiff as stiff
from odebridge.bench.contest import LOOSE, RTOLS, Contender, Contest, Pace, ours, peer, run_contest
from odebridge.bench.environment import version_of
from odebridge.bench.equal import median
from odebridge.bench.families import ATOL_PER_RTOL, alone, family, truth
from odebridge.bench.record import finite
from odebridge.bench.runner import Case, Outcome, Part
from odebridge.bench.verdict import PEERS, verdicts
from odebridge.peers.base import EnsembleRun
from odebridge.problems import Problem

SECONDS = {"quick": 20.0, "standard": 110.0, "full": 600.0}  # for one contest
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

SINGLE = ("van_der_pol", "robertson", "hires", "orego", "pollu")
SINGLE_PEERS = (
    "scipy:odeint", "scipy:LSODA", "sundials:BDF", "scipy:Radau", "scipy:BDF",
    "diffrax:Kvaerno3", "diffrax:Kvaerno5", "diffrax:Kvaerno5+fix", "yabi:BDF",
)  # fmt: skip
STIFF = {"robertson": (1000, 10_000), "van_der_pol": (1000,), "hires": (1000,), "pollu": (1000,)}
STIFF_TARGETS = {"robertson": (1e-6, 3e-8), "van_der_pol": (1e-4, 1e-6), "hires": (1e-4, 1e-6), "pollu": (1e-4, 1e-6)}
KNOWN = 100  # trajectories whose end state is known
LANES = {"loop": 50, "vmap": 300}  # a vmap over 300 is as fast per trajectory as over 1000, or faster
GROWTH = (1000, 10_000, 100_000)
NONSTIFF, NONSTIFF_BATCHES, NONSTIFF_TARGETS = ("lotka_volterra", "lorenz"), (100, 10_000), (1e-4, 1e-6)
EXPLICIT_RTOLS = tuple(10.0**-k for k in range(3, 11))
EXPLICIT_PEERS = ("diffrax:Tsit5", "diffrax:Dopri8", "torchode:dopri5", "torchode:tsit5", "torchdiffeq:dopri5")


def single(size: str) -> Part:
    """One stiff trajectory, errors 1e-5 and 1e-7 in the measure of mescd; the name begins with "one"."""
    names = {"quick": SINGLE[1:2], "standard": SINGLE, "full": SINGLE}[size]
    return _part("single", size, [(f"one {name}", partial(_single, name)) for name in names], "cpu")


def _single(name: str, size: str, device: str) -> Contest:  # noqa: ARG001 - every contest is made from both
    task, known = alone(name)
    mine = [ours(method, compiled=size != "quick") for method in ("rodas5p", "kvaerno5")]
    names = SINGLE_PEERS[:3] if size == "quick" else SINGLE_PEERS
    theirs = [peer(n, rtols=LOOSE if n.startswith("diffrax") else RTOLS, max_steps=200_000) for n in names]
    floor = ATOL_PER_RTOL[name]
    return Contest(name, task, known, floor, (1e-5, 1e-7), [*mine, *theirs], floor=floor)


def ensembles(size: str, seed: int, device: str) -> Part:
    """Batches of stiff trajectories against CVODE, LSODA and diffrax."""
    sizes = {"quick": {"robertson": (100,)}, "standard": {k: v[:1] for k, v in STIFF.items()}, "full": STIFF}[size]
    todo = [(f"{name}, B={b}", partial(_ensemble, name, b, seed)) for name, some in sizes.items() for b in some]
    return _part("ensembles", size, todo, device)


def _ensemble(name: str, b: int, seed: int, size: str, device: str) -> Contest:
    known = truth(family(name, KNOWN, seed), 10 if size == "quick" else KNOWN, stiff=True)
    task = family(name, b, seed)
    loop, vmap = (10, 20) if size == "quick" else (LANES["loop"], LANES["vmap"])
    loops = [peer(n, loop) for n in ("sundials:BDF", "scipy:odeint")]
    loose = {"Kvaerno5": LOOSE, "Kvaerno5+fix": LOOSE, "Kvaerno3": RTOLS, "Kvaerno3+fix": RTOLS}
    vmaps = [peer(f"diffrax:{m}", vmap, rtols, max_steps=20_000) for m, rtols in loose.items()]
    methods = ("rodas5p",) if size == "quick" else ("rodas5p", "kvaerno5")
    mine = [_on(device, ours(method, compiled=size != "quick" and device == "cpu")) for method in methods]
    others = loops if size == "quick" else [*loops, *vmaps]
    return Contest(f"{name}, B={b}", task, known, ATOL_PER_RTOL[name], STIFF_TARGETS[name], [*mine, *others])


def nonstiff(size: str, seed: int, device: str) -> Part:
    """Batches of trajectories that are not stiff against diffrax, torchode, torchdiffeq and SciPy."""
    batches = {"quick": (20,), "standard": NONSTIFF_BATCHES, "full": (*NONSTIFF_BATCHES, 100_000)}[size]
    names = NONSTIFF[:1] if size == "quick" else NONSTIFF
    todo = [(f"{name}, B={b}", partial(_nonstiff, name, b, seed)) for name in names for b in batches]
    return _part("nonstiff", size, todo, device)


def _nonstiff(name: str, b: int, seed: int, size: str, device: str) -> Contest:
    known = truth(family(name, KNOWN, seed), 20 if size == "quick" else KNOWN, stiff=False)
    compiled = size != "quick" and device == "cpu"
    mine = [_on(device, ours(m, compiled=compiled, rtols=EXPLICIT_RTOLS)) for m in ("tsit5", "dopri8")]
    theirs = [peer(n, rtols=EXPLICIT_RTOLS) for n in (EXPLICIT_PEERS[2:] if size == "quick" else EXPLICIT_PEERS)]
    others = [*theirs, peer("scipy:RK45", 20, EXPLICIT_RTOLS)]
    return Contest(f"{name}, B={b}", family(name, b, seed), known, ATOL_PER_RTOL[name], NONSTIFF_TARGETS, [*mine, *others])


def gradients(size: str) -> Part:
    """A neural ODE and Robertson's rates, forward and backward."""
    todo: list[tuple[str, Callable[..., Contest]]] = []
    for dtype in ("float32", "float64")[: 1 if size == "quick" else 2]:
        todo += [
            (f"neural ODE, B={b}, {dtype}", partial(_network, b, dtype)) for b in ((16,) if size == "quick" else (128, 1024))
        ]
    todo += [(f"Robertson's rates, B={b}", partial(_rates, b)) for b in ((1,) if size == "quick" else (1, 1000))]
    return _part("gradients", size, todo, "cpu")


def _network(b: int, dtype: str, size: str, device: str) -> Contest:  # noqa: ARG001
    kind, targets = {"float32": (torch.float32, (1e-4, 1e-5)), "float64": (torch.float64, (1e-4, 1e-6))}[dtype]
    who = network.contenders(b, kind)
    return Contest(f"neural ODE, B={b}, {dtype}", network.task(b, kind), network.truth(b), 1.0, targets, who)


def _rates(b: int, size: str, device: str) -> Contest:  # noqa: ARG001
    who = stiff.contenders(compiled=size != "quick")
    return Contest(f"Robertson's rates, B={b}", stiff.task(b), stiff.truth(), 1e-6, (1e-6, 1e-8), who)


def growth(size: str, seed: int, device: str) -> Part:
    """How our time and memory grow with the batch: Robertson, rtol 1e-4, medians of warm solves."""
    sizes = (100, 1000) if size == "quick" else GROWTH
    cases = [
        Case(
            f"growth, B={b}", {"problem": "robertson", "method": "rodas5p", "rtol": 1e-4, "b": b, "device": device},
            partial(_grown, b, seed, size, device), seed,
        )
        for b in sizes
    ]  # fmt: skip
    return Part("growth", math.inf, cases, each=600.0)


def _grown(b: int, seed: int, size: str, device: str, left: float) -> Outcome:
    who, task = _on(device, ours("rodas5p", compiled=size != "quick" and device == "cpu")), family("robertson", b, seed)
    with one_thread():
        cold = who.solve(task, 1e-4, 1e-10, left)
        runs = [who.solve(task, 1e-4, 1e-10, left / 2) for _ in range(1 if size == "quick" else 3)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = [r.cpu for r in runs]
    return Outcome({"cpu": median(times), "runs": times, "first": cold.seconds, "peak_mib": round(peak), **cold.counts})


def _part(name: str, size: str, todo: Sequence[tuple[str, Callable[..., Contest]]], device: str) -> Part:
    each = SECONDS[size]
    cases = [
        Case(label, {"contest": label, "size": size, "device": device}, partial(_held, make, size, device))
        for label, make in todo
    ]
    return Part(name, math.inf, cases, each=each)


def _held(make: Callable[..., Contest], size: str, device: str, left: float) -> Outcome:
    """One contest: its cells, and the verdict at every target."""
    with one_thread():
        contest = make(size, device)
        pace = Pace(1, 2.0, 0.01, left) if size == "quick" else Pace(5, min(8.0, left / 8), 0.05, left)
        cells = run_contest(contest, pace, _silent)
    missing = [c.message for c in cells if "not installed" in c.message or "no adapter" in c.message]
    # A contender that gets nowhere is what the contest found, and no fault of it: null instead of infinity.
    found = {"cells": [asdict(c) for c in cells], "verdicts": verdicts(contest, cells), "missing": missing, "peers": peers()}
    values, _ = finite(found)
    return Outcome(values)


def peers() -> dict[str, str]:
    """Versions of the libraries that take part, those that are there."""
    return {name: version for name in PEERS if (version := version_of(name)) is not None}


def _on(device: str, who: Contender) -> Contender:
    """The contender on another device: its problem is moved before, its answer after the clock has stopped."""
    if device == "cpu":
        return who

    def solve(task: Problem, rtol: float, atol: float, limit: float) -> EnsembleRun:
        run = who.solve(task.to(device=device), rtol, atol, limit)
        return replace(run, cpu=run.seconds)  # what the processor does while it waits says nothing

    return replace(who, name=f"{who.name} ({device})", solve=solve)


@contextmanager
def one_thread() -> Generator[None]:
    """PyTorch, NumPy and XLA on one thread, as far as they can still be told."""
    os.environ.setdefault("XLA_FLAGS", ONE_THREAD)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _silent(_text: str) -> None:
    """Nobody reads."""

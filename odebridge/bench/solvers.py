"""Stiff problems with published end states: Rodas5P against SciPy's Radau and LSODA, and Dopri5, which is not made for them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from odebridge.bench.runner import Case, Outcome, Part, best_of
from odebridge.core.result import Solution
from odebridge.integrate import integrate
from odebridge.peers.catalogue import PEERS
from odebridge.problems import Problem, problem

BUDGET = 28.0  # seconds for the whole part; about 20 on one core of the machine it was written on
RTOLS = tuple(10.0**-k for k in range(3, 9))
# atol / rtol: near the size of the smallest component that matters (Robertson: 2e-5 at its peak and 8e-14 at the end).
ATOL_PER_RTOL = {"robertson": 1e-6, "van_der_pol": 1e-2, "hires": 1e-3}
OUR_STIFF, OURS_FAILING = "rodas5p", "dopri5"
PEER_NAMES = ("scipy:Radau", "scipy:LSODA")
FAILING_RTOL, FAILING_STEPS = 1e-4, 1000  # Dopri5 would need millions of steps; so many are enough to see that
ENOUGH_STEPS = 100_000
REPEAT = 0.2  # seconds: a solve is repeated until so much time is spent, at most five times; the smallest time counts


@dataclass(frozen=True)
class Settings:
    """What to solve; the tests take less."""

    problems: Sequence[str] = tuple(ATOL_PER_RTOL)
    rtols: Sequence[float] = RTOLS
    peers: Sequence[str] = PEER_NAMES
    budget: float = BUDGET
    failing_steps: int = FAILING_STEPS


def part(settings: Settings = Settings()) -> Part:
    """Dopri5 once, every tolerance alone by every method, then all tolerances as one batch, for every problem.

    Tight tolerances come last, so that a budget that runs out takes them from all problems and methods alike.
    """
    stiff = [problem(name) for name in settings.problems]
    cases = [_ours(p, OURS_FAILING, FAILING_RTOL, settings.failing_steps) for p in stiff]
    for rtol in sorted(settings.rtols, reverse=True):
        for p in stiff:
            cases.append(_ours(p, OUR_STIFF, rtol, ENOUGH_STEPS))
            cases += [_peer(p, peer, rtol) for peer in settings.peers]
    cases += [_batch(p, OUR_STIFF, settings.rtols) for p in stiff]
    return Part("solvers", settings.budget, cases)


def errors(x1: np.ndarray, reference: np.ndarray, atol_per_rtol: float) -> dict[str, float]:
    """Two measures of the end state; x1 and reference (n,), NaN for a run that did not get there.

    relative: max_i |x_i - r_i| / |r_i| where r_i is not 0. mescd: -log10 max_i |x_i - r_i| / (atol/rtol + |r_i|),
    the mixed error significant correct digits of the Bari test set (Mazzia & Magherini 2008).
    """
    off = np.abs(x1 - reference)
    mixed = float((off / (atol_per_rtol + np.abs(reference))).max())
    mescd = math.nan if math.isnan(mixed) else -math.log10(max(mixed, 1e-17))
    some = reference != 0
    return {"relative": float((off[some] / np.abs(reference[some])).max()) if some.any() else math.nan, "mescd": mescd}


def _configuration(stiff: Problem, method: str, rtol: float, **more: Any) -> dict[str, Any]:
    return {"problem": stiff.name, "method": method, "rtol": rtol, "atol": rtol * ATOL_PER_RTOL[stiff.name], **more}


def _solved(stiff: Problem, method: str, rtol: Any, atol: Any, max_steps: int, left: float) -> Solution:
    return integrate(
        stiff.field, stiff.x0, stiff.span, args=stiff.args, jacobian=stiff.jacobian, method=method, rtol=rtol, atol=atol,
        max_steps=max_steps, time_limit=max(left, 0.1), throw=False,
    )  # fmt: skip


def _end(stiff: Problem) -> np.ndarray:
    if stiff.reference is None:
        raise ValueError(f"{stiff.name} has no reference to measure an error against.")
    return stiff.reference.numpy()


def _until(left: float, solve: Callable[[float], Any]) -> tuple[Any, list[float]]:
    """`best_of` where every repeat is told how many seconds are left."""
    deadline = time.monotonic() + left
    return best_of(lambda: solve(deadline - time.monotonic()), enough=min(REPEAT, left))


@cache
def _warm() -> None:
    """The first solve of a process is slow, and no row shall carry that."""
    for method in (OUR_STIFF, OURS_FAILING):
        _solved(problem("hires").batched(), method, 1e-2, 1e-4, 20, 1.0)


def _ours(stiff: Problem, method: str, rtol: float, max_steps: int) -> Case:
    configuration = _configuration(stiff, method, rtol, max_steps=max_steps)
    one = stiff.batched()

    def run(left: float) -> Outcome:
        _warm()
        sol, times = _until(left, lambda rest: _solved(one, method, rtol, configuration["atol"], max_steps, rest))
        counts = {k: int(v[0]) for k, v in vars(sol.stats).items() if k != "work"}
        values = {
            "time": min(times), "runs": len(times), **counts, "x1": sol.x1[0].tolist(),
            **errors(sol.x1[0].numpy(), _end(stiff), ATOL_PER_RTOL[stiff.name]),
        }  # fmt: skip
        if sol.failures:
            return Outcome({**values, "reached": sol.failures[0].t, "span": stiff.span[1]}, "failed", sol.message)
        return Outcome(values)

    return Case(f"{stiff.name}, {method}, rtol {rtol:.0e}", configuration, run)


def _peer(stiff: Problem, name: str, rtol: float) -> Case:
    configuration = _configuration(stiff, name, rtol, max_steps=ENOUGH_STEPS)
    peer = PEERS[name]

    def run(left: float) -> Outcome:
        alone: list[float] = []  # the solves without the making of the NumPy field

        def solve(rest: float) -> Any:
            out = peer(stiff, rtol, configuration["atol"], max_steps=ENOUGH_STEPS, time_limit=max(rest, 0.1))
            alone.append(out.seconds)
            return out

        out, _ = _until(left, solve)
        values = {
            "time": min(alone), "runs": len(alone), **out.counts, "x1": out.x1.tolist(),
            **errors(out.x1, _end(stiff), ATOL_PER_RTOL[stiff.name]),
        }  # fmt: skip
        return Outcome(values, "ok" if out.ok else "failed", out.message)

    return Case(f"{stiff.name}, {name}, rtol {rtol:.0e}", configuration, run)


def _batch(stiff: Problem, method: str, rtols: Sequence[float]) -> Case:
    """All tolerances as the lanes of one solve: what a batch costs, and whether its lanes equal the solo runs."""
    tight = min(rtols)
    configuration = _configuration(stiff, method, tight, max_steps=ENOUGH_STEPS, lanes=list(rtols))

    def run(left: float) -> Outcome:
        b, one = len(rtols), stiff.batched()
        rtol = torch.tensor(rtols, dtype=torch.float64)
        atol = torch.tensor([r * ATOL_PER_RTOL[stiff.name] for r in rtols], dtype=torch.float64)[:, None]
        args = None if one.args is None else one.args.repeat(b, 1)
        many = replace(stiff, x0=one.x0.repeat(b, 1), args=args, reference=None)
        sol, times = _until(left, lambda rest: _solved(many, method, rtol, atol, ENOUGH_STEPS, rest))
        values = {"time": min(times), "runs": len(times), "x1": sol.x1.tolist(), "f_evals": int(sol.stats.f_evals.sum())}
        return Outcome(values, "failed" if sol.failures else "ok", "" if not sol.failures else sol.message)

    return Case(f"{stiff.name}, {method}, all tolerances in one batch", configuration, run)

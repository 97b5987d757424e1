"""Our solvers and the peers side by side on one problem: a climb through the tolerances, then interleaved rounds."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from odebridge.bench.equal import Point, bracket
from odebridge.integrate import integrate
from odebridge.peers import PEERS
from odebridge.peers.base import EnsembleRun, timed
from odebridge.problems import Problem

RTOLS = tuple(10.0**-k for k in range(2, 11))
COMPILING = 180.0  # seconds that a first solve may take on top of its limit
LOOSE = (0.1, *RTOLS)  # for solvers that stay well below their tolerance
CAN_COMPILE = "compile" in inspect.signature(integrate).parameters
Solve = Callable[[Problem, float, float, float], EnsembleRun]  # (problem, rtol, atol, time limit)


@dataclass(frozen=True)
class Contender:
    """One solver. lanes: it gets the first so many trajectories only, because it is slow or because that suits it best.

    compiles: any first solve may compile something, and its time is never taken.
    """

    name: str
    solve: Solve
    lanes: int | None = None
    rtols: Sequence[float] = RTOLS
    compiles: bool = False


@dataclass(frozen=True)
class Contest:
    """A batch of trajectories, what counts as the truth for the first of them (k, n), and who takes part.

    targets: errors at which times are compared. ours: how the names of our solvers begin; the others are compared with the
    best of them at each target.
    floor: error = max |x - r| / (floor + |r|) per component; None: max |x - r| / max |r|. The trajectories' median counts.
    """

    name: str
    problem: Problem
    truth: np.ndarray
    atol_per_rtol: float
    targets: Sequence[float]
    contenders: Sequence[Contender]
    ours: str = "odebridge:"
    floor: float | None = None


@dataclass
class Cell:
    """What was measured of one contender at one tolerance. cpu: seconds per trajectory, one entry for each round."""

    contender: str
    rtol: float
    lanes: int
    error: float = math.inf
    worst: float = math.inf
    failed: int = 0
    compile_seconds: float = 0.0
    cpu: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Pace:
    """How much time to give, in seconds.

    rounds: after the climb. slow: a solve that takes longer is not repeated, and one that takes four times as long ends the
    climb, as do three failures in a row. least: a measurement repeats solves until it has so many processor seconds.
    budget: for the whole contest.
    """

    rounds: int = 5
    slow: float = 8.0
    least: float = 0.05
    budget: float = 120.0


def ours(method: str, *, compiled: bool, lanes: int | None = None, rtols: Sequence[float] = LOOSE) -> Contender:
    """One of our methods, by the compiled loop or eager."""
    options: dict[str, Any] = {"compile": True} if compiled else {}

    def solve(task: Problem, rtol: float, atol: float, limit: float) -> EnsembleRun:
        with timed() as clock:
            sol = integrate(
                task.field, task.x0, task.span, args=task.args, jacobian=task.jacobian, method=method, rtol=rtol, atol=atol,
                max_steps=100_000, time_limit=limit, throw=False, **options,
            )  # fmt: skip
        totals = {k: int(v.sum()) for k, v in vars(sol.stats).items() if k != "work"}
        ok = (sol.result == 0).cpu().numpy()
        return EnsembleRun(
            sol.x1.cpu().numpy(), totals, clock.seconds, clock.cpu, 0.0, ok, "" if ok.all() else sol.message[:300]
        )

    return Contender(f"odebridge:{method}" + ("" if compiled else " (eager)"), solve, lanes, rtols, compiled)


def peer(name: str, lanes: int | None = None, rtols: Sequence[float] = RTOLS, max_steps: int | None = None) -> Contender:
    """A peer of the catalogue."""

    def solve(task: Problem, rtol: float, atol: float, limit: float) -> EnsembleRun:
        return PEERS[name].ensemble(task, rtol, atol, max_steps=max_steps, time_limit=limit)

    return Contender(name, solve, lanes, rtols)


def first(task: Problem, b: int) -> Problem:
    """The first b trajectories of a batch, whose parameters are one tensor."""
    span = tuple(t if isinstance(t, (int, float)) else t[:b] for t in task.span)
    args = None if task.args is None else task.args[:b]
    return replace(task, x0=task.x0[:b], args=args, span=span, reference=None)


def errors(x1: np.ndarray, truth: np.ndarray, floor: float | None) -> np.ndarray:
    """The error of every trajectory (k,), infinite where it did not get there."""
    k = min(len(x1), len(truth))
    off, size = np.abs(x1[:k] - truth[:k]), np.abs(truth[:k])
    out = off.max(1) / size.max(1) if floor is None else (off / (floor + size)).max(1)
    return np.where(np.isfinite(out), out, np.inf)


def run_contest(contest: Contest, pace: Pace, tell: Callable[[str], None]) -> list[Cell]:
    """Climb from loose to tight tolerances with every contender, then measure what brackets a target again, in rounds.

    In the rounds contenders take turns, so that a machine that grows slower does so for all. Times of the climb are kept for
    cells that are too slow to be repeated.
    """
    began = time.monotonic()
    cells: list[Cell] = []
    for who in contest.contenders:
        share = (pace.budget - (time.monotonic() - began)) / 2
        cells += _climb(contest, who, pace, max(share, pace.slow), tell)
    by_name = {who.name: who for who in contest.contenders}
    todo = [c for c in cells if _needed(c, cells, contest.targets) and c.cpu and c.cpu[0] * c.lanes < pace.slow]
    for c in todo:
        c.cpu = []
    for turn in range(pace.rounds):
        if turn > 0 and time.monotonic() - began > pace.budget:
            tell(f"{contest.name}: out of time after {turn} rounds")
            break
        for c in todo:
            who = by_name[c.contender]
            each = _measured(who, first(contest.problem, c.lanes), c.rtol, contest.atol_per_rtol, pace)
            c.cpu.append(each / c.lanes)
        tell(f"{contest.name}: round {turn + 1} of {pace.rounds}, {len(todo)} cells")
    return cells


def points(cells: Sequence[Cell], contender: str) -> list[Point]:
    """The cells of one contender that got to the end with most of their trajectories."""
    return [Point(c.rtol, c.error, tuple(c.cpu)) for c in cells if c.contender == contender and c.cpu and c.error < math.inf]


def _needed(cell: Cell, cells: Sequence[Cell], targets: Sequence[float]) -> bool:
    mine = points(cells, cell.contender)
    pairs = [bracket(mine, target) for target in targets]
    wanted = {p.rtol for pair in pairs if pair for p in pair}
    if all(p.error < max(targets) for p in mine) and mine:
        wanted.add(max(p.rtol for p in mine))  # more accurate than asked for at its loosest: a bound for the time
    return cell.rtol in wanted


def _climb(contest: Contest, who: Contender, pace: Pace, seconds: float, tell: Callable[[str], None]) -> list[Cell]:
    b = len(contest.problem.x0)
    lanes = min(b, who.lanes or b)
    task, cells, spent = first(contest.problem, lanes), [], 0.0
    lost = 0
    for rtol in who.rtols:
        cell = Cell(who.name, rtol, lanes)
        cells.append(cell)
        try:
            warming = COMPILING if len(cells) == 1 or who.compiles else 0.0
            cold = who.solve(task, rtol, rtol * contest.atol_per_rtol, 4 * pace.slow + warming)
            again = cold.seconds < pace.slow / 2 or who.compiles or (len(cells) == 1 and bool(cold.ok.all()))
            run = who.solve(task, rtol, rtol * contest.atol_per_rtol, 4 * pace.slow) if again else cold
        except Exception as error:  # one contender's fault must not end the contest
            cell.message = f"{type(error).__name__}: {error}"[:300]
            tell(f"{contest.name}: {who.name} {cell.message}")
            break
        off = errors(np.where(run.ok[:, None], run.x1, np.nan), contest.truth, contest.floor)
        cell.error, cell.worst = float(np.median(off)), float(np.quantile(off, 0.99, method="higher"))
        cell.failed, cell.counts, cell.message = int((~run.ok).sum()), dict(run.counts), run.message
        own = max(cold.seconds - run.seconds, 0.0) if len(cells) == 1 or who.compiles else 0.0
        cell.compile_seconds = cold.compile_seconds or own
        if run.seconds > 0:
            cell.cpu = [run.cpu / lanes]
        tell(
            f"{contest.name}: {who.name} rtol {rtol:.0e}: error {cell.error:.1e}, {cell.failed} of {lanes} failed, "
            f"{run.cpu:.3g} s, {lanes / max(run.cpu, 1e-9):.4g} trajectories/s {cell.message[:80]}"
        )
        if cell.failed == 0:  # a trajectory that stalls at a loose tolerance costs more than all at a tight one
            spent += run.seconds + (cold.seconds if again and len(cells) > 1 and not who.compiles else 0.0)  # without compiling
        gone = run.seconds > 4 * pace.slow or spent > seconds or run.seconds == 0
        lost = lost + 1 if cell.failed > lanes / 2 else 0  # many fail at a loose tolerance and none at the next
        if cell.error <= min(contest.targets) or gone or lost == 3:
            break
    return cells


def _measured(who: Contender, task: Problem, rtol: float, atol_per_rtol: float, pace: Pace) -> float:
    """Processor seconds of a solve, the mean of as many as are needed to measure it well."""
    spent, times = 0.0, 0
    while True:
        run = who.solve(task, rtol, rtol * atol_per_rtol, 4 * pace.slow)
        spent, times = spent + run.cpu, times + 1
        if spent >= pace.least or times >= 1000:
            return spent / times

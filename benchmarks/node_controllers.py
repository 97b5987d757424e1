"""Learned step laws inside the training of neural ODEs: fewer f evaluations at equal loss?

    OMP_NUM_THREADS=1 python benchmarks/node_controllers.py [--minutes 8] [--quick]

A field of two hidden layers is trained on windows of series whose first values are data points. It is warmed up: first its
slopes are fitted to differences of the data, then it is solved under the method's own law. Then `ob.calibrate` looks for a law
on the field as it is now, and the training goes on from the same weights with the same batches: under the method's own law,
under the filter that was tuned on this field, and under the calibrated law, all at one rtol; and once more under the last two
at the rtol with which they make the error that the own law makes on the field as it is. Counted: f evaluations of the solves,
and the kept steps, which are walked again for the gradient. Before and after, work at equal error on starts that the search
has not seen: does the law still fit when the field has moved on? And how many iterations until what the search has cost is
back. A row for each set and seed in results/node_controllers.json; rows that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

import odebridge as ob
from odebridge.bench.controllers import contestants
from odebridge.bench.environment import environment
from odebridge.bench.record import finite
from odebridge.control import CONTROLLERS
from odebridge.control.calibrated import Calibrated
from odebridge.core.files import write_atomic
from odebridge.core.protocols import StepController
from odebridge.core.result import Result
from odebridge.data import lotka_volterra
from odebridge.methods.catalogue import METHODS
from odebridge.nets.node import MLPField
from odebridge.problems import Problem, van_der_pol
from odebridge.train.calibration.calibrate import LINEAR_GENERATIONS
from odebridge.train.calibration.equal import falling, interval, log_ratios
from odebridge.train.calibration.search import POPULATION
from odebridge.train.calibration.workload import measured, tolerances, wide, workload

RESULT = Path(__file__).parent / "results" / "node_controllers.json"
METHOD = "tsit5"
RTOL, RTOLS = 1e-3, (1e-2, 1e-5)  # of the training; the range of the calibration
SEEDS = 5
TRAIN, TEST = 64, 32  # series
MATCHED = ", equal error"
ATOL = 0.1  # over rtol
TEN = 10  # iterations whose mean loss is kept
OURS, OWN, TUNED = "calibrated", METHODS[METHOD].law, "tuned on the family"


@dataclass(frozen=True)
class Size:
    """How long everything takes."""

    slopes: int = 1500  # iterations of the fit to differences
    warm: int = 40  # and by solves, before the calibration
    further: int = 120  # after it, for every law
    batch: int = 16
    generations: int = 120
    instances: int = 32
    fresh: int = 48


@dataclass(frozen=True)
class Set:
    """Series (b, k, n) at equal distances; window: values that a solve is compared with."""

    name: str
    clock: Tensor
    train: Tensor
    test: Tensor
    window: int

    @property
    def way(self) -> Tensor:
        """Times of a window from its start."""
        return self.clock[1 : self.window + 1] - self.clock[0]

    def windows(self, series: Tensor, b: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        """Starts (b, n) and what follows (b, w, n)."""
        i = torch.randint(len(series), (b,), generator=chance)
        j = torch.randint(series.shape[1] - self.window, (b,), generator=chance)
        return series[i, j], series[i[:, None], j[:, None] + torch.arange(1, self.window + 1)]


def relaxing(seed: int) -> Set:
    """Van der Pol, mu = 5, from starts of all phases of its cycle and near it."""
    task, chance = van_der_pol(5.0), torch.Generator().manual_seed(seed)
    x0 = (2 * torch.rand(TRAIN + TEST, 2, generator=chance, dtype=torch.float64) - 1) * torch.tensor([2.0, 4.0]).double()
    clock = torch.linspace(0.0, 8.0, 81, dtype=torch.float64)
    args = task.args.expand(len(x0), -1).contiguous()
    sol = ob.integrate(task.field, x0, (0.0, 8.0), args=args, method="dopri8", rtol=1e-9, atol=1e-9, save=ob.At(clock))
    assert isinstance(sol.xs, Tensor)
    return Set("van der Pol", clock, sol.xs[:TRAIN], sol.xs[TRAIN:], 40)


def hunted(seed: int) -> Set:
    """Prey and hunters."""
    found = lotka_volterra(seed, TRAIN, TEST, 61)
    return Set("Lotka-Volterra", found.times, found.train, found.test, 30)


SETS = {"van der Pol": relaxing, "Lotka-Volterra": hunted}


def fit_slopes(field: MLPField, data: Set, iterations: int, seed: int) -> None:
    """The field against central differences of the series: a start that can be solved."""
    step = float(data.clock[1] - data.clock[0])
    x, slope = data.train[:, 1:-1].flatten(0, 1), ((data.train[:, 2:] - data.train[:, :-2]) / (2 * step)).flatten(0, 1)
    size, chance = slope.std(0), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(field.parameters(), lr=5e-3)
    for i in range(iterations):
        adam.param_groups[0]["lr"] = 5e-3 * 0.5 * (1 + math.cos(math.pi * i / iterations))
        k = torch.randint(len(x), (256,), generator=chance)
        adam.zero_grad()
        loss = ((field(torch.zeros(len(k)).double(), x[k]) - slope[k]) / size).square().mean()
        loss.backward()
        adam.step()


def solve(field: MLPField, data: Set, x0: Tensor, law: StepController | None, rtol: float) -> Any:
    """The window from each start."""
    return ob.integrate(
        field, x0, (0.0, float(data.way[-1])), method=METHOD, controller=law, rtol=rtol, atol=ATOL * rtol,
        save=ob.At(data.way), throw=False,
    )  # fmt: skip


def go_on(
    field: MLPField, data: Set, law: StepController | None, iterations: int, size: Size, rtol: float, seed: int
) -> dict[str, Any]:
    """Train by solves; what it has cost, and the mean loss of every ten iterations."""
    unit = data.train.flatten(0, 1).std(0)
    adam, chance = torch.optim.Adam(field.parameters(), lr=1e-3), torch.Generator().manual_seed(seed)
    out: dict[str, Any] = {"rtol": rtol, "f_evals": 0, "accepted": 0, "rejected": 0, "failed": 0}
    losses: list[float] = []
    for _ in range(iterations):
        x0, want = data.windows(data.train, size.batch, chance)
        sol = solve(field, data, x0, law, rtol)
        good = sol.result == int(Result.OK)
        adam.zero_grad()
        loss = ((sol.xs - want) / unit)[good].square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(field.parameters(), 1.0)
        adam.step()
        for name in ("f_evals", "accepted", "rejected"):
            out[name] += int(getattr(sol.stats, name).sum())
        out["failed"] += int((~good).sum())
        losses.append(loss.item())
    out["loss"] = [float(np.mean(losses[i : i + TEN])) for i in range(0, len(losses), TEN)]
    return out


@torch.no_grad()
def exact(field: MLPField, data: Set, series: Tensor) -> Any:
    """The same windows of these series, far more accurately than any law at its rtol."""
    return solve(field, data, data.windows(series, 128, torch.Generator().manual_seed(0))[0], None, 1e-9)


@torch.no_grad()
def scored(
    field: MLPField, data: Set, series: Tensor, law: StepController | None, rtol: float, true: Any = None
) -> dict[str, float]:
    """On windows of these series: loss of a solve at 1e-9, `true` if that is known, and error and cost of one at this rtol."""
    unit = data.train.flatten(0, 1).std(0)
    x0, want = data.windows(series, 128, torch.Generator().manual_seed(0))
    true = exact(field, data, series) if true is None else true
    sol = solve(field, data, x0, law, rtol)
    both = (true.result == int(Result.OK)) & (sol.result == int(Result.OK))
    return {
        "loss": float(((true.xs - want) / unit)[both].square().mean()),
        "solve_error": float(((sol.xs - true.xs) / unit)[both].square().mean().sqrt()),
        "f_evals": float(sol.stats.f_evals.double().mean()), "failed": int((~both).sum()),
    }  # fmt: skip


def matched(field: MLPField, data: Set, law: StepController) -> float:
    """The rtol, within the calibrated range, at which the law makes the error of the own law at RTOL, on training windows."""
    rtols, true = np.geomspace(*RTOLS, 9), exact(field, data, data.train)

    def error(rtol: float, other: StepController | None) -> float:
        return math.log(scored(field, data, data.train, other, rtol, true)["solve_error"])

    goal, errors = error(RTOL, None), falling(np.array([error(float(r), law) for r in rtols]))
    rising = errors[::-1] + 1e-9 * np.arange(len(errors))
    return float(np.exp(np.interp(goal, rising, np.log(rtols[::-1]))))


def at_equal_error(field: MLPField, data: Set, law: Calibrated, size: Size, seed: int) -> dict[str, Any]:
    """Work of the calibrated law over that of others on fresh starts from held-out series, of the field as it is."""
    task = family_of(field, data, data.test)(size.fresh, seed)
    load = workload(task, tolerances(RTOLS, per_decade=2), law.report["atol_per_rtol"])
    scheme, known = METHODS[METHOD], contestants(law)
    ours, out = measured(load, scheme, law), {}
    for name, other in {OWN: CONTROLLERS[OWN], TUNED: known[TUNED]}.items():
        ratios = log_ratios(ours, measured(wide(load), scheme, other))
        out[name] = dict(zip(("ratio", "low", "high"), (math.exp(v) for v in interval(ratios)), strict=True))
    out["failed"] = int((~torch.isfinite(torch.from_numpy(ours.work))).sum())
    return out


def family_of(field: MLPField, data: Set, series: Tensor) -> Any:
    """(b, seed) -> windows' starts as a problem."""

    def family(b: int, seed: int) -> Problem:
        x0, _ = data.windows(series, b, torch.Generator().manual_seed(seed))
        return Problem(field, x0, (0.0, float(data.way[-1])), name=data.name)

    return family


def run(name: str, seed: int, size: Size, field: MLPField) -> dict[str, Any]:
    """One row. field: one object for all rows, so that its kernels are compiled once."""
    data = SETS[name](seed)
    began = time.process_time()
    torch.manual_seed(seed)
    fresh = network(data)
    field.load_state_dict(fresh.state_dict())
    fit_slopes(field, data, size.slopes, seed)
    warm = go_on(field, data, None, size.warm, size, RTOL, 1000 + seed)
    weights = {k: v.clone() for k, v in field.state_dict().items()}
    with torch.no_grad():
        law = ob.calibrate(
            family_of(field, data, data.train), method=METHOD, instances=size.instances, rtols=RTOLS, atol_per_rtol=ATOL,
            generations=size.generations, seed=seed, progress=False,
        )  # fmt: skip
        before = at_equal_error(field, data, law, size, 5000 + seed)
    tuned = contestants(law)[TUNED]
    arms = {
        OWN: (None, RTOL), TUNED: (tuned, RTOL), f"{TUNED}{MATCHED}": (tuned, matched(field, data, tuned)),
        f"{OURS}{MATCHED}": (law, matched(field, data, law)), OURS: (law, RTOL),
    }  # fmt: skip
    out: dict[str, Any] = {}
    for arm, (controller, rtol) in arms.items():
        field.load_state_dict(weights)
        out[arm] = {**go_on(field, data, controller, size.further, size, rtol, 2000 + seed)}
        out[arm] |= {"test": scored(field, data, data.test, controller, rtol)}
    searched = (LINEAR_GENERATIONS + size.generations) * POPULATION * (size.instances // 2) * len(tolerances(RTOLS))
    with torch.no_grad():  # the field that was trained under the calibrated law, the last one
        after = at_equal_error(field, data, law, size, 6000 + seed)
    return finite({
        "set": name, "seed": seed, "rtol": RTOL, "own": OWN, "warm": warm["loss"], "arms": out, "before": before,
        "after": after, "searched": searched, "report": dict(law.report), "cpu_seconds": time.process_time() - began,
    })[0]  # fmt: skip


def network(data: Set) -> MLPField:
    """Two hidden layers, in the unit of the data."""
    flat = data.train.flatten(0, 1)
    return MLPField(2, (24, 24), scale=flat.std(0), centre=flat.mean(0), dtype=torch.float64)


def main() -> None:
    """Make what is missing."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--quick", action="store_true", help="one row of each set in seconds, nothing written")
    ask.add_argument("--minutes", type=float, default=float("inf"), help="begin no row after so long")
    given = ask.parse_args()
    torch.set_num_threads(1)
    size = Size(300, 3, 5, 4, 4, 8, 8) if given.quick else Size()
    page = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": []}
    began = time.monotonic()
    fields = {name: network(make(0)) for name, make in SETS.items()}
    for seed, name in [(s, n) for s in range(1 if given.quick else SEEDS) for n in SETS]:
        there = {(r["set"], r["seed"]) for r in page["rows"] if OURS + MATCHED in r["arms"]}
        if not given.quick and ((name, seed) in there or time.monotonic() - began > 60 * given.minutes):
            continue
        row = run(name, seed, size, fields[name])
        print(name, seed, {k: {q: v[q] for q in ("rtol", "f_evals", "test")} for k, v in row["arms"].items()}, flush=True)
        print("  before", row["before"], "after", row["after"], row["report"]["text"], row["cpu_seconds"], flush=True)
        if not given.quick:
            others = [r for r in page["rows"] if (r["set"], r["seed"]) != (name, seed)]
            page = {"size": vars(size), **environment(), "rows": [*others, row]}
            write_atomic(RESULT, (json.dumps(page, indent=1, allow_nan=False) + "\n").encode())


if __name__ == "__main__":
    main()

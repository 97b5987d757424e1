"""`odebridge bench controllers`: laws calibrated on families of problems against tuned classical ones, on fresh instances."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odebridge.bench.controller_families import families
from odebridge.bench.equal import spread
from odebridge.bench.runner import Case, Outcome, Part
from odebridge.control import CONTROLLERS
from odebridge.control.calibrated import Calibrated
from odebridge.core.protocols import StepController
from odebridge.core.result import Result
from odebridge.methods.catalogue import METHODS
from odebridge.problems import Problem
from odebridge.train.calibration.calibrate import CLASSICAL, calibrate, sampled
from odebridge.train.calibration.equal import Curves, interval, log_ratios
from odebridge.train.calibration.search import as_filter
from odebridge.train.calibration.workload import Workload, measured, solved, tolerances, wide, workload

BUDGET, EACH = 6 * 3600.0, 1800.0  # seconds for all, and for one
COMPARED = ("tsit5", "rodas5p", "kvaerno5")
RTOLS = (1e-3, 1e-6)
GENERATIONS = 250
FRESH = 48  # instances that no search has seen
TIMED = 1000  # trajectories of the timing
ROUNDS = 5
Maker = Callable[[], Problem]


def part(
    methods: tuple[str, ...] = COMPARED, generations: int = GENERATIONS, instances: int = 32, seed: int = 0,
    only: tuple[str, ...] = (), file: str | None = None, timed: int = TIMED,
) -> Part:  # fmt: skip
    """A case for every family and method. only: names of families; file: a Python file with more, see `from_file`."""
    cases = []
    for method in methods:
        known = from_file(file) if file else families(method)
        for name, make in known.items():
            if only and name not in only:
                continue
            configuration = {
                "family": name, "method": method, "generations": generations, "instances": instances, "rtols": list(RTOLS),
                "fresh": FRESH, "file": file,
            }  # fmt: skip
            cases.append(
                Case(f"{name}, {method}", configuration, _case(make, method, generations, instances, seed, timed), seed)
            )
    return Part("controllers", BUDGET, cases, each=EACH)


def sized(size: str, seed: int, file: str | None = None) -> Part:
    """Quick: two families, a minute; standard: all families by three methods; full: three times the search."""
    if size == "quick":
        only = () if file else ("lotka_volterra", "robertson")
        return part(("tsit5", "rodas5p"), 10, 8, seed, only, file, timed=100)
    return part(generations=750 if size == "full" else GENERATIONS, seed=seed, file=file)


def from_file(path: str | Path) -> dict[str, Maker]:
    """Families of a user's Python file: its dictionary FAMILIES of functions that return a `Problem` with a spread.

    FileNotFoundError without the file, ValueError without the dictionary or where the file fails. Caveat: the file is run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"families: there is no file {str(path)!r}.")
    spec = importlib.util.spec_from_file_location(f"families_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"families: {str(path)!r} is no Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file may raise
        raise ValueError(f"families: {str(path)!r} fails when it is run ({type(error).__name__}: {error}).") from error
    found = getattr(module, "FAMILIES", None)
    if not isinstance(found, Mapping) or not found or not all(callable(v) for v in found.values()):
        raise ValueError(
            f"families: {str(path)!r} must have a dictionary FAMILIES = {{'name': function}}, each of which "
            "returns a Problem with a spread."
        )
    return dict(found)


def _case(
    make: Maker, method: str, generations: int, instances: int, seed: int, timed: int
) -> Callable[[float], Outcome]:  # fmt: skip
    def run(_left: float) -> Outcome:
        family = make()
        law = calibrate(
            family, method=method, generations=generations, instances=instances, rtols=RTOLS, seed=seed, progress=False
        )
        fresh = workload(sampled(family, FRESH, seed + 1_000_000), tolerances(RTOLS, per_decade=2), law.report["atol_per_rtol"])
        return Outcome({**compared(law, fresh, method), **timing(law, family, method, seed, timed), "report": dict(law.report)})

    return run


def contestants(law: Calibrated) -> dict[str, StepController]:
    """The laws by name: the calibrated one, the filter tuned on the family, and the classical ones."""
    tuned = as_filter(torch.tensor(law.report["tuned"], dtype=torch.float64))
    return {"calibrated": law, "tuned on the family": tuned, **{name: CONTROLLERS[name] for name in CLASSICAL}}


def compared(law: Calibrated, fresh: Workload, method: str) -> dict[str, Any]:
    """Work of the calibrated law over that of every other at equal error, instance by instance, on fresh instances."""
    scheme = METHODS[method]
    found = {name: measured(wide(fresh), scheme, other) for name, other in contestants(law).items() if name != "calibrated"}
    ours = measured(fresh, scheme, law)
    out: dict[str, Any] = {"ratios": {}, "curves": {"calibrated": _mean(ours, fresh.rtols)}}
    for name, theirs in found.items():
        logs = log_ratios(ours, theirs)
        middle, low, high = (math.exp(v) for v in interval(logs))
        out["ratios"][name] = {"ratio": middle, "low": low, "high": high, "instances": int(np.isfinite(logs).sum())}
        out["curves"][name] = _mean(theirs, wide(fresh).rtols)
    out["failed"] = int((~np.isfinite(ours.work)).sum())
    out["failed_tuned"] = int((~np.isfinite(measured(fresh, scheme, contestants(law)["tuned on the family"]).work)).sum())
    return out


def _mean(curves: Curves, rtols: tuple[float, ...]) -> dict[str, list[float | None]]:
    """Geometric means over the instances, at the tolerances at which every one was measured."""
    whole = np.isfinite(curves.error).all(0) & np.isfinite(curves.work).all(0)
    return {
        "rtol": [float(v) for v in np.array(rtols)[whole]],
        "error": [float(v) for v in np.exp(curves.error[:, whole].mean(0))],
        "work": [float(v) for v in np.exp(curves.work[:, whole].mean(0))],
    }


def timing(law: Calibrated, family: Problem, method: str, seed: int, b: int) -> dict[str, Any]:
    """Processor time of one f evaluation and the shares of rejected tries, calibrated and tuned in turns, compiled, B = b."""
    task = sampled(family, b, seed + 2_000_000)
    rtol = 1e-4
    laws = {name: other for name, other in contestants(law).items() if name in ("calibrated", "tuned on the family")}
    times: dict[str, list[float]] = {name: [] for name in laws}
    refused: dict[str, float] = {}
    for k in range(ROUNDS + 1):  # the first one compiles
        for name, other in laws.items():
            began = time.process_time()
            sol = solved(task, method, controller=other, rtol=rtol, atol=rtol * law.report["atol_per_rtol"], max_steps=200_000)
            took = time.process_time() - began
            good = sol.result == int(Result.OK)
            if k:
                times[name].append(took / float(sol.stats.f_evals.sum()))
            refused[name] = _share(sol.stats.rejected[good], sol.stats.accepted[good])
    each = [a / c for a, c in zip(times["calibrated"], times["tuned on the family"], strict=True)]
    middle = spread(each)
    return {"time_per_f": {"ratio": middle.median, "low": middle.low, "high": middle.high, "b": b}, "rejected": refused}


def _share(rejected: Tensor, accepted: Tensor) -> float:
    total = float((rejected + accepted).sum())
    return float(rejected.sum()) / total if total else 0.0

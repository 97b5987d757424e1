"""A second opinion on the gain of calibrated laws, that shares nothing with the search but the solver it is about.

Truth by SciPy (LSODA where stiff, else DOP853) at rtol 1e-11, other instances, the eager loop, and another measure: the largest
error at even times over the largest value of each component, averaged over instances as log error and log f evaluations at each
tolerance; the curve of the law against the classical laws' at equal error, on the overlap. Writes results/learned_check.json.

    OMP_NUM_THREADS=1 python benchmarks/learned_check.py [family:method ...]      (two to five minutes each)
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp

import odebridge as ob
from odebridge.bench.controller_families import families
from odebridge.bench.environment import environment
from odebridge.core.files import write_atomic
from odebridge.problems import Problem
from odebridge.train.calibration.search import as_filter

DEFAULT = ("brusselator:rodas5p", "hodgkin_huxley:rodas5p", "hires:rodas5p", "lotka_volterra:tsit5", "kepler:tsit5")
RTOLS = [float(v) for v in np.geomspace(1e-3, 1e-6, 7)]
INSTANCES, SEED, TIMES = 32, 777_777, 60
RESULT = Path(__file__).parent / "results" / "learned_check.json"


def truth(task: Problem, times: np.ndarray) -> np.ndarray:
    """(k, n) by SciPy, one instance."""

    def field(t: float, x: np.ndarray) -> np.ndarray:
        args = None if task.args is None else task.args[None]
        return task.field(torch.tensor([t], dtype=torch.float64), torch.from_numpy(x)[None], args)[0].numpy()

    x0 = task.x0.numpy()
    method = "LSODA" if task.stiff else "DOP853"
    found = solve_ivp(field, (times[0], times[-1]), x0, method=method, t_eval=times, rtol=1e-11, atol=1e-13 * np.abs(x0).max())
    if not found.success:
        raise RuntimeError(f"{task.name}: {found.message}")
    return found.y.T


def curve(
    batch: Problem, exact: torch.Tensor, times: torch.Tensor, method: str, law: Any, atol: float
) -> dict[str, list[float]]:
    """Mean log error and mean log f evaluations at every tolerance, and how many solves failed."""
    errors, works, failed = [], [], 0
    for rtol in RTOLS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sol = ob.solve(
                batch,
                method=method,
                controller=law,
                rtol=rtol,
                atol=atol * rtol,
                save=ob.At(times),
                max_steps=100_000,
                throw=False,
            )
        assert sol.xs is not None
        off = ((sol.xs - exact).abs().amax(1) / exact.abs().amax(1)).amax(1)
        failed += int((sol.result != 0).sum())
        errors.append(float(off.log().mean()))
        works.append(float(sol.stats.f_evals.double().log().mean()))
    return {"log_error": errors, "log_work": works, "failed": [failed]}


def ratio(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> float:
    """Geometric mean of work over work at equal mean error on the overlap, by linear interpolation in the logarithms."""
    (e, w), (f, v) = ((np.array(c["log_error"])[::-1], np.array(c["log_work"])[::-1]) for c in (ours, theirs))
    at = np.linspace(max(e.min(), f.min()), min(e.max(), f.max()), 25)
    return math.exp(float(np.mean(np.interp(at, e, w) - np.interp(at, f, v))))


def checked(name: str) -> dict[str, Any]:
    """The row of a family and a method."""
    began = time.monotonic()
    family, method = name.split(":")
    law = ob.calibrate(families(method)[family](), method=method, seed=0, progress=False)
    batch = families(method)[family]().sample(INSTANCES, SEED)
    ends = [float(t) for t in batch.trajectory(0).span]
    times = np.linspace(ends[0], ends[1], TIMES + 1)
    exact = torch.from_numpy(np.stack([truth(batch.trajectory(i), times) for i in range(INSTANCES)]))
    tuned = as_filter(torch.tensor(law.report["tuned"], dtype=torch.float64))
    laws = {"calibrated": law, "tuned on the family": tuned, "pi42": "pi42", "predictive": "predictive"}
    grid = torch.from_numpy(times)[None].expand(INSTANCES, -1)
    curves = {k: curve(batch, exact, grid, method, v, law.report["atol_per_rtol"]) for k, v in laws.items()}
    ratios = {k: ratio(curves["calibrated"], v) for k, v in curves.items() if k != "calibrated"}
    return {"ratios": ratios, "kept": law.report["kept"], "curves": curves, "seconds": round(time.monotonic() - began, 1)}


def main(names: list[str]) -> None:
    """Every one that has no row yet."""
    torch.set_num_threads(1)
    page: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": {}}
    page.update(instances=INSTANCES, seed=SEED, **environment())
    for name in names or list(DEFAULT):
        if name not in page["rows"]:
            page["rows"][name] = row = checked(name)
            write_atomic(RESULT, json.dumps(page, indent=1).encode())
            print(f"{name}: { ({k: round(v, 3) for k, v in row['ratios'].items()}) }, {row['seconds']:g} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

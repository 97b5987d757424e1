"""A thousand stiff trajectories as one batch, each on its own step: none may fail.

Claim: 1000 van der Pol oscillators with mu log-uniform in 1 ... 1000 and 1000 Robertson variants (rates log-normal, sigma 0.3)
end with OK by Rodas5P, Kvaerno5, Radau 5 and BDF at rtol 1e-6; the median and largest error against Rodas5P at rtol 1e-9.

    python benchmarks/thousand.py [--b 1000] [--rtol 1e-6]

Writes benchmarks/results/thousand/rows.jsonl, a line per problem and method. Seconds: one thread, eager, for orientation.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch

import odebridge as ob
from odebridge.bench.environment import environment
from odebridge.problems import Problem, robertson, van_der_pol

METHODS = ("rodas5p", "kvaerno5", "radau5", "bdf")
SCALE = {"van_der_pol": 1e-2, "robertson": 1e-6}  # atol / rtol


def families(b: int, seed: int = 0) -> list[Problem]:
    """Van der Pol on [0, 100], Robertson on [0, 1e5]."""
    mild = van_der_pol(30.0, mu_range=(1.0, 1e3)).sample(b, seed)
    return [
        Problem(mild.field, mild.x0, (0.0, 100.0), mild.args, mild.jacobian, name="van_der_pol"),
        Problem(*(getattr(robertson().sample(b, seed), k) for k in ("field", "x0")), (0.0, 1e5),
                *(getattr(robertson().sample(b, seed), k) for k in ("args", "jacobian")), name="robertson"),
    ]  # fmt: skip


def solved(p: Problem, method: str, rtol: float) -> tuple[ob.Solution, float]:
    """One batch, and its wall time."""
    began = time.perf_counter()
    sol = ob.solve(p, method=method, rtol=rtol, atol=rtol * SCALE[p.name], max_steps=100_000, throw=False)
    return sol, time.perf_counter() - began


def row(p: Problem, method: str, rtol: float, reference: torch.Tensor) -> dict[str, Any]:
    """What is reported of one batch."""
    sol, seconds = solved(p, method, rtol)
    error = (sol.x1 - reference).abs().amax(1) / reference.abs().amax(1)
    quantiles = torch.nanquantile(error, torch.tensor([0.5, 0.99, 1.0], dtype=torch.float64)).tolist()
    codes = {ob.Result(int(c)).name: int((sol.result == c).sum()) for c in sol.result.unique()}
    steps = sol.stats.accepted.double()
    return {
        "problem": p.name, "method": method, "b": len(p.x0), "rtol": rtol, "results": codes,
        "error_median": quantiles[0], "error_99": quantiles[1], "error_largest": quantiles[2],
        "accepted_median": float(steps.median()), "accepted_largest": int(steps.max()),
        "rejected_sum": int(sol.stats.rejected.sum()), "f_evals_sum": int(sol.stats.f_evals.sum()),
        "factorisations_sum": int(sol.stats.factorisations.sum()), "seconds": round(seconds, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--b", type=int, default=1000, help="trajectories")
    parser.add_argument("--rtol", type=float, default=1e-6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(__file__).parent / "results" / "thousand"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.jsonl").open("w") as file:
        file.write(json.dumps({"environment": environment(), "command": f"thousand.py --b {args.b} --rtol {args.rtol}"}) + "\n")
        for p in families(args.b):
            reference = solved(p, "rodas5p", 1e-9)[0].x1
            for method in METHODS:
                found = row(p, method, args.rtol, reference)
                file.write(json.dumps(found) + "\n")
                file.flush()
                print(found, flush=True)


if __name__ == "__main__":
    main()

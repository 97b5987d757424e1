"""What a learned gate adds to a step: compiled solves under a filter, and under a gate of zero weights on that filter.

A gate whose weights are zero answers as its filter does, to the bit, and costs what any gate costs: both solves make equal
tries, and the ratio of their processor times is the gate's alone. B = 1000, rtol 1e-4, systems drawn from each family, and
neural fields of tanh; as with calibrated laws, the gate sees the state where that has at most four components. The two take
turns in a round; medians of the ratios with quartiles. Writes results/gate_cost.json.

    OMP_NUM_THREADS=1 python benchmarks/gate_cost.py [rounds]      (about five minutes)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import odebridge as ob
from odebridge.bench.controller_families import families
from odebridge.bench.cost import in_turns, ratio
from odebridge.bench.environment import environment
from odebridge.control.features import FEATURES
from odebridge.control.learned import LearnedStep, Place
from odebridge.core.files import write_atomic
from odebridge.train.calibration.calibrate import PLACES, sampled
from odebridge.train.calibration.workload import solved

B, RTOL, ROUNDS = 1000, 1e-4, 15
CASES = (
    ("rodas5p", "robertson"), ("rodas5p", "hodgkin_huxley"), ("rodas5p", "hires"), ("rodas5p", "pollu"),
    ("rodas5p", "neural 2"), ("tsit5", "lotka_volterra"), ("tsit5", "pleiades"), ("tsit5", "neural 2"), ("tsit5", "neural 8"),
)  # fmt: skip
RESULT = Path(__file__).parent / "results" / "gate_cost.json"


def neural(n: int) -> ob.Problem:
    """A field of two hidden layers of 64, tanh, that turns and is pulled back."""
    torch.manual_seed(0)
    net = (
        nn.Sequential(nn.Linear(n, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, n))
        .double()
        .requires_grad_(False)
    )

    def field(_t: Tensor, x: Tensor) -> Tensor:
        return 4.0 * net(x) - 0.1 * x**3

    x0 = torch.randn(B, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return ob.Problem(field, x0, (0.0, 10.0), name=f"neural {n}")


def task_of(name: str, method: str) -> ob.Problem:
    """B systems."""
    if name.startswith("neural"):
        return neural(int(name.split()[1]))
    return sampled(families(method)[name](), B, 5)


def laws(task: ob.Problem) -> dict[str, Any]:
    """The filter, and the gate of zero weights on it."""
    n = task.x0.shape[1]
    one = torch.ones(n, dtype=torch.float64)
    place = Place(one, 0 * one, one) if n <= PLACES else None
    weights = torch.zeros(2, len(FEATURES) + (n if place else 0), dtype=torch.float64)
    return {"filter": ob.control.PI42, "gate": LearnedStep(ob.control.PI42, weights, place)}


def measured(method: str, name: str, rounds: int) -> dict[str, Any]:
    """The row of a case."""
    task = task_of(name, method)
    size = task.x0.abs().amax() if name.startswith("neural") else task.x0.abs().amax().clamp_min(1e-3)
    runs: dict[str, Callable[[], Any]] = {
        k: partial(solved, task, method, controller=v, rtol=RTOL, atol=RTOL * 1e-3 * float(size), max_steps=100_000)
        for k, v in laws(task).items()
    }
    tries = {k: run().stats for k, run in runs.items()}
    counts = {k: int((s.accepted + s.rejected).sum()) for k, s in tries.items()}
    if counts["filter"] != counts["gate"]:
        raise AssertionError(f"{name}, {method}: a gate of zero weights took other steps, {counts}")
    took = in_turns(runs, rounds, warm=1)
    return {"n": task.x0.shape[1], "tries": counts["gate"], "us_per_try": 1e6 * min(took["filter"]) / counts["filter"],
            **ratio(took["gate"], took["filter"])}  # fmt: skip


def main(rounds: int) -> None:
    """All cases."""
    torch.set_num_threads(1)
    page: dict[str, Any] = {"b": B, "rtol": RTOL, **environment(), "rows": []}
    for method, name in CASES:
        row = {"method": method, "family": name, **measured(method, name, rounds)}
        page["rows"].append(row)
        print(f"{method}, {name}, n = {row['n']}: {row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}], "
              f"{row['us_per_try']:.2f} us a try", flush=True)  # fmt: skip
        write_atomic(RESULT, json.dumps(page, indent=1).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)

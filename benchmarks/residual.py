"""The residual view: what is a learned step size worth where the field is known and nothing else can be learned?

    OMP_NUM_THREADS=1 python benchmarks/residual.py [--minutes 8] [--quick]

Fixed-K explicit Euler on stiff families; the sizes of the steps are trained end to end on end states of our own solvers. Five
seeds, paired: a seed has its training starts and batches, whatever the gate. For every family, K and way of stepping: equal
steps, the best written formula, learned constants, a blind gate (as many weights as StepNet, and it sees nothing), SE, and
StepNet (a reconstruction). All trained ones begin at the
formula and get the same iterations at three learning rates, and separate starts to choose among these.
Each cell is one line of results/residual/rows.jsonl, written at once; cells that are there are not made again.
benchmarks/residual_page.py makes the tables of docs/learned.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from odebridge.bench.environment import environment
from odebridge.bench.record import canonical, finite
from odebridge.bench.residual import FAMILIES, KINDS, TRAIN, data
from odebridge.bench.residual_training import Budget, trained, written

HERE = Path(__file__).parent
SEEDS = 5
WAYS = (("clock", 16), ("clock", 8), ("channel", 16), ("clock", 32))


@dataclass(frozen=True)
class Cell:
    """One kind in one setting, with all seeds."""

    family: str
    stepping: str  # "clock" or "channel"
    steps: int
    kind: str

    @property
    def key(self) -> str:
        """The same for the same cell."""
        return canonical(asdict(self))


def plan(quick: bool) -> Iterator[Cell]:
    """On the clock at every K; by channel at the middle one."""
    families = ("van_der_pol", "linear_spiral") if quick else tuple(FAMILIES)
    for stepping, k in (("clock", 8), ("channel", 8)) if quick else WAYS:
        for family in families:
            for kind in (*KINDS, *(["formula"] if stepping == "clock" else [])):
                yield Cell(family, stepping, k, kind)


def run(cell: Cell, seeds: int, budget: Budget) -> dict[str, Any]:
    """One row."""
    found = data(cell.family)
    if cell.kind == "formula":
        rows = [written(found, cell.steps)]
    else:
        rows = trained(cell.kind, found, cell.steps, cell.stepping == "clock", range(seeds), budget)
    return finite({**asdict(cell), "seeds": rows})[0]


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two families, two seeds, a tenth of the iterations")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no cell after so long")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    out = given.out or HERE / "results" / ("residual-quick" if given.quick else "residual")
    out.mkdir(parents=True, exist_ok=True)
    path, began = out / "rows.jsonl", time.monotonic()
    seeds, budget = (2, Budget(60)) if given.quick else (SEEDS, Budget())
    there = {json.loads(line)["key"] for line in path.read_text().splitlines()} if path.exists() else set()
    about = {**environment(), "threads": 1, "seeds": seeds, "train": TRAIN, **asdict(budget)}
    (out / "environment.json").write_text(json.dumps(about, indent=1) + "\n")
    for cell in plan(given.quick):
        if cell.key in there or time.monotonic() - began > 60 * given.minutes:
            continue
        row = {**run(cell, seeds, budget), "key": cell.key}
        with path.open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
        errors = ", ".join(f"{r['rms']:.3g}" for r in row["seeds"])
        print(f"[{time.monotonic() - began:6.1f} s] {cell.key}: {errors}", flush=True)


if __name__ == "__main__":
    main()

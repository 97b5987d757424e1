"""The table of the variants of the neural ODE: `python benchmarks/variants.py [--quick] [--only NAMES] [--seeds N]`.

Claim: none; every variant of `train.RECIPES` on its own data with its own settings, five seeds of data, weights and order,
beside the residual network with as many parameters, trained for as many epochs at its own rate. Per run: parameters, seconds of
training, f evaluations a sample forward and backward after training, the metric on the test data. Then the regularisers on a
classifier. Each run is one line of results/variants/rows.jsonl, written at once; a run that is there is not made again,
so that a killed one goes on. One thread. benchmarks/variants_page.py makes the table of docs/variants.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from odebridge.bench.environment import environment
from odebridge.bench.record import canonical, finite
from odebridge.core.result import SolveError
from odebridge.nets.node import REGULARISERS
from odebridge.train import RECIPES, fit_task

HERE = Path(__file__).parent
SEEDS, PENALTY_SEEDS = 5, 3
BUDGET = 40.0  # seconds for one training
# One run with time enough of what has a benchmark of its own, benchmarks/stiff_node.py.
LONG: dict[str, tuple[int, float]] = {"stiff": (1, 300.0)}
ALSO = ("pendulum",)  # a second set, for the variants that take it
EPOCHS = {"pendulum": 20}  # enough there: the error is that of the phase, which more epochs hardly change
# Options beside the recipe's own, on its own data.
FURTHER: dict[str, tuple[dict[str, Any], ...]] = {
    "node": ({"depth": "none"}, {"depth": "linear"}, {"depth": "galerkin"}),
    "anode": ({"lift": "input"},),
    "hnn": ({"method": "tsit5", "steps": 0},),
}
PENALISED = ("node",)


@dataclass(frozen=True)
class Cell:
    """One training. epochs 0: those of the recipe."""

    group: str  # "variants" or "regularisers"
    variant: str
    data: str
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 0
    beside: str | None = None  # for a residual network: the variant whose size it has

    @property
    def key(self) -> str:
        """The same for the same cell."""
        return canonical(asdict(self))


def plan(seeds: int, only: list[str] | None) -> Iterator[Cell]:
    """All cells but the residual networks, which wait for the sizes of the others."""
    for name, recipe in RECIPES.items():
        if name == "resnet" or (only and name not in only):
            continue
        for data in (recipe.data, *(d for d in ALSO if d in recipe.others and d != recipe.data)):
            for seed in range(min(seeds, LONG.get(name, (seeds, 0.0))[0])):
                yield Cell("variants", name, data, seed, {}, EPOCHS.get(data, 0))
        for options in FURTHER.get(name, ()):
            for seed in range(seeds):
                yield Cell("variants", name, recipe.data, seed, options, EPOCHS.get(recipe.data, 0))
    for name in PENALISED:
        for penalty in REGULARISERS:
            if penalty != "none" and not (only and name not in only):
                for seed in range(min(seeds, PENALTY_SEEDS)):
                    yield Cell("regularisers", name, "annuli", seed, {"regulariser": penalty})


def beside(cell: Cell, row: Mapping[str, Any]) -> Cell | None:
    """The residual network of the same size, where it takes the data."""
    net = RECIPES["resnet"]
    comparable = row["metric"]["name"] in ("accuracy", "relative RMSE")  # those of a residual network
    if cell.group != "variants" or not comparable or cell.data not in (net.data, *net.others):
        return None
    epochs = cell.epochs or RECIPES[cell.variant].epochs
    return Cell("beside", "resnet", cell.data, cell.seed, {"parameters": row["parameters"]}, epochs, _named(cell))


def _named(cell: Cell) -> str:
    return canonical([cell.variant, dict(cell.options)])


def run(cell: Cell, quick: bool) -> dict[str, Any]:
    """One row. Failures are rows, too."""
    recipe = RECIPES[cell.variant]
    task = recipe.task(cell.data, cell.seed, **cell.options)
    epochs = 1 if quick else cell.epochs or recipe.epochs
    history = fit_task(
        task, epochs=epochs, batch_size=recipe.batch_size, lr=recipe.lr, optimiser=recipe.optimiser, schedule=recipe.schedule,
        seed=cell.seed, time_budget=5.0 if quick else LONG.get(cell.variant, (1, BUDGET))[1],
    )  # fmt: skip
    row = {
        **asdict(cell), "epochs_done": len(history.epochs), "ended": history.ended, "message": history.message,
        "parameters": task.parameters, "seconds": history.seconds, "metric": asdict(task.metric),
        "score": history.epochs[-1].test_score if history.epochs else math.nan,
    }  # fmt: skip
    try:
        row |= {"evaluations": dict(task.evaluations()), "extras": dict(task.extras())}
    except SolveError as error:
        row |= {"evaluations": {}, "extras": {}, "message": str(error)}
    return finite(row)[0]


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one epoch of one seed: does it run")
    parser.add_argument("--only", nargs="*", default=None, help="variants")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    out = given.out or HERE / "results" / ("variants-quick" if given.quick else "variants")
    out.mkdir(parents=True, exist_ok=True)
    path, began = out / "rows.jsonl", time.monotonic()
    there = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        there[row["key"]] = row

    def done(cell: Cell) -> dict[str, Any]:
        if cell.key not in there:
            there[cell.key] = {**run(cell, given.quick), "key": cell.key}
            with path.open("a") as file:
                file.write(json.dumps(there[cell.key], allow_nan=False) + "\n")
            row = there[cell.key]
            print(
                f"[{time.monotonic() - began:6.1f} s] {cell.variant} {dict(cell.options)} {cell.data} seed {cell.seed}: "
                f"{row['ended']}, score {row['score']}, {row['seconds']:.1f} s",
                flush=True,
            )
        return there[cell.key]

    for cell in plan(1 if given.quick else given.seeds, given.only):
        row = done(cell)
        if (net := beside(cell, row)) is not None:
            done(net)
    (out / "environment.json").write_text(json.dumps({**environment(), "threads": 1}, indent=1) + "\n")


if __name__ == "__main__":
    main()

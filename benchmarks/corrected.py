"""Corrected methods beside classical ones at equal f evaluations.

Claim: a learned correction makes a coarse Euler step far better than Euler's; at equal f evaluations the best classical one is
as good or better, and RK4 at the same h is far better for four times the calls. Rows: the corrected method, classical ones
with the same h, and with as many f evaluations over the span; evaluations of the network are a column of their own.
`OMP_NUM_THREADS=1 python benchmarks/corrected.py [--seeds 3] [--quick]` writes benchmarks/results/corrected.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import odebridge as ob
from odebridge.bench.environment import environment
from odebridge.core.protocols import Method
from odebridge.data import Series
from odebridge.data.springs import spring_force
from odebridge.methods.catalogue import METHODS
from odebridge.methods.corrected import Corrected
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.tableaus.classic import MIDPOINT
from odebridge.train import RECIPES, fit_task
from odebridge.train.recipes.corrected import FIELDS, finer, relative_rmse, rolled

RESULT = Path(__file__).parent / "results" / "corrected.json"
CLASSICAL: dict[str, Method] = {
    "euler": METHODS["euler"], "midpoint": ExplicitRK(MIDPOINT), "rk4": METHODS["rk4"], "tsit5": METHODS["tsit5"],
}  # fmt: skip
CASES = (("hypersolver", "lotka-volterra"), ("neurvec", "spring-chain"))
CALLS = {"euler": 1, "midpoint": 2, "rk4": 4, "tsit5": 6, "leapfrog": 1}  # f evaluations of a step


def classical(name: str, data: Series, skip: int, cut: int) -> dict[str, Any]:
    """A row by steps over `skip` spacings of the data, or `cut` parts of one."""
    separable = ob.Separable(lambda _, p: p, lambda _, q: spring_force(q))
    field = separable if name == "leapfrog" else FIELDS[data.name]
    method = METHODS["leapfrog"] if name == "leapfrog" else CLASSICAL[name]
    start = time.perf_counter()
    got = rolled(method, field, data, data.test, skip, cut)
    seconds = time.perf_counter() - start
    steps = (len(data.times) - 1) * cut / skip
    row = {"method": name, "h": float(data.times[1]) * skip / cut, "f_evals": steps * CALLS[name], "network": 0, "s": seconds}
    return {**row, "error": _number(relative_rmse(got, data, skip)), "error_at_the_end": _number(at_end(got, data))}


def at_end(got: Tensor, data: Series) -> float:
    """Relative RMSE at the last time."""
    return float(((got[:, -1] - data.test[:, -1]) / data.train.std((0, 1), correction=0)).square().mean().sqrt())


def _number(v: float) -> float | None:
    return v if v == v and v < 1e30 else None


def case(recipe_name: str, name: str, seed: int, quick: bool) -> list[dict[str, Any]]:
    """All rows of one set: the trained method first."""
    recipe = RECIPES[recipe_name]
    options = recipe.given({})
    data = finer(recipe.read(name, seed), FIELDS[name], options["cut"])  # type: ignore[arg-type]
    task, start = recipe.task(name, seed), time.perf_counter()
    fit_task(
        task,
        epochs=2 if quick else recipe.epochs,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        schedule=recipe.schedule,
        seed=seed,
    )
    trained, n = time.perf_counter() - start, len(data.times) - 1
    power = None if recipe_name == "hypersolver" else 1
    method = Corrected(METHODS[options["base"]].tableau, task.model, power)  # type: ignore[attr-defined, arg-type]
    start = time.perf_counter()
    got = rolled(method, FIELDS[name], data, data.test)
    seconds = time.perf_counter() - start
    first = {"method": f"{recipe_name} (euler)", "h": float(data.times[1]), "f_evals": n, "network": n, "s": seconds}
    errors = {"error": relative_rmse(got, data), "error_at_the_end": at_end(got, data)}
    rows = [{**first, **errors, "training_s": trained, "parameters": task.parameters}]
    rows += [classical(m, data, 1, 1) for m in ("euler", "midpoint", "rk4")]
    # As many f evaluations as the corrected method: a step `calls` times as long, if that divides the grid.
    rows += [classical(m, data, CALLS[m], 1) for m in ("midpoint", "rk4", "tsit5") if n % CALLS[m] == 0]
    if name == "spring-chain":
        rows.append(classical("leapfrog", data, 1, 1))
        rows += [classical("rk4", data, 5, 1), classical("tsit5", data, 5, 1)]  # 4 and 6 calls in 5 spacings: 40 and 60 for 50
    return [{"set": name, "recipe": recipe_name, "seed": seed, **row} for row in rows]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: the median over seeds, and the extremes for what was trained."""
    lines = ["| set | method | h | f evaluations | network | error | at the end | n |", "|" + "---|" * 8]
    for key in dict.fromkeys((r["set"], r["method"], r["h"]) for r in rows):
        mine = [r for r in rows if (r["set"], r["method"], r["h"]) == key]
        r = mine[0]

        def told(what: str, mine: list[dict[str, Any]] = mine) -> str:
            values = [q[what] for q in mine]
            if None in values:
                return "overflow"
            wide = f" ({min(values):.2g} to {max(values):.2g})" if len(values) > 1 and max(values) > 1.2 * min(values) else ""
            return f"{statistics.median(values):.2g}{wide}"

        cells = (
            r["set"],
            r["method"],
            f"{r['h']:.3g}",
            f"{r['f_evals']:.0f}",
            r["network"],
            told("error"),
            told("error_at_the_end"),
        )
        lines.append("| " + " | ".join(map(str, cells)) + f" | {len(mine)} |")
    return "\n".join(lines)


def main() -> None:
    """Train, walk, write."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("--quick", action="store_true", help="two epochs, nothing written")
    given = ask.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for recipe, name in CASES:
        for seed in range(given.seeds):
            print(f"{recipe} on {name}, seed {seed}", flush=True)
            rows += case(recipe, name, seed, given.quick)
    print(table(rows))
    if not given.quick:
        RESULT.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

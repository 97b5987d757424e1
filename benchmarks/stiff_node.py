"""Neural ODEs learn stiff kinetics from data, and why it takes a stiff method and scaled equations.

Claim: from 50 measured times, Robertson and POLLU are each learned on one CPU core in under 10 minutes, to a mean error of
less than 1 percent of every species' range at the 49 times between; the same network with an explicit method, or without
scaling, is not.
Writes benchmarks/results/stiff_node.json (a row each) and docs/images/stiff_node.svg:
`OMP_NUM_THREADS=1 python benchmarks/stiff_node.py [--seeds 1] [--only robertson/ours] [--quick] [--draw]`.
Rows that are there are not made again; a killed row goes on from its checkpoint in runs/stiff_node.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from odebridge.bench.environment import environment
from odebridge.core.plot import COLOURS
from odebridge.nets.node import StiffNODE
from odebridge.train import RECIPES, Epoch, Keep, fit_task
from odebridge.train.recipes.stiff import Kinetic, judged

ROOT = Path(__file__).resolve().parent.parent
RESULT, PICTURE = ROOT / "benchmarks" / "results" / "stiff_node.json", ROOT / "docs" / "images" / "stiff_node.svg"
KIM = {"net": "mlp", "width": 5, "depth": 6}
EXPLICIT = {"method": "tsit5", "max_steps": 500}


LINES = (("explicit", COLOURS[2], ":"), ("unscaled", COLOURS[3], "--"), ("ours", COLOURS[1], "-"))


@dataclass(frozen=True)
class Row:
    """A training: epochs and rate are set so that all rows of a problem get about the same time."""

    problem: str
    name: str
    says: str
    epochs: int
    lr: float = 2e-2
    options: dict[str, Any] = field(default_factory=dict)


ROWS = [
    Row("robertson", "ours", "production - loss, scaled, Rodas5P", 70),
    Row("robertson", "explicit", "the same by Tsit5", 10, options=EXPLICIT),
    Row("robertson", "unscaled", "the same without scaling", 70, options={"scaled": False}),
    Row("robertson", "mlp", "GELU 6 x 5, scaled, Rodas5P (Kim et al.)", 70, 5e-3, KIM),
    Row("robertson", "mlp unscaled", "GELU 6 x 5, not scaled", 70, 5e-3, {**KIM, "scaled": False}),
    Row("robertson", "log time", "GELU 2 x 16, du/dlog t = f(u, log t), Tsit5", 70, 1e-2,
        {"net": "mlp", "log_time": True, "method": "tsit5"}),
    Row("pollu", "ours", "production - loss, scaled, Radau5", 60, 1e-2, {"width": 32}),
    Row("pollu", "explicit", "the same by Tsit5", 5, 1e-2, {"width": 32, **EXPLICIT}),
    Row("pollu", "unscaled", "the same without scaling", 60, 1e-2, {"width": 32, "scaled": False}),
    Row("pollu", "mlp", "GELU 3 x 10, scaled, Radau5 (Kim et al.)", 60, 5e-3, {"net": "mlp", "width": 10, "depth": 3}),
]  # fmt: skip


def run(row: Row, seed: int, quick: bool) -> dict[str, Any]:
    """One training, judged by its own method and by Rodas5P."""
    recipe = RECIPES["stiff"]
    data = recipe.read(row.problem)
    task, true = recipe.task(data, seed, **row.options), Kinetic.of(data)  # type: ignore[arg-type]
    epochs = 1 if quick else row.epochs
    folder = "-".join([row.problem, *row.name.split(), str(seed), *["quick"] * quick])
    keep = Path("runs") / "stiff_node" / folder / "state.json"

    def progress(e: Epoch) -> None:
        if e.number % max(1, epochs // 10) == 0:
            left = e.seconds / e.number * (epochs - e.number)
            print(f"  {e.number}/{epochs}  loss {e.train_loss:.2e}  error {e.test_score:.3g} %  {left:.0f} s left", flush=True)

    start, clock = time.process_time(), time.monotonic()
    history = fit_task(
        task, epochs=epochs, batch_size=recipe.batch_size, lr=row.lr, schedule=recipe.schedule, seed=seed, progress=progress,
        keep=Keep(keep, resume=keep.exists()),
    )  # fmt: skip
    seconds = {"wall_s": history.seconds, "cpu_s_of_this_process": time.process_time() - start, "s": time.monotonic() - clock}
    assert isinstance(task.model, StiffNODE)
    between = ~true.seen
    wrong, sol = judged(task.model, true)
    assert isinstance(sol.xs, torch.Tensor)
    stiff, path = task.model, sol.xs[0] * task.model.y_scale
    stiff.solver = replace(stiff.solver, method="rodas5p", more={**stiff.solver.more, "compile": False})
    by_stiff, other = judged(stiff, true)
    return {
        "problem": row.problem, "name": row.name, "says": row.says, "seed": seed, "parameters": task.parameters,
        "epochs": len(history.epochs), "ended": history.ended, **seconds,
        "result": int(sol.result), "reached_t": _reached(sol, true), "f_evals": int(sol.stats.f_evals),
        "steps": int(sol.stats.accepted),
        "error_percent": _percent(wrong[between]), "error_by_rodas5p_percent": _percent(by_stiff[between]),
        "f_evals_rodas5p": int(other.stats.f_evals), "losses": [e.train_loss for e in history.epochs],
        "path": [[_number(v) for v in line] for line in path.tolist()],
    }  # fmt: skip


def _percent(wrong: torch.Tensor) -> dict[str, Any]:
    """Of each species' range, over the times between the measured ones."""
    mean, largest = 100 * wrong.mean(0), 100 * wrong.amax(0)
    species = {"species": mean.tolist(), "species_largest": largest.tolist()}
    return {"mean": float(mean.mean()), "largest": float(largest.max()), **species}


def _reached(sol: Any, true: Kinetic) -> float:
    here = torch.isfinite(sol.xs[0]).all(-1)
    return float(true.times[here][-1]) if bool(here.any()) else 0.0


def _number(v: float) -> float | None:
    return v if v == v and abs(v) < 1e30 else None


def load() -> dict[str, Any]:
    """What is there."""
    return json.loads(RESULT.read_text()) if RESULT.exists() else {"environment": environment(), "rows": []}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, means over the seeds."""
    head = "| problem | row | parameters | n | s | mean error | largest | by Rodas5P | f evaluations | reached t |"
    lines = [head, "|" + "---|" * 10]
    for row in ROWS:
        mine = [r for r in rows if (r["problem"], r["name"]) == (row.problem, row.name)]
        if not mine:
            continue
        wide = [r["error_percent"]["mean"] for r in mine]
        mean = f"{sum(wide) / len(wide):.3g} %" + (f" ({min(wide):.2g} to {max(wide):.2g})" if len(wide) > 1 else "")
        r = mine[0]
        worst = max(q["error_percent"]["largest"] for q in mine)
        stiff = sum(q["error_by_rodas5p_percent"]["mean"] for q in mine) / len(mine)
        seconds = sum(q["wall_s"] for q in mine) / len(mine)
        lines.append(
            f"| {row.problem} | {row.says} | {r['parameters']} | {len(mine)} | {seconds:.0f} | {mean} | {worst:.3g} % "
            f"| {stiff:.3g} % | {r['f_evals']} | {min(q['reached_t'] for q in mine):.2g} |"
        )
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]]) -> None:
    """Robertson's species and four of POLLU's: measured, learned, and learned by the lesser ways."""
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    panels = figure.subplots(2, 3, squeeze=False)
    shown = {"robertson": (0, 1, 2), "pollu": (1, 4, 9)}
    for line, (problem, species) in zip(panels, shown.items(), strict=True):
        true = Kinetic.of(RECIPES["stiff"].read(problem))  # type: ignore[arg-type]
        for axes, i in zip(line, species, strict=True):
            axes.semilogx(true.times[true.seen], true.values[true.seen, i], ".", ms=5, color="0.25", label="measured")
            for name, colour, style in LINES:
                row = next((r for r in rows if (r["problem"], r["name"], r["seed"]) == (problem, name, 0)), None)
                if row is not None:
                    path = [float("nan") if v[i] is None else v[i] for v in row["path"]]
                    label = "learned" if name == "ours" else {"explicit": "explicit method"}.get(name, name)
                    axes.semilogx(true.times, path, style, color=colour, lw=1.4, label=label)
            low, high = true.values[:, i].min(), true.values[:, i].max()
            axes.set_ylim(float(low - 0.15 * (high - low)), float(high + 0.15 * (high - low)))
            axes.set_title(f"{problem.capitalize() if problem != 'pollu' else 'POLLU'}, {true.names[i]}", fontsize=9)
            axes.grid(alpha=0.25)
            axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        for axes in line:
            axes.set_xlabel("time t" + (" in minutes" if problem == "pollu" else ""))
    panels[0, 0].legend(fontsize=7)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Make what is missing."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--seeds", type=int, default=1)
    ask.add_argument("--only", default="", help="problem/name")
    ask.add_argument("--quick", action="store_true", help="one epoch, nothing written")
    ask.add_argument("--draw", action="store_true", help="table and picture of what is there")
    given = ask.parse_args()
    torch.set_num_threads(1)
    for row in () if given.draw else ROWS:
        for seed in range(given.seeds):
            done = load()
            if given.only and given.only != f"{row.problem}/{row.name}":
                continue
            there = {(r["problem"], r["name"], r["seed"]) for r in done["rows"]}
            if not given.quick and (row.problem, row.name, seed) in there:
                continue
            print(f"{row.problem}/{row.name}, seed {seed}", flush=True)
            made = run(row, seed, given.quick)
            print("  ", {k: v for k, v in made.items() if k not in ("losses", "path")}, flush=True)
            if not given.quick:
                done = load()
                done["rows"].append(made)
                RESULT.write_text(json.dumps(done, indent=1) + "\n")
    rows = load()["rows"]
    if rows and not given.quick:
        print(table(rows))
        draw(rows)


if __name__ == "__main__":
    main()

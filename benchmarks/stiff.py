"""Every problem with a reference, every adaptive method, tolerances as lanes of one batch: errors and exact counts.

Claim: a solve that ends with OK has an error below 100 times its tolerance times the problem's own amplification of
perturbations, and the counts of the stiff methods stand beside those of SciPy and CVODE with the same analytic Jacobian.

    python benchmarks/stiff.py sweep [--jobs 2] [--full] [--only PATTERN ...] [--methods PATTERN ...]
    python benchmarks/stiff.py peers
    python benchmarks/stiff_tables.py

Both write one JSON line per cell and tolerance to benchmarks/results/stiff/; a cell that is there already is not run again, so
that a killed run goes on where it was. The last one writes docs/stiff.md from them. Counts do not depend on the machine's
speed; `lanes_seconds` is for orientation only.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import odebridge as ob
from odebridge.bench.environment import environment
from odebridge.methods import METHODS
from odebridge.peers import PEERS
from odebridge.problems import PROBLEMS, Problem, problem

HERE = Path(__file__).parent / "results" / "stiff"
# atol / rtol: the size below which a component does not count; 1e-3 where nothing is said.
SCALE = {
    **{"robertson": 1e-6, "orego": 1e-2, "van_der_pol": 1e-2, "e5": 1e-14, "stiff_e1": 1e-6, "medical_akzo_nobel": 1e-3},
    **{"stiff_d4": 1e-6, "stiff_d6": 1e-8, "stiff_f1": 1e-2, "stiff_f3": 1e-9, "stiff_f5": 1e-9, "chemical_akzo_nobel": 1e-2},
    **{"beam": 1.0, "ring_modulator": 1e-2, "transistor_amplifier": 1.0, "stiff_c5": 1.0, "allen_cahn": 1.0},
}
RTOLS = tuple(10.0**-k for k in range(3, 10))
TIGHTEST = {1: 1e-3, 2: 1e-4, 3: 1e-5, 4: 1e-6}  # by order, in the standard size: low orders take 1e5 steps beyond
DEAR = {  # tightest rtol in the standard size
    **{"ring_modulator": 1e-5, "kuramoto_sivashinsky": 1e-6, "beam": 1e-5, "brusselator_2d": 1e-6, "gray_scott": 1e-6},
    **{"medical_akzo_nobel": 1e-6, "allen_cahn": 1e-7, "burgers": 1e-7, "brusselator_1d": 1e-7, "pleiades": 1e-8},
    "transistor_amplifier": 1e-7,
}
DIFFUSION = {"heat", "allen_cahn", "burgers", "brusselator_1d", "brusselator_2d", "gray_scott", "medical_akzo_nobel"}
EXPLICIT = ("heun", "bosh3", "dopri5", "tsit5", "dopri8")
GAUSS = ("gauss4", "gauss6")
STABILISED = ("rkc2", "rkl2")
PEER_METHODS = [m for m in ("scipy:Radau", "scipy:BDF", "scipy:LSODA", "sundials:BDF") if m in PEERS]
STEPS, STEPS_FEW = 30_000, 2_000  # the latter for explicit methods and Gauss, which does not damp, on stiff problems
LIMITS = {"": 120.0, "ring_modulator": 900.0}  # seconds for all lanes of a cell; a lane that is cut off says TIME_LIMIT
# Methods in the standard size, by the compiled loop: it takes some 5e4 steps at any tolerance.
FEW = {"ring_modulator": ("rodas4", "rodas5p", "kvaerno5")}
BOUND = 100.0
COUNTS = ("accepted", "rejected", "f_evals", "jacobians", "factorisations", "solves", "newton_iterations")


def adaptive(name: str) -> bool:
    """Whether a method controls its own error."""
    return METHODS[name].error_order is not None


def methods_for(p: Problem, full: bool) -> list[str]:
    """Adaptive methods; with a singular mass those that take one; explicit ones, but Dopri5, on stiff problems only if full."""
    if not full and p.name in FEW:
        return list(FEW[p.name])
    chosen = []
    for name in filter(adaptive, METHODS):
        if p.mass is not None and not (
            getattr(METHODS[name], "takes_mass", False) and getattr(METHODS[name], "algebraic", True)
        ):
            continue
        hard = p.stiff and p.name not in DIFFUSION
        if not full and hard and name in (*EXPLICIT, *STABILISED) and name != "dopri5":
            continue
        chosen.append(name)
    return chosen


def tolerances(p: Problem, method: str, full: bool) -> list[float]:
    """The lanes of a cell."""
    if full:
        return list(RTOLS)
    order = METHODS[method].order
    lowest = max(TIGHTEST.get(order, 0.0), DEAR.get(p.name, 0.0))
    return [r for r in RTOLS if r >= 0.99 * lowest]


def weights(p: Problem) -> Tensor:
    """Sizes against which a component's error at the end is relative."""
    assert p.reference is not None
    return SCALE.get(p.name, 1e-3) + p.reference.abs()


def lanes_of(p: Problem, b: int) -> dict[str, Any]:
    """x0, args and the rest for b copies of one system."""
    many = p.batched()
    return {
        "field": many.field, "x0": many.x0.expand(b, -1).contiguous(),
        "args": None if many.args is None else many.args.expand(b, *many.args.shape[1:]).contiguous(),
        "jacobian": many.jacobian, "sparsity": many.sparsity, "mass": many.mass, "discontinuities": many.discontinuities or (),
    }  # fmt: skip


def run_cell(p: Problem, method: str, rtols: list[float]) -> Iterator[dict[str, Any]]:
    """All tolerances as one batch; a row per lane."""
    rtol = torch.tensor(rtols, dtype=torch.float64)
    scale = SCALE.get(p.name, 1e-3)
    given = lanes_of(p, len(rtols))
    field, x0 = given.pop("field"), given.pop("x0")
    if method in (*EXPLICIT, *STABILISED):
        given["jacobian"] = given["sparsity"] = None
    cap = STEPS_FEW if p.stiff and method in (*EXPLICIT, *GAUSS) else 10 * STEPS if p.name in FEW else STEPS
    began = time.perf_counter()
    sol = ob.integrate(
        field, x0, p.span, method=method, rtol=rtol, atol=(rtol * scale)[:, None].expand_as(x0).contiguous(),
        max_steps=cap, time_limit=LIMITS.get(p.name, LIMITS[""]), throw=False, compile=p.name in FEW, **given,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    for i, r in enumerate(rtols):
        ratio = float(((sol.x1[i] - p.reference).abs() / weights(p)).max())
        counts = {name: int(getattr(sol.stats, name)[i]) for name in COUNTS}
        yield {
            "problem": p.name, "method": method, "rtol": r, "atol": r * scale, "result": ob.Result(int(sol.result[i])).name,
            "mescd": -math.log10(max(ratio, 1e-17)) if math.isfinite(ratio) else None,
            "error_over_rtol": ratio / r if math.isfinite(ratio) else None, **counts, "lanes_seconds": round(seconds, 2),
            "stopped_at": float(sol.t1[i]),
        }  # fmt: skip


def amplification(p: Problem) -> float:
    """By how much the flow magnifies a small perturbation made anywhere on the way, in the norm of the error (at least 1).

    max over s of |Phi(s -> t1)(x(s) + d) - Phi(s -> t1)(x(s))| / |d| with |v| = max |v_i| / (scale + |x_i|), for random d of
    size 1e-5 at points spread evenly over the steps of a solution; every start is a lane with a clock of its own
    (those that take more than a minute are left out).
    """
    points, directions, rtol = (6, 2, 1e-6) if p.name in DEAR else (24, 4, 1e-7)
    scale, many = SCALE.get(p.name, 1e-3), lanes_of(p, 1)
    field, x0 = many.pop("field"), many.pop("x0")
    tight = {"method": "rodas5p", "rtol": rtol, "atol": rtol * scale, "max_steps": 200_000, "compile": p.name in FEW, **many}
    path = ob.integrate(field, x0, p.span, save=ob.Every(), **tight)
    k = int(path.stats.accepted[0])
    index = torch.linspace(0, k - 1, points).long().unique()
    t, x = path.ts[0, index].repeat_interleave(directions + 1), path.xs[0, index].repeat_interleave(directions + 1, 0)
    noise = torch.randn(len(x), x.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if p.mass is not None:  # a perturbation must not leave the manifold of the algebraic equations
        return float("nan")
    size = scale + x.abs()
    push = 1e-5 * noise * size / (noise.abs().amax(1, keepdim=True))
    push[:: directions + 1] = 0.0
    if many["args"] is not None:
        tight["args"] = many["args"].expand(len(x), *many["args"].shape[1:]).contiguous()
    end = ob.integrate(field, x + push, (t, p.span[1]), throw=False, time_limit=60.0, **tight).x1
    end = end.reshape(len(index), directions + 1, -1)
    grown = ((end - end[:, :1]).abs() / weights(p)).amax(2)
    start = (push / size).abs().amax(1).reshape(len(index), -1)
    ratio = torch.nan_to_num(grown[:, 1:] / start[:, 1:])
    return max(1.0, float(ratio.max()))


def load(name: str) -> list[dict[str, Any]]:
    """Rows of a results file; a torn last line is left out."""
    path, rows = HERE / name, []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                print(f"{name}: a torn line is left out", file=sys.stderr)
    return rows


def append(name: str, rows: list[dict[str, Any]]) -> None:
    """Add rows, each a line."""
    HERE.mkdir(parents=True, exist_ok=True)
    with (HERE / name).open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def chosen(patterns: list[str] | None, names: Any) -> list[str]:
    """Names that match one of the patterns."""
    return [n for n in names if not patterns or any(fnmatch.fnmatch(n, q) for q in patterns)]


def cell(name: str, method: str | None, rtols: list[float]) -> list[dict[str, Any]]:
    """The rows of one method on one problem; without a method the problem's amplification."""
    torch.set_num_threads(1)
    p = problem(name)
    if method is None:
        return [{"problem": name, "amplification": amplification(p)}]
    return list(run_cell(p, method, rtols))


def sweep(full: bool, only: list[str] | None, methods: list[str] | None, jobs: int) -> None:
    """Our methods, a cell after the other or `jobs` at once; each is written when it is done."""
    done = {(r["problem"], r["method"], r["rtol"]) for r in load("sweep.jsonl")}
    known = {r["problem"] for r in load("amplification.jsonl")}
    todo: list[tuple[str, str | None, list[float]]] = []
    for name in chosen(only, PROBLEMS):
        p = problem(name)
        if p.reference is None:
            continue
        todo += [] if name in known else [(name, None, [])]
        for method in chosen(methods, methods_for(p, full)):
            rtols = [r for r in tolerances(p, method, full) if (name, method, r) not in done]
            todo += [(name, method, rtols)] if rtols else []
    began = time.monotonic()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(cell, *work): work for work in todo}
        for k, future in enumerate(as_completed(running), 1):
            name, method, rtols = running[future]
            append("sweep.jsonl" if method else "amplification.jsonl", future.result())
            seconds = time.monotonic() - began
            print(f"[{seconds:6.0f} s] {k}/{len(todo)} {name} {method or 'amplification'}: {len(rtols)} lanes", flush=True)
    record = environment() | {"jobs": jobs, "cells": len(todo), "seconds": round(time.monotonic() - began)}
    (HERE / "environment.json").write_text(json.dumps(record, indent=1) + "\n")


def peers(only: list[str] | None, methods: list[str] | None) -> None:
    """Other people's stiff solvers on the same problems, fields, Jacobians and tolerances."""
    done = {(r["problem"], r["method"], r["rtol"]) for r in load("peers.jsonl")}
    for name in chosen(only, PROBLEMS):
        p = problem(name)
        if p.reference is None or not p.stiff or p.mass is not None or name == "ring_modulator":
            continue
        # Without a Jacobian SciPy's Radau and BDF take differences, and their counts would be those of another task.
        able = [m for m in PEER_METHODS if p.jacobian is not None or m.endswith((":LSODA", "sundials:BDF"))]
        for method in chosen(methods, able):
            rows, scale = [], SCALE.get(name, 1e-3)
            for rtol in (r for r in RTOLS if (name, method, r) not in done and r >= 0.99 * DEAR.get(name, 0.0)):
                run = PEERS[method](p, rtol, rtol * scale, max_steps=200_000, time_limit=60.0)
                ratio = float((torch.from_numpy(run.x1) - p.reference).abs().div(weights(p)).max())
                good = run.ok and math.isfinite(ratio)
                rows.append(
                    {
                        "problem": name, "method": method, "rtol": rtol, "atol": rtol * scale,
                        "result": "OK" if run.ok else "failed", "mescd": -math.log10(max(ratio, 1e-17)) if good else None,
                        "error_over_rtol": ratio / rtol if good else None, **run.counts, "message": run.message,
                    }
                )  # fmt: skip
            append("peers.jsonl", rows)
            print(f"{name} {method}: {len(rows)} tolerances", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sweep", "peers"])
    parser.add_argument("--full", action="store_true", help="every method at every tolerance, hours")
    parser.add_argument("--only", nargs="*", help="problems, as patterns")
    parser.add_argument("--methods", nargs="*", help="methods, as patterns")
    parser.add_argument("--jobs", type=int, default=1, help="cells at once, each with one thread")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "sweep":
        sweep(args.full, args.only, args.methods, args.jobs)
    else:
        peers(args.only, args.methods)


if __name__ == "__main__":
    main()

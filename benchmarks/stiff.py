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
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

import odebridge as ob
from odebridge.bench.environment import environment
from odebridge.bench.library import (
    DEAR,
    FEW,
    RTOLS,
    SCALE,
    lanes_of,
    methods_for,
    peer_rows,
    peers_for,
    run_cell,
    tolerances,
    weights,
)
from odebridge.problems import PROBLEMS, Problem, problem

HERE = Path(__file__).parent / "results" / "stiff"


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
        if p.reference is None:
            continue
        for method in chosen(methods, peers_for(p)):
            rtols = [r for r in RTOLS if (name, method, r) not in done and r >= 0.99 * DEAR.get(name, 0.0)]
            rows = peer_rows(p, method, rtols)
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

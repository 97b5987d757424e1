"""What `compile=True` costs and gives: first call, throughput by batch size, one trajectory, saves; beside the eager loop.

Claim: the figures of docs/engine.md. On a quiet machine: `OMP_NUM_THREADS=1 python benchmarks/engine.py results/engine.json`.
Processor time of this process and its compiler, one thread, minimum of `REPEATS` solves; errors are the median over the
trajectories of max|y - ref| / max|ref| against the same method at rtol 1e-11.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import odebridge as ob
from odebridge.bench.environment import environment
from odebridge.core.shapes import tree_map
from odebridge.integrate.engine import kernels

REPEATS = 5
CASES = (  # problem, method, rtol, atol, batch sizes
    ("robertson", "rodas5p", 1e-4, 1e-8, (1, 100, 1000, 10000, 100000)),
    ("robertson", "rodas5p", 1e-6, 1e-10, (1, 1000, 10000)),
    ("robertson", "kvaerno5", 1e-6, 1e-10, (1000,)),
    ("van_der_pol", "rodas5p", 1e-6, 1e-8, (1, 1000)),
    ("hires", "rodas5p", 1e-6, 1e-10, (1, 1000)),
    ("orego", "rodas5p", 1e-6, 1e-8, (1, 1000)),
    ("pollu", "rodas5p", 1e-6, 1e-10, (1, 1000)),
    ("lotka_volterra", "tsit5", 1e-6, 1e-6, (1, 100, 1000, 10000, 100000)),
    ("lorenz", "tsit5", 1e-6, 1e-6, (1, 10000)),
)

FIRST = (("lotka_volterra", "tsit5"), ("robertson", "rodas5p"), ("robertson", "kvaerno5"), ("pollu", "rodas5p"))


def family(name: str, b: int) -> dict[str, Any]:
    """A problem with its starting values spread by up to 1 percent."""
    torch.manual_seed(0)
    task = ob.problems.problem(name).batched()
    x0 = task.x0[:1].expand(b, -1) * (1.0 + 0.01 * torch.rand(b, 1, dtype=torch.float64))
    args = tree_map(lambda v: v[:1].expand(b, *v.shape[1:]).clone(), task.args)
    span = (0.0, 1e5) if name == "robertson" else task.span
    return dict(field=task.field, x0=x0, over=span, args=args, jacobian=task.jacobian)


def fastest(solve: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, Any]:
    """The least processor time of a solve, and its solution."""
    times, out = [], None
    for _ in range(repeats):
        began = time.process_time()
        out = solve()
        times.append(time.process_time() - began)
    return min(times), out


def first_call(name: str, method: str, folder: str) -> float:
    """Processor seconds of the first solve in a new process, less those of the second, imports left out; compiler included."""
    code = (
        "import sys, resource; sys.path.insert(0, 'benchmarks'); import engine, odebridge as ob\n"
        "def spent():\n  both = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "  return sum(r.ru_utime + r.ru_stime for r in both)\n"
        f"given = engine.family({name!r}, 8); a = spent()\n"
        f"ob.integrate(**given, method={method!r}, compile=True); b = spent()\n"
        f"ob.integrate(**given, method={method!r}, compile=True); print(2 * b - a - spent())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "ODEBRIDGE_CACHE": folder}
    )
    return float(done.stdout.split()[-1])


def throughput(name: str, method: str, rtol: float, atol: float, b: int) -> dict[str, Any]:
    """One row of the table."""
    given = dict(family(name, b), method=method, throw=False, max_steps=100_000)

    def solve(compiled: bool, tighter: float = 1.0) -> Any:
        return ob.integrate(**given, rtol=rtol * tighter, atol=atol * tighter, compile=compiled)

    solve(True)
    seconds, sol = fastest(lambda: solve(True), 3 if b > 10000 else REPEATS)
    reference = solve(True, 1e-11 / rtol)
    error = ((sol.x1 - reference.x1).abs().amax(1) / reference.x1.abs().amax(1)).median()
    tries = int((sol.stats.accepted + sol.stats.rejected).sum())
    row = {
        "problem": name, "method": method, "rtol": rtol, "b": b, "seconds": seconds, "per_second": b / seconds,
        "ns_per_try": 1e9 * seconds / tries, "tries": tries / b, "error": float(error), "failed": len(sol.failures),
    }  # fmt: skip
    if b <= 1000:
        eager, plain = fastest(lambda: solve(False), 1)
        row |= {"eager_seconds": eager, "steps_of_eager": int(plain.stats.accepted.sum()) / int(sol.stats.accepted.sum())}
    return row


def profile() -> dict[str, Any]:
    """What one try of Rodas5P on Robertson's problem consists of, from the kernel's own text."""
    given = family("robertson", 8)
    ob.integrate(**given, method="rodas5p", compile=True)
    kernel = next(k for g in kernels._held.values() if hasattr(g, "kept") for k in g.kept.values())
    body = kernel.source.text("cpu").split("INL void attempt")[1].split("\n}")[0]
    lines = [line for line in body.splitlines() if " = " in line]
    return {
        "statements": len(lines), "calls": {f: body.count(f"{f}(") for f in ("vexp", "vlog", "solve", "field")},
        "numbers_kept": kernel.source.kept, "bytes_kept": 8 * kernel.source.kept,
    }  # fmt: skip


def main(out: str) -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    record: dict[str, Any] = {"environment": environment(), "profile": profile(), "first_call": [], "rows": [], "saves": []}
    for name, method in (
        ("lotka_volterra", "tsit5"),
        ("robertson", "rodas5p"),
        ("robertson", "kvaerno5"),
        ("pollu", "rodas5p"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (first_call(name, method, folder) for _ in range(2))
        record["first_call"].append({"problem": name, "method": method, "cold": cold, "kept": warm})
        print(record["first_call"][-1])
    for name, method, rtol, atol, sizes in CASES:
        for b in sizes:
            record["rows"].append(throughput(name, method, rtol, atol, b))
            print(record["rows"][-1])
    times = torch.logspace(-5, 5, 50, dtype=torch.float64)
    for b in (1, 1000):
        given = dict(family("robertson", b), method="rodas5p", rtol=1e-4, atol=1e-8)
        for save in (ob.At(times), ob.Every(), ob.Dense()):
            ob.integrate(**given, save=save, compile=True)
            ours = fastest(lambda given=given, save=save: ob.integrate(**given, save=save, compile=True))[0]
            eager = fastest(lambda given=given, save=save: ob.integrate(**given, save=save), 1)[0]
            record["saves"].append({"b": b, "save": type(save).__name__, "seconds": ours, "eager_seconds": eager})
            print(record["saves"][-1])
    path = Path(__file__).parent / out
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "results/engine.json")

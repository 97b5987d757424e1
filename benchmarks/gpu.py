"""Ensembles on a GPU: our kernel for CUDA, our eager loop, our kernels for the CPU, and peers; trajectories per second of wall time.

    python benchmarks/gpu.py --out gpu.jsonl [--quick] [--device cpu] [--only ours] [--limit 20] [--total 200]

Starting values are spread by up to 1 percent. A row: the first call apart (it compiles), the median and the range of five more
(fewer where they take longer than the limit of a cell), the error max|y - r| / max|r| of the first 1000 trajectories against
Rodas5P or Tsit5 at rtol 1e-11 (median), tries of a trajectory. A cell that fails or would take too long is a row with the reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import odebridge as ob
from odebridge.bench.environment import environment
from odebridge.integrate.engine import build

CASES = {  # name: method, span, rtol, atol
    "robertson rodas5p": ("rodas5p", 1e5, 1e-4, 1e-8),
    "robertson kvaerno5": ("kvaerno5", 1e5, 1e-4, 1e-8),
    "lotka_volterra tsit5": ("tsit5", 10.0, 1e-6, 1e-6),
}
BATCHES = (100, 1000, 10_000, 100_000, 1_000_000)
PEAKS = {"H100": 34e12, "H200": 34e12, "A100": 9.7e12}  # float64 operations a second, a product and a sum counted as two
CHECKED = 1000  # trajectories whose error is taken


def robertson(t, x, k):
    """Robertson's reactions; k (b, 1)."""
    a, b, c = x.unbind(-1)
    made, lost = k[:, 0] * a - 1e4 * b * c, 3e7 * b * b
    return torch.stack([-made, made - lost, lost], -1)


def lotka_volterra(t, x, k):
    """Predators and prey; k (b, 1)."""
    a, b = x.unbind(-1)
    return torch.stack([1.5 * a - a * b, k[:, 0] * a * b - 3.0 * b], -1)


def family(case: str, b: int, device: str) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The field, states (b, n) and parameters (b, 1)."""
    field, first, k = (robertson, [1.0, 0.0, 0.0], 0.04) if case.startswith("robertson") else (lotka_volterra, [1.0, 1.0], 1.0)
    i = torch.arange(1, b + 1, dtype=torch.float64)[:, None]
    x0 = torch.tensor([first], dtype=torch.float64) * (1.0 + 0.01 * (i * 0.7548776662466927 % 1.0))
    return field, x0.to(device), (k * (1.0 + 0.01 * (i * 0.5698402909980532 % 1.0))).to(device)


Solve = Callable[[], tuple[torch.Tensor, float]]  # states at the end, tries of a trajectory


def ours(case: str, b: int, device: str, compiled: bool, threads: int = 1) -> Solve:
    """Our solver; x0 on the device."""
    field, x0, k = family(case, b, device)
    method, end, rtol, atol = CASES[case]

    def solve() -> tuple[torch.Tensor, float]:
        torch.set_num_threads(threads)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # that it runs in the eager loop
            sol = ob.integrate(
                field, x0, (0.0, end), args=k, method=method, rtol=rtol, atol=atol, compile=compiled, max_steps=100_000
            )
        return sol.x1, float((sol.stats.accepted + sol.stats.rejected).double().mean())

    return solve


def torchdiffeq(case: str, b: int, device: str) -> Solve:
    """Dopri5 with one step size for the batch."""
    from torchdiffeq import odeint

    field, x0, k = family(case, b, device)
    _, end, rtol, atol = CASES[case]
    calls = [0]

    def f(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return field(t, x, k)

    def solve() -> tuple[torch.Tensor, float]:
        calls[0] = 0
        times = torch.tensor([0.0, end], dtype=torch.float64, device=x0.device)
        with torch.no_grad():
            return odeint(f, x0, times, rtol=rtol, atol=atol, method="dopri5")[-1], calls[0] / 6

    return solve


def torchode(case: str, b: int, device: str) -> Solve:
    """Tsit5, a step size for each trajectory."""
    import torchode as to

    field, x0, k = family(case, b, device)
    _, end, rtol, atol = CASES[case]
    term = to.ODETerm(lambda t, x: field(t, x, k))
    adjoint = to.AutoDiffAdjoint(to.Tsit5(term=term), to.IntegralController(atol=atol, rtol=rtol, term=term))
    times = torch.tensor([0.0, end], dtype=torch.float64, device=x0.device).expand(len(x0), 2)
    problem = to.InitialValueProblem(y0=x0, t_eval=times)

    def solve() -> tuple[torch.Tensor, float]:
        with torch.no_grad():
            out = adjoint.solve(problem)
        return out.ys[:, -1], float(out.stats["n_steps"].double().mean())

    return solve


def diffrax(case: str, b: int, device: str) -> Solve:
    """Tsit5 or Kvaerno5 under vmap and jit on JAX's own default device."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    import diffrax as dx

    _, x0, k = family(case, b, "cpu")
    method, end, rtol, atol = CASES[case]
    start, rates = jnp.asarray(x0.numpy()), jnp.asarray(k[:, 0].numpy())

    def field(t: Any, x: Any, k: Any) -> Any:
        if case.startswith("robertson"):
            made, lost = k * x[0] - 1e4 * x[1] * x[2], 3e7 * x[1] * x[1]
            return jnp.stack([-made, made - lost, lost])
        return jnp.stack([1.5 * x[0] - x[0] * x[1], k * x[0] * x[1] - 3.0 * x[1]])

    solver = dx.Tsit5() if method == "tsit5" else dx.Kvaerno5()
    sizes = dx.PIDController(rtol=rtol, atol=atol, pcoeff=0.3, icoeff=0.4)

    @jax.jit
    @jax.vmap
    def run(x: Any, k: Any) -> Any:
        out = dx.diffeqsolve(
            dx.ODETerm(field), solver, 0.0, end, None, x, args=k, stepsize_controller=sizes, max_steps=None,
            saveat=dx.SaveAt(t1=True), throw=False,
        )  # fmt: skip
        return out.ys[0], out.stats["num_steps"]

    def solve() -> tuple[torch.Tensor, float]:
        ys, steps = jax.block_until_ready(run(start, rates))
        return torch.from_numpy(__import__("numpy").array(ys)), float(steps.mean())

    return solve


def contenders(device: str, cores: int) -> dict[str, Callable[[str, int], Solve]]:
    """By name: (case, b) -> solve."""
    return {
        f"odebridge, {device} kernel": lambda c, b: ours(c, b, device, True),
        "odebridge, cpu kernel, 1 thread": lambda c, b: ours(c, b, "cpu", True),
        f"odebridge, cpu kernel, {cores} threads": lambda c, b: ours(c, b, "cpu", True, cores),
        f"odebridge, eager on {device}": lambda c, b: ours(c, b, device, False),
        f"torchdiffeq dopri5 on {device}": lambda c, b: torchdiffeq(c, b, device),
        f"torchode tsit5 on {device}": lambda c, b: torchode(c, b, device),
        "diffrax": lambda c, b: diffrax(c, b, device),
    }


def measured(make: Callable[[], Solve], truth: torch.Tensor, b: int, limit: float) -> dict[str, Any]:
    """One row: first call, the median of more, error."""

    def timed(solve: Solve) -> tuple[float, tuple[torch.Tensor, float]]:
        _wait()
        began = time.perf_counter()
        out = solve()
        _wait()
        return time.perf_counter() - began, out

    solve = make()
    first, (x1, tries) = timed(solve)
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) + first < limit:
        seconds.append(timed(solve)[0])
    x1 = x1[: len(truth)].double().cpu()
    error = ((x1 - truth).abs().amax(1) / truth.abs().amax(1)).nanmedian()
    median = statistics.median(seconds or [first])
    return {
        "first": first, "seconds": median, "low": min(seconds or [first]), "high": max(seconds or [first]), "n": len(seconds),
        "per_second": b / median, "error": float(error), "lost": int(torch.isnan(x1).any(1).sum()), "tries": tries,
    }  # fmt: skip


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def operations(case: str, device: str) -> dict[str, Any]:
    """What one try takes by the kernel's own text, a product and a sum as two, and what NVRTC made of it."""
    from odebridge.integrate.engine import kernels

    field, x0, k = family(case, 4, device)
    method, end, rtol, atol = CASES[case]
    before = {id(g) for g in kernels._held.values()}
    ob.integrate(field, x0, (0.0, end), args=k, method=method, rtol=rtol, atol=atol, compile=True)
    graphs = [g for g in kernels._held.values() if hasattr(g, "kept") and (id(g) not in before or g.kept)]
    kernel = list(graphs[-1].kept.values())[-1]
    lines = kernel.source.text.statements
    n, body = kernel.source.text.n, "\n".join(lines)
    calls = {
        name: body.count(f" {name}(") for name in ("field", "slopes", "solve", "factor", "newton", "renew", "vexp", "vlog")
    }
    real = sum(line.startswith(("const V", "const F")) and any(f" {o} " in line for o in "+-*/") for line in lines)
    needs = next((f.needs() | {"resident_blocks": f.resident} for f in kernel.runs.values() if hasattr(f, "needs")), {})
    return {"case": case, "real_statements": real, "calls": calls, "n": n, **needs}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="batches of 100 and 1000 only")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="contenders whose name has this in it")
    parser.add_argument("--limit", type=float, default=6.0, help="seconds of one cell")
    parser.add_argument("--total", type=float, default=170.0, help="seconds after which no cell begins")
    given = parser.parse_args()
    began, cores = time.monotonic(), torch.get_num_threads()
    about: dict[str, Any] = {"environment": environment(), "torch": torch.__version__, "threads": cores}
    if given.device == "cuda":
        about |= {"card": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        query = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.max.sm", "--format=csv,noheader"]
        about["driver"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    with given.out.open("w", encoding="utf-8") as file:

        def write(row: dict[str, Any]) -> None:
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(json.dumps(row), flush=True)

        write(about)
        slow: dict[tuple[str, str], float] = {}  # seconds of the smaller batch, by contender and case
        truths = {}
        for case, (_, end, _, _) in CASES.items():
            write(operations(case, given.device))
            field, x0, k = family(case, CHECKED, "cpu" if build.compiler() else given.device)
            tight = "tsit5" if "tsit5" in case else "rodas5p"
            options = dict(args=k, method=tight, rtol=1e-11, atol=1e-14, compile=True, max_steps=1_000_000)
            truths[case] = ob.integrate(field, x0, (0.0, end), **options).x1.cpu()
        for b in BATCHES[: 2 if given.quick else None]:
            for case in CASES:
                for name, make in contenders(given.device, cores).items():
                    if given.only not in name:
                        continue
                    row: dict[str, Any] = {"case": case, "b": b, "solver": name}
                    expected = slow.get((name, case), 0.0)
                    if time.monotonic() - began > given.total or expected > given.limit:
                        write(row | {"skipped": "no time left" if expected <= given.limit else f"{expected:.0f} s before"})
                        continue
                    try:
                        row |= measured(lambda make=make, case=case, b=b: make(case, b), truths[case][:b], b, given.limit)
                        slow[name, case] = row["seconds"] * (10 if "cpu" in name or row["seconds"] > 1 else 1)
                    except Exception as error:
                        row["failed"] = f"{type(error).__name__}: {error}"[:300]
                        slow[name, case] = float("inf")
                    write(row)


if __name__ == "__main__":
    main()

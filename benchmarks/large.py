"""Large stiff systems by band and by GMRES: memory that does not grow as n^2.

Claim: Medical Akzo Nobel (n = 400) and the one-dimensional Brusselator (n = 500, 5000, 50 000) solve through the banded path,
the Brusselator also through GMRES with a preconditioner and no matrix at all; peak memory grows with n, not with n^2 (a full
Jacobian of n = 50 000 alone has 20 GB).

    python benchmarks/large.py

Every solve runs in a process of its own, whose peak memory over that of one that only imports is reported. Writes
benchmarks/results/large/rows.jsonl. Errors: against SciPy's LSODA with the band at rtol 1e-9, to n = 5000.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.integrate import solve_ivp

import odebridge as ob
from odebridge.bench.environment import environment
from odebridge.linalg.krylov import Krylov
from odebridge.problems import problem

RTOL = 1e-5
CASES = [
    ("medical_akzo_nobel", 200, "rodas5p", "band"), ("medical_akzo_nobel", 200, "kvaerno5", "band"),
    ("medical_akzo_nobel", 200, "bdf", "band"),
    *(("brusselator_1d", cells, method, "band") for cells in (250, 2500, 25_000) for method in ("rodas5p", "kvaerno5", "bdf")),
    *(("brusselator_1d", cells, "kvaerno5", "krylov") for cells in (250, 2500)),
    ("medical_akzo_nobel", 200, "kvaerno5", "krylov"),
]  # fmt: skip
LIMIT = 300.0  # seconds a solve may take


def diffusion(_t: torch.Tensor, _x: torch.Tensor, shift: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """P^-1 v for P = shift - alpha L, alpha = 0.02, L the second difference over dx^2: sines are its eigenvectors."""
    u = v.unflatten(1, (-1, 2)).mT  # (b, 2, cells)
    n = u.shape[2] + 1
    odd = torch.cat([torch.zeros_like(u[..., :1]), u, torch.zeros_like(u[..., :1]), -u.flip(2)], 2)
    k = torch.arange(n + 1, dtype=v.dtype)
    values = 2 * 0.02 * n * n * (1 - torch.cos(math.pi * k / n))
    back = torch.fft.irfft(torch.fft.rfft(odd) / (shift[:, None, None] + values), n=2 * n)
    return back[..., 1:n].mT.flatten(1)


def reference(name: str, cells: int) -> np.ndarray | None:
    """SciPy's LSODA with the band, or the library's own end state."""
    p = problem(name) if name == "medical_akzo_nobel" else problem(name, cells=cells)
    if p.reference is not None:
        return p.reference.numpy()
    if cells > 2500:
        return None
    q = p.as_numpy()
    return solve_ivp(q.fun, q.span, q.y0, "LSODA", rtol=1e-9, atol=1e-11, lband=2, uband=2).y[:, -1]


def one(name: str, cells: int, method: str, how: str) -> dict[str, object]:
    """Solve here; memory before and after."""
    torch.set_num_threads(1)
    p = problem(name) if name == "medical_akzo_nobel" else problem(name, cells=cells)
    many = p.batched()
    linear = many.sparsity if how == "band" else Krylov(preconditioner=diffusion if name == "brusselator_1d" else None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    sol = ob.integrate(
        many.field, many.x0, many.span, args=many.args, method=method, rtol=RTOL, atol=1e-3 * RTOL, max_steps=100_000,
        sparsity=linear, discontinuities=many.discontinuities, time_limit=LIMIT, throw=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    n = len(p.x0)
    end = reference(name, cells)
    error = None if end is None else float(np.abs(sol.x1[0].numpy() - end).max() / np.abs(end).max())
    return {
        "problem": name, "n": n, "method": method, "linear": how, "rtol": RTOL, "result": ob.Result(int(sol.result[0])).name,
        "error": error, "accepted": int(sol.stats.accepted[0]), "rejected": int(sol.stats.rejected[0]),
        "f_evals": int(sol.stats.f_evals[0]), "jacobians": int(sol.stats.jacobians[0]),
        "factorisations": int(sol.stats.factorisations[0]), "work": int(sol.stats.work), "seconds": round(seconds, 2),
        "memory_mib": round(peak / 1024, 1), "full_jacobian_mib": round(8 * n * n / 2**20, 1),
    }  # fmt: skip


def main() -> None:
    """All cases, each in a process of its own."""
    if len(sys.argv) > 1:
        name, cells, method, how = sys.argv[1:]
        print(json.dumps(one(name, int(cells), method, how)))
        return
    folder = Path(__file__).parent / "results" / "large"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.jsonl").open("w") as file:
        file.write(json.dumps({"environment": environment(), "command": "large.py"}) + "\n")
        for case in CASES:
            done = subprocess.run([sys.executable, __file__, *map(str, case)], capture_output=True, text=True, check=False)
            text = done.stdout.strip() or json.dumps({"problem": case[0], "failed": done.stderr.strip().splitlines()[-1]})
            file.write(text + "\n")
            file.flush()
            print(text, flush=True)


if __name__ == "__main__":
    main()

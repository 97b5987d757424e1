"""Where making all kept steps at once beats walking them one by one: `python benchmarks/replay.py [--out FILE]`. A table.

Van der Pol (mu = 5, t = 0 to 20), forward and backward, the median of three runs that take turns, one thread; both give the
same gradient. Results in benchmarks/results/replay.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

import odebridge as ob
from odebridge.bench.verdict import head
from odebridge.core.files import write_atomic


def van_der_pol(_: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """N / 2 oscillators side by side."""
    a, b = x.chunk(2, -1)
    return torch.cat([b, p * (1 - a * a) * b - a], -1)


def run(method: str, b: int, n: int, *policies: ob.Replay) -> tuple[list[list[float]], list[torch.Tensor], int]:
    """Processor seconds of every run of every policy, their gradients, the steps."""
    x0 = torch.cat([torch.full((b, n // 2), 2.0), torch.zeros(b, n // 2)], 1).double()
    seconds: list[list[float]] = [[] for _ in policies]
    grads: list[torch.Tensor] = []
    for i in [*range(len(policies))] * 3:
        p = torch.linspace(4.0, 5.0, b).double()[:, None].requires_grad_()
        start = time.process_time()
        sol = ob.integrate(van_der_pol, x0, (0.0, 20.0), args=p, method=method, rtol=1e-6, atol=1e-8, gradient=policies[i])
        sol.x1.sum().backward()
        seconds[i].append(time.process_time() - start)
        assert p.grad is not None
        grads.append(p.grad)
    return seconds, grads[: len(policies)], int(sol.stats.accepted.max())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "replay.json")
    out, rows = parser.parse_args().out, []
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, CPU, 1 thread\n")
    print("| method | b | n | steps | one by one, s | at once, s | ratio |\n|---|---|---|---|---|---|---|")
    for method in ("tsit5", "rodas5p"):
        for b, n in ((1, 2), (1, 4), (1, 8), (1, 16), (32, 2), (32, 8), (32, 16), (256, 2)):
            seconds, (g0, g1), steps = run(method, b, n, ob.Replay(at_once=False), ob.Replay(at_once=True))
            assert torch.allclose(g0, g1, rtol=1e-6)
            walked, together = (statistics.median(s) for s in seconds)
            rows.append({"method": method, "b": b, "n": n, "steps": steps, "walked": seconds[0], "at_once": seconds[1]})
            print(f"| {method} | {b} | {n} | {steps} | {walked:.3f} | {together:.3f} | {walked / together:.1f} |", flush=True)
    head_ = {**head("Replay one by one and at once", "python benchmarks/replay.py"), "unit": "processor seconds"}
    write_atomic(out, (json.dumps({**head_, "rows": rows}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()

"""Where making all kept steps at once beats walking them one by one: `python benchmarks/replay.py`. Prints a table.

Van der Pol (mu = 5, t = 0 to 20), forward and backward, the median of three runs, one thread; both give the same gradient.
"""

from __future__ import annotations

import statistics
import time

import torch

import odebridge as ob


def van_der_pol(_: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """N / 2 oscillators side by side."""
    a, b = x.chunk(2, -1)
    return torch.cat([b, p * (1 - a * a) * b - a], -1)


def run(method: str, b: int, n: int, policy: ob.Replay) -> tuple[float, torch.Tensor, int]:
    """Seconds, gradient, steps."""
    x0 = torch.cat([torch.full((b, n // 2), 2.0), torch.zeros(b, n // 2)], 1).double()
    seconds = []
    for _ in range(3):
        p = torch.linspace(4.0, 5.0, b).double()[:, None].requires_grad_()
        start = time.perf_counter()
        sol = ob.integrate(van_der_pol, x0, (0.0, 20.0), args=p, method=method, rtol=1e-6, atol=1e-8, gradient=policy)
        sol.x1.sum().backward()
        seconds.append(time.perf_counter() - start)
    assert p.grad is not None
    return statistics.median(seconds), p.grad, int(sol.stats.accepted.max())


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, CPU, 1 thread\n")
    print("| method | b | n | steps | one by one, s | at once, s | ratio |\n|---|---|---|---|---|---|---|")
    for method in ("tsit5", "rodas5p"):
        for b, n in ((1, 2), (1, 16), (32, 2), (32, 16), (256, 2)):
            walked, g0, steps = run(method, b, n, ob.Replay())
            together, g1, _ = run(method, b, n, ob.Replay(at_once=True))
            assert torch.allclose(g0, g1, rtol=1e-6)
            print(f"| {method} | {b} | {n} | {steps} | {walked:.3f} | {together:.3f} | {walked / together:.1f} |", flush=True)


if __name__ == "__main__":
    main()

"""Memory of the reversible networks against their depth, beside plain autograd: `python benchmarks/reversible.py [--quick]`.

Claim: with steps that are undone the memory of a training step does not grow with the depth, and the gradient is that of
autograd as long as rounding allows. A batch of 1024 states of 64 components, blocks 64-64-64, float32, one thread. For every
network, depth and way: bytes that autograd keeps for the backward pass without the weights (saved_tensors_hooks), growth of the
peak resident memory of a process of its own in one training step, seconds of a step (best of three), and the difference of the
gradient from that of plain autograd, over its norm, and whether the network refuses it. Writes results/reversible/rows.jsonl;
benchmarks/variants_page.py makes the table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from odebridge.bench.environment import environment
from odebridge.nets.node import HamiltonianStep, LeapfrogStep, MomentumStep, Reversible, mlp

HERE = Path(__file__).parent
BATCH, WIDTH = 1024, 64
# depth -> one step; the spacing keeps the whole depth at 2
NETS: dict[str, Callable[[int], nn.Module]] = {
    "momentum, gamma 0.9": lambda _n: MomentumStep(mlp([WIDTH, WIDTH, WIDTH]), 0.9),
    "momentum, gamma 1 - 1/n": lambda n: MomentumStep(mlp([WIDTH, WIDTH, WIDTH]), 1.0 - 1.0 / n),
    "leapfrog": lambda n: LeapfrogStep(mlp([WIDTH, WIDTH, WIDTH]), 2.0 / n),
    "hamiltonian": lambda n: HamiltonianStep(WIDTH, WIDTH, 2.0 / n),
}


def build(name: str, depth: int, store: bool, drift: float = math.inf) -> Reversible:
    """The same weights for both ways. drift: measured even where the network would refuse."""
    torch.manual_seed(0)
    steps = [NETS[name](depth) for _ in range(depth)]
    return Reversible(steps, start="zeros" if "momentum" in name else "same", store=store, drift=drift)


def one_step(net: Reversible, x: torch.Tensor) -> torch.Tensor:
    """The gradient of a training step, all weights in a row."""
    net.zero_grad(set_to_none=True)
    net(x).square().mean().backward()
    return torch.cat([torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) for p in net.parameters()])


def kept(net: Reversible, x: torch.Tensor) -> int:
    """Bytes for the backward pass, weights left out, each storage once."""
    weights, seen = {p.data_ptr() for p in net.parameters()}, dict[int, int]()

    def note(v: torch.Tensor) -> torch.Tensor:
        if v.data_ptr() not in weights:
            seen[v.data_ptr()] = v.untyped_storage().nbytes()
        return v

    held = []  # a storage that is freed could come again under the same address
    with torch.autograd.graph.saved_tensors_hooks(lambda v: (held.append(v), note(v))[1], lambda v: v):
        net(x)
    return sum(seen.values())


def measure(name: str, depth: int, store: bool) -> dict[str, object]:
    """One row, in a process of its own."""
    torch.set_num_threads(1)
    x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(1))
    net = build(name, depth, store)
    one_step(build(name, 2, store), x)  # what a first step costs once: threads, code, buffers
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gradient = one_step(net, x)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        one_step(net, x)
        seconds.append(time.perf_counter() - began)
    exact = gradient if store else one_step(build(name, depth, True), x)
    try:
        refused = not bool(one_step(build(name, depth, store, drift=1e-3), x).numel())
    except RuntimeError:
        refused = True
    off = float((gradient.double() - exact.double()).norm() / exact.double().norm())
    return {
        "net": name, "depth": depth, "store": store, "saved_bytes": kept(net, x), "peak_growth_kib": peak,
        "weights_kib": sum(p.numel() for p in net.parameters()) * 4 / 1024, "seconds": min(seconds),
        "gradient_error": off if math.isfinite(off) else None, "refused": refused,
    }  # fmt: skip


def main() -> None:
    """All rows, or one as JSON for the process that asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two depths")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reversible")
    parser.add_argument("--row", nargs=3, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        print(json.dumps(measure(given.row[0], int(given.row[1]), given.row[2] == "True")))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in NETS:
        for depth in (8, 32) if given.quick else (10, 30, 100, 300):
            for store in (True, False):
                words = [sys.executable, __file__, "--row", name, str(depth), str(store)]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
    (given.out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (given.out / "environment.json").write_text(json.dumps(environment(), indent=1) + "\n")


if __name__ == "__main__":
    main()

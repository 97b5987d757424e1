"""Bytes of one gradient of a neural ODE, every contender in a process of its own.

`python -m odebridge.bench.gradient_memory NAME B RTOL LENGTH` prints the row of one as JSON.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

from odebridge.bench import gradient_network as network
from odebridge.bench.runner import Case, Outcome, Part

CASES = ((1e-3, 1.0), (1e-6, 1.0), (1e-6, 10.0))  # rtol, and the length of the solve
EACH = 300.0


def part(size: str) -> Part:
    """A case for every contender, tolerance and length."""
    b, cases = (64 if size == "quick" else 1024), []
    for rtol, length in CASES[: 1 if size == "quick" else None]:
        for name in [*network.LOSSES, *network.DIFFRAX]:
            about = {"contender": name, "batch": b, "rtol": rtol, "length": length}
            cases.append(
                Case(f"memory, {name}, rtol {rtol:.0e}, length {length:g}", about, partial(_apart, name, b, rtol, length))
            )
    return Part("gradient-memory", math.inf, cases, each=EACH)


def _apart(name: str, b: int, rtol: float, length: float, left: float) -> Outcome:
    words = [sys.executable, "-m", "odebridge.bench.gradient_memory", name, str(b), str(rtol), str(length)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=left, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(status="failed", message=f"no gradient after {left:.3g} s")
    if done.returncode != 0:
        return Outcome(status="failed", message=done.stderr.strip()[-300:])
    return Outcome(json.loads(done.stdout.splitlines()[-1]))


def grown() -> dict[str, int]:
    """Bytes of this process: now and at most since the last reset (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {k: 1024 * int(v.split()[0]) for k, v in (x.split(":", 1) for x in lines) if k in ("VmRSS", "VmHWM")}


def measured(name: str, b: int, rtol: float, length: float) -> dict[str, int | None]:
    """Bytes of one gradient: peak of the process above what it had, and what autograd was given to keep. Float64.

    The second (PyTorch only) counts what rejected tries have given too, which is freed again, and not what a checkpoint
    makes again in the backward pass: the peak is the figure to compare.
    """
    kept: dict[int, int] = {}
    if name in network.DIFFRAX:
        run = network.jax_gradient(name, b, torch.float64, length)
        run(rtol, rtol)
        before = _mark()
        run(rtol, rtol)
        return {"peak": grown()["VmHWM"] - before, "kept": None}
    net, loss = network.Net(length).double(), network.LOSSES[name]
    x0 = network.states(b, torch.float64)
    loss(net, x0, rtol, rtol).backward()  # what is compiled and what allocators keep for good is there after the first
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}

    def pack(v: torch.Tensor) -> torch.Tensor:
        kept.setdefault(v.untyped_storage().data_ptr(), v.untyped_storage().nbytes())
        return v

    with saved_tensors_hooks(pack, lambda v: v):
        graph = loss(net, x0, rtol, rtol)
    del graph
    before = _mark()
    loss(net, x0, rtol, rtol).backward()
    return {"peak": grown()["VmHWM"] - before, "kept": sum(n for k, n in kept.items() if k not in own)}


def _mark() -> int:
    """Give free memory back to the system and start the high-water mark anew."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return grown()["VmRSS"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:5]))))

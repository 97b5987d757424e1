"""Gradients, forward and backward: a neural ODE beside diffrax, torchdiffeq and torchode, Robertson beside diffrax and CVODE.

python benchmarks/gradients.py              # about 15 minutes; pip install torchode torchdiffeq diffrax jax scikit-sundae
python benchmarks/gradients.py --quick
python benchmarks/gradients.py --only memory
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import gradient_network as network
import gradient_stiff as stiff
import torch
from torch.autograd.graph import saved_tensors_hooks
from versus import command_of, folder_of, hold, options, tell

from odebridge.bench.contest import Contest
from odebridge.bench.verdict import head
from odebridge.core.files import write_atomic

PARTS = ("network", "stiff", "memory")
TEXT = (
    "Neural ODE 2-64-64-2 (tanh), t from 0 to 1, 10 saves, the mean square of what is saved; atol = rtol; error: max |g - r| / "
    "max |r| over the gradient of all parameters, r by Dopri8 at rtol 1e-11 in float64. `batch`: one step size for the batch, "
    "as torchdiffeq has it; `vmap`, torchode and ours: one for each trajectory. PyTorch solvers run eager. "
    "Robertson: gradient of each trajectory's own loss to its three log rates, 50 saves, t to 1e5, atol = 1e-6 rtol; error: "
    "median over trajectories. One thread, processor time, medians over interleaved rounds with their range, interpolated "
    "between the two tolerances that bracket the error."
)
MEMORY = ((1e-3, 1.0), (1e-6, 1.0), (1e-6, 10.0))  # rtol, and the length of the solve


def grown() -> dict[str, int]:
    """Bytes of this process: now and at most since the last reset (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {k: 1024 * int(v.split()[0]) for k, v in (x.split(":", 1) for x in lines) if k in ("VmRSS", "VmHWM")}


def measured(name: str, b: int, rtol: float, length: float) -> dict[str, object]:
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
        return {"contender": name, "rtol": rtol, "peak": grown()["VmHWM"] - before, "kept": None}
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
    size = sum(n for k, n in kept.items() if k not in own)
    return {"contender": name, "rtol": rtol, "peak": grown()["VmHWM"] - before, "kept": size}


def _mark() -> int:
    """Give free memory back to the system and start the high-water mark anew."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return grown()["VmRSS"]


def memory(given: argparse.Namespace) -> None:
    """Every contender in a process of its own, one after the other."""
    b = 64 if given.quick else 1024
    rows = []
    for rtol, length in MEMORY:
        for name in [*network.LOSSES, *network.DIFFRAX]:
            words = [sys.executable, __file__, "--one", name, str(b), str(rtol), str(length)]
            done = subprocess.run(words, capture_output=True, text=True, timeout=300)
            row = (
                json.loads(done.stdout.splitlines()[-1])
                if done.returncode == 0
                else {"contender": name, "error": done.stderr[-300:]}
            )
            rows.append({"kind": "memory", "batch": b, "length": length, **row})
            tell(f"memory, length {length:g}: {row}")
    folder = folder_of("gradients", given)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(v) for v in (head("Memory of a gradient", command_of("gradients")), *rows)]
    write_atomic(folder / "memory.jsonl", ("\n".join(lines) + "\n").encode())


def main() -> None:
    """The contests, then the memory."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measured(sys.argv[2], int(sys.argv[3]), *map(float, sys.argv[4:6]))))
        return
    given = options(__doc__ or "", PARTS)
    parts, todo = given.only or PARTS, []
    if "network" in parts:
        for dtype, targets in ((torch.float32, (1e-4, 1e-5)), (torch.float64, (1e-4, 1e-6))):
            for b in (16,) if given.quick else (128, 1024):
                title, who = f"neural ODE, B={b}, {str(dtype)[6:]}", network.contenders(b, dtype)
                todo.append(Contest(title, network.task(b, dtype), network.truth(b), 1.0, targets, who))
    if "stiff" in parts:
        for b in (1, 20) if given.quick else (1, 1000):
            who = stiff.contenders(compiled=given.compiled)
            todo.append(Contest(f"Robertson's rates, B={b}", stiff.task(b), stiff.truth(), 1e-6, (1e-6, 1e-8), who))
    if todo:
        hold("gradients", "Gradients", TEXT, todo, given)
    if "memory" in parts:
        memory(given)


if __name__ == "__main__":
    main()

"""What the scripts against the peers share: their options, progress, and where results go; no script of its own."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import torch  # noqa: E402 - after the number of threads has been set

from odebridge.bench.contest import CAN_COMPILE, Cell, Contest, Pace, run_contest  # noqa: E402
from odebridge.bench.verdict import told, verdicts, write  # noqa: E402

torch.set_num_threads(1)
BEGAN = time.monotonic()


def tell(text: str) -> None:
    """A line of progress."""
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {text}", flush=True)


def options(description: str, names: Sequence[str]) -> argparse.Namespace:
    """--quick, --only, --out, --eager, --minutes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small batches, one round: does it run")
    parser.add_argument("--only", nargs="*", default=None, help=f"some of {', '.join(names)}")
    parser.add_argument("--eager", action="store_true", help="our solvers without compile=True")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved repeats (default 5)")
    parser.add_argument("--minutes", type=float, default=7.5, help="for everything (default 7.5)")
    parser.add_argument("--out", type=Path, default=None, help="folder for results.jsonl and table.md")
    given = parser.parse_args()
    wrong = sorted(set(given.only or ()) - set(names))
    if wrong:
        parser.error(f"--only: {', '.join(wrong)} is not one of {', '.join(names)}")
    given.compiled = CAN_COMPILE and not given.eager
    if not given.compiled:
        tell("our solvers run eager: figures of such a run are for developing only")
    return given


def folder_of(name: str, given: argparse.Namespace) -> Path:
    """Where the results go."""
    return given.out or Path(__file__).parent / "results" / (f"{name}-quick" if given.quick else name)


def command_of(name: str) -> str:
    """The command, as it would be typed at the root of the repository, without the folder of the results."""
    words = list(sys.argv[1:])
    if "--out" in words:
        del words[words.index("--out") : words.index("--out") + 2]
    return " ".join(["python", f"benchmarks/{name}.py", *words])


def hold(name: str, title: str, text: str, contests: Sequence[Contest], given: argparse.Namespace) -> None:
    """Run the contests, share the time among them, and write after each, so that an interrupted run keeps what it has."""
    folder, command = folder_of(name, given), command_of(name)
    rows, cells = [], dict[str, Sequence[Cell]]()
    for i, contest in enumerate(contests):
        left = 60.0 * given.minutes - (time.monotonic() - BEGAN)
        share = max(left / (len(contests) - i), 5.0)
        pace = Pace(1, 2.0, 0.01, share) if given.quick else Pace(given.rounds, min(8.0, share / 8), 0.05, share)
        cells[contest.name] = run_contest(contest, pace, tell)
        new = verdicts(contest, cells[contest.name])
        rows += new
        for row in new:
            tell(told(row))
        write(folder, title, text, rows, cells, command)
    tell(f"written to {folder.name}/results.jsonl and table.md")

"""Forty-two bad inputs and hard problems given to us and to others: what each answers.

Every case (faults_cases.py) is given to everybody (faults_solvers.py) in a process of its own with a limit of processor time.
The answer is graded by rules: `ok` the right value; `told` an exception, status or warning whose text names the cause by one
of the case's words; `failed` any other exception or status; WRONG a finite value that is off with no failure told; NAN a value
that is not finite with no failure told; ACCEPTED input that cannot be meant, taken without a word; HANG no end in time.
Run: python benchmarks/faults.py    (about five minutes; writes results/reliability/faults.json and docs/reliability.md; asks
only what faults.json does not hold yet)
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faults_cases import CASES, Case
from faults_solvers import WHO
from reliability_page import write

from odebridge.bench.environment import cpu_model, versions
from odebridge.core.files import write_atomic
from odebridge.core.optional import installed

LIMIT = 6  # processor seconds
OUT = Path(__file__).parent / "results" / "reliability"
PEERS = ("scipy", "torchdiffeq", "torchode", "scikit-sundae")


@contextmanager
def printed() -> Iterator[list[str]]:
    """What is written to the standard streams in here, by C as well: CVODE says there what it does not hand on."""
    lines, before = [""], {stream: os.dup(stream) for stream in (1, 2)}
    with tempfile.TemporaryFile() as file:
        for stream in before:
            os.dup2(file.fileno(), stream)
        try:
            yield lines
        finally:
            for stream, kept in before.items():
                os.dup2(kept, stream)
                os.close(kept)
            file.seek(0)
            lines[0] = file.read().decode(errors="replace")


def graded(case: Case, run: Callable[[Case], Any]) -> tuple[str, str]:
    """Grade and words of one case, in this process."""
    told = lambda text: any(w.lower() in text.lower() for w in case.words.split())  # noqa: E731
    with warnings.catch_warnings(record=True) as said, printed() as lines:
        warnings.simplefilter("always")
        try:
            value, text = run(case), ""
        except Exception as error:
            value, text = None, f"{type(error).__name__}: {error}"
    if text:
        return ("told" if told(text + lines[0]) else "failed"), text[:160]
    words = " ".join(str(w.message) for w in said) + lines[0]
    flat = np.asarray(value, dtype=float).reshape(-1)
    if not np.isfinite(flat).all():
        return "NAN", str(value)[:60]
    if case.right is not None:
        right = np.asarray(case.right, dtype=float)
        good = flat.shape == right.shape and (np.abs(flat - right) <= case.tolerance * (1.0 + np.abs(right))).all()
        return ("ok" if good else "told" if told(words) else "WRONG"), str(value)[:60]
    return ("told" if words and told(words) else "ACCEPTED"), str(value)[:60]


def apart(case: Case, run: Callable[[Case], Any]) -> tuple[str, str]:
    """The same in a process of its own, with a limit."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        spent = math.ceil(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
        resource.setrlimit(resource.RLIMIT_CPU, (spent + LIMIT, spent + LIMIT + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        torch.manual_seed(0)
        np.random.seed(0)
        os.write(writes, json.dumps(graded(case, run)).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if text:
        grade, words = json.loads(text)
        return grade, words
    return ("HANG", f"no end after {LIMIT} s") if os.WIFSIGNALED(status) else ("failed", f"exit {status}")


def main() -> None:
    """Ask what is not answered yet; once all is, write the page."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--minutes", type=float, default=math.inf, help="begin no case after so many")
    given, began = ask.parse_args(), time.monotonic()
    torch.set_num_threads(1)
    path = OUT / "faults.json"
    kept = {row["case"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    about = {"cpu": cpu_model(), "versions": {**versions(), **{p: installed(p) for p in PEERS}}, "limit_seconds": LIMIT}
    OUT.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        row: dict[str, Any] = kept.setdefault(case.name, {"case": case.name})
        for name in [w for w in WHO if w not in row]:
            if time.monotonic() - began < 60.0 * given.minutes:
                grade, words = apart(case, WHO[name])
                row[name] = {"grade": grade, "words": words}
        print(case.name, *(row[w]["grade"] for w in WHO if w in row), flush=True)
    rows = [{"case": case.name, **{w: kept[case.name][w] for w in WHO if w in kept[case.name]}} for case in CASES]
    write_atomic(path, (json.dumps({"about": about, "rows": rows}, indent=1) + "\n").encode())
    left = sum(w not in row for row in rows for w in WHO)
    if left:
        print(f"{left} answers left")
    else:
        write()


if __name__ == "__main__":
    sys.exit(main())

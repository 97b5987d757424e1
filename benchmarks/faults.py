"""Forty-two bad inputs and hard problems given to us and to others: what each answers.

Every case runs in a process of its own with a limit of processor time. The answer is graded by rules: `ok` the right value;
`told` an exception or status whose text names the cause by one of the case's words; `failed` any other exception or status;
WRONG a finite value that is off with no failure told; NAN a value that is not finite with no failure told; ACCEPTED input that
cannot be meant, taken without a word; HANG no end within the limit. The words are in the cases below, for all to see.
Run: python benchmarks/faults.py    (writes results/reliability/faults.json and docs/reliability.md)
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchdiffeq
from scipy.integrate import solve_ivp

import odebridge as ob
from odebridge.bench.environment import cpu_model, versions
from odebridge.compat import torchdiffeq as drop_in

LIMIT = 6  # processor seconds
ROOT = Path(__file__).parents[1]
SILENT = ("WRONG", "NAN", "ACCEPTED", "HANG")


class Failed(Exception):
    """A failure that is told by a status."""


class Case(NamedTuple):
    """y' = f(t, y, xp) of one system, xp numpy or torch. right: the end value; None: no answer is right but a failure told."""

    name: str
    f: Callable[..., Any]
    y0: Any = (1.0,)
    t: Any = (0.0, 1.0)
    words: str = ""
    right: Any = None
    rtol: Any = 1e-6
    atol: Any = 1e-9
    tolerance: float = 1e-3
    dtype: str = "float64"


def decay(t: Any, y: Any, xp: Any) -> Any:
    """Y' = -y."""
    return -y


def noise(t: Any, y: Any, xp: Any) -> Any:
    """Another value every time."""
    return -y + 1e-3 * (np.random.randn(*y.shape) if xp is np else torch.randn(y.shape, dtype=y.dtype))


def edits(t: Any, y: Any, xp: Any) -> Any:
    """Changes what it is given."""
    y *= 1.5
    return -y


def raises(t: Any, y: Any, xp: Any) -> Any:
    """An error of the user's own, late."""
    if t > 0.5:
        raise ZeroDivisionError("mine")
    return -y


def late(value: Any) -> Callable[..., Any]:
    """-y up to t = 0.5, then -y times the value."""
    return lambda t, y, xp: -y * (value if t > 0.5 else 1.0)


E, N = math.exp(-1.0), float("nan")
THREE = (1.0, 2.0, 3.0)
CASES = [
    Case("an honest decay", decay, right=[E]),
    Case("backward in time", decay, t=(1.0, 0.0), right=[math.e]),
    Case("times not sorted", decay, t=(0.0, 2.0, 1.0), words="sort increas monoton order"),
    Case("the same time twice", decay, t=(0.0, 0.5, 0.5, 1.0), words="increas monoton dupl sort", right=[E]),
    Case("nan in the times", decay, t=(0.0, N), words="nan finite"),
    Case("an infinite end", decay, t=(0.0, math.inf), words="inf finite"),
    Case("a span of no length", decay, t=(0.0, 0.0), words="increas monoton length", right=[1.0]),
    Case("nan in the start", decay, y0=(N,), words="nan finite"),
    Case("inf in the start", decay, y0=(math.inf,), words="inf finite"),
    Case("an empty start", decay, y0=(), words="empty size shape component", right=[]),
    Case("a start of whole numbers", decay, y0=(1,), words="int float dtype", right=[E], dtype="int64"),
    Case("a start in float16", decay, words="float16 dtype digits Half", right=[E], rtol=1e-3, atol=1e-3,
         dtype="float16", tolerance=2e-2),
    Case("float32 with rtol 1e-12", decay, words="float32 rtol toler", right=[E], rtol=1e-12, atol=0.0, dtype="float32"),
    Case("rtol = atol = 0", decay, words="toler rtol atol", rtol=0.0, atol=0.0),
    Case("rtol below 0", decay, words="rtol toler", rtol=-1e-3),
    Case("atol below 0", decay, words="atol toler", atol=-1e-3),
    Case("rtol nan", decay, words="rtol toler", rtol=N),
    Case("atol nan", decay, words="atol toler", atol=N),
    Case("rtol inf", decay, words="rtol toler", rtol=math.inf),
    Case("rtol as text", decay, words="rtol toler", rtol="1e-3"),
    Case("rtol 1e-20", decay, words="rtol toler", right=[E], rtol=1e-20, atol=1e-30),
    Case("one slope for three", lambda t, y, xp: -y[:1], THREE, words="shape size broadcast"),
    Case("a number for three slopes", lambda t, y, xp: -y.sum(), THREE, words="shape size broadcast dimension"),
    Case("two slopes for three", lambda t, y, xp: -y[:2], THREE, words="shape size broadcast"),
    Case("no slope", lambda t, y, xp: None, words="None"),
    Case("text as slope", lambda t, y, xp: "a", words="str text"),
    Case("a field that raises", raises, words="mine"),
    Case("a field that edits its input", edits, words="in place input read-only", right=None),
    Case("a random field", noise, words="random determin", rtol=1e-8),
    Case("nan from the start", lambda t, y, xp: y * N, words="nan finite"),
    Case("inf from the start", lambda t, y, xp: y * math.inf, words="inf finite"),
    Case("nan from t = 0.5", late(N), words="nan finite"),
    Case("inf from t = 0.5", late(math.inf), words="inf finite"),
    Case("the root below 0", lambda t, y, xp: -xp.sqrt(y), t=(0.0, 5.0), words="nan finite"),
    Case("a pole on the way", lambda t, y, xp: y * y, t=(0.0, 2.0), words="step blow"),
    Case("a pole of third order", lambda t, y, xp: y**3, t=(0.0, 2.0), words="step blow"),
    Case("chatter", lambda t, y, xp: -xp.sign(y), t=(0.0, 2.0), words="step max", right=[0.0]),
    Case("chatter, tight", lambda t, y, xp: -xp.sign(y - 0.3), t=(0.0, 2.0), words="step max", right=[0.3], rtol=1e-10,
         atol=1e-12),
    Case("stiff, by an explicit method", lambda t, y, xp: -1e7 * (y - math.cos(float(t))), words="stiff",
         right=[math.cos(1.0)]),
    Case("a clock of 1e17", decay, t=(1e17, 1e17 + 32.0), words="step clock spacing resol underflow"),
    Case("float32 at t = 1e8", lambda t, y, xp: 0 * y + xp.cos(t), (0.0,), (1e8, 1e8 + 8.0),
         "float32 clock resol step spacing underflow", dtype="float32"),
    Case("times of text", decay, t=("a", "b"), words="t must number time float"),
]  # fmt: skip


def tensors(case: Case) -> tuple[Any, Any]:
    """Start and times as torch has them."""
    y0 = torch.tensor(case.y0, dtype=getattr(torch, case.dtype))
    kind = torch.float32 if case.dtype == "float32" else torch.float64
    return y0, torch.tensor(case.t, dtype=kind)


def by_integrate(case: Case) -> Any:
    """Odebridge's own call."""
    y0 = torch.tensor(case.y0, dtype=getattr(torch, case.dtype))[None]

    def field(t: Any, x: Any) -> Any:
        out = case.f(t[0], x[0], torch)
        return out[None] if isinstance(out, torch.Tensor) else out

    more = {"save": ob.At(list(case.t[1:]))} if len(case.t) > 2 else {}
    return (
        ob.integrate(field, y0, (case.t[0], case.t[-1]), method="tsit5", rtol=case.rtol, atol=case.atol, **more).x1[0].tolist()
    )


def by(odeint: Any) -> Callable[[Case], Any]:
    """Torchdiffeq's call, of torchdiffeq or of ours."""

    def run(case: Case) -> Any:
        y0, t = tensors(case)
        return odeint(lambda s, y: case.f(s, y, torch), y0, t, rtol=case.rtol, atol=case.atol, method="dopri5")[-1].tolist()

    return run


def by_scipy(case: Case) -> Any:
    """solve_ivp, RK45."""
    t = np.asarray(case.t, dtype=float)
    y0 = np.asarray(case.y0, dtype=case.dtype)
    at = t if len(t) > 2 else None
    sol = solve_ivp(lambda s, y: case.f(s, y, np), (t[0], t[-1]), y0, t_eval=at, rtol=case.rtol, atol=case.atol)
    if not sol.success:
        raise Failed(sol.message)
    return sol.y[:, -1].tolist()


WHO = {
    "odebridge": by_integrate, "odebridge's odeint": by(drop_in.odeint), "SciPy": by_scipy,
    "torchdiffeq": by(torchdiffeq.odeint),
}  # fmt: skip


def graded(case: Case, run: Callable[[Case], Any]) -> tuple[str, str]:
    """Grade and words of one case, in this process."""
    told = lambda text: any(w.lower() in text.lower() for w in case.words.split())  # noqa: E731
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            value = run(case)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return ("told" if told(text) else "failed"), text[:160]
    words = " ".join(str(w.message) for w in said)
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


def page(rows: list[dict[str, Any]]) -> str:
    """docs/reliability.md."""
    head = "| case | " + " | ".join(WHO) + " |\n|" + "---|" * (len(WHO) + 1)
    body = "\n".join(f"| {r['case']} | " + " | ".join(r[w]["grade"] for w in WHO) + " |" for r in rows)
    grades = ("ok", "told", "failed", *SILENT)
    sums = {w: Counter(r[w]["grade"] for r in rows) for w in WHO}
    table = "\n".join(f"| {g} | " + " | ".join(str(sums[w][g]) for w in WHO) + " |" for g in grades)
    silent = "\n".join(f"- {w}: {sum(sums[w][g] for g in SILENT)} of {len(rows)} silent faults or hangs." for w in WHO)
    return f"""# Reliability

What happens to bad input and hard problems. Written by `python benchmarks/faults.py` from its own measurement, which is kept
in `benchmarks/results/reliability/faults.json` with the words of every answer. Explicit methods of order 5 throughout: Tsit5,
Dormand and Prince's. Each case runs in a process of its own with {LIMIT} s of processor time.

- ok: the right value. told: an exception, status or warning that names the cause. failed: another exception or status.
- WRONG: a finite value that is off. NAN: a value that is not finite. ACCEPTED: input that cannot be meant. All without a word.
- HANG: no end within the limit: a dead loop, or steps so short that the end is far and nothing bounds their number.

The grades are given by rules in the script: a message names the cause if it holds one of the words written with the case.

{silent}

{head}
{body}

| sum | {" | ".join(WHO)} |
|{"---|" * (len(WHO) + 1)}
{table}

What the contract says, rule by rule, is tested in `tests/test_faults.py`, `tests/test_faults_cli.py` and
`tests/test_faults_files.py`, every case with a limit of processor time.
"""


def main() -> None:
    """Run all, write both files."""
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        row: dict[str, Any] = {"case": case.name}
        for name, run in WHO.items():
            grade, words = apart(case, run)
            row[name] = {"grade": grade, "words": words}
        rows.append(row)
        print(case.name, *(row[w]["grade"] for w in WHO), flush=True)
    about = {"cpu": cpu_model(), "versions": {**versions(), "torchdiffeq": torchdiffeq.__version__}, "limit_seconds": LIMIT}
    out = ROOT / "benchmarks" / "results" / "reliability"
    out.mkdir(parents=True, exist_ok=True)
    (out / "faults.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    (ROOT / "docs" / "reliability.md").write_text(page(rows))


if __name__ == "__main__":
    sys.exit(main())

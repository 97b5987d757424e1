"""10,000 random problems with known solutions: is a solve that says OK right?

Claim: no trajectory ends with `Result.OK`, no word, and an error above 100 times its tolerance times the problem's own
amplification.
How: families of problems whose solution is known in closed form (reliability_families.py), seeded, stiffness ratios from 1 to
1e8, solved in batches by every adaptive method of the catalogue at rtol 1e-3, 1e-5 and 1e-8. The error is the root mean square
over the components of |x - exact| at the end, over atol + rtol times the largest value that the component has on its way. The
amplification is the largest |dx(t1) / dx(tau)| over the span, at least 1. A tolerance bounds the error of one step, so N steps
may leave N of them (the fan of Hairer, Norsett & Wanner I, II.3): the largest error per step is in the result as well, and
where a method of order 2 took so many steps that this matters, a warning must have said so.
Run: python benchmarks/reliability.py               (about half an hour on one core; goes on where it was stopped)
     python benchmarks/reliability.py --minutes 7   (a piece of it)
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from reliability_families import FAMILIES, Family, ways

import odebridge as ob
from odebridge.bench.environment import cpu_model, versions
from odebridge.core.files import write_atomic
from odebridge.integrate.adding import MANY, told_from
from odebridge.methods import METHODS

OUT = Path(__file__).parent / "results" / "reliability"
ALLOWED, NEAR = 100.0, 20.0
STIFF = [m for m, v in METHODS.items() if v.error_order is not None and (getattr(v, "takes_mass", False) or m == "auto")]
OTHERS = [m for m, v in METHODS.items() if v.error_order is not None and m not in STIFF]
RTOLS = (1e-3, 1e-5, 1e-8)
SECONDS = 120.0  # of a batch; more is told as TIME_LIMIT
NEVER = 1e300  # the error of an end where there is no solution


def cases(per: int) -> list[dict[str, Any]]:
    """What is solved: name of the family, method, rtol, stiffness, number of problems, seed."""
    rows = []
    for method in (*STIFF, *OTHERS):
        ratios = (1e2, 1e5, 1e8) if method in STIFF else (1.0, 1e2, 1e4)
        for i, rtol in enumerate(RTOLS):
            picks = [(name, stiff) for name in ("linear", "follower") for stiff in ratios]
            picks += [("sheared", max(ratios[i], 10.0)), ("growing", 1.0), ("logistic", 1.0), ("before the pole", 1.0)]
            rows += [dict(family=name, method=method, rtol=rtol, stiff=stiff) for name, stiff in picks]
        rows.append(dict(family="over the pole", method=method, rtol=1e-5, stiff=1.0))
    return [dict(row, n=per, seed=zlib.crc32(repr(sorted(row.items())).encode())) for row in rows]


def solved(case: dict[str, Any]) -> dict[str, Any]:
    """One batch: the codes, and of those that are OK the error in units of tolerance and amplification, and the kept steps."""
    one = FAMILIES[case["family"]](case["n"], torch.Generator().manual_seed(case["seed"]), case["stiff"])
    rtol, atol = case["rtol"], 1e-3 * case["rtol"]
    began = time.process_time()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sol = ob.integrate(
            one.field, one.x0, (0.0, one.t1), args=one.args, method=case["method"], rtol=rtol, atol=atol, throw=False,
            max_steps=10_000 if case["method"] in STIFF else 3_000, time_limit=SECONDS,
        )  # fmt: skip
    took = time.process_time() - began
    ok = (sol.result == ob.Result.OK).nonzero()[:, 0].tolist()
    error, steps = errors(one, sol.x1, rtol, atol), sol.stats.accepted.tolist()
    adds_up = rtol <= told_from(METHODS[case["method"]]) and any("errors add up" in str(w.message) for w in said)
    return {
        **case, "codes": dict(Counter(ob.Result(int(c)).name for c in sol.result)),
        "ratios": [error[i] for i in ok], "steps": [steps[i] for i in ok], "told": [adds_up and steps[i] >= MANY for i in ok],
        "seconds": round(took, 2),
    }  # fmt: skip


def errors(one: Family, x1: torch.Tensor, rtol: float, atol: float) -> list[float]:
    """Errors at the end in units of the tolerance times the amplification, to three digits."""
    path = one.exact(ways(one.t1))
    weights = atol + rtol * path.abs().amax(1)
    error = ((x1 - path[:, -1]) / weights).square().mean(1).sqrt() / one.amplification
    error = torch.nan_to_num(error, nan=NEVER).clamp_max(NEVER)
    return [float(f"{v:.3g}") if one.ends else NEVER for v in error.tolist()]


def wrong(rows: list[dict[str, Any]], told: bool) -> int:
    """How many OKs are beyond what is allowed, with a warning or without one."""
    return sum(r > ALLOWED and t == told for row in rows for r, t in zip(row["ratios"], row["told"], strict=True))


def facts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The totals of these rows."""
    codes = sum((Counter(row["codes"]) for row in rows), Counter())
    ratios = sorted(r for row in rows for r in row["ratios"])
    per_step = [r / n for row in rows for r, n in zip(row["ratios"], row["steps"], strict=True) if r > 1.0]
    return {
        "problems": sum(codes.values()), "codes": dict(codes), "largest": ratios[-1],
        "median": ratios[len(ratios) // 2], "of_99_in_100": ratios[math.ceil(0.99 * len(ratios)) - 1],
        "of_999_in_1000": ratios[math.ceil(0.999 * len(ratios)) - 1],
        "above_20": sum(r > NEAR for r in ratios), "above_100_and_silent": wrong(rows, False),
        "above_100_and_told": wrong(rows, True), "largest_per_step": float(f"{max(per_step, default=0.0):.3g}"),
    }  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """In all, by method, and which batches hold the OKs that are beyond what is allowed."""
    by = {m: [row for row in rows if row["method"] == m] for m in (*STIFF, *OTHERS)}
    bad = [row for row in rows if any(r > ALLOWED for r in row["ratios"])]
    return {
        "all": facts(rows), "methods": {m: facts(of) for m, of in by.items() if of},
        "beyond": [{k: row[k] for k in ("family", "method", "rtol", "stiff", "n", "seed")} | {
            "problems": sum(r > ALLOWED for r in row["ratios"]), "largest": max(row["ratios"]), "silent": wrong([row], False),
        } for row in bad],
        "longest_batch_seconds": max(row["seconds"] for row in rows), "cpu": cpu_model(), "versions": versions(),
    }  # fmt: skip


def known(path: Path) -> list[dict[str, Any]]:
    """The rows that are there, each batch once: two pieces at a time may have made the same."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return list({(row["seed"], row["n"]): row for row in rows}.values())


def main() -> None:
    """Solve what is left, write rows and summary."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--per", type=int, default=16, help="problems in a batch; 837 batches")
    ask.add_argument("--out", type=Path, default=OUT)
    ask.add_argument("--only", default="", help="comma-separated methods")
    ask.add_argument("--minutes", type=float, default=math.inf, help="begin no batch after so many")
    given = ask.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    path, began = given.out / "rows.jsonl", time.monotonic()
    done = {(row["seed"], row["n"]) for row in known(path)}
    todo = [
        c
        for c in cases(given.per)
        if (c["seed"], c["n"]) not in done and (not given.only or c["method"] in given.only.split(","))
    ]
    with path.open("a") as file:
        for case in todo:
            if time.monotonic() - began > 60.0 * given.minutes:
                break
            row = solved(case)
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(*(row[k] for k in ("family", "method", "rtol", "stiff", "codes", "seconds")), max(row["ratios"], default=0.0),
                  flush=True)  # fmt: skip
    rows = known(path)
    write_atomic(given.out / "summary.json", (json.dumps(summary(rows), indent=1) + "\n").encode())
    print(json.dumps(summary(rows)["all"], indent=1), f"\n{len(cases(given.per)) - len(rows)} batches left")


if __name__ == "__main__":
    main()

"""10,000 random problems with known solutions: is a solve that says OK right?

Claim: no trajectory ends with `Result.OK` and an error above 100 times its tolerance times the problem's own amplification.
How: families of problems whose solution is known in closed form, seeded, stiffness ratios from 1 to 1e8, solved in batches
by every method, at rtol 1e-3 to 1e-8. The error is the root mean square over the components of |x - exact| at the end, over
atol + rtol times the largest value that the component has on its way. The amplification is the largest |dx(t1) / dx(tau)| over
the span, at least 1. A trajectory that fails must say so; the shares of the codes are in the result.
Run: python benchmarks/reliability.py            (a few minutes on one core; goes on where it was stopped)
     python benchmarks/reliability.py --per 5    (5 in a batch, for a look)
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import odebridge as ob
from odebridge.bench.environment import cpu_model, versions
from odebridge.core.files import write_atomic

D = torch.float64
OUT = Path(__file__).parent / "results" / "reliability"
ALLOWED = 100.0
STIFF = (
    "rosenbrock23",
    "rodas3p",
    "rodas4",
    "rodas5p",
    "ros34pw2",
    "tr_bdf2",
    "kvaerno3",
    "kvaerno5",
    "kencarp4",
    "radau5",
    "bdf",
)
MIXED = ("auto",)
EXPLICIT = ("bosh3", "dopri5", "tsit5", "dopri8")
RTOLS = (1e-3, 1e-5, 1e-8)
SECONDS = 60.0  # of a batch; more is told as TIME_LIMIT


class Family(NamedTuple):
    """b problems: f(t, x, args), start (b, n), end (b,), args, exact x(t) for t (b, k) -> (b, k, n), amplification (b,)."""

    field: Callable[..., Tensor]
    x0: Tensor
    t1: Tensor
    args: Any
    exact: Callable[[Tensor], Tensor]
    amplification: Tensor
    ends: bool = True  # False: the solution blows up before t1, so that OK is always wrong


def uniform(chance: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Numbers uniform between low and high."""
    return low + (high - low) * torch.rand(*shape, dtype=D, generator=chance)


def linear(b: int, chance: torch.Generator, stiff: float) -> Family:
    """X' = A x, A = Q B Q^T with Q orthogonal, B of two real rates and one damped oscillation; |rates| from 0.1 to `stiff`."""
    rates = -(10.0 ** uniform(chance, -1.0, max(math.log10(stiff), 0.0), b, 2))
    damp, turn = -(10.0 ** uniform(chance, -2.0, 0.0, b)), uniform(chance, 0.5, 6.0, b)
    blocks = torch.zeros(b, 4, 4, dtype=D)
    blocks[:, 0, 0], blocks[:, 1, 1] = rates.T
    blocks[:, 2, 2], blocks[:, 3, 3], blocks[:, 2, 3], blocks[:, 3, 2] = damp, damp, turn, -turn
    q = torch.linalg.qr(torch.randn(b, 4, 4, dtype=D, generator=chance))[0]
    matrix, x0, t1 = q @ blocks @ q.mT, torch.randn(b, 4, dtype=D, generator=chance), uniform(chance, 0.5, 5.0, b)

    def exact(t: Tensor) -> Tensor:
        y = (q.mT @ x0[..., None])[..., 0][:, None]  # (b, 1, 4)
        c, s = torch.cos(turn[:, None] * t), torch.sin(turn[:, None] * t)
        fade = (damp[:, None] * t).exp()
        moved = [
            *((rates[:, i : i + 1] * t).exp() * y[..., i] for i in range(2)),
            fade * (c * y[..., 2] + s * y[..., 3]),
            fade * (c * y[..., 3] - s * y[..., 2]),
        ]
        return torch.stack(moved, -1) @ q.mT

    return Family(lambda _t, x, a: (a * x[:, None]).sum(2), x0, t1, matrix, exact, torch.ones(b, dtype=D))


def growing(b: int, chance: torch.Generator, _stiff: float) -> Family:
    """x_i' = r_i x_i, two growing and one decaying component."""
    rates = torch.cat([uniform(chance, 0.1, 1.5, b, 2), -uniform(chance, 0.1, 20.0, b, 1)], 1)
    x0, t1 = torch.randn(b, 3, dtype=D, generator=chance), uniform(chance, 0.5, 5.0, b)
    return Family(
        lambda _t, x, a: a * x, x0, t1, rates, lambda t: x0[:, None] * (rates[:, None] * t[..., None]).exp(),
        (rates.amax(1) * t1).exp(),
    )  # fmt: skip


def follower(b: int, chance: torch.Generator, stiff: float) -> Family:
    """Prothero and Robinson's, made non-linear: x' = -k (x - g) - k (x - g)^3 + g', x = g(t) = 2 + sin(w t + p)."""
    k = 10.0 ** uniform(chance, 0.0, max(math.log10(stiff), 0.1), b, 2)
    w, p, t1 = uniform(chance, 0.3, 4.0, b, 2), uniform(chance, 0.0, 6.0, b, 2), uniform(chance, 0.5, 5.0, b)

    def f(t: Tensor, x: Tensor, a: tuple[Tensor, ...]) -> Tensor:
        rate, turn, phase = a
        angle = turn * t[:, None] + phase
        off = x - 2.0 - torch.sin(angle)
        return -rate * (off + off**3) + turn * torch.cos(angle)

    def exact(t: Tensor) -> Tensor:
        return 2.0 + torch.sin(w[:, None] * t[..., None] + p[:, None])

    return Family(f, exact(torch.zeros(b, 1, dtype=D))[:, 0], t1, (k, w, p), exact, torch.ones(b, dtype=D))


def logistic(b: int, chance: torch.Generator, _stiff: float) -> Family:
    """X' = r x (1 - x); |dx(t1)/dx(tau)| = x1 (1 - x1) / (x(tau) (1 - x(tau)))."""
    r, x0, t1 = uniform(chance, 0.5, 8.0, b, 2), uniform(chance, 0.01, 1.8, b, 2), uniform(chance, 0.5, 5.0, b)

    def exact(t: Tensor) -> Tensor:
        return 1.0 / (1.0 + (1.0 / x0 - 1.0)[:, None] * (-r[:, None] * t[..., None]).exp())

    slope = exact(ways(t1)) * (1.0 - exact(ways(t1)))
    ratio = (slope[:, -1:] / slope).abs()
    worst = torch.where(slope == 0.0, 1.0, ratio).amax((1, 2)).clamp_min(1.0)  # 0 / 0 where the state has settled at 1
    return Family(lambda _t, x, a: a * x * (1.0 - x), x0, t1, r, exact, worst)


def before_the_pole(b: int, chance: torch.Generator, _stiff: float) -> Family:
    """X' = x^2 up to 0.3 to 0.95 of the way to its pole at 1 / x0; |dx(t1)/dx(tau)| <= (x1 / x0)^2."""
    x0, share = uniform(chance, 0.2, 3.0, b, 1), uniform(chance, 0.3, 0.95, b)
    return Family(
        lambda _t, x, a: a * x * x, x0, share / x0[:, 0], torch.ones(b, 1, dtype=D),
        lambda t: x0[:, None] / (1.0 - x0[:, None] * t[..., None]), (1.0 - share) ** -2,
    )  # fmt: skip


def over_the_pole(b: int, chance: torch.Generator, _stiff: float) -> Family:
    """X' = x^2 beyond its pole: there is no solution, and no end may be OK."""
    made = before_the_pole(b, chance, 1.0)
    return made._replace(t1=uniform(chance, 1.05, 3.0, b) / made.x0[:, 0], ends=False)


FAMILIES: dict[str, Callable[[int, torch.Generator, float], Family]] = {
    "linear": linear, "growing": growing, "follower": follower, "logistic": logistic, "before the pole": before_the_pole,
    "over the pole": over_the_pole,
}  # fmt: skip


def ways(t1: Tensor, k: int = 65) -> Tensor:
    """K times on the way of each, (b, k)."""
    return t1[:, None] * torch.linspace(0.0, 1.0, k, dtype=D)


def cases(per: int) -> list[dict[str, Any]]:
    """What is solved: name of the family, method, rtol, stiffness, seed."""
    rows = []
    for method in (*STIFF, *MIXED, *EXPLICIT):
        ratios = (1e2, 1e5, 1e8) if method not in EXPLICIT else (1.0, 1e2, 1e4)
        for i, rtol in enumerate(RTOLS):
            picks = [("linear", ratios[i]), (("follower", ratios[2 - i]) if i != 1 else ("follower", ratios[2]))]
            picks.append((("growing", "logistic", "before the pole")[i], 1.0))
            rows += [dict(family=name, method=method, rtol=rtol, stiff=stiff) for name, stiff in picks]
        rows.append(dict(family="over the pole", method=method, rtol=1e-5, stiff=1.0))
    return [dict(row, n=per, seed=seed) for seed, row in enumerate(rows)]


def solved(case: dict[str, Any]) -> dict[str, Any]:
    """One batch: the codes, the largest error in units of the tolerance times the amplification, and who is beyond 100."""
    one = FAMILIES[case["family"]](case["n"], torch.Generator().manual_seed(case["seed"]), case["stiff"])
    atol = 1e-3 * case["rtol"]
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sol = ob.integrate(
            one.field, one.x0, (0.0, one.t1), args=one.args, method=case["method"], rtol=case["rtol"], atol=atol, throw=False,
            max_steps=10_000 if case["method"] not in EXPLICIT else 3_000, time_limit=SECONDS,
        )  # fmt: skip
    took = time.process_time() - began
    ok = sol.result == ob.Result.OK
    path = one.exact(ways(one.t1))
    weights = atol + case["rtol"] * path.abs().amax(1)
    error = ((sol.x1 - path[:, -1]) / weights).square().mean(1).sqrt() / one.amplification
    error = torch.where(ok, torch.nan_to_num(error, nan=math.inf), 0.0) if one.ends else torch.where(ok, math.inf, 0.0)
    codes = Counter(ob.Result(int(c)).name for c in sol.result)
    wrong = [[i, float(error[i])] for i in (error > ALLOWED).nonzero()[:, 0].tolist()]
    return {**case, "codes": dict(codes), "worst": float(error.max()), "wrong": wrong, "seconds": round(took, 2)}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The totals, by method and in all."""
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row["codes"])
    n = sum(total.values())
    methods: dict[str, Any] = {}
    for row in rows:
        of = methods.setdefault(row["method"], {"problems": 0, "codes": Counter(), "worst": 0.0})
        of["problems"] += row["n"]
        of["codes"].update(row["codes"])
        of["worst"] = max(of["worst"], row["worst"])
    return {
        "problems": n, "codes": dict(total), "shares": {k: v / n for k, v in total.items()},
        "ok_and_wrong": sum(len(row["wrong"]) for row in rows), "worst_of_ok": max(row["worst"] for row in rows),
        "longest_batch_seconds": max(row["seconds"] for row in rows),
        "methods": {k: {**v, "codes": dict(v["codes"])} for k, v in methods.items()},
        "cpu": cpu_model(), "versions": versions(),
    }  # fmt: skip


def main() -> None:
    """Solve what is left, write rows and summary."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--per", type=int, default=63, help="problems in a batch; 160 batches")
    ask.add_argument("--out", type=Path, default=OUT)
    given = ask.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["seed"], row["n"]) for row in rows}
    with path.open("a") as file:
        for case in cases(given.per):
            if (case["seed"], case["n"]) in done:
                continue
            row = solved(case)
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(
                row["family"],
                row["method"],
                row["rtol"],
                row["stiff"],
                row["codes"],
                f"{row['worst']:.3g}",
                row["seconds"],
                flush=True,
            )
    write_atomic(given.out / "summary.json", json.dumps(summary(rows), indent=1).encode())
    print(json.dumps({k: v for k, v in summary(rows).items() if k not in ("methods", "cpu", "versions")}, indent=1))


if __name__ == "__main__":
    main()

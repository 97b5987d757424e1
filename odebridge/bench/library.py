"""Work and precision over the library of problems: every tolerance of a method as a lane of one batch, exact counts.

What each problem gets is written here once: sizes below which a component does not count, tolerances, methods, limits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from odebridge.bench.runner import Case, Outcome, Part
from odebridge.core.result import Result
from odebridge.integrate import integrate
from odebridge.methods.catalogue import METHODS
from odebridge.peers import PEERS
from odebridge.problems import PROBLEMS, Problem, problem

# atol / rtol: the size below which a component does not count; 1e-3 where nothing is said.
SCALE = {
    **{"robertson": 1e-6, "orego": 1e-2, "van_der_pol": 1e-2, "e5": 1e-14, "stiff_e1": 1e-6, "medical_akzo_nobel": 1e-3},
    **{"stiff_d4": 1e-6, "stiff_d6": 1e-8, "stiff_f1": 1e-2, "stiff_f3": 1e-9, "stiff_f5": 1e-9, "chemical_akzo_nobel": 1e-2},
    **{"beam": 1.0, "ring_modulator": 1e-2, "transistor_amplifier": 1.0, "stiff_c5": 1.0, "allen_cahn": 1.0},
}
RTOLS = tuple(10.0**-k for k in range(3, 10))
TIGHTEST = {1: 1e-3, 2: 1e-4, 3: 1e-5, 4: 1e-6}  # by order, in the standard size: low orders take 1e5 steps beyond
DEAR = {  # tightest rtol in the standard size
    **{"ring_modulator": 1e-5, "kuramoto_sivashinsky": 1e-6, "beam": 1e-5, "brusselator_2d": 1e-6, "gray_scott": 1e-6},
    **{"medical_akzo_nobel": 1e-6, "allen_cahn": 1e-7, "burgers": 1e-7, "brusselator_1d": 1e-7, "pleiades": 1e-8},
    "transistor_amplifier": 1e-7,
}
DIFFUSION = {"heat", "allen_cahn", "burgers", "brusselator_1d", "brusselator_2d", "gray_scott", "medical_akzo_nobel"}
EXPLICIT = ("heun", "bosh3", "dopri5", "tsit5", "dopri8")
GAUSS = ("gauss4", "gauss6")
STABILISED = ("rkc2", "rkl2")
PEER_METHODS = [m for m in ("scipy:Radau", "scipy:BDF", "scipy:LSODA", "sundials:BDF") if m in PEERS]
STEPS, STEPS_FEW = 30_000, 2_000  # the latter for explicit methods and Gauss, which does not damp, on stiff problems
LIMITS = {"": 120.0, "ring_modulator": 900.0}  # seconds for all lanes of a cell; a lane that is cut off says TIME_LIMIT
# Methods in the standard size, by the compiled loop: it takes some 5e4 steps at any tolerance.
FEW = {"ring_modulator": ("rodas4", "rodas5p", "kvaerno5")}
COUNTS = ("accepted", "rejected", "f_evals", "jacobians", "factorisations", "solves", "newton_iterations")

# The named subset of `odebridge bench solvers` in its standard size, and of its small one.
STANDARD = (
    "van_der_pol", "robertson", "hires", "orego", "pollu", "chemical_akzo_nobel", "stiff_d6", "brusselator_1d", "burgers",
    "lotka_volterra", "lorenz", "henon_heiles", "arenstorf", "fitzhugh_nagumo",
)  # fmt: skip
STANDARD_METHODS = (
    "dopri5", "tsit5", "dopri8", "rosenbrock23", "rodas4", "rodas5p", "tr_bdf2", "kvaerno3", "kvaerno5", "kencarp4", "radau5",
    "bdf", "auto",
)  # fmt: skip
QUICK, QUICK_METHODS = ("robertson", "hires", "lotka_volterra"), ("dopri5", "tsit5", "rodas5p", "kvaerno5")


def parts(size: str) -> list[Part]:
    """Ours, then the peers; --full: every problem with a reference, every adaptive method, every tolerance."""
    names = {"quick": QUICK, "standard": STANDARD, "full": tuple(PROBLEMS)}[size]
    chosen = {"quick": QUICK_METHODS, "standard": STANDARD_METHODS, "full": tuple(METHODS)}[size]
    mine, theirs = [], []
    for name in names:
        p = problem(name)
        if p.reference is None:
            continue
        for method in methods_for(p, size == "full"):
            if method in chosen or (size == "standard" and name in FEW):
                rtols = tolerances(p, method, size == "full")[: 4 if size == "quick" else None]
                mine.append(Case(f"{name}, {method}", _about(p, method, rtols), partial(_cell, name, method, rtols)))
        for method in peers_for(p):
            rtols = [r for r in RTOLS if r >= 0.99 * DEAR.get(name, 0.0)][: 4 if size == "quick" else None]
            theirs.append(Case(f"{name}, {method}", _about(p, method, rtols), partial(_peer_cell, name, method, rtols)))
    cases, each = mine + theirs, 2 * max(LIMITS.values())
    return [Part("library", math.inf, cases, each=each)]


def _about(p: Problem, method: str, rtols: Sequence[float]) -> dict[str, Any]:
    return {
        "problem": p.name,
        "method": method,
        "rtols": list(rtols),
        "atol_per_rtol": SCALE.get(p.name, 1e-3),
        "stiff": p.stiff,
    }


def _cell(name: str, method: str, rtols: list[float], left: float) -> Outcome:
    return _told(list(run_cell(problem(name), method, rtols, left)))


def _peer_cell(name: str, method: str, rtols: list[float], left: float) -> Outcome:
    return _told(peer_rows(problem(name), method, rtols, left))


def _told(rows: list[dict[str, Any]]) -> Outcome:
    """Columns instead of rows; failed only where no tolerance was reached."""
    keys = [k for k in dict.fromkeys(k for r in rows for k in r) if k not in ("problem", "method", "atol")]
    values = {k: [r.get(k) for r in rows] for k in keys}
    if any(r["result"] == "OK" for r in rows):
        return Outcome(values)
    said = next((str(r["message"]) for r in rows if r.get("message")), ", ".join(sorted({r["result"] for r in rows})))
    return Outcome(values, "failed", said)


def adaptive(name: str) -> bool:
    """Whether a method controls its own error."""
    return METHODS[name].error_order is not None


def methods_for(p: Problem, full: bool) -> list[str]:
    """Adaptive methods; with a singular mass those that take one; explicit ones, but Dopri5, on stiff problems only if full."""
    if not full and p.name in FEW:
        return list(FEW[p.name])
    chosen = []
    for name in filter(adaptive, METHODS):
        if p.mass is not None and not (
            getattr(METHODS[name], "takes_mass", False) and getattr(METHODS[name], "algebraic", True)
        ):
            continue
        hard = p.stiff and p.name not in DIFFUSION
        if not full and hard and name in (*EXPLICIT, *STABILISED) and name != "dopri5":
            continue
        chosen.append(name)
    return chosen


def peers_for(p: Problem) -> list[str]:
    """Other people's stiff solvers that get the same task: without a Jacobian SciPy's Radau and BDF would take differences."""
    if not p.stiff or p.mass is not None or p.name == "ring_modulator":
        return []
    return [m for m in PEER_METHODS if p.jacobian is not None or m.endswith((":LSODA", "sundials:BDF"))]


def tolerances(p: Problem, method: str, full: bool) -> list[float]:
    """The lanes of a cell."""
    if full:
        return list(RTOLS)
    order = METHODS[method].order
    lowest = max(TIGHTEST.get(order, 0.0), DEAR.get(p.name, 0.0))
    return [r for r in RTOLS if r >= 0.99 * lowest]


def end_of(p: Problem) -> Tensor:
    """The reference end state; ValueError where there is none."""
    if p.reference is None:
        raise ValueError(f"{p.name} has no reference to measure an error against.")
    return p.reference


def weights(p: Problem) -> Tensor:
    """Sizes against which a component's error at the end is relative."""
    return SCALE.get(p.name, 1e-3) + end_of(p).abs()


def lanes_of(p: Problem, b: int) -> dict[str, Any]:
    """x0, args and the rest for b copies of one system."""
    many = p.batched()
    return {
        "field": many.field, "x0": many.x0.expand(b, -1).contiguous(),
        "args": None if many.args is None else many.args.expand(b, *many.args.shape[1:]).contiguous(),
        "jacobian": many.jacobian, "sparsity": many.sparsity, "mass": many.mass, "discontinuities": many.discontinuities or (),
    }  # fmt: skip


def run_cell(p: Problem, method: str, rtols: list[float], left: float = math.inf) -> Iterator[dict[str, Any]]:
    """All tolerances as one batch; a row per lane. left: seconds, beside the problem's own limit."""
    rtol = torch.tensor(rtols, dtype=torch.float64)
    scale = SCALE.get(p.name, 1e-3)
    given = lanes_of(p, len(rtols))
    field, x0 = given.pop("field"), given.pop("x0")
    if method in (*EXPLICIT, *STABILISED):
        given["jacobian"] = given["sparsity"] = None
    cap = STEPS_FEW if p.stiff and method in (*EXPLICIT, *GAUSS) else 10 * STEPS if p.name in FEW else STEPS
    began = time.perf_counter()
    sol = integrate(
        field, x0, p.span, method=method, rtol=rtol, atol=(rtol * scale)[:, None].expand_as(x0).contiguous(),
        max_steps=cap, time_limit=min(left, LIMITS.get(p.name, LIMITS[""])), throw=False, compile=p.name in FEW, **given,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    for i, r in enumerate(rtols):
        ratio = float(((sol.x1[i] - end_of(p)).abs() / weights(p)).max())
        counts = {name: int(getattr(sol.stats, name)[i]) for name in COUNTS}
        yield {
            "problem": p.name, "method": method, "rtol": r, "atol": r * scale, "result": Result(int(sol.result[i])).name,
            **_digits(ratio, r), **counts, "lanes_seconds": round(seconds, 2), "stopped_at": float(sol.t1[i]),
        }  # fmt: skip


def peer_rows(p: Problem, method: str, rtols: Sequence[float], left: float = math.inf) -> list[dict[str, Any]]:
    """A peer at every tolerance; a row for each."""
    rows, scale, began = [], SCALE.get(p.name, 1e-3), time.monotonic()
    for rtol in rtols:
        limit = min(60.0, max(left - (time.monotonic() - began), 0.1))
        run = PEERS[method](p, rtol, rtol * scale, max_steps=200_000, time_limit=limit)
        ratio = float((torch.from_numpy(run.x1) - end_of(p)).abs().div(weights(p)).max())
        rows.append(
            {
                "problem": p.name, "method": method, "rtol": rtol, "atol": rtol * scale,
                "result": "OK" if run.ok else "failed", **_digits(ratio if run.ok else math.nan, rtol), **run.counts,
                "message": run.message,
            }
        )  # fmt: skip
    return rows


def _digits(ratio: float, rtol: float) -> dict[str, float | None]:
    """Mescd, and the error in units of the tolerance; nothing where there is no end state."""
    if not math.isfinite(ratio):
        return {"mescd": None, "error_over_rtol": None}
    return {"mescd": -math.log10(max(ratio, 1e-17)), "error_over_rtol": ratio / rtol}

"""What `solver-vs-network` answers, in sentences made from its rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from odebridge.bench import words
from odebridge.bench.equal import Point, median, time_at
from odebridge.bench.inference import interval
from odebridge.bench.versus_data import Measured, Row, Versus, curves, error_of, label_of, measured, said, versus
from odebridge.bench.words import number, seconds

GATES = {"se": "SE", "stepnet": "StepNet (reconstruction)"}
FEW = 3  # a verdict over fewer pairs or families is none


def sentences(rows: Sequence[Row]) -> list[str]:
    """Gates, networks against solvers, stiffness, what is left out."""
    found = [m for m in measured(rows) if m.networks and m.solvers]
    return [*_gates(found), *_against(found), *_laws(found), *_stiff(found), *_cost(found)]


Logs = dict[tuple[str, int], list[float]]  # family and K -> the logarithms of the ratios of errors, by seed


def log_ratios(found: Sequence[Measured], one: str, other: str) -> Logs:
    """Log of the error of `one` over that of `other`, for the same family, K and seed; only where both are finite."""
    out: Logs = {}
    for m in found:
        by = {(r["configuration"]["kind"], r["configuration"]["steps"]): r["values"]["median"] for r in m.networks}
        for kind, k in by:
            if kind == one and (other, k) in by:
                pairs = zip(by[one, k], by[other, k], strict=False)
                logs = [math.log(a / b) for a, b in pairs if a and b]
                if logs:
                    out[m.family, k] = logs
    return out


def over_families(logs: Logs, families: Sequence[str]) -> tuple[float, float, float, int] | None:
    """Geometric mean of the ratios and its interval by Student's t over families, each of which counts once."""
    there = [name for name in families if any(f == name for f, _ in logs)]
    each = [fmean(fmean(v) for (f, _), v in logs.items() if f == name) for name in there]
    if not each:
        return None
    got = interval(each)
    return math.exp(got.mean), math.exp(got.low), math.exp(got.high), got.n


def _gates(found: Sequence[Measured]) -> list[str]:
    """Does a gate lower the error at equal evaluations, against learned constants?"""
    out = []
    stiff, others = [m.family for m in found if m.stiff], [m.family for m in found if not m.stiff]
    for kind, name in GATES.items():
        for prefix, where in (("", "residual networks"), ("f_", "Euler's method on the known field with learned steps")):
            logs = log_ratios(found, prefix + kind, prefix + "constant")
            total = over_families(logs, [m.family for m in found])
            if total is None:
                continue
            better, worse, open_ = _verdicts(logs)
            sides = {"the stiff families": over_families(logs, stiff), "the others": over_families(logs, others)}
            groups = [f"{who} {_ratio(v)}" for who, v in sides.items() if v is not None]
            parts = f"; on {' and on '.join(groups)}" if len(groups) > 1 else ""
            verdict = _verdict(total)
            over = f"mean and 95 % interval over {_count(total[3], 'family', 'families')}{parts}"
            pairs, seeds = _count(len(logs), "pair", "pairs"), max(map(len, logs.values()))
            out.append(
                f"{name} steps against learned constant steps at equal evaluations, in {where}: {_ratio(total)} times the "
                f"median error ({over}). {verdict} Of {pairs} of family and K it is better in {better}, worse in {worse}, "
                f"undecided in {open_} (paired over {seeds} seeds, no correction for their number)."
            )
    return out


def _verdicts(logs: Logs) -> tuple[int, int, int]:
    better = worse = 0
    for some in logs.values():
        v = interval(some)
        better, worse = better + (v.high < 0), worse + (v.low > 0)
    return better, worse, len(logs) - better - worse


def _verdict(v: tuple[float, float, float, int]) -> str:
    _, low, high, n = v
    if n < FEW:
        return "Too few families for a verdict."
    return (
        "It lowers the error." if high < 1 else "It raises the error." if low > 1 else "No difference is shown over families."
    )


def _ratio(v: tuple[float, float, float, int]) -> str:
    mean, low, high, _ = v
    return number(mean, 2) if not math.isfinite(low) else f"{number(mean, 2)} [{number(low, 2)}, {number(high, 2)}]"


def _against(found: Sequence[Measured]) -> list[str]:
    """Does a network beat the best solver at any error, once training is paid?"""
    out, wins, tails, levels = [], 0, 0, []
    for m in found:
        all_, tail = versus(m, "median"), versus(m, "p99")
        winners = [v for v in all_ if v.wins]
        wins, tails = wins + bool(winners), tails + any(v.wins for v in tail)
        if not m.times:
            out.append(f"{m.title}: the clock of this family has not been run.")
            continue
        if not all_:
            out.append(f"{m.title}: no network has a median error below one standard deviation.")
            continue
        best = min(all_, key=lambda v: v.error)
        levels.append(best.error)
        text = (
            f"{m.title}: the most accurate network ({said(best.row)}) has a median error of {number(best.error, 2)} and a 99th "
        )
        text += f"percentile of {_known(error_of(best.row, 'p99'))}; the fastest solver as accurate ({best.solver}) takes "
        text += f"{_times(best.ratio, best.interval)} its time{_paid(best)}."
        fast = max(winners, key=lambda v: v.ratio, default=best)
        if fast is not best:
            text += (
                f" The largest gain is at error {number(fast.error, 2)} ({said(fast.row)}): {_times(fast.ratio, fast.interval)}"
            )
            text += f"{_paid(fast)}."
        finest = min((p.error for points in curves(m, "median").values() for p in points), default=math.inf)
        if finest < best.error:
            text += f" Solvers go on to {number(finest, 2)}; no network of this run does."
        out.append(text)
    if levels:
        timed = _count(sum(bool(m.times) for m in found), "family", "families")
        head = (
            f"In {wins} of {timed} some network is faster than every solver at its own median error, in {tails} some network "
            f"also at its own 99th percentile, for {found[0].states} states at a time. The most accurate networks reach "
            f"{number(min(levels), 2)} to {number(max(levels), 2)} standard deviations of the end state; below that there are "
            "only solvers."
        )
        out.insert(0, head)
    return out


def _paid(v: Versus) -> str:
    """What the ratio means for the cost of training."""
    if v.pays is None:
        open_ = v.interval is not None and v.interval[1] > 1
        return ", and the interval leaves open which is faster" if open_ else ", so its training is never paid"
    after = f"paid after some {number(float(f'{v.pays:.1e}'), 2)} states"
    if not v.wins:
        return f", which the interval leaves open; if it holds, training and data are {after}"
    return f", so training ({seconds(v.row['values']['train_seconds'])}) and data are {after}"


def _times(ratio: float, bounds: tuple[float, float] | None) -> str:
    more = "" if bounds is None else f" [{number(bounds[0], 2)}, {number(bounds[1], 2)}]"
    return f"{number(ratio, 2)}{more} times"


def _known(v: float) -> str:
    return number(v, 2) if math.isfinite(v) else "no finite value"


def _laws(found: Sequence[Measured]) -> list[str]:
    """What calibrated laws save, in f evaluations and in time."""
    out = []
    for method in dict.fromkeys(r["configuration"]["method"] for m in found for r in m.solvers if _is_calibrated(r)):
        work = [v for m in found if (v := law_ratio(m, method, lambda _, r: r["values"]["f_calls"])) is not None]
        time = [v for m in found if (v := law_ratio(m, method, _middle_time)) is not None]
        if not work:
            continue
        out.append(
            f"{words.method(method)} with a law calibrated on the family needs {_mean_of(work)} times the f evaluations of the "
            f"method's own law at equal median error{f', and {_mean_of(time)} times the time' if time else ''} (geometric mean "
            f"and 95 % interval over {_count(len(work), 'family', 'families')})."
        )
    return out


def _is_calibrated(row: Row) -> bool:
    return bool(row["configuration"].get("calibrated"))


def _middle_time(m: Measured, row: Row) -> float | None:
    times = m.times.get(label_of(row))
    return median(times) if times else None


def _mean_of(ratios: Sequence[float]) -> str:
    got = interval([math.log(v) for v in ratios])
    return _ratio((math.exp(got.mean), math.exp(got.low), math.exp(got.high), got.n))


def law_ratio(m: Measured, method: str, cost: Callable[[Measured, Row], float | None]) -> float | None:
    """Cost of the calibrated settings over that of the method's own law at the same median error, both compiled.

    Geometric mean over the settings; one counts where two tolerances of the method's own law bracket its error.
    """
    mine = [r for r in m.solvers if r["configuration"]["method"] == method and r["configuration"].get("compiled")]
    points = []
    for row in mine:
        value = cost(m, row)
        if not _is_calibrated(row) and value is not None:
            points.append(Point(row["configuration"]["rtol"], error_of(row, "median"), (value,)))
    logs = []
    for row in mine:
        value, own = cost(m, row), time_at(points, error_of(row, "median"))
        if _is_calibrated(row) and value is not None and own is not None:
            logs.append(math.log(value / own[0]))
    return math.exp(fmean(logs)) if logs else None


def _stiff(found: Sequence[Measured]) -> list[str]:
    """What stiffness changes."""
    groups = {"stiff": [m for m in found if m.stiff], "other": [m for m in found if not m.stiff]}
    if not all(groups.values()):
        return []
    errors = {k: _reach(some, "median") for k, some in groups.items()}
    tails = {k: _reach(some, "p99") for k, some in groups.items()}
    lost = {k: _lost(some) for k, some in groups.items()}
    return [
        f"Stiffness: the best networks have median errors of {errors['stiff']} on the stiff families and {errors['other']} on "
        f"the others, and 99th percentiles of {tails['stiff']} and {tails['other']}.",
        "Networks that step along the known field (hypersolver, NeurVec, gates on Euler) end without finite states for half of "
        f"the starts or more, with the middle seed, in {lost['stiff'][0]} of {lost['stiff'][1]} cases on the stiff families "
        f"and in {lost['other'][0]} of {lost['other'][1]} on the others: a few explicit steps meet the field's fast rates.",
    ]


def _reach(some: Sequence[Measured], key: str) -> str:
    values = [min((error_of(r, key) for r in m.networks), default=math.inf) for m in some]
    return f"{_known(min(values))} to {_known(max(values))}" if len(values) > 1 else _known(values[0])


def _lost(some: Sequence[Measured]) -> tuple[int, int]:
    mine = [r for m in some for r in m.networks if r["values"].get("f_calls")]
    return sum(not math.isfinite(error_of(r, "median")) for r in mine), len(mine)


def _cost(found: Sequence[Measured]) -> list[str]:
    """What a block costs beside an evaluation of f."""
    some = [
        (r, m) for m in found for r in m.networks if r["configuration"]["kind"] == "constant" and r["values"].get("flops_f")
    ]
    if not some:
        return []
    costs = [r["values"]["flops"] / r["configuration"]["steps"] / r["values"]["flops_f"] for r, _ in some]
    return [
        f"One block of the residual networks takes as many floating-point operations as {number(min(costs), 2)} to "
        f"{number(max(costs), 2)} evaluations of f: at equal evaluations networks look better, and at equal operations worse, "
        "than they are in time, where PyTorch pays for every call."
    ]


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"

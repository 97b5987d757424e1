"""Sentences made from the rows of a run: nothing is said that was not measured in it, and what speaks against us stays in."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from odebridge.bench import words
from odebridge.bench.words import CONTROLLERS, listed, number, seconds

Rows = Sequence[dict[str, Any]]
GOOD = ("ok", "shortened")
OURS = "rodas5p"


def of_part(rows: Rows, part: str) -> list[dict[str, Any]]:
    """The rows of a part, in the order written."""
    return [row for row in rows if row["part"] == part]


def solvers(rows: Rows) -> list[str]:
    """Accuracy, failures, cost against the peers, batch against solo."""
    rows = of_part(rows, "solvers")
    solo = [r for r in rows if "lanes" not in r["configuration"]]
    return _reached(solo) + _failures(solo) + _against_peers(solo) + _batches(rows) + _left_out(rows)


def _reached(rows: Rows) -> list[str]:
    said = []
    for problem, mine in _grouped(_by(rows, OURS), "problem").items():
        row = min(mine, key=lambda r: r["configuration"]["rtol"])
        rtol, v = words.power(row["configuration"]["rtol"]), row["values"]
        steps = f"{number(v['accepted'])} accepted and {number(v['rejected'])} rejected steps"
        said.append(f"{_problem(problem)} {number(v['relative'], 2)} (rtol {rtol}, mescd {v['mescd']:.1f}, {steps})")
    if not said:
        return []
    return [f"Rodas5P reaches the published end states; largest relative error of its tightest run: {'; '.join(said)}."]


def _failures(rows: Rows) -> list[str]:
    failed = [r for r in rows if r["status"] == "failed" and r["values"].get("reached") is not None]
    if not failed:
        return []
    places = [
        f"{_problem(r['configuration']['problem'])} at t = {number(r['values']['reached'])} of {number(r['values']['span'])}"
        for r in failed
    ]
    name, tries = words.method(failed[0]["configuration"]["method"]), number(failed[0]["configuration"]["max_steps"])
    return [
        f"{name}, an explicit method, does not finish within {tries} tries: it stopped on {listed(places)}. "
        "These rows carry its result code and the sentence that the user sees."
    ]


def _against_peers(rows: Rows) -> list[str]:
    """Our cost over the peer's: each of our runs against the peer's cheapest run that is at least as accurate."""
    ours, out = _by(rows, OURS), []
    peers = [r for r in rows if r["status"] == "ok" and ":" in r["configuration"]["method"]]
    for peer, theirs in _grouped(peers, "method").items():
        times, evaluations = [], []
        by_problem = _grouped(theirs, "problem")
        for r in ours:
            rivals = [p["values"] for p in by_problem.get(r["configuration"]["problem"], [])]
            as_good = [v for v in rivals if v["relative"] <= r["values"]["relative"]]
            if as_good:
                cheapest = min(as_good, key=lambda v: v["time"])
                times.append(r["values"]["time"] / cheapest["time"])
                evaluations.append(r["values"]["f_evals"] / cheapest["f_evals"])
        name = words.method(peer)
        if times:
            out.append(
                f"For the same accuracy or better on one system at a time, Rodas5P took {_times(times)} the time and "
                f"{_times(evaluations)} the f evaluations of {name} (compared where {name} was as accurate, "
                f"{len(times)} of {len(ours)} runs)."
            )
        elif ours:
            out.append(f"No run of {name} was as accurate as a run of Rodas5P.")
    if out:
        out.append("These are times of a single small system on one CPU thread, where eager PyTorch pays for every operation.")
    return out


def _times(ratios: Sequence[float]) -> str:
    low, high = number(min(ratios), 2), number(max(ratios), 2)
    return f"{low} times" if low == high else f"{low} to {high} times"


def _batches(rows: Rows) -> list[str]:
    said = []
    for problem, mine in _grouped(_by(rows, OURS), "problem").items():
        batch = next((r for r in mine if "lanes" in r["configuration"]), None)
        if batch is None:
            continue
        lanes = batch["configuration"]["lanes"]
        alone = {r["configuration"]["rtol"]: r["values"] for r in mine if r is not batch}
        if not all(rtol in alone for rtol in lanes):
            continue
        total = sum(alone[rtol]["time"] for rtol in lanes)
        equal = sum(alone[rtol]["x1"] == x1 for rtol, x1 in zip(lanes, batch["values"]["x1"], strict=True))
        said.append(
            f"{_problem(problem)} {seconds(batch['values']['time'])} instead of {seconds(total)}, "
            f"{equal} of {len(lanes)} lanes with the same bits as alone"
        )
    return [f"All tolerances of Rodas5P as one batch, instead of one after the other: {'; '.join(said)}."] if said else []


def networks(rows: Rows) -> list[str]:
    """Accuracy with its spread, and what the step sizes depend on."""
    rows = of_part(rows, "networks")
    good = [r for r in rows if r["status"] in GOOD]
    by = {c: [r["values"] for r in mine] for c, mine in _grouped(good, "controller").items()}
    out = []
    if by:
        mean = {c: 100 * statistics.fmean(v["accuracy"] for v in runs) for c, runs in by.items()}
        said = [f"{_steps(c)} {mean[c]:.1f} % ({_spread(runs)})" for c, runs in by.items()]
        everything = [v for runs in by.values() for v in runs]
        images, epochs = everything[0]["test_images"], _range(v["epochs"] for v in everything)
        out.append(
            f"Test accuracy on {images} digits after {epochs} epochs, mean (and range) of {_range(map(len, by.values()))} "
            f"seeds: {listed(said)}. One image is {100 / images:.2f} points."
        )
        out += _told_apart(by, mean)
    for c in [c for c in ("se", "stepnet") if c in by]:
        images, channels = (_average(v[key] for v in by[c]) for key in ("step_sd_samples", "step_sd_channels"))
        blocks = statistics.fmean(statistics.pstdev(v["step_mean"]) for v in by[c])
        out.append(
            f"The steps of {_steps(c)} have a standard deviation of {number(images, 2)} between images, {number(channels, 2)} "
            f"between channels and {number(blocks, 2)} between blocks."
        )
    return out + _left_out(rows)


def _average(per_run: Iterable[Sequence[float]]) -> float:
    return statistics.fmean(map(statistics.fmean, per_run))


def _told_apart(by: dict[str, list[dict[str, Any]]], mean: dict[str, float]) -> list[str]:
    """Do the seeds of the best and the worst overlap? With three seeds little else can be asked."""
    if len(by) < 2 or min(map(len, by.values())) < 2:
        return []
    best, worst = max(mean, key=mean.__getitem__), min(mean, key=mean.__getitem__)
    apart = min(v["accuracy"] for v in by[best]) > max(v["accuracy"] for v in by[worst])
    verdict = (
        "their seeds do not overlap, but so few seeds on so small a test set are a hint and no more"
        if apart
        else "their seeds overlap, so that this run does not tell them apart"
    )
    gap = f"{mean[best] - mean[worst]:.1f} points lie between the best mean ({_steps(best)}) and the worst ({_steps(worst)})"
    return [f"{gap}; {verdict}."]


def _spread(runs: Sequence[dict[str, Any]]) -> str:
    values = [100 * v["accuracy"] for v in runs]
    return f"{min(values):.1f} to {max(values):.1f}"


def flowmap(rows: Rows) -> list[str]:
    """Error at equal evaluations, where the solvers overtake, and what a network costs before its first answer."""
    rows = of_part(rows, "flowmap")
    nets = [r for r in rows if r["configuration"].get("what") == "network" and r["status"] in GOOD]
    solver = [r for r in rows if r["configuration"].get("what") == "solver" and r["status"] in (*GOOD, "failed")]
    out = []
    if nets:
        said = []
        for c, runs in _grouped(nets, "controller").items():
            depths = [f"{number(_middle(mine), 2)} with {k}" for k, mine in sorted(_grouped(runs, "blocks").items())]
            said.append(f"{_steps(c)} {listed(depths)}")
        out.append(
            "Networks, median error on held-out initial values in standard deviations of the end state, middle seed, by "
            f"blocks: {'; '.join(said)}."
        )
        out += _at_equal_evaluations(solver, nets) + _overtaken(solver, nets)
    return out + _left_out(rows)


def _at_equal_evaluations(solver: Rows, nets: Rows) -> list[str]:
    most = max(r["values"]["evaluations"] for r in nets)
    few = [r for r in solver if r["values"]["evaluations"] <= most]
    known = [r for r in few if r["values"]["median"] is not None]
    if not known:
        return []
    worst, best = max(r["values"]["median"] for r in nets), min(known, key=lambda r: r["values"]["median"])
    error = best["values"]["median"]
    less = len(few) - sum(r["values"]["median"] <= worst for r in known)
    return [
        f"With at most {number(most)} evaluations the best solver run is {_run(best)}, median error {number(error, 2)}; "
        f"{less} of {len(few)} such solver runs are worse than the worst network ({number(worst, 2)})."
    ]


def _overtaken(solver: Rows, nets: Rows) -> list[str]:
    best = min(nets, key=lambda r: r["values"]["median"])
    v, c = best["values"], best["configuration"]
    error = f"median {number(v['median'], 2)}, 90th percentile {number(v['p90'], 2)}"
    net = f"{_steps(c['controller'])}, {c['blocks']} blocks: {error}"
    better = [r for r in solver if r["status"] == "ok" and all(r["values"][k] <= v[k] for k in ("median", "p90"))]
    if not better:
        return [f"No solver run is as accurate as the best of the {len(nets)} networks ({net})."]
    first, fast, tight = (min(better, key=lambda r: r["values"][k]) for k in ("evaluations", "time", "median"))
    evaluations, tightest = number(first["values"]["evaluations"]), number(tight["values"]["median"], 2)
    cost = f"{seconds(v['train_seconds'])} of training and {seconds(v['data_seconds'])} for its data"
    timing = (
        f"For {number(v['states'])} states at once that network takes {seconds(v['time'])} and the fastest solver run as "
        f"accurate ({_run(fast)}) {seconds(fast['values']['time'])}. Before its first answer the network had cost {cost} "
        f"({number(v['data_f_evals'])} f evaluations)"
    )
    saved = (fast["values"]["time"] - v["time"]) / v["states"]
    if saved > 0:
        states = float(f"{(v['train_seconds'] + v['data_seconds']) / saved:.1e}")
        timing += f", which is earned back after some {number(states, 2)} states, at this accuracy and no better"
    else:
        timing += "; it is not faster, so that this is never earned back"
    return [
        f"From {evaluations} evaluations of f on ({_run(first)}) a solver is at least as accurate as the best of the "
        f"{len(nets)} networks ({net}), and the solvers go on to {tightest}; no network of this run does.",
        f"{timing}.",
    ]


def _run(row: dict[str, Any]) -> str:
    c = row["configuration"]
    how = f"{c['steps']} equal steps" if "steps" in c else f"steps of its own at rtol {words.power(c['rtol'])}"
    return f"{words.method(c['method'])} with {how}"


def _middle(rows: Rows) -> float:
    return statistics.median_high(r["values"]["median"] for r in rows)


def _left_out(rows: Rows) -> list[str]:
    """Runs that the time budget cut or dropped, or that the benchmark itself broke."""
    said = {
        "shortened": "were stopped early by the part's time budget",
        "skipped": "were not begun, because the part's time budget was used up",
        "error": "ended by a fault of the benchmark itself",
    }
    counts = {status: sum(r["status"] == status for r in rows) for status in said}
    return [f"{n} of {len(rows)} runs of this part {said[status]}; their rows say so." for status, n in counts.items() if n]


def _by(rows: Rows, method: str) -> list[dict[str, Any]]:
    return [r for r in rows if r["configuration"]["method"] == method and r["status"] == "ok"]


def _grouped(rows: Iterable[dict[str, Any]], key: str) -> dict[Any, list[dict[str, Any]]]:
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if key in row["configuration"]:
            groups[row["configuration"][key]].append(row)
    return dict(groups)


def _range(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _problem(name: str) -> str:
    return words.problem(name)


def _steps(controller: str) -> str:
    return CONTROLLERS.get(controller, controller)

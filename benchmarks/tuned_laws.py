"""Step laws tuned for each method on all its development families at once, beside the named laws.

For every method: the numbers of a linear filter by CMA-ES on the mean log work at equal error over the families, and
the named laws at the best of several safety factors. Figures are work over that of PI42 with safety 0.9, on instances that no
search has seen; the interval is over families. Writes results/tuned_laws.json after every method, and goes on where it was
stopped.

    OMP_NUM_THREADS=1 python benchmarks/tuned_laws.py [method ...]      (about five minutes a method)
    python benchmarks/tuned_laws.py --write      (odebridge/control/tuned.py and a table of docs/learned.md from the results)
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from odebridge.bench.controller_families import families
from odebridge.bench.environment import environment
from odebridge.control import CONTROLLERS, Filter
from odebridge.core.files import write_atomic
from odebridge.methods.catalogue import METHODS
from odebridge.train.calibration.calibrate import sampled
from odebridge.train.calibration.equal import interval, log_ratios
from odebridge.train.calibration.search import Objective, Space, Trial, Yardstick, as_filter, search, yardstick
from odebridge.train.calibration.workload import Workload, measured, tolerances, wide, workload

FOUND = (
    "bosh3", "dopri5", "tsit5", "dopri8", "rosenbrock23", "rodas3p", "rodas4", "rodas4pw", "rodas5p", "tr_bdf2", "kvaerno3",
    "kvaerno4", "kvaerno5", "kencarp3", "kencarp4", "kencarp5",
)  # fmt: skip
LOW_ORDER = ("bosh3", "rosenbrock23", "tr_bdf2", "kvaerno3", "kencarp3", "rodas3p")
NAMED = ("i", "pi", "pi42", "pi34", "pid", "h211b", "h312", "predictive")
SAFETIES = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
GENERATIONS, EACH = 60, 8
RESULT = Path(__file__).parent / "results" / "tuned_laws.json"
ROOT = Path(__file__).parent.parent
LAWS, PAGE = ROOT / "odebridge" / "control" / "tuned.py", ROOT / "docs" / "learned.md"
BEGIN, END = "<!-- tuned: begin -->", "<!-- tuned: end -->"


def loads(method: str) -> list[tuple[Workload, Workload, Workload]]:
    """For every family: instances to search on, to choose on and to judge on."""
    rtols = (1e-3, 1e-5) if method in LOW_ORDER else (1e-3, 1e-6)
    out = []
    for make in families(method).values():
        load = workload(sampled(make(), 4 * EACH, 77), tolerances(rtols), None)
        between = load.at(tolerances(rtols, per_decade=2))
        out.append((load.part(0, EACH), load.part(EACH, 2 * EACH), between.part(2 * EACH, len(load))))
    return out


def over_families(split: list[Any], method: str, law: Any) -> dict[str, Any]:
    """Work of a law over PI42's at equal error: mean over families with its interval, and each family."""
    scheme = METHODS[method]
    logs = [log_ratios(measured(j, scheme, law), measured(wide(j), scheme, CONTROLLERS["pi42"])) for _, _, j in split]
    each = np.array([interval(v)[0] for v in logs])
    middle, low, high = (math.exp(v) for v in interval(each))
    return {"ratio": middle, "low": low, "high": high, "each": dict(zip(families(method), np.exp(each).tolist(), strict=True))}


def mean_score(split: list[Any], method: str, law: Any, sticks: list[Yardstick]) -> float:
    """Mean log ratio on the instances to choose on."""
    scheme = METHODS[method]
    pairs = zip(split, sticks, strict=True)
    return float(np.mean([np.nanmean(log_ratios(measured(c, scheme, law), stick.wide)) for (_, c, _), stick in pairs]))


def tuned(method: str) -> dict[str, Any]:
    """The row of a method."""
    began, split, scheme = time.monotonic(), loads(method), METHODS[method]
    base = CONTROLLERS["pi42"]
    on_train = [yardstick(t, scheme, base) for t, _, _ in split]
    on_choose = [yardstick(c, scheme, base) for _, c, _ in split]
    start = CONTROLLERS["pi42" if method in ("bosh3", "dopri5", "tsit5", "dopri8") else "i"]
    assert isinstance(start, Filter)
    space = Space(start.coefficients, linear=True, gate=False)

    def over(which: int, sticks: list[Yardstick]) -> Objective:
        trials = [Trial(space, load[which], scheme, stick) for load, stick in zip(split, sticks, strict=True)]

        def mean_of(z: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
            marks, drifts = zip(*(trial(z, scale) for trial in trials), strict=True)
            return np.mean(marks, 0), float(np.mean(drifts))

        return mean_of

    found = search(
        over(0, on_train), over(1, on_choose), np.zeros(space.size), sigma=0.1, generations=GENERATIONS, seed=0,
        tell=lambda g, b: print(f"  {method}: generation {g}, {100 * math.expm1(b):+.1f} %", flush=True),
    )  # fmt: skip
    law = replace(as_filter(space.laws(found.z[None])[0][0]), scale=found.scale)
    laws: dict[str, Any] = {"tuned": {**over_families(split, method, law), "coefficients": list(law.coefficients)}}
    for name in NAMED:
        own = CONTROLLERS[name]
        laws[name] = over_families(split, method, own)
        if isinstance(own, Filter):  # the predictive law is two filters, and every safety of it a kernel of its own
            marks = {s: mean_score(split, method, replace(own, safety=s), on_choose) for s in SAFETIES}
            best = min(marks, key=lambda s: marks[s])
            laws[f"{name}, best safety"] = {**over_families(split, method, replace(own, safety=best)), "safety": best}
    return {"method": method, "laws": laws, "seconds": round(time.monotonic() - began, 1)}


def laws_file(rows: dict[str, Any]) -> str:
    """The tuned filters as a file of the package."""
    lines = [
        '"""Linear filters tuned for each method on development families; generated by benchmarks/tuned_laws.py --write."""',
        "", "from __future__ import annotations", "", "from odebridge.control.classical import Filter", "",
        "TUNED: dict[str, Filter] = {",
    ]  # fmt: skip
    for name in sorted(rows, key=FOUND.index):
        b1, b2, b3, a2, a3, *rest = (float(f"{v:.4g}") for v in rows[name]["laws"]["tuned"]["coefficients"])
        lines.append(f'    "{name}": Filter(({b1}, {b2}, {b3}), ({a2}, {a3}), {", ".join(map(str, rest))}),')
    return "\n".join([*lines, "}", ""])


def table(page: dict[str, Any]) -> list[str]:
    """Work of the laws over PI42's, and the gain of the tuned one over the method's own."""
    head = ["method", "tuned", *NAMED, "its own law", "tuned / own"]
    lines = [
        f"`python benchmarks/tuned_laws.py`: {GENERATIONS} generations on {EACH} instances of each of a method's ten families,",
        "figures on others, rtol 1e-3 to 1e-6 (1e-5 for low orders): work over that of PI42 at equal error, geometric mean",
        f"over the families; of the tuned law with the 95 % interval over them. {page['cpu']}, counts only.", "",
        f"| {' | '.join(head)} |", "|---" * len(head) + "|",
    ]  # fmt: skip
    for name in sorted(page["rows"], key=FOUND.index):
        laws, own = page["rows"][name]["laws"], METHODS[name].law
        best = laws["tuned"]
        cells = [
            f"**{best['ratio']:.3f}** [{best['low']:.3f}, {best['high']:.3f}]",
            *(f"{laws[n]['ratio']:.3f}" for n in NAMED),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {own} | {best['ratio'] / laws[own]['ratio']:.3f} |")
    return lines


def updated(text: str, page: dict[str, Any]) -> str:
    """The page with its table made anew."""
    return "\n".join([text.split(BEGIN)[0] + BEGIN, *table(page), END]) + text.split(END)[1]


def main(methods: list[str]) -> None:
    """Every method that has no row yet."""
    torch.set_num_threads(1)
    page: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": {}}
    for method in methods or list(FOUND):
        if method in page["rows"]:
            continue
        page["rows"][method] = tuned(method)
        page |= environment()
        write_atomic(RESULT, json.dumps(page, indent=1).encode())
        figures = {k: f"{v['ratio']:.3f}" for k, v in page["rows"][method]["laws"].items()}
        print(f"{method}: {figures}, {page['rows'][method]['seconds']:g} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        found: dict[str, Any] = json.loads(RESULT.read_text())
        LAWS.write_text(laws_file(found["rows"]))
        PAGE.write_text(updated(PAGE.read_text(), found))
    else:
        main(sys.argv[1:])

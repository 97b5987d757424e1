"""`calibrate`: a step law for one family of problems, in about a minute, and the check that it does no harm."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from odebridge.control.calibrated import Calibrated
from odebridge.control.catalogue import CONTROLLERS
from odebridge.control.classical import Filter
from odebridge.control.learned import LearnedStep
from odebridge.core.names import lookup
from odebridge.core.protocols import Method, StepController
from odebridge.methods.catalogue import METHODS
from odebridge.problems import Problem, problem
from odebridge.train.calibration.equal import interval, log_ratios
from odebridge.train.calibration.search import Found, Space, Trial, as_filter, moved, score, search, yardstick
from odebridge.train.calibration.workload import Workload, measured, place_of, pooled_of, tolerances, wide, workload

# The laws that a calibrated one must beat, besides the filter that is tuned on the family itself.
CLASSICAL = ("i", "pi42", "pi34", "pid", "h211b", "predictive")
LINEAR_GENERATIONS = 60
PLACES = 4  # components up to which a gate sees the state: with the eight of HIRES it cost more and gained nothing

Family = Problem | str | Callable[[int, int], Problem]


@dataclass(frozen=True, eq=False)
class Split:
    """Instances for three uses that must not be mixed: to search on, to choose a candidate on, to judge it on."""

    train: Workload
    choose: Workload
    judge: Workload


def calibrate(
    family: Family,
    *,
    method: Method | str = "rodas5p",
    controller: StepController | str | None = None,
    instances: int = 32,
    rtols: tuple[float, float] = (1e-3, 1e-6),
    atol_per_rtol: float | None = None,
    state: bool | str = True,
    generations: int = 250,
    seed: int = 0,
    progress: bool = True,
) -> Calibrated:
    """A step law for one family of problems: a classical filter and a gate of some forty numbers, found by direct search.

    Minimises, over the law, mean_i [log W_law(i, E) - log W_classical(i, E)]: work W in f evaluations at equal global error E,
    per instance i, on the overlap of the errors and nowhere else. E: root mean square over components and 40 times of
    (x - x_ref) / (|x_ref| + 0.1 max |x_ref|). First the filter's numbers, then the gate's, by CMA-ES (Hansen, 2016). The
    candidates are solved as one batch of compiled tries: candidates x instances x tolerances.

    Args:
        family: a `Problem` with a spread, its name, a batch of instances (b, n), or a function (b, seed) -> batch.
        method: a name or a method with an error estimate; explicit Runge-Kutta, Rosenbrock and DIRK methods compile.
        controller: the law that the filter search starts from, a name or a `Filter`; None: PI42, or I for stiff problems.
        instances: how many to search and to choose on, half each; as many again judge the result. At least 8.
        rtols: the loosest and the tightest tolerance that will be used.
        atol_per_rtol: atol / rtol in all solves; None: a hundredth of the smallest component's median size.
        state: whether the gate sees where the state is, besides what the last try showed: True, each component of systems of
            up to 4; "pooled", state and slope of any number through one layer for all components, as StepNet (a
            reconstruction) would; False, nothing.
        generations: of the search for the gate.
        seed: of instances and search: the same seed, the same law, on one machine.
        progress: a line on standard error while it runs.

    Returns:
        `Calibrated`, with `.report` and `.save(path)`. If on the judging instances the learned law is not better than the best
        classical one with 95 percent confidence, it holds that classical law, and the report says so.

    Raises:
        ValueError, TypeError: bad input, in a sentence; a family of which more than a fifth cannot be solved.

    Caveat: the gain is in f evaluations; for tiny systems the gate costs time as well, see docs/learned.md.
    Use: `law = ob.calibrate("orego", method="rodas5p"); law.save("orego.json")`.
    """
    began, busy = time.monotonic(), time.process_time()
    scheme = lookup("method", method, METHODS) if isinstance(method, str) else method
    _checked(scheme, instances, rtols, generations, seed)
    if state not in (True, False, "pooled"):
        raise ValueError(f'state: must be True, False or "pooled", got {state!r}.')
    tell = _Teller(progress)
    split = split_of(family, instances, rtols, atol_per_rtol, seed, state)
    place = split.train.place
    tell(f"{len(split.train)} + {len(split.choose)} + {len(split.judge)} instances of {split.train.task.name or 'the family'}")

    start = _start(controller, split.train.task.stiff)
    base, base_name = best_classical(split.choose, scheme, {n: CONTROLLERS[n] for n in CLASSICAL} | {"start": start})
    found = _searched(
        Space(start.coefficients, linear=True, gate=False), split, scheme, base, LINEAR_GENERATIONS, seed, tell, "filter"
    )
    tuned = replace(as_filter(moved(start.coefficients, found.z[None])[0]), scale=found.scale)
    best, best_name = best_classical(split.choose, scheme, {base_name: base, "the filter tuned on the family": tuned})

    gates = Space(tuned.coefficients, linear=False, gate=True, places=0 if place is None else place.width)
    found = _searched(gates, split, scheme, best, generations, seed, tell, "gate")
    learned = LearnedStep(replace(tuned, scale=found.scale), gates.laws(found.z[None])[1][0], place, tuned.scale)

    compared = {
        "learned": judged(split.judge, scheme, learned, best),
        "tuned on the family": judged(split.judge, scheme, tuned, base),
    }
    wins = compared["learned"]["high"] < 1.0 and compared["learned"]["failed"] == 0
    law = learned if wins else best
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - busy
    report = {
        "family": split.train.task.name, "method": scheme.name, "seed": seed, "instances": instances, "rtols": list(rtols),
        "atol_per_rtol": split.train.atol_per_rtol, "generations": generations, "kept": "learned" if wins else best_name,
        "best_classical": best_name, "compared": compared, "numbers": int(learned.weights.numel()),
        "tuned": list(tuned.coefficients), "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1), "torch": torch.__version__,
    }  # fmt: skip
    report["text"] = said(report)
    tell(report["text"], last=True)
    return Calibrated(law, scheme.name, scheme.error_order or 0, rtols, report)


def split_of(
    family: Family, instances: int, rtols: tuple[float, float], atol_per_rtol: float | None, seed: int, state: bool | str
) -> Split:
    """Instances with their truth: a quarter to search on, a quarter to choose on, half to judge on."""
    total = 2 * instances
    load = workload(sampled(family, total, seed), tolerances(rtols), atol_per_rtol)
    half = len(load) // 2
    quarter = half // 2
    between = load.at(tolerances(rtols, per_decade=2))
    parts = load.part(0, quarter), load.part(quarter, half), between.part(half, len(load))
    if state == "pooled":
        place = pooled_of(parts[0], seed)
    else:
        place = place_of(parts[0]) if state and load.task.x0.shape[1] <= PLACES else None
    return Split(*(replace(part, place=place) for part in parts))


def best_classical(load: Workload, method: Method, laws: dict[str, StepController]) -> tuple[StepController, str]:
    """The law of least work at equal error on these instances, and its name."""
    names = list(laws)
    first = yardstick(load, method, laws[names[0]])
    marks = [0.0] + [score(measured(load, method, laws[name]), first) for name in names[1:]]
    k = int(np.argmin(marks))
    return laws[names[k]], names[k]


def judged(load: Workload, method: Method, law: StepController, other: StepController) -> dict[str, Any]:
    """Work of one law over that of another at equal error, with the 95 percent interval over instances."""
    ours, theirs = measured(load, method, law), measured(wide(load), method, other)
    ratios = log_ratios(ours, theirs)
    middle, low, high = (math.exp(v) for v in interval(ratios))
    return {
        "ratio": middle, "low": low, "high": high, "instances": int(np.isfinite(ratios).sum()),
        "failed": int((~np.isfinite(ours.work)).any(1).sum()),
    }  # fmt: skip


def _searched(
    space: Space, split: Split, method: Method, base: StepController, generations: int, seed: int, tell: _Teller, what: str
) -> Found:
    train, choose = (Trial(space, load, method, yardstick(load, method, base)) for load in (split.train, split.choose))

    def watch(generation: int, chosen: float) -> None:
        tell(f"{what}: generation {generation} of {generations}, {100 * math.expm1(chosen):+.1f} % work")

    sigma = 0.08 if space.gate else 0.1
    scale = float(space.base.scale)
    start = np.zeros(space.size)
    return search(train, choose, start, sigma=sigma, generations=generations, seed=seed, scale=scale, tell=watch)


def _start(controller: StepController | str | None, stiff: bool) -> Filter:
    law = ("i" if stiff else "pi42") if controller is None else controller
    law = lookup("controller", law, CONTROLLERS) if isinstance(law, str) else law
    if not isinstance(law, Filter):
        raise TypeError(
            f"controller: the search starts from a linear filter, and {type(law).__name__} is none; use 'i', 'pi42', 'pi34', "
            "'pid', 'h211b', 'h312' or ob.control.Filter(b=...)."
        )
    return law


def sampled(family: Family, b: int, seed: int) -> Problem:
    """A batch of b instances of a family; the first ones do not depend on b."""
    if isinstance(family, str):
        family = problem(family)
    if isinstance(family, Problem):
        if family.single:
            return family.sample(b, seed)
        if len(family.x0) < b:
            raise ValueError(
                f"family: has {len(family.x0)} instances, and {b} are needed; give more, or ask for fewer instances."
            )
        return family
    if not callable(family):
        raise TypeError(
            f"family: must be a Problem with a spread, its name or a function (b, seed) -> Problem, got {family!r}."
        )
    made = family(b, seed)
    if not isinstance(made, Problem) or made.single or len(made.x0) != b:
        raise TypeError(f"family: the function must return a Problem with x0 of {b} trajectories, got {made!r}.")
    return made


def _checked(method: Method, instances: int, rtols: Any, generations: int, seed: int) -> None:
    if method.error_order is None:
        raise ValueError(f"method: {method.name!r} has no error estimate to control a step with; use 'tsit5' or 'rodas5p'.")
    for name, value, least in (("instances", instances, 8), ("generations", generations, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: must be a whole number of at least {least}, got {value!r}.")
    if (
        not (isinstance(rtols, (tuple, list)) and len(rtols) == 2 and all(1e-11 <= v <= 0.1 for v in rtols))
        or rtols[0] <= rtols[1]
    ):
        raise ValueError(
            f"rtols: give the loosest and the tightest tolerance, (1e-3, 1e-6), within 1e-11 to 0.1, got {rtols!r}."
        )


def said(report: dict[str, Any]) -> str:
    """The report in sentences."""
    ours = report["compared"]["learned"]
    figures = f"{ours['ratio']:.3f} [{ours['low']:.3f}, {ours['high']:.3f}]"
    first = f"{report['family'] or 'family'}, {report['method']}: "
    than = f"f evaluations of {report['best_classical']} at equal error on {ours['instances']} fresh instances"
    if report["kept"] == "learned":
        return f"{first}the learned law needs {figures} times the {than}; {report['seconds']:g} s."
    why = f"{ours['failed']} of its solves failed" if ours["failed"] else "that is no gain with 95 percent confidence"
    return f"{first}the learned law would need {figures} times the {than}; {why}, so the classical law is kept."


class _Teller:
    """One line on standard error that is written over; nothing where nobody looks."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self.width = 0

    def __call__(self, text: str, last: bool = False) -> None:
        if not self.on:
            return
        end = "\n" if last or not sys.stderr.isatty() else ""
        if not last and not sys.stderr.isatty():
            return
        print(f"\r{text.ljust(self.width)}", end=end, file=sys.stderr, flush=True)
        self.width = len(text)

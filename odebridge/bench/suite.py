"""The suites of the solver side by name, in three sizes, run in one frame: jobs, clusters, shares, pieces, resuming."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odebridge.bench import contests, controllers, gradient_memory, library, versus
from odebridge.bench.pool import How, only, shard_of
from odebridge.bench.quick import run_suite
from odebridge.bench.resume import begun
from odebridge.bench.runner import Event, Part

Make = Callable[..., list[Part]]  # seed, size, device


def _solvers(_seed: int, size: str, device: str) -> list[Part]:
    _on_cpu("solvers", device)
    return [*library.parts(size), contests.single(size)]


def _ensembles(seed: int, size: str, device: str) -> list[Part]:
    return [contests.ensembles(size, seed, device), contests.growth(size, seed, device)]


def _nonstiff(seed: int, size: str, device: str) -> list[Part]:
    return [contests.nonstiff(size, seed, device)]


def _gradients(_seed: int, size: str, device: str) -> list[Part]:
    _on_cpu("gradients", device)
    return [contests.gradients(size), gradient_memory.part(size)]


def _versus(seed: int, size: str, device: str) -> list[Part]:
    return versus.parts(versus.settings(size, seed, device))


def _controllers(seed: int, size: str, device: str, file: str | None = None) -> list[Part]:
    _on_cpu("controllers", device)
    return [controllers.sized(size, seed, file)]


SUITES: Mapping[str, Make] = {
    "solvers": _solvers,
    "ensembles": _ensembles,
    "nonstiff": _nonstiff,
    "gradients": _gradients,
    "solver-vs-network": _versus,
    "controllers": _controllers,
}


@dataclass(frozen=True)
class Suite:
    """A suite as a function of what may be typed after its name; returns the run folder.

    quick, full: the small size, and everything, instead of the standard one. jobs, backend, cluster, shard, minutes: see
    `How`. only: cases whose label matches the wildcards. families: of the suite 'controllers', a Python file with a dictionary
    FAMILIES of functions that return a `Problem` with a spread. resume: the folder of a run that was stopped, whose settings
    hold.
    ValueError, or FileNotFoundError for resume, before anything is written.
    """

    name: str

    def __call__(
        self, out: str | Path = "runs", seed: int = 0, tell: Callable[[Event], None] | None = None, *, quick: bool = False,
        full: bool = False, device: str = "cpu", jobs: int = 1, backend: str = "loky", cluster: str | None = None,
        shard: str | None = None, minutes: float | None = None, only: str | None = None,
        families: str | Path | None = None, resume: Path | None = None,
    ) -> Path:  # fmt: skip
        """Run it."""
        if quick and full:
            raise ValueError("quick: a run is either --quick or --full.")
        asked = {"seed": seed, "size": "quick" if quick else "full" if full else "standard", "device": device}
        asked |= {"shard": shard, "only": only}
        if self.name == "controllers":
            asked |= {"families": None if families is None else str(families)}
        elif families is not None:
            raise ValueError(f"families: the suite {self.name!r} does not have it; 'controllers' does.")
        if resume is not None:
            asked = {k: v for k, v in begun(resume, self.name, asked).items() if k in asked}
        how = How(jobs, backend, cluster, None if asked["shard"] is None else shard_of(str(asked["shard"])), minutes)
        todo = self.parts(asked)
        return run_suite(self.name, todo, out, asked, tell or _silent, self.command(asked), resume, how)

    def parts(self, asked: Mapping[str, Any]) -> list[Part]:
        """What is to be run."""
        more = {"file": asked["families"]} if asked.get("families") else {}
        todo = SUITES[self.name](asked["seed"], asked["size"], asked["device"], **more)
        if asked.get("only") is None:
            return todo
        pattern: str = asked["only"]
        kept = only(todo, lambda label: fnmatch.fnmatch(label, pattern))
        if not kept:
            raise ValueError(f"only: no case of {self.name!r} matches {pattern!r}; labels are such as {_example(todo)!r}.")
        return kept

    def command(self, asked: Mapping[str, Any]) -> str:
        """The line that makes the same rows."""
        words = ["odebridge", "bench", self.name, "--seed", str(asked["seed"])]
        words += [f"--{asked['size']}"] if asked["size"] != "standard" else []
        words += ["--device", asked["device"]] if asked["device"] != "cpu" else []
        for name in ("shard", "only", "families"):
            words += [f"--{name}", f"'{asked[name]}'" if name == "only" else asked[name]] if asked.get(name) else []
        return " ".join(words)


def _example(parts: list[Part]) -> str:
    return next((case.label for part in parts for case in part.cases), "")


def _on_cpu(name: str, device: str) -> None:
    if device != "cpu":
        raise ValueError(f"device: the suite {name!r} compares with libraries of the CPU; leave out {device!r}.")


def _silent(_event: Event) -> None:
    """Nobody watches."""

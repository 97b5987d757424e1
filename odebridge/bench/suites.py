"""The suites of the network side, by name: what each runs at full and at quick size, and how a stopped one goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odebridge.bench import attention, depth, refinement, stiffness, tickets
from odebridge.bench.paired import settings_for
from odebridge.bench.pool import How
from odebridge.bench.quick import HERE, run_suite
from odebridge.bench.resume import begun
from odebridge.bench.runner import Event, Part

Tell = Callable[[Event], None]
Make = Callable[[str | None, bool, int], Part]  # data, quick, seed


def _attention(data: str | None, quick: bool, seed: int) -> Part:
    return attention.part(settings_for(data, quick, seed))


def _refine(data: str | None, quick: bool, seed: int) -> Part:
    settings = refinement.shorter(settings_for(data, quick, seed))
    return refinement.part(settings, wider=None if quick or settings.stem == 1 else refinement.larger(settings))


def _stiffness(data: str | None, quick: bool, seed: int) -> Part:
    if data is not None:
        raise ValueError(f"data: the suite 'stiffness' does not have it, it always trains on the digits; leave out {data!r}.")
    return stiffness.quick(seed) if quick else stiffness.part(network=stiffness.network(seed))


def _tickets(data: str | None, quick: bool, seed: int) -> Part:
    if quick:
        return tickets.part(settings_for(data, True, seed), ratios=(0.4,))
    return tickets.part(settings_for(data, False, seed, tickets.SEEDS))


def _depth(data: str | None, quick: bool, seed: int) -> Part:
    if quick:
        return depth.part(settings_for(data, True, seed), (depth.Trained("tied", 1), depth.Trained("tied", 8)))
    return depth.part(settings_for(data, False, seed, depth.SEEDS))


NETWORKS: Mapping[str, Make] = {
    "attention": _attention,
    "refine": _refine,
    "stiffness": _stiffness,
    "tickets": _tickets,
    "depth": _depth,
}


def run(
    name: str, make: Make, out: str | Path, seed: int, tell: Tell | None, data: str | None, quick: bool, resume: Path | None,
    how: How = HERE,
) -> Path:  # fmt: skip
    """One suite into one run folder, or on in the folder of a run that was stopped: only what has no good row is run."""
    if resume is not None:
        kept = begun(resume, name, ("data", "quick", "seed"))
        data, quick, seed = kept["data"], kept["quick"], kept["seed"]
    part = make(data, quick, seed)
    # The data set found now, so that a resumed run takes the same wherever it goes on.
    found = next((case.configuration["data"] for case in part.cases if "data" in case.configuration), data)
    settings: dict[str, Any] = {"seed": seed, "data": found if name != "stiffness" else None, "quick": quick}
    options = "".join(
        [f" --seed {seed}", f" --data {settings['data']}" if settings["data"] else "", " --quick" if quick else ""]
    )
    return run_suite(name, [part], out, settings, tell or _silent, f"odebridge bench {name}{options}", resume, how)


def _silent(_event: Event) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class NetworkSuite:
    """A suite of `NETWORKS` as a function of what may be typed after its name; returns the run folder.

    attention: gates against a step of 1 and a learned constant on paired seeds. refine: accuracy under finer steps, and NSI
    against the local error. stiffness: the index on textbook equations beside the steps of our solvers, and on a small network.
    tickets: SE kept in the blocks of highest, lowest or random NSI. depth: networks of continuous depth by another solver than
    their own.
    data: a name of `IMAGES`; None: Fashion-MNIST where it is installed, else digits. quick: digits, two seeds, half a minute.
    jobs, backend, cluster, minutes: see `How`; the rows are those of one process but for their times. resume: the folder of a
    run that was stopped, whose settings hold. ValueError or FileNotFoundError before anything is written.
    Use: `folder = NetworkSuite("tickets")("runs", quick=True, jobs=2)`.
    """

    name: str

    def __call__(
        self, out: str | Path = "runs", seed: int = 0, tell: Tell | None = None, *, data: str | None = None,
        quick: bool = False, jobs: int = 1, backend: str = "loky", cluster: str | None = None, minutes: float | None = None,
        resume: Path | None = None,
    ) -> Path:  # fmt: skip
        """Run it."""
        how = How(jobs, backend, cluster, None, minutes)
        return run(self.name, NETWORKS[self.name], out, seed, tell, data, quick, resume, how)

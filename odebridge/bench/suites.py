"""The suites of the network side, by name: what each runs at full and at quick size, and how a stopped one goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from odebridge.bench import attention, depth, refinement, stiffness, tickets
from odebridge.bench.paired import settings_for
from odebridge.bench.quick import run_suite
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
        raise ValueError(f"data: the suite 'stiffness' always trains on the digits; leave out {data!r}.")
    return stiffness.quick(seed) if quick else stiffness.part(network=stiffness.network(seed))


def _tickets(data: str | None, quick: bool, seed: int) -> Part:
    if quick:
        return tickets.part(settings_for(data, True, seed), ratios=(0.4,))
    return tickets.part(settings_for(data, False, seed, tickets.SEEDS))


def _depth(data: str | None, quick: bool, seed: int) -> Part:
    if quick:
        return depth.part(settings_for(data, True, seed), (depth.Trained("tied", 1), depth.Trained("tied", 8)))
    return depth.part(settings_for(data, False, seed, depth.SEEDS))


def run(
    name: str, make: Make, out: str | Path, seed: int, tell: Tell | None, data: str | None, quick: bool, resume: Path | None
) -> Path:
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
    return run_suite(name, [part], out, settings, tell or _silent, f"odebridge bench {name}{options}", resume)


def _silent(_event: Event) -> None:
    """Nobody watches."""


def attention_suite(
    out: str | Path = "runs", seed: int = 0, tell: Tell | None = None, *,
    data: str | None = None, quick: bool = False, resume: Path | None = None,
) -> Path:  # fmt: skip
    """Gates against a step of 1 and a learned constant on paired seeds; returns the run folder, as all suites do.

    data: a name of `IMAGES`; None: Fashion-MNIST where it is installed, else digits. quick: digits, two seeds, half a minute.
    resume: the folder of a run that was stopped. ValueError or FileNotFoundError before anything is written.
    """
    return run("attention", _attention, out, seed, tell, data, quick, resume)


def refine_suite(
    out: str | Path = "runs", seed: int = 0, tell: Tell | None = None, *,
    data: str | None = None, quick: bool = False, resume: Path | None = None,
) -> Path:  # fmt: skip
    """Accuracy under finer steps, and NSI against the local error; settings as in `attention_suite`."""
    return run("refine", _refine, out, seed, tell, data, quick, resume)


def stiffness_suite(
    out: str | Path = "runs", seed: int = 0, tell: Tell | None = None, *, quick: bool = False, resume: Path | None = None
) -> Path:
    """The index on textbook equations beside the steps of our solvers, and on a small network."""
    return run("stiffness", _stiffness, out, seed, tell, None, quick, resume)


def tickets_suite(
    out: str | Path = "runs", seed: int = 0, tell: Tell | None = None, *,
    data: str | None = None, quick: bool = False, resume: Path | None = None,
) -> Path:  # fmt: skip
    """SE kept in the blocks of highest, lowest or random NSI; settings as in `attention_suite`."""
    return run("tickets", _tickets, out, seed, tell, data, quick, resume)


def depth_suite(
    out: str | Path = "runs", seed: int = 0, tell: Tell | None = None, *,
    data: str | None = None, quick: bool = False, resume: Path | None = None,
) -> Path:  # fmt: skip
    """Networks of continuous depth by another solver than their own; settings as in `attention_suite`."""
    return run("depth", _depth, out, seed, tell, data, quick, resume)

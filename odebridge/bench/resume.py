"""Run folders of trainings and suites that were stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from odebridge.bench.record import RESULTS, RUN, configuration_hash, finite, mended, read, read_run
from odebridge.bench.runner import Part

P = TypeVar("P")
STATE = "training.json"  # what the loop writes through `Keep`, beside its tensors


def _page(folder: Path) -> dict[str, Any]:
    """run.json, or a ValueError in a sentence."""
    page = read_run(folder)
    if not isinstance(page.get("settings"), dict) or page.get("hash") != configuration_hash(page["settings"]):
        raise ValueError(f"resume: {str(folder / RUN)!r} is damaged, so that its settings are not known; start another run.")
    return page


def _known(folder: Path, settings: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The settings, all `names` among them; ValueError where a run of another version had others."""
    if missing := [name for name in names if name not in settings]:
        raise ValueError(
            f"resume: {str(folder / RUN)!r} does not say {missing[0]!r}; it is of another version, start another run."
        )
    return settings


def unfinished(folder: Path, suite: str, what: str, plan: type[P]) -> tuple[P, int]:
    """The plan and the seed that a stopped run of this suite began with.

    FileNotFoundError or ValueError, in a sentence, where there is no run folder, another kind of run than `what`, or a run that
    has ended. One that was stopped before its state was first saved begins again, see `saved`.
    """
    if not (folder / RUN).is_file():
        raise FileNotFoundError(f"resume: {str(folder)!r} is not a run folder, it has no {RUN}.")
    page = _page(folder)
    if page.get("suite") != suite:
        raise ValueError(f"resume: {str(folder)!r} holds no training of {what}, but a run of the suite {page.get('suite')!r}.")
    if (folder / RESULTS).exists():
        mended(folder / RESULTS)
        if read(folder).rows:
            raise ValueError(f"resume: the run {str(folder)!r} has ended; start another one.")
    mine = fields(cast(Any, plan))
    needed = [f.name for f in mine if f.default is MISSING and f.default_factory is MISSING]
    settings = dict(_known(folder, page["settings"], [*needed, "seed"]))
    seed = settings.pop("seed")
    if other := [name for name in settings if name not in {f.name for f in mine}]:
        raise ValueError(f"resume: {str(folder / RUN)!r} says {other[0]!r}; it is of another version, start another run.")
    return plan(**settings), seed


def saved(folder: Path | None) -> bool:
    """Is there a state of the training in this folder to go on from?"""
    return folder is not None and (folder / STATE).exists()


def begun(folder: Path, suite: str, names: Iterable[str] = ()) -> dict[str, Any]:
    """The settings that a run of this suite began with, `names` among them.

    FileNotFoundError or ValueError, in a sentence, for another folder.
    """
    if not (folder / RUN).is_file():
        raise FileNotFoundError(f"resume: {str(folder)!r} is not a run folder, it has no {RUN}.")
    page = _page(folder)
    if page.get("suite") != suite:
        raise ValueError(f"resume: {str(folder)!r} holds no run of {suite!r}, but one of the suite {page.get('suite')!r}.")
    return _known(folder, page["settings"], names)


DECIDED = ("ok", "failed", "not finite")
Key = tuple[str, str, int | None]


def finished(folder: Path) -> set[Key]:
    """Part, hash and seed of every case that has been decided, a solver that gave up included; not of faults and cut trainings.

    A line that a kill has cut off is taken away first.
    """
    if not (folder / RESULTS).exists():
        return set()
    mended(folder / RESULTS)
    return {(r["part"], r["hash"], r["seed"]) for r in read(folder).rows if r["status"] in DECIDED}


def remaining(part: Part, done: set[Key]) -> Part:
    """The part without the cases that are done."""
    return part.without(lambda _, case: (part.name, configuration_hash(finite(case.configuration)[0]), case.seed) in done)

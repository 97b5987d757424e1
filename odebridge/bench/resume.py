"""Run folders of trainings that were stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from odebridge.bench.record import RESULTS, RUN

STATE = "training.json"  # what the loop writes through `Keep`, beside its tensors


def unfinished(folder: Path, suite: str, what: str) -> dict[str, Any]:
    """The settings that a stopped run of this suite began with.

    FileNotFoundError or ValueError, in a sentence, where there is no run folder, another kind of run than `what`, a run that
    has ended, or one that was stopped before its state was first saved.
    """
    if not (folder / RUN).is_file():
        raise FileNotFoundError(f"resume: {str(folder)!r} is not a run folder, it has no {RUN}.")
    page = json.loads((folder / RUN).read_text())
    if page.get("suite") != suite:
        raise ValueError(f"resume: {str(folder)!r} holds no training of {what}, but a run of the suite {page.get('suite')!r}.")
    if (folder / RESULTS).exists():
        raise ValueError(f"resume: the run {str(folder)!r} has ended; start another one.")
    if not (folder / STATE).exists():
        raise ValueError(f"resume: the run {str(folder)!r} was stopped before its state was first saved; start it again.")
    return page["settings"]

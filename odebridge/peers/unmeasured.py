"""Peers that are known and not compared, so that a table says so instead of being silent."""

from __future__ import annotations

from dataclasses import dataclass

from odebridge.core.optional import installed
from odebridge.peers.base import EnsembleRun, PeerRun, absent, no_ensemble, no_run
from odebridge.problems.base import Problem


@dataclass(frozen=True)
class UnmeasuredPeer:
    """A library that could not be installed where the adapters were written; its answer is a sentence, never a figure.

    why: what kept it out. Caveat: where the library is installed, the sentence says that no adapter has been tested.
    """

    name: str
    distribution: str
    why: str

    @property
    def version(self) -> str | None:
        """Version of the library."""
        return installed(self.distribution)

    def _said(self) -> str:
        hint = f"pip install {self.distribution}"
        if self.version is None:
            return f"{absent(self.name, hint)} {self.why}"
        return (
            f"{self.name}: {self.distribution} {self.version} is installed, and no adapter for it has been tested. {self.why}"
        )

    def __call__(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> PeerRun:
        """The sentence."""
        return no_run(problem, self._said())

    def ensemble(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> EnsembleRun:
        """The sentence."""
        return no_ensemble(problem, self._said())

"""What is known to be wrong with a peer, so that a comparison can say so beside the figures."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """peer: wildcard for the names it holds for. versions: those it was seen in. what: the fault and what it does.

    remedy: what we do about it in comparisons, or where it is mended.
    """

    peer: str
    versions: str
    what: str
    remedy: str


KNOWN_FAULTS: tuple[Fault, ...] = (
    Fault(
        "diffrax:Kvaerno?",
        "0.7.2",
        "The Newton iteration reports 'not yet converged' as divergence after its second iteration, so steps are rejected that "
        "a third iteration would have saved: Robertson to 1e5 at rtol 1e-6 takes 256 + 66 steps by Kvaerno5 instead of 95 + 2, "
        "and van der Pol in its scaled form with mu = 1000 does not get anywhere.",
        "Shown as released and as '+fix', with that test corrected in our adapter; mended upstream after 0.7.2.",
    ),
    Fault(
        "diffrax:Kvaerno*",
        "0.7.2",
        "Takes no Jacobian: it is formed by forward mode from the field.",
        "Nothing to do; XLA removes most of the difference.",
    ),
    Fault(
        "torchdiffeq:*",
        "0.2.5",
        "One step size for the whole batch; a trajectory that fails takes the others with it. The published 0.2.5 has no "
        "stiff method; a later state of the repository with the same version number has a gl4 of order 1 and a tsit5 of "
        "order 4.",
        "Only dopri5 of the published version is compared.",
    ),
    Fault(
        "torchdiffeq:*",
        "0.2.5",
        "A field that is not finite is reported as 'underflow in dt'.",
        "The row carries that message.",
    ),
    Fault(
        "torchode:*",
        "1.0.1",
        "A trajectory that fails stops all others, and states that were not reached are memory that was never written.",
        "Trajectories without the status SUCCESS are not counted as solved, their states are NaN.",
    ),
    Fault(
        "scipy:LSODA",
        "1.17.1",
        "Steps over values of the field that are NaN and reports success.",
        "An end state that is not finite counts as a failure.",
    ),
    Fault(
        "scipy:*",
        "1.17.1",
        "Does not report rejected tries, and does not look for jumps of the field.",
        "Rejected tries are left out; through `integrate` the solve is started anew at `discontinuities`.",
    ),
    Fault(
        "yabi:*",
        "as its page describes it",
        "Autonomous fields f(y) and float64 only.",
        "Not compared: it could not be installed.",
    ),
    Fault(
        "sundials:BDF",
        "scikit-sundae 1.2.0",
        "Hands on the number of steps, field evaluations and Jacobians only, not CVODE's error test failures and LU counts.",
        "Those columns are empty.",
    ),
)


def faults_of(name: str) -> list[Fault]:
    """The known faults of a peer, by its name in the catalogue: `faults_of("torchode:dopri5")`."""
    return [fault for fault in KNOWN_FAULTS if fnmatch.fnmatch(name, fault.peer)]

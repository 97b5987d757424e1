"""Non-stiff ensembles against diffrax, torchode and torchdiffeq: trajectories per CPU second at equal achieved error.

python benchmarks/nonstiff.py             # about 8 minutes; pip install torchode torchdiffeq diffrax jax
python benchmarks/nonstiff.py --quick
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from versus import hold, options

from odebridge.bench.contest import Contender, Contest, ours, peer
from odebridge.bench.families import ATOL_PER_RTOL, family, truth

FAMILIES = ("lotka_volterra", "lorenz")
BATCHES = (100, 10_000)
TARGETS = (1e-4, 1e-6)
KNOWN = 100
RTOLS = tuple(10.0**-k for k in range(3, 11))
TEXT = (
    "atol = rtol. Median error over trajectories of max|y - r| / max|r|, against Dopri8 at rtol 1e-11; one thread, processor "
    "time, medians over interleaved rounds with their range; times interpolated between the two tolerances that bracket the "
    "error. torchode and torchdiffeq run eager, as their users run them; diffrax under jit."
)


def contenders(compiled: bool) -> list[Contender]:
    """Ours, then the peers, all on the whole batch but SciPy's loop."""
    mine = [ours(method, compiled=compiled, rtols=RTOLS) for method in ("tsit5", "dopri8")]
    names = ("diffrax:Tsit5", "diffrax:Dopri8", "torchode:dopri5", "torchode:tsit5", "torchdiffeq:dopri5")
    return [*mine, *(peer(name, rtols=RTOLS) for name in names), peer("scipy:RK45", 20, RTOLS)]


def main() -> None:
    """One contest for each family and batch size."""
    given = options(__doc__ or "", FAMILIES)
    todo = []
    for name in given.only or FAMILIES:
        known = truth(family(name, KNOWN), KNOWN, stiff=False)
        for b in (20,) if given.quick else BATCHES:
            who = contenders(given.compiled)
            todo.append(Contest(f"{name}, B={b}", family(name, b), known, ATOL_PER_RTOL[name], TARGETS, who))
    hold("nonstiff", "Non-stiff ensembles", TEXT, todo, given)


if __name__ == "__main__":
    main()

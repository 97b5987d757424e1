"""Non-stiff ensembles against diffrax, torchode and torchdiffeq: trajectories per CPU second at equal achieved error.

    python benchmarks/nonstiff.py [--quick] [--full]    # the suite `odebridge bench nonstiff`, and a page of it

Writes benchmarks/results/nonstiff/results.jsonl and table.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from versus import run

TITLE = "Non-stiff ensembles"
TEXT = (
    "atol = rtol. Median error over trajectories of max|y - r| / max|r|, against Dopri8 at rtol 1e-11; one thread, processor "
    "time, medians over interleaved rounds with their range; times interpolated between the two tolerances that bracket the "
    "error. torchode and torchdiffeq run eager, as their users run them; diffrax under jit."
)

if __name__ == "__main__":
    run("nonstiff", "nonstiff", TITLE, TEXT)

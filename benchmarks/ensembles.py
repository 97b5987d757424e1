"""Stiff ensembles against CVODE, LSODA and diffrax: trajectories per CPU second at equal achieved error.

    python benchmarks/ensembles.py [--quick] [--full]    # the suite `odebridge bench ensembles`, and a page of it

Writes benchmarks/results/ensembles/results.jsonl and table.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from versus import run

TITLE = "Stiff ensembles"
TEXT = (
    "Median error over trajectories of max|y - r| / max|r|, against Rodas5P at rtol 1e-11; one thread, processor time, medians "
    "over interleaved rounds with their range; times interpolated between the two tolerances that bracket the error."
)

if __name__ == "__main__":
    run("ensembles", "ensembles", TITLE, TEXT)

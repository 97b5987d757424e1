"""One stiff trajectory, warm, to mescd 5 and 7, against LSODA, CVODE, SciPy's Radau and BDF, and diffrax.

    python benchmarks/single.py [--quick] [--full]    # the suite `odebridge bench solvers --only "one *"`, and a page of it

Writes benchmarks/results/single/results.jsonl and table.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from versus import run

TITLE = "One stiff trajectory"
TEXT = (
    "Error 1e-5 and 1e-7 is mescd 5 and 7: -log10 max |y - r| / (atol/rtol + |r|) at the published end state. "
    "`scipy:odeint` is LSODA with its loop in compiled code, `scipy:LSODA` the same stepped from Python. All get the analytic "
    "Jacobian but diffrax, which takes none. One thread, processor time, medians over interleaved rounds with their range; "
    "times interpolated between the two tolerances that bracket the error."
)

if __name__ == "__main__":
    run("solvers", "single", TITLE, TEXT)

"""One stiff trajectory, warm, to mescd 5 and 7, against LSODA, CVODE, SciPy's Radau and BDF, and diffrax.

python benchmarks/single.py               # about 6 minutes; pip install scikit-sundae diffrax jax
python benchmarks/single.py --quick
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from versus import hold, options

from odebridge.bench.contest import LOOSE, RTOLS, Contender, Contest, ours, peer
from odebridge.bench.families import ATOL_PER_RTOL, alone

PROBLEMS = ("van_der_pol", "robertson", "hires", "orego", "pollu")
PEERS = ("scipy:odeint", "scipy:LSODA", "sundials:BDF", "scipy:Radau", "scipy:BDF")
PEERS += ("diffrax:Kvaerno3", "diffrax:Kvaerno5", "diffrax:Kvaerno5+fix")
TEXT = (
    "Error 1e-5 and 1e-7 is mescd 5 and 7: -log10 max |y - r| / (atol/rtol + |r|) at the published end state. "
    "`scipy:odeint` is LSODA with its loop in compiled code, `scipy:LSODA` the same stepped from Python. All get the analytic "
    "Jacobian but diffrax, which takes none. One thread, processor time, medians over interleaved rounds with their range; "
    "times interpolated between the two tolerances that bracket the error."
)


def contenders(compiled: bool) -> list[Contender]:
    """Ours, then the peers."""
    mine = [ours(method, compiled=compiled) for method in ("rodas5p", "kvaerno5")]
    rtols = {name: LOOSE if name.startswith("diffrax") else RTOLS for name in PEERS}
    return [*mine, *(peer(name, rtols=rtols[name], max_steps=200_000) for name in PEERS)]


def main() -> None:
    """One contest for each problem."""
    given = options(__doc__ or "", PROBLEMS)
    todo = []
    for name in given.only or (PROBLEMS[:2] if given.quick else PROBLEMS):
        task, known = alone(name)
        floor = ATOL_PER_RTOL[name]
        who = contenders(given.compiled)
        todo.append(Contest(name, task, known, floor, (1e-5, 1e-7), who, floor=floor))
    hold("single", "One stiff trajectory", TEXT, todo, given)


if __name__ == "__main__":
    main()

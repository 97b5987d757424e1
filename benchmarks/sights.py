"""What a calibrated gate should see of the state: nothing, every component, or state and slope pooled over the components?

    OMP_NUM_THREADS=1 python benchmarks/sights.py [--minutes 8] [--quick]

For each family and seed `ob.calibrate` runs once for every sight, with the same instances and the same filter search, and every
law is measured on instances that no search has seen: f evaluations at equal error over those of the best classical law, the
filter tuned on the family among them, whether or not `calibrate` would have kept the law. A row each in results/sights.json;
rows that are there are not made again. benchmarks/residual_page.py makes the table of docs/learned.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import odebridge as ob
from odebridge.bench.controller_families import families
from odebridge.bench.environment import environment
from odebridge.bench.record import finite
from odebridge.core.files import write_atomic
from odebridge.train.calibration.calibrate import PLACES

RESULT = Path(__file__).parent / "results" / "sights.json"
METHOD, NAMES, SEEDS, GENERATIONS, INSTANCES = "rodas5p", ("hodgkin_huxley", "hires", "pollu"), 3, 80, 16
SIGHTS: dict[str, bool | str] = {"nothing": False, "components": True, "pooled": "pooled"}


def run(name: str, sight: str, seed: int, generations: int, instances: int) -> dict[str, Any]:
    """One row: what the learned law needs on the judging instances, kept or not."""
    began = time.process_time()
    law = ob.calibrate(
        families(METHOD)[name](), method=METHOD, instances=instances, generations=generations, seed=seed, progress=False,
        state=SIGHTS[sight],
    )  # fmt: skip
    found = law.report["compared"]["learned"]
    return finite({
        "family": name, "sight": sight, "seed": seed, **found, "kept": law.report["kept"], "numbers": law.report["numbers"],
        "best_classical": law.report["best_classical"], "cpu_seconds": time.process_time() - began,
    })[0]  # fmt: skip


def main() -> None:
    """Make what is missing; a system of more than PLACES components has no sight of each."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--quick", action="store_true", help="one seed of one family in seconds, nothing written")
    ask.add_argument("--minutes", type=float, default=float("inf"), help="begin no row after so long")
    given = ask.parse_args()
    torch.set_num_threads(1)
    page = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": []}
    began, plan = time.monotonic(), [(n, s, w) for s in range(SEEDS) for n in NAMES for w in SIGHTS]
    for name, seed, sight in [("hires", 0, w) for w in SIGHTS] if given.quick else plan:
        small = families(METHOD)[name]().x0.numel() <= PLACES
        there = {(r["family"], r["seed"], r["sight"]) for r in page["rows"]}
        late = time.monotonic() - began > 60 * given.minutes
        if (sight == "components" and not small) or (not given.quick and ((name, seed, sight) in there or late)):
            continue
        row = run(name, sight, seed, *((4, 8) if given.quick else (GENERATIONS, INSTANCES)))
        print({k: row[k] for k in ("family", "sight", "seed", "ratio", "low", "high", "failed", "cpu_seconds")}, flush=True)
        if not given.quick:
            about = {"method": METHOD, "generations": GENERATIONS, "instances": INSTANCES, **environment()}
            page = {**about, "rows": [*page["rows"], row]}
            write_atomic(RESULT, (json.dumps(page, indent=1, allow_nan=False) + "\n").encode())


if __name__ == "__main__":
    main()

"""Stiff ensembles against CVODE, LSODA and diffrax: trajectories per CPU second at equal achieved error.

    python benchmarks/ensembles.py            # about 8 minutes; pip install scikit-sundae diffrax jax
    python benchmarks/ensembles.py --quick

Peers get the first trajectories of the same batch only, as many as suits them: loops cost the same for each, and a vmap'd
solver runs in lock-step until the last trajectory has finished, so that larger batches slow it down.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from versus import command_of, folder_of, hold, options, tell

from odebridge.bench.contest import LOOSE, RTOLS, Contender, Contest, ours, peer
from odebridge.bench.equal import median
from odebridge.bench.families import ATOL_PER_RTOL, family, truth
from odebridge.bench.verdict import head

BATCHES = {"robertson": (1000, 10_000), "van_der_pol": (1000,), "hires": (1000,), "pollu": (1000,)}
TARGETS = {"robertson": (1e-6, 3e-8), "van_der_pol": (1e-4, 1e-6), "hires": (1e-4, 1e-6), "pollu": (1e-4, 1e-6)}
KNOWN = 100  # trajectories whose end state is known
LANES = {"loop": 50, "vmap": 300}  # a vmap over 300 is as fast per trajectory as over 1000, or faster
GROWTH = (1000, 10_000, 100_000)
TEXT = (
    "Median error over trajectories of max|y - r| / max|r|, against Rodas5P at rtol 1e-11; one thread, processor time, medians "
    "over interleaved rounds with their range; times interpolated between the two tolerances that bracket the error."
)


def contenders(compiled: bool, quick: bool) -> list[Contender]:
    """Ours, then the peers; stalled trajectories of diffrax are stopped after 20 000 steps."""
    loop, vmap = (10, 20) if quick else (LANES["loop"], LANES["vmap"])
    loops = [peer(name, loop) for name in ("sundials:BDF", "scipy:odeint")]
    loose = {"Kvaerno5": LOOSE, "Kvaerno5+fix": LOOSE, "Kvaerno3": RTOLS, "Kvaerno3+fix": RTOLS}
    vmaps = [peer(f"diffrax:{m}", vmap, rtols, max_steps=20_000) for m, rtols in loose.items()]
    mine = [ours(method, compiled=compiled) for method in ("rodas5p", "kvaerno5")]
    return [*mine[: 1 if quick else 2], *loops, *vmaps]


def contests(given) -> list[Contest]:
    """One for each family and batch size."""
    out = []
    for name, sizes in BATCHES.items():
        if given.only and name not in given.only:
            continue
        known = truth(family(name, KNOWN), KNOWN if not given.quick else 10, stiff=True)
        tell(f"{name}: end states of {len(known)} trajectories are known")
        for b in (100,) if given.quick else sizes:
            who = contenders(given.compiled, given.quick)
            out.append(Contest(f"{name}, B={b}", family(name, b), known, ATOL_PER_RTOL[name], TARGETS[name], who))
    return out


def growth(given) -> None:
    """How our time and memory grow with the batch: Robertson, rtol 1e-4, medians of warm solves, into growth.jsonl."""
    who, rows = ours("rodas5p", compiled=given.compiled), []
    for b in (100, 1000) if given.quick else GROWTH:
        task = family("robertson", b)
        cold = who.solve(task, 1e-4, 1e-10, 300.0)
        cpu = median([who.solve(task, 1e-4, 1e-10, 120.0).cpu for _ in range(1 if given.quick else 3)])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = {"kind": "growth", "solver": who.name, "b": b, "cpu": cpu, "first": cold.seconds, "peak_mib": round(peak)}
        row["against_linear"] = cpu / rows[-1]["cpu"] / (b / rows[-1]["b"]) if rows else None
        rows.append(row)
        linear = f", {row['against_linear']:.2f} times linear growth" if rows[1:] else ""
        tell(f"growth: B={b}: {cpu:.3f} s ({cold.seconds:.1f} s at first), {b / cpu:.0f}/s, peak {peak:.0f} MiB{linear}")
    folder = folder_of("ensembles", given)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [head("Growth with the batch", command_of("ensembles")), *rows]
    (folder / "growth.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def main() -> None:
    """Everything, or what --only names."""
    given = options(__doc__ or "", [*BATCHES, "growth"])
    todo = contests(given)
    if todo:
        hold("ensembles", "Stiff ensembles", TEXT, todo, given)
    if not given.only or "growth" in given.only:
        growth(given)


if __name__ == "__main__":
    main()

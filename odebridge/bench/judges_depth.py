"""Judges of the rows of `odebridge bench depth`: networks of continuous depth by another solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from odebridge.bench import depth_page
from odebridge.bench.depth import Trained
from odebridge.bench.depth import name as scheme_name
from odebridge.bench.grouped import Row, said
from odebridge.bench.inference import Interval
from odebridge.bench.judges import FAILS, HOLDS, OPEN, Found
from odebridge.bench.words import between


def solver_free(rows: Sequence[Row]) -> Found | None:
    """Points that networks trained with 8 steps a stage lose by another solver."""
    return _other_solver(rows, lambda s: s.steps == 8, lambda v: HOLDS if all(i.low > -1 and i.high < 1 for i in v) else OPEN)


def solver_bound(rows: Sequence[Row]) -> Found | None:
    """Points that networks trained with one step a stage lose by another solver."""

    def verdict(v: Sequence[Interval]) -> str:
        return HOLDS if all(i.low > 1 for i in v) else FAILS if all(i.high < 1 for i in v) else OPEN

    return _other_solver(rows, lambda s: s.steps == 1, verdict)


def _other_solver(
    rows: Sequence[Row], wanted: Callable[[Trained], bool], verdict: Callable[[Sequence[Interval]], str]
) -> Found | None:
    for about, by in depth_page.schemes(rows):
        found = {s: depth_page.lost(mine) for s, mine in by.items() if wanted(s)}
        if not found:
            return None
        told = "; ".join(f"{scheme_name(s)} {between(v.mean, v.low, v.high, 1)}" for s, v in found.items())
        return Found(said(about), f"{max(v.n for v in found.values())} seeds", f"{told} points", verdict(list(found.values())))
    return None

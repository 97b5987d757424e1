"""Judges of the rows of `odebridge bench stiffness`: the index on equations, and whether small networks are stiff."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from odebridge.bench import stiffness_page
from odebridge.bench.grouped import Row, said
from odebridge.bench.judges import FAILS, HOLDS, Found
from odebridge.bench.words import signed


def follows_implicit(rows: Sequence[Row]) -> Found | None:
    """The index and 1/h of the implicit method."""
    return _equations(rows, "radau5", "index_and_1/h", lambda some: min(some) > 0.3)


def not_explicit(rows: Sequence[Row]) -> Found | None:
    """The index and 1/h of the explicit method, where the equation is stiff."""
    stiff = [r for r in rows if r["configuration"].get("settings") != {"mu": 1.0}]
    return _equations(stiff, "dopri5", "index_and_1/h", lambda some: max(some) < 0.3)


def radius_explicit(rows: Sequence[Row]) -> Found | None:
    """The spectral radius and 1/h of the explicit method, where the equation is stiff."""
    stiff = [r for r in rows if r["configuration"].get("settings") != {"mu": 1.0}]
    return _equations(stiff, "dopri5", "radius_and_1/h", lambda some: min(some) > 0.75)


def not_radius(rows: Sequence[Row]) -> Found | None:
    """The index and the spectral radius along the solution."""
    return _equations(rows, "radau5", "index_and_radius", lambda some: max(some) < 0.3)


def _equations(rows: Sequence[Row], method: str, key: str, rule: Callable[[Sequence[float]], bool]) -> Found | None:
    known = [(r, v) for r in stiffness_page.equations(rows, method) if (v := r["values"].get(key)) is not None]
    if not known:
        return None
    told = "; ".join(f"{stiffness_page.named(r['configuration'])} {signed(v)}" for r, v in known)
    steps = f"{min(r['values']['steps'] for r, _ in known)} to {max(r['values']['steps'] for r, _ in known)} steps"
    return Found(f"{len(known)} equations, {method}", steps, told, HOLDS if rule([v for _, v in known]) else FAILS)


def not_stiff(rows: Sequence[Row]) -> Found | None:
    """The share of blocks and samples whose spectral radius exceeds 2."""
    nets = stiffness_page.networks(rows)
    if not nets:
        return None
    beyond = fmean(r["values"]["share_beyond_2"] for r in nets)
    pairs = sum(r["values"]["pairs"] for r in nets)
    told = f"{100 * beyond:.1f} % of blocks and samples with h rho > 2"
    return Found(
        said(nets[0]["configuration"]),
        f"{pairs} blocks and samples, seeds: {len(nets)}",
        told,
        HOLDS if beyond < 0.1 else FAILS,
    )

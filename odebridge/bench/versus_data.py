"""What `solver-vs-network` has measured, by family: errors against time of solvers, and of networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

from odebridge.bench import words
from odebridge.bench.equal import Point, bootstrap, median, time_at
from odebridge.bench.findings import of_part
from odebridge.bench.flow_networks import KINDS
from odebridge.bench.flows import FLOWS
from odebridge.bench.versus import named

Row = dict[str, Any]
GOOD = ("ok", "shortened", "failed")  # a failed row has errors, too, unless they are null
PART = "versus"


@dataclass(frozen=True)
class Measured:
    """The rows of one family. times: seconds for all held-out states, by setting, in rounds. data: seconds the data took."""

    family: str
    solvers: tuple[Row, ...]
    networks: tuple[Row, ...]
    times: dict[str, list[float]]
    states: int
    data: float

    @property
    def title(self) -> str:
        """In words."""
        return FLOWS[self.family].title if self.family in FLOWS else self.family

    @property
    def stiff(self) -> bool:
        """As the rows say."""
        return any(r["configuration"]["stiff"] for r in (*self.solvers, *self.networks))


def measured(rows: Sequence[Row]) -> list[Measured]:
    """Families in the order of their rows."""
    mine = [r for r in of_part(rows, PART) if r["status"] in GOOD]
    out = []
    for family in dict.fromkeys(r["configuration"]["family"] for r in mine):
        by = {w: [r for r in mine if r["configuration"]["family"] == family and r["configuration"]["what"] == w] for w in WHATS}
        clock: dict[str, Any] = by["clock"][-1]["values"] if by["clock"] else {"times": {}, "states": 0}
        data = by["data"][-1]["values"]["data_seconds"] if by["data"] else math.nan
        out.append(Measured(family, tuple(by["solver"]), tuple(by["network"]), clock["times"], clock["states"], data))
    return out


WHATS = ("data", "solver", "network", "clock")


def curve_of(c: dict[str, Any]) -> str:
    """The curve that a setting of a solver belongs to."""
    name = words.method(c["method"])
    if "steps" in c:
        return f"{name}, equal steps"
    return f"{name}{', compiled' if c.get('compiled') else ''}{', calibrated' if c.get('calibrated') else ''}"


def label_of(row: Row) -> str:
    """The setting as the clock names it."""
    c = row["configuration"]
    return f"{c['kind']}, K={c['steps']}" if c["what"] == "network" else named(c)


def said(row: Row) -> str:
    """A network in words."""
    c = row["configuration"]
    title = KINDS[c["kind"]].title if c["kind"] in KINDS else c["kind"]
    return title if c["kind"] == "deeponet" else f"{title}, K = {c['steps']}"


def middle(values: Sequence[float | None]) -> float:
    """The middle seed; infinite where it is not finite."""
    return median_low([math.inf if v is None else v for v in values])


def error_of(row: Row, key: str) -> float:
    """Median, p90 or p99 of a row; of the middle seed for a network."""
    v = row["values"].get(key)
    if isinstance(v, list):
        return middle(v)
    return math.inf if v is None else v


def curves(found: Measured, key: str) -> dict[str, list[Point]]:
    """Points of every curve of a solver, from rough to fine."""
    out: dict[str, list[Point]] = {}
    for row in found.solvers:
        c, times = row["configuration"], found.times.get(label_of(row))
        if times and math.isfinite(error_of(row, key)):
            fineness = 1.0 / c["steps"] if "steps" in c else c["rtol"]
            out.setdefault(curve_of(c), []).append(Point(fineness, error_of(row, key), tuple(times)))
    return {name: sorted(points, key=lambda p: -p.rtol) for name, points in out.items()}


@dataclass(frozen=True)
class Versus:
    """A network beside the fastest solver that is as accurate. ratio: how many times longer the solver takes."""

    row: Row
    error: float
    solver: str
    ratio: float
    interval: tuple[float, float] | None
    pays: float | None  # states after which data and training are paid; None: never

    @property
    def wins(self) -> bool:
        """Faster, and not within the noise."""
        return (self.interval or (self.ratio, 0.0))[0] > 1.0


def versus(found: Measured, key: str) -> list[Versus]:
    """Every network whose error is below one standard deviation, at its own error; nothing is extrapolated.

    A solver counts at an error where two neighbouring settings bracket it, or with its roughest setting where that is more
    accurate already.
    """
    known, out = curves(found, key), []
    for row in found.networks:
        error, own = error_of(row, key), found.times.get(label_of(row))
        if not own or not error < 1.0:
            continue
        able = {}
        for name, points in known.items():
            times = time_at(points, error) or (points[0].times if points[0].error <= error else None)
            if times:
                able[name] = times
        if not able:
            continue
        best = min(able, key=lambda name: median(able[name]))
        ratios = [a / b for a, b in zip(able[best], own, strict=False)]
        saved = (median(able[best]) - median(own)) / found.states
        cost = row["values"]["train_seconds"] + found.data
        pays = cost / saved if saved > 0 and math.isfinite(cost) else None
        out.append(Versus(row, error, best, median(ratios), bootstrap(ratios), pays))
    return out

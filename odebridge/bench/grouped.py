"""Rows of networks by what was the same in them, then by gate and seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odebridge.bench.findings import of_part
from odebridge.bench.record import canonical

Row = dict[str, Any]
ByGate = dict[str, dict[int, Row]]


def groups(rows: Sequence[Row], part: str, key: str = "controller") -> list[tuple[dict[str, Any], ByGate]]:
    """For every set of other settings: those, and the good rows by `key` and seed, in the order written.

    Only such rows may be compared: the same data, recipe and size of network.
    """
    found: dict[str, tuple[dict[str, Any], ByGate]] = {}
    for row in of_part(rows, part):
        if row["status"] != "ok" or key not in row["configuration"]:
            continue
        about = {k: v for k, v in row["configuration"].items() if k != key}
        _, by = found.setdefault(canonical(about), (about, {}))
        by.setdefault(str(row["configuration"][key]), {})[row["seed"]] = row
    return list(found.values())


def shared(one: dict[int, Row], other: dict[int, Row]) -> list[int]:
    """The seeds that both have."""
    return sorted(one.keys() & other.keys())


def points(rows: dict[int, Row], seeds: Sequence[int] | None = None) -> list[float]:
    """Test accuracy in per cent, by seed."""
    return [100 * rows[s]["values"]["accuracy"] for s in (sorted(rows) if seeds is None else seeds)]


def values(rows: dict[int, Row], key: str) -> list[Any]:
    """A value of every seed that has it."""
    return [v for s in sorted(rows) if (v := rows[s]["values"].get(key)) is not None]


def said(about: dict[str, Any]) -> str:
    """Data and size of a group, in words."""
    data = {"fashion-mnist": "Fashion-MNIST"}.get(about["data"], about["data"])
    images = f"{about['train']:,} training images".replace(",", " ") if about.get("train") else "all training images"
    stem = f", first convolution at stride {about['stem']}" if about.get("stem", 1) > 1 else ""
    return f"{data}, {images}, depth {about['depth']}, width {about['width']}{stem}, {about['epochs']} epochs"

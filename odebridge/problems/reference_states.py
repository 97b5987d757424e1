"""bootstrap"""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """b."""

    digits: float
    ways: str
    end: tuple[float, ...]


STATES: dict[str, Known] = {}

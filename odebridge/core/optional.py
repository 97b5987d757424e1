"""Libraries that may be missing."""

from __future__ import annotations

import importlib
from functools import cache
from importlib import metadata
from typing import Any


@cache
def optional(module: str) -> Any:
    """The module of that name, imported now, or None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, without importing it, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None

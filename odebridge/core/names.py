"""Names at the edge: look one up, or say which one was probably meant."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def nearest(name: str, choices: Iterable[str]) -> str:
    """A sentence tail that names the choices nearest to `name`, or all of them."""
    choices = sorted(choices)
    near = difflib.get_close_matches(str(name).lower(), choices, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"choose one of {', '.join(choices)}."


def lookup(kind: str, name: str, catalogue: Mapping[str, T]) -> T:
    """catalogue[name], or a ValueError in a sentence with the nearest valid name."""
    if name in catalogue:
        return catalogue[name]
    raise ValueError(f"There is no {kind} named {name!r}: {nearest(name, catalogue)}")


def matching(catalogue: Mapping[str, object], pattern: str = "*") -> list[str]:
    """The names of a catalogue that match a wildcard pattern such as "*stiff*"."""
    return [name for name in catalogue if fnmatch.fnmatch(name, pattern)]

"""What a controller is called: for a solution that says how it was made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.catalogue import CONTROLLERS
from odebridge.control.compose import PerStep

GATES = {cls: name for name, cls in ATTENTION.items()}


def named(law: Any) -> tuple[str, ...]:
    """Names in the catalogues of a controller and of those that it is made of, each once; of others the name of the class.

    A wrapper that is a dataclass is what it is wrapped around. Use: `named(Bounded(PI, highest=0.1))` is ("pi",).
    """
    return tuple(dict.fromkeys(_names(law)))


def _names(law: Any) -> Iterator[str]:
    equal = (name for name, one in CONTROLLERS.items() if one is law or (type(one) is type(law) and one == law))
    known = GATES.get(type(law)) or next(equal, None)
    inside = [] if known else [name for part in _parts(law) for name in _names(part)]
    yield from inside or [known or type(law).__name__]


def _parts(law: Any) -> list[Any]:
    if isinstance(law, PerStep):
        return list(law.controllers)
    values = [getattr(law, f.name) for f in fields(law)] if is_dataclass(law) else []
    return [v for v in values if callable(getattr(v, "accepts", None))]

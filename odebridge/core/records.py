"""Named tuples with some fields changed, in a form that every supported torch can compile."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T", bound=tuple[Any, ...])


def replaced(record: T, **parts: Any) -> T:
    """`record._replace(**parts)`, of which TorchDynamo up to 2.8 makes no graph and up to 2.11 an empty tuple.

    TypeError for a name that the record does not have. Use: `replaced(lanes, h=h)`.
    """
    names = type(record)._fields  # type: ignore[attr-defined]
    return type(record)(**{**dict(zip(names, record, strict=True)), **parts})

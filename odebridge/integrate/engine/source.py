"""What a kernel is made of besides its text: which numbers of a trajectory it keeps, and where, and which tensors it reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from odebridge.integrate.engine.text import Text

RESULT = 6  # of the tensors of the lanes, in the order of `traced.carried`: t x slope h tries unusable result ...


@dataclass(frozen=True)
class Slot:
    """One number of a trajectory that the kernel keeps: where it comes from, its kind, and where it stands (None: not kept)."""

    kind: str
    place: int | None
    leaf: int
    entry: int


@dataclass
class Uniforms:
    """Tensors that the user's functions have captured: pointers at every call, or numbers where they are integers."""

    tensors: list[tuple[str, int] | Tensor] = field(default_factory=list)  # by function and input, or a law's own
    baked: list[tuple[str, int, Tensor]] = field(default_factory=list)


@dataclass
class Source:
    """A kernel's text and all that is needed to feed it."""

    text: Text
    slots: list[Slot]
    stored: int  # slots that change come first; the others are read only
    kept: int  # slots in all
    rows: int  # the same with what stays in the kernel's memory
    outs: int  # numbers of the last try
    table: list[float]
    uniforms: Uniforms

    @cached_property
    def spans(self) -> list[tuple[int, list[int]] | None]:
        """For each leaf its first row among those kept and which of its entries are there, one after the other."""
        found: dict[int, list[tuple[int, int]]] = {}
        for slot in self.slots:
            found.setdefault(slot.leaf, [])
            if slot.place is not None:
                found[slot.leaf].append((slot.place, slot.entry))
        return [(v[0][0], [e for _, e in v]) if v else None for _, v in sorted(found.items())]

    @cached_property
    def order(self) -> dict[str, tuple[list[tuple[int, list[int]]], list[int]]]:
        """By kind of number: the leaves that are kept, with their entries, and the rows of all of these."""
        kinds = {slot.leaf: slot.kind for slot in self.slots}
        found: dict[str, tuple[list[tuple[int, list[int]]], list[int]]] = {}
        for leaf, span in enumerate(self.spans):
            if span is not None:
                parts, rows = found.setdefault(kinds[leaf], ([], []))
                parts.append((leaf, span[1]))
                rows += range(span[0], span[0] + len(span[1]))
        return found

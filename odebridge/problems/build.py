"""A `Problem` of a component-wise system in one call, with the reference that has been computed for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from odebridge.problems.base import Problem
from odebridge.problems.componentwise import Field, Jacobian, Rows, Terms
from odebridge.problems.reference_grids import GRIDS
from odebridge.problems.reference_states import STATES


def vector(values: Sequence[float]) -> Tensor:
    """Numbers as a float64 tensor."""
    return torch.tensor(values, dtype=torch.float64)


def computed(name: str, nominal: bool = True) -> dict[str, Any]:
    """Reference, digits and source of a problem whose end state `benchmarks/references.py` has computed.

    The source alone, saying so, where the settings are not the nominal ones or nothing has been computed.
    """
    found = STATES.get(name, GRIDS.get(name)) if nominal else None
    if found is None:
        return {"source": "no reference for these settings"}
    return {
        "reference": vector(found.end),
        "digits": found.digits,
        "source": f"computed: {found.ways}, benchmarks/references.py",
    }


def from_terms(
    name: str,
    terms: Terms,
    rows: Rows,
    x0: Sequence[float],
    t1: float,
    args: Sequence[float],
    *,
    nominal: bool = True,
    **more: Any,
) -> Problem:
    """The problem x' = terms(t, x, args), x(0) = x0 on [0, t1], with df/dx = rows; `more` goes to `Problem`.

    Caveat: with nominal=False there is no reference, whatever has been computed under that name.
    Example: `from_terms("decay", decay, decay_rows, (1.0,), 1.0, (-1.0,), source="exact")`
    """
    known = computed(name, nominal) | more
    return Problem(Field(terms), vector(x0), (0.0, t1), vector(args), Jacobian(rows), name=name, **known)

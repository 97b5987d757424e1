"""Write docs/catalogues.md from the catalogues: `python docs/make_tables.py`. A test fails when the page is out of date."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import odebridge as ob
from odebridge.control import ATTENTION, CONTROLLERS, Filter
from odebridge.methods import METHODS
from odebridge.nets.catalogue import MODELS
from odebridge.problems import PROBLEMS
from odebridge.train import RECIPES

PAGE = Path(__file__).parent / "catalogues.md"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(v).replace("|", "\\|") for v in line) + " |" for line in lines)


def first_line(thing: object) -> str:
    """First sentence of a docstring."""
    return (thing.__doc__ or "").strip().splitlines()[0]


def source(thing: object) -> str:
    """What a docstring names after "Source:", to the end of the sentence or the next label."""
    text = " ".join((type(thing).__doc__ or "").split())
    found = re.search(r"Source: (.*?)(?:\. (?=Caveat|Use|ValueError|All)|$)", text) or re.search(
        r"\(([^()]*\d{4}[^()]*)\)", text
    )
    if found is None:
        raise ValueError(f"{type(thing).__name__}: its docstring names no source")
    return found[1].rstrip(".")


def methods() -> str:
    """Order, order of the error estimate and of the dense output, f evaluations of one step, own law, reference."""
    rows = []
    for name, method in METHODS.items():
        tableau = getattr(method, "tableau", None)
        reference = source(method) if tableau is None else tableau.reference
        error = "none" if method.error_order is None else method.error_order
        rows.append(
            [f"`{name}`", method.order, error, method.dense_order, tableau.stages if tableau else "", method.law, reference]
        )
    return table(["method", "order", "error estimate", "dense output", "stages", "own law", "reference"], rows)


def controllers() -> str:
    """Classical laws with their coefficients."""
    rows = []
    for name, law in CONTROLLERS.items():
        what = f"b = {tuple(round(v, 4) for v in law.b)}, a = {law.a}" if isinstance(law, Filter) else first_line(type(law))
        rows.append([f"`{name}`", type(law).__name__, what])
    return table(["law", "class", "coefficients or formula"], rows)


def problems() -> str:
    """Size, span, stiffness, Jacobian, digits of the reference, source."""
    rows = []
    for name, build in PROBLEMS.items():
        p = build()
        t0, t1 = p.span
        given = "given" if p.jacobian is not None else "forward mode"
        digits = "none" if p.reference is None else f"{p.digits:g}"
        rows.append([f"`{name}`", p.x0.shape[-1], f"{t0:g} to {t1:g}", "yes" if p.stiff else "no", given, digits, p.source])
    return table(["problem", "n", "span", "stiff", "Jacobian", "digits of the reference", "source"], rows)


def page() -> str:
    """The whole page."""
    gates = table(["gate", "class", "what it is"], ([f"`{k}`", c.__name__, first_line(c)] for k, c in ATTENTION.items()))
    data = ", ".join(f"`{name}`" for name in ob.list_data())
    variants = ([f"`{r.name}`", ", ".join((r.data, *r.others)), r.about] for r in RECIPES.values())
    return "\n\n".join(
        [
            "# Catalogues",
            "Made from the code by `python docs/make_tables.py`; do not edit.",
            "## Methods",
            methods(),
            "## Step controllers",
            controllers(),
            "## Attention modules",
            gates,
            "## Problems",
            problems(),
            "## Models",
            ", ".join(f"`{name}`" for name in MODELS),
            "## Data",
            data,
            "## Variants of the neural ODE",
            table(["variant", "data", "what it is"], variants),
        ]
    ) + "\n"  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page())

"""Licences of what an installation brings, from the metadata of the packages installed here, as a Markdown table.

python docs/licences.py    # what the package needs to run, with what that needs in turn

"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = "odebridge"


def name_of(text: str) -> str:
    """The name as the index spells it."""
    return re.sub(r"[-_.]+", "-", text).lower()


def needs(name: str) -> list[str]:
    """What a distribution needs here, extras left out; of ours, what pyproject.toml says."""
    page = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    texts = page["project"]["dependencies"] if name == ROOT else metadata.requires(name) or ()
    found = [Requirement(text) for text in texts]
    return [name_of(r.name) for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def brought(root: str) -> dict[str, set[str]]:
    """Every distribution below the root with what asks for it; ModuleNotFoundError where one of ours is not installed."""
    found: dict[str, set[str]] = {}
    todo = [root]
    while todo:
        name = todo.pop()
        for other in needs(name):
            metadata.distribution(other)
            if other not in found:
                todo.append(other)
            found.setdefault(other, set()).add(name)
    return found


def licence(name: str) -> str:
    """The SPDX expression, else the classifiers, else the first line of the field that anything may stand in."""
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return expression
    classified = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    free = next(iter((about.get("License") or "").splitlines()), "")
    return ", ".join(dict.fromkeys(classified)) or free or "not said"


def table() -> str:
    """Direct dependencies first."""
    found = brought(ROOT)
    rows = sorted(found, key=lambda n: (ROOT not in found[n], n))
    lines = ["| package | version | licence | asked for by |", "|---|---|---|---|"]
    for n in rows:
        lines.append(f"| {n} | {metadata.version(n)} | {licence(n)} | {', '.join(sorted(found[n]))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())

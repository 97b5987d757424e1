"""`cite`: BibTeX of what was used, by name, by object, or from the rows of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from odebridge.bench.record import read
from odebridge.citing.entries import ENTRIES
from odebridge.citing.entry import Entry
from odebridge.citing.used import USED
from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.named import named
from odebridge.core.names import nearest
from odebridge.core.result import Solution


def cite(*used: Any) -> str:
    """Print, and return, BibTeX of this package and of the methods, step controllers and attention modules that were used.

    used: solutions, which know how they were made; names ("rodas5p", "h211b", "se"); methods and controllers themselves; or run
    folders, runs/<id>, whose rows name what they used. Nothing: this package and the paper whose idea it builds on. A method
    brings its own law with it. What a solution was made with and is not known here, such as a controller of your own, is named
    in a line that BibTeX skips.
    ValueError with the nearest names for an unknown one; TypeError for what cannot be told, such as a Solution that was made
    inside torch.compile. Source: the references of the catalogues. Caveat: StepNet is a reconstruction, and citing
    the paper does not make it the paper's module. Use: `ob.cite(sol)`.
    """
    keys, unknown = dict.fromkeys(["odebridge", "huang2023"]), dict[str, None]()
    for thing in used:
        for name in _names(thing):
            if name in USED:
                keys.update(dict.fromkeys(USED[name]))
            else:
                unknown[name] = None
    yours = [f"% {name}: not in the catalogues of odebridge, name its source yourself." for name in unknown]
    text = "\n\n".join([_bibtex(key, ENTRIES[key]) for key in keys] + yours)
    print(text)
    return text


def _names(thing: Any) -> Iterable[str]:
    if isinstance(thing, Path) or (isinstance(thing, str) and thing not in USED and Path(thing).is_dir()):
        return _of_run(Path(thing))
    if isinstance(thing, str):
        if thing not in USED:
            raise ValueError(f"cite: there is nothing named {thing!r}: {nearest(thing, USED)}")
        return [thing]
    if isinstance(thing, Solution):
        if thing.made is None:
            raise TypeError('cite: this Solution does not know how it was made; name its method, such as ob.cite("rodas5p").')
        return [name for name in (thing.made.method, *thing.made.controllers, thing.made.gradient) if name]
    if isinstance(getattr(thing, "law", None), str) and getattr(thing, "name", None) in USED:
        return [thing.name, thing.law]
    names = [name for name in named(thing) if name in USED] or [n for n, cls in ATTENTION.items() if cls is thing]
    if not names:
        raise TypeError(f"cite: give a solution, a name, a method, a controller or a run folder, got {type(thing).__name__}.")
    return names


def _of_run(folder: Path) -> list[str]:
    """Every known name among the settings of the rows."""
    found: dict[str, None] = {}

    def look(value: Any) -> None:
        if isinstance(value, str) and value in USED:
            found[value] = None
        elif isinstance(value, (list, tuple)):
            for v in value:
                look(v)
        elif isinstance(value, dict):
            for v in value.values():
                look(v)

    for row in read(folder).rows:
        look(json.loads(json.dumps(row["configuration"])))
    return list(found)


def _bibtex(key: str, entry: Entry) -> str:
    journal = {"article": "journal", "book": "publisher", "inproceedings": "booktitle", "misc": "howpublished"}[entry.kind]
    volume, _, pages = entry.place.rpartition(":")
    fields = {"author": entry.author, "title": "{" + entry.title + "}", journal: entry.where, "year": str(entry.year)}
    volume, _, number = volume.rstrip(")").partition("(")
    fields |= {"volume": volume, "number": number, "pages": pages, "doi": entry.doi}
    lines = [f"  {name:9} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{entry.kind}{{{key},", *lines, "}"])

"""`cite`: BibTeX of what was used, by name, by object, or from the rows of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from odebridge.bench.record import read
from odebridge.citing.entries import ENTRIES, Entry
from odebridge.citing.used import USED
from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.catalogue import CONTROLLERS
from odebridge.core.names import nearest
from odebridge.core.result import Solution


def cite(*used: Any) -> str:
    """Print, and return, BibTeX of this package and of the methods, step controllers and attention modules that were used.

    used: names ("rodas5p", "h211b", "se"), methods and controllers themselves, or run folders, runs/<id>, whose rows name what
    they used; nothing: this package and the paper whose idea it builds on. A method brings its own law with it.
    ValueError with the nearest names for an unknown one; TypeError for what cannot be told, such as a Solution, which
    does not keep its method. Source: the references of the catalogues. Caveat: StepNet is a reconstruction, and citing
    the paper does not make it the paper's module. Use: `ob.cite("rodas5p")`.
    """
    keys = dict.fromkeys(["odebridge", "huang2023"])
    for thing in used:
        for name in _names(thing):
            keys.update(dict.fromkeys(USED[name]))
    text = "\n\n".join(_bibtex(key, ENTRIES[key]) for key in keys)
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
        raise TypeError('cite: a Solution does not keep its method; name it, such as ob.cite("rodas5p").')
    law = next((name for name, one in CONTROLLERS.items() if one is thing or one == thing), None)
    gate = next((name for name, one in ATTENTION.items() if type(thing) is one or thing is one), None)
    if law is not None or gate is not None:
        return [str(law or gate)]
    name = getattr(thing, "name", None)
    if isinstance(name, str) and name in USED:
        mine = getattr(thing, "law", "")
        return [name, mine] if mine in USED else [name]
    raise TypeError(f"cite: give a name, a method, a controller or a run folder, got {type(thing).__name__}.")


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
    fields |= {"volume": volume.split("(")[0], "pages": pages}
    if "(" in volume:
        fields["number"] = volume.split("(")[1].rstrip(")")
    lines = [f"  {name:9} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{entry.kind}{{{key},", *lines, "}"])

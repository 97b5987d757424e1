"""TOML in and out: settings as a file. No YAML, which reads 1e-3 as a string and NO as false."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LARGEST = 2**20  # bytes; settings are a page, and anything larger is another file


def read_toml(path: str | Path) -> dict[str, Any]:
    """The content of a TOML file.

    FileNotFoundError, or ValueError in a sentence with the name of the file and the line of the fault.
    Use: `read_toml("settings.toml")`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: has {path.stat().st_size} bytes, which is no file of settings; the limit is {LARGEST}.")
    try:
        return tomllib.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:  # TOML and UTF-8 errors alike; brackets in brackets in brackets
        raise ValueError(f"{path}: is not TOML ({error}).") from error


def written_toml(page: Mapping[str, Any], comment: str = "") -> str:
    """The page as TOML: None is left out, mappings come last as tables. TypeError for what TOML has no word for.

    page: strings, bools, numbers, lists of those, and mappings of those. Floats keep every bit.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"{_key(k)} = {_value(v)}" for k, v in _pairs(page) if not isinstance(v, Mapping)]
    for name, table in _pairs(page):
        if isinstance(table, Mapping) and table:
            lines += ["", f"[{_key(name)}]", *(f"{_key(k)} = {_value(v)}" for k, v in _pairs(table))]
    return "".join(f"{line}\n" for line in lines)


def _pairs(page: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((k, v) for k, v in page.items() if v is not None)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)  # inf and nan are TOML, too
    if isinstance(value, str):
        # The escapes of JSON are those of TOML but for DEL, and for pairs of surrogates, which stay plain text here.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"TOML has no word for {value!r}, a {type(value).__name__}.")

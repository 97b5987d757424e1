"""Docstrings here are plain sentences with formulas, not reStructuredText: every sign stands for itself.

`|x|`, `x_`, `*s` and `x_{k+1}` would be substitutions, references and emphasis; they are escaped, and `code` becomes a literal.
Runs before napoleon, which reads "Args:", "Returns:" and "Raises:".
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

CODE = re.compile(r"(`+)(.+?)\1")
MARKUP = re.compile(r"([\\*|_])")
LABEL = re.compile(r"(?<=[.;)`?] )(Source|Caveat|Shapes|Use|Example): |^(Source|Caveat|Shapes|Use|Example): ")
HIDDEN = "\ue000"  # of the private area of Unicode: in no text
SECTION = re.compile(r"^(Args|Returns|Raises|Yields):$")


def escaped(line: str) -> str:
    """The line with markup signs escaped outside of code."""
    parts, end = [], 0
    for found in CODE.finditer(line):
        parts += [MARKUP.sub(r"\\\1", line[end : found.start()]), f"``{found[2].strip()}``"]
        # A literal must end before white space or punctuation.
        parts.append("\\ " if line[found.end() : found.end() + 1].isalnum() else "")
        end = found.end()
    return "".join(parts) + MARKUP.sub(r"\\\1", line[end:])


def joined(lines: list[str]) -> list[str]:
    """Code that runs over the end of a line, put on one line: an odd number of backticks is open."""
    out: list[str] = []
    for line in lines:
        if out and out[-1].count("`") % 2 == 1:
            out[-1] += " " + line.strip()
        else:
            out.append(line)
    return out


def with_blanks(lines: list[str]) -> list[str]:
    """Lists and indented tables get a blank line around them, and continued indents are taken out of plain paragraphs."""
    out: list[str] = []
    inside = False  # a section of napoleon's
    for line in lines:
        if SECTION.match(line.strip()) and not line.startswith(" "):
            inside = True
        elif not line.strip():
            inside = False
        if not inside and line.startswith(" ") and out and out[-1].strip():
            line = "| " + line.strip() if out[-1].startswith("| ") else line
            if not line.startswith("| "):
                out.append("")
                line = "| " + line.strip()
        elif out and out[-1].startswith("| ") and line.strip():
            out.append("")
        out.append(line)
    return out


def labelled(lines: list[str]) -> list[str]:
    """Source, caveat, shapes and use begin paragraphs of their own."""
    out: list[str] = []
    for line in lines:
        at = [m.start() for m in LABEL.finditer(line)]
        if line.startswith(" ") or not at:
            out.append(line)
            continue
        ends = [*at, len(line)] if at[0] == 0 else [0, *at, len(line)]
        for a, b in pairwise(ends):
            part = re.sub(r"^(\w+): ", r"**\1:** ", line[a:b].strip()) if a in at else line[a:b].rstrip()
            out += ["", part] if a in at and out and out[-1].strip() else [part]
    return out


def process(_app: Any, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Replace the lines in place, as Sphinx asks. Napoleon reads a property as "type: text", so colons hide from it."""
    lines[:] = labelled(with_blanks([escaped(line) for line in joined(lines)]))
    if what in ("attribute", "data", "property"):
        lines[:] = [line.replace(":", HIDDEN) for line in lines]


def restored(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """The hidden colons again, after napoleon."""
    lines[:] = [line.replace(HIDDEN, ":") for line in lines]


def setup(app: Any) -> dict[str, Any]:
    """Before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-docstring", restored, priority=600)
    return {"parallel_read_safe": True}

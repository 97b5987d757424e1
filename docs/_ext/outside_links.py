"""Links from a page to files of the repository outside of docs/, which are right on a code host, become downloads.

A tutorial becomes a link to its page, a folder plain text. A link to what does not exist stays an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def rewritten(app: Any, docname: str, source: list[str]) -> None:
    """`[text](../benchmarks/x.jsonl)` as a download of that file."""
    page = Path(app.env.doc2path(docname)).parent
    root = Path(app.srcdir)

    def download(found: re.Match[str]) -> str:
        target = (page / found[2]).resolve()
        if target.is_relative_to(root) or not target.exists():
            return found[0]
        if target.parent == root.parent / "tutorials":
            return f"[{found[1]}](/tutorials/{target.name}{found[3] or ''})"
        return f"{{download}}`{found[1]} <{found[2]}>`" if target.is_file() else found[1]

    source[0] = LINK.sub(download, source[0])


def setup(app: Any) -> dict[str, Any]:
    """At the time of reading."""
    app.connect("source-read", rewritten)
    return {"parallel_read_safe": True}

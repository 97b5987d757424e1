"""One publication as data."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One publication. kind: article, book, inproceedings or misc; where: journal, publisher or proceedings.

    place: "volume(number):pages", "volume:", "pages", or nothing.
    """

    kind: str
    author: str
    title: str
    where: str
    year: int
    place: str = ""
    doi: str = ""

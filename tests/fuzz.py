"""Strategies for files that are damaged, cut off, spliced or something else altogether; no tests of its own."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6
)


@st.composite
def damaged(draw: Any, good: bytes) -> bytes:
    """The good file with some of it turned, cut off, left out, doubled or overwritten."""
    body = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        size = len(body)
        at, end = sorted((draw(st.integers(0, size)), draw(st.integers(0, size))))
        what = draw(st.sampled_from(["flip", "flip", "cut", "leave out", "double", "overwrite", "zeros"]))
        if what == "flip" and size:
            body[min(at, size - 1)] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del body[at:]
        elif what == "leave out":
            del body[at : min(end, at + 40)]
        elif what == "double":
            body[at:at] = body[at : min(end, at + 200)]
        elif what == "overwrite":
            body[at:end] = draw(st.binary(max_size=40))
        else:
            body[at : min(end, at + 16)] = bytes(min(end, at + 16) - at)
    return bytes(body)


def files(good: bytes) -> st.SearchStrategy[bytes]:
    """Damaged ones, and other files: random bytes, text, JSON of any kind, a good beginning and then nothing of sense."""
    other = [
        st.binary(max_size=200),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=100).map(str.encode),
        VALUES.map(lambda v: json.dumps(v).encode()),
        st.integers(0, len(good)).flatmap(lambda n: st.binary(max_size=60).map(lambda tail: good[:n] + tail)),
        st.sampled_from([b"", b"[" * 50_000, b'{"a":' * 50_000, b"NaN", b'"\\ud800"', b"\xff\xfe\x00", b"9" * 10_000]),
    ]
    return st.one_of(damaged(good), *other)


@st.composite
def changed(draw: Any, page: dict[str, Any]) -> dict[str, Any]:
    """A JSON page of the right form with some values that are not what they were, at any depth, and some left out."""
    page = json.loads(json.dumps(page))
    for _ in range(draw(st.integers(1, 3))):
        here: Any = page
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(here[key], (dict, list)) and here[key] and draw(st.booleans()):
                here = here[key]
                continue
            if draw(st.integers(0, 3)) == 0:
                del here[key]
            else:
                here[key] = draw(VALUES)
            break
    return page

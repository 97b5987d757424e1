"""Files that are whole or not there: what a kill in the middle of writing must not destroy."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_atomic(path: Path, content: bytes) -> None:
    """The old file or the new one, never half of one: another name in the same folder, flushed to the disk, renamed.

    OSError, with the name of the file, where it cannot be written; the old file is what it was.
    """
    beside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        name_file(error, path)
        raise
    sync_folder(path.parent)


def name_file(error: BaseException, path: Path) -> None:
    """Put the name of the file into an error of the system: a full disk is told by `write`, which knows no names."""
    if isinstance(error, OSError) and error.errno is not None:  # or its own text would be lost
        error.filename = str(path)


def parsed(text: bytes | str, *, strict: bool = True) -> Any:
    """The value of a JSON text. ValueError for anything else: half a character, brackets a thousand deep, NaN if strict."""
    try:
        value = json.loads(text, parse_constant=_refused if strict else None)
        if "\\ud" in (text if isinstance(text, str) else text.decode("utf-8", "replace")).lower():
            json.dumps(value, ensure_ascii=False).encode()  # half of a pair of surrogates cannot be written again
    except RecursionError as error:
        raise ValueError("brackets too deep") from error
    return value


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def digest_of(page: Mapping[str, Any]) -> str:
    """The sha256 of a page of JSON values, 64 hexadecimal digits, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(page, sort_keys=True).encode()).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a new name in the folder durable; where folders cannot be opened (Windows) the rename alone must do."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)

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
    """The old file or the new one, never half of one: another name in the same folder, flushed to the disk, renamed."""
    beside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


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

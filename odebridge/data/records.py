"""Files of image records of one length, as CIFAR and STL-10 come in their binary versions: no pickle, sizes checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor


def places(root: str | Path | None) -> list[Path]:
    """Where to look: root, or, if it is None, the folder ODEBRIDGE_DATA and then ./data."""
    given = os.environ.get("ODEBRIDGE_DATA")
    return [Path(root)] if root is not None else [*([Path(given)] if given else []), Path("data")]


def folder_of(name: str, root: str | Path | None, inside: str, files: Sequence[str], archive: str) -> Path:
    """The folder with all `files`: root, or `inside` it; root None: the folder ODEBRIDGE_DATA, then ./data.

    FileNotFoundError says where was looked and which archive to unpack.
    """
    folders = [place for r in places(root) for place in (r, r / inside)]
    for folder in folders:
        if all((folder / file).is_file() for file in files):
            return folder
    raise FileNotFoundError(
        f"{name} was not found in {', '.join(map(str, folders))}. Unpack its binary version, {archive}, and give the folder as "
        "`root`, or name it in ODEBRIDGE_DATA. Nothing is downloaded."
    )


def records(path: Path, length: int, count: int) -> UInt8[Tensor, "count length"]:
    """The file as `count` rows of `length` bytes; ValueError if it has another size."""
    size = path.stat().st_size
    if size != length * count:
        wanted = f"{length * count}, {count} records of {length}"
        raise ValueError(f"{path}: has {size} bytes and must have {wanted}; it is damaged, or another file.")
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).reshape(count, length)


def labels(values: Tensor, classes: int, path: Path) -> Tensor:
    """Labels (n,) int64; ValueError for one beyond 0 .. classes - 1."""
    values = values.long()
    if int(values.min()) < 0 or int(values.max()) >= classes:
        found = f"from {int(values.min())} to {int(values.max())}"
        raise ValueError(f"{path}: has labels {found}, and they go from 0 to {classes - 1}; it is damaged, or another set.")
    return values

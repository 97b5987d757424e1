"""The idx format of MNIST and its relatives, read with suspicion."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CAP = 2**30  # bytes of data; the largest set of the family, EMNIST, holds 0.6 GB
CHUNK = 2**20
DEFLATE = 1032  # deflate cannot shrink anything more than that


def read_idx(path: str | Path, *, cap: int = CAP) -> Tensor:
    """The array of an idx file, plain or gzipped, as a tensor of its own dtype and shape.

    Layout, all big-endian: 0 0 type ndim, then ndim sizes of 4 bytes, then the entries. What the header declares is compared
    with the size of the file and with `cap` (bytes) before anything is allocated; a gzipped file, whose size inside can only
    be known by unpacking it, is unpacked in pieces and no further than declared.
    ValueError, in a sentence that names the file, for a wrong magic number, an unknown type, a size that is too large, too few
    bytes or too many, and a broken gzip stream. Source: Y. LeCun's MNIST page. Use: `read_idx("train-images-idx3-ubyte.gz")`.
    """
    path = Path(path)
    packed_size = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if not packed:
                return _read(raw, path, cap, room=packed_size, exact=True)
            with gzip.open(raw, "rb") as unpacked:
                return _read(unpacked, path, cap, room=packed_size * DEFLATE, exact=False)  # type: ignore[arg-type]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: the gzip stream is broken ({error}); fetch the file again.") from error


def _read(file: BinaryIO, path: Path, cap: int, *, room: int, exact: bool) -> Tensor:
    """Header, checks, then the entries. room: how many bytes the file can hold; exact: it holds just that many."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or not 1 <= magic[3] <= 8:
        raise ValueError(f"{path}: is not an idx file, it starts with the bytes {magic.hex(' ') or 'of nothing'}.")
    dtype, dimensions = np.dtype(DTYPES[magic[2]]), magic[3]
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise ValueError(f"{path}: ends within its header of {dimensions} sizes.")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
    size = math.prod(shape) * dtype.itemsize  # Python integers: no overflow to hide a lie
    if size > cap:
        raise ValueError(f"{path}: declares {size} bytes of data for the shape {shape}, more than the limit of {cap}.")
    there = room - 4 - len(header)
    if size > there or (exact and size != there):
        raise ValueError(f"{path}: declares {size} bytes of data for the shape {shape}, but the file holds {there} at most.")
    data = bytearray()
    while len(data) < size:
        piece = file.read(min(CHUNK, size - len(data)))
        if not piece:
            raise ValueError(f"{path}: ends after {len(data)} of the {size} bytes that its header declares.")
        data += piece
    if file.read(1):
        raise ValueError(f"{path}: goes on after the {size} bytes that its header declares.")
    array = np.frombuffer(data, dtype).reshape(shape)
    return torch.from_numpy(array.astype(dtype.newbyteorder("="), copy=False))

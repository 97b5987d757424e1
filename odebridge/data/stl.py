"""STL-10, from a folder that the user names."""

from __future__ import annotations

from pathlib import Path

from odebridge.data.base import Images, standardised
from odebridge.data.records import folder_of, labels, records

SIDE = 96
COUNTS = {"train": 5_000, "test": 8_000}
FILES = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin")


def stl10(root: str | Path | None = None) -> Images:
    """5,000 training and 8,000 test photographs, (3, 96, 96) in colour, ten classes; the unlabelled ones are not read.

    root: the folder with train_X.bin, train_y.bin, test_X.bin and test_y.bin, or one that holds stl10_binary; None: the folder
    ODEBRIDGE_DATA, then ./data. Each channel is standardised by the training set. FileNotFoundError says how to get the
    files, ValueError what is wrong with one. Source: Coates, Lee & Ng, AISTATS 2011; columns come first in its files.
    Caveat: 1.4 GB in float32. Use: `data = stl10("data")`.
    """
    folder = folder_of("STL-10", root, "stl10_binary", FILES, "stl10_binary.tar.gz")
    parts = []
    for name, n in COUNTS.items():
        pictures = records(folder / f"{name}_X.bin", 3 * SIDE * SIDE, n).reshape(n, 3, SIDE, SIDE).transpose(2, 3)
        path = folder / f"{name}_y.bin"
        parts.append((pictures, labels(records(path, 1, n)[:, 0].long() - 1, 10, path)))
    (train, train_y), (test, test_y) = parts
    train_x, test_x = standardised(train, test, by_channel=True)
    return Images(train_x.contiguous(), train_y, test_x.contiguous(), test_y, 10, "stl-10", mirror=True)

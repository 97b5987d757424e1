"""CIFAR-10 and CIFAR-100, from a folder that the user names."""

from __future__ import annotations

from pathlib import Path

import torch

from odebridge.data.base import Images, standardised
from odebridge.data.records import folder_of, labels, records

PIXELS = 3 * 32 * 32
BATCH = 10_000  # images of one file, and of the test set
TEN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))


def cifar10(root: str | Path | None = None) -> Images:
    """50,000 training and 10,000 test photographs, (3, 32, 32) in colour, ten classes.

    root: the folder with data_batch_1.bin ... data_batch_5.bin and test_batch.bin, or one that holds cifar-10-batches-bin;
    None: the folder ODEBRIDGE_DATA, then ./data. Each channel is standardised by the training set. FileNotFoundError says how
    to get the files, ValueError what is wrong with one. Source: Krizhevsky 2009; of the binary version a record is a label and
    3072 bytes. Caveat: 740 MB in float32. Use: `data = cifar10("data")`.
    """
    folder = folder_of("CIFAR-10", root, "cifar-10-batches-bin", (*TEN, "test_batch.bin"), "cifar-10-binary.tar.gz")
    train = torch.cat([_checked(folder / name, BATCH, 1, 10) for name in TEN])
    return _images(train, _checked(folder / "test_batch.bin", BATCH, 1, 10), 1, 10, "cifar-10")


def cifar100(root: str | Path | None = None) -> Images:
    """50,000 training and 10,000 test photographs, (3, 32, 32) in colour, a hundred classes (the fine labels).

    root: the folder with train.bin and test.bin, or one that holds cifar-100-binary; all else as in `cifar10`.
    Use: `data = cifar100("data")`.
    """
    folder = folder_of("CIFAR-100", root, "cifar-100-binary", ("train.bin", "test.bin"), "cifar-100-binary.tar.gz")
    train, test = (_checked(folder / f"{name}.bin", n, 2, 100) for name, n in (("train", 5 * BATCH), ("test", BATCH)))
    return _images(train, test, 2, 100, "cifar-100")


def _checked(path: Path, count: int, heads: int, classes: int) -> torch.Tensor:
    rows = records(path, heads + PIXELS, count)
    labels(rows[:, heads - 1], classes, path)
    return rows


def _images(train: torch.Tensor, test: torch.Tensor, heads: int, classes: int, name: str) -> Images:
    """Records are `heads` labels, the last of which counts, and then the pixels, channel by channel."""
    pictures = [rows[:, heads:].reshape(-1, 3, 32, 32) for rows in (train, test)]
    train_x, test_x = standardised(*pictures, by_channel=True)
    return Images(train_x, train[:, heads - 1].long(), test_x, test[:, heads - 1].long(), classes, name, mirror=True)

"""Fashion-MNIST, from where it lies on this machine."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from odebridge.data.base import Images, shuffled, standardised
from odebridge.data.idx import read_idx

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist of Debian
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def fashion_mnist(root: str | Path | None = None, *, train: int | None = None, seed: int = 0) -> Images:
    """60,000 training and 10,000 test images of clothes, (1, 28, 28) grey, ten classes.

    root: the folder with the four idx files, gzipped or not, or one that holds FashionMNIST/raw as torchvision lays it out;
    None: Debian's, then ./data. train: keep that many training images, chosen by the seed; all are standardised by the full
    set. FileNotFoundError says how to get them, ValueError what is wrong with a file.
    Source: Xiao, Rasul & Vollgraf, arXiv 1708.07747 (MIT). Caveat: 188 MB once unpacked to float32.
    Use: `data = fashion_mnist(train=10_000)`.
    """
    folder = _folder(root)
    train_x, train_y, test_x, test_y = (read_idx(_file(folder, name)) for name in FILES)  # type: ignore[arg-type]
    for x, y, which in ((train_x, train_y, "train"), (test_x, test_y, "t10k")):
        _check(x, y, folder / which)
    train_x, test_x = standardised(train_x[:, None], test_x[:, None])
    if train is not None:
        if not 1 <= train <= len(train_x):
            raise ValueError(f"fashion_mnist: train must lie between 1 and {len(train_x)}, got {train!r}.")
        keep = shuffled(len(train_x), seed)[:train]
        train_x, train_y = train_x[keep], train_y[keep]
    return Images(train_x, train_y.long(), test_x, test_y.long(), classes=10, name="fashion-mnist", mirror=True)


def _folder(root: str | Path | None) -> Path:
    roots = [DEBIAN, Path("data")] if root is None else [Path(root)]
    folders = [place for r in roots for place in (r, r / "FashionMNIST" / "raw")]
    for folder in folders:
        if all(_file(folder, name) for name in FILES):
            return folder
    raise FileNotFoundError(
        f"Fashion-MNIST was not found in {', '.join(map(str, folders))}. Install it with `apt-get install "
        "dataset-fashion-mnist` (Debian, Ubuntu), or give the folder that holds its four idx files as `root`. "
        "Nothing is downloaded."
    )


def _file(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _check(x: Tensor, y: Tensor, which: Path) -> None:
    fits = x.shape[1:] == (28, 28) and y.shape == x.shape[:1] and len(y) > 0
    if not fits or not 0 <= int(y.min()) <= int(y.max()) < 10:
        raise ValueError(
            f"{which}-*: images of shape {tuple(x.shape)} and labels of shape {tuple(y.shape)} are not Fashion-MNIST, "
            "which has images (n, 28, 28) and labels (n,) from 0 to 9."
        )

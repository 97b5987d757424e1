"""Photographs in a folder for every class, read when they are asked for; ImageNet comes so."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from odebridge.core.memory import out_of_memory
from odebridge.data.base import Images
from odebridge.data.records import places

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training set, RGB in 0 to 1
LARGEST = 80_000_000  # pixels, short of where Pillow warns; a small file can say it has more, to fill the memory
CLASSES, TRAIN, TEST = 1000, 1_281_167, 50_000  # of ImageNet, ILSVRC 2012
READERS = min(16, os.cpu_count() or 1)


class OnDisk:
    """Standardised images (n, 3, side, side) that are decoded when they are indexed: what `fit` needs of a tensor, not more.

    `pictures[index]` reads those of a slice or of an index tensor (k,), on several threads: the shorter edge is resized to
    side / 0.875 and the middle side x side is kept, as ImageNet is tested. ValueError names a file that is no image.
    Caveat: decoded anew every time. Use: `OnDisk(paths, 224)[:8]`.
    """

    def __init__(self, paths: Sequence[str], side: int, device: torch.device | str = "cpu") -> None:
        self.paths, self.side, self.device = paths, side, device
        self.dtype = torch.float32

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> torch.Size:
        """(n, 3, side, side)."""
        return torch.Size((len(self.paths), 3, self.side, self.side))

    def to(self, device: torch.device | str) -> OnDisk:
        """The same files, read to another device."""
        return OnDisk(self.paths, self.side, device)

    def __getitem__(self, index: slice | Tensor) -> Float[Tensor, "k 3 h w"]:
        wanted = self.paths[index] if isinstance(index, slice) else [self.paths[i] for i in index.tolist()]
        with ThreadPoolExecutor(READERS) as readers:
            found = list(readers.map(partial(decoded, side=self.side), wanted))
        pixels = torch.from_numpy(np.stack(found) if found else np.zeros((0, self.side, self.side, 3), np.uint8))
        x = pixels.to(self.device).permute(0, 3, 1, 2).float() / 255.0
        mean, deviation = (torch.tensor(v, device=self.device)[:, None, None] for v in (MEAN, DEVIATION))
        return ((x - mean) / deviation).contiguous()

    def split(self, size: int) -> Iterator[Tensor]:
        """Batches one after the other."""
        return (self[i : i + size] for i in range(0, len(self), size))


def decoded(path: str, side: int) -> np.ndarray:
    """The middle of an image, (side, side, 3) uint8; ValueError in a sentence for a file that cannot be read as one."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST:
                raise ValueError(f"it says it has {image.width} x {image.height} pixels")
            picture = image.convert("RGB")
    except Exception as error:  # decoders raise what comes: struct.error, zlib.error, OverflowError, IndexError
        if out_of_memory(error):
            raise
        raise ValueError(f"{path}: is damaged, or no image ({error}); fetch the file again.") from error
    scale = max(side, round(side / 0.875)) / min(picture.size)
    size = (max(side, round(picture.width * scale)), max(side, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return np.asarray(picture.crop((left, top, left + side, top + side)))


def image_folder(root: str | Path | None = None, *, side: int = 64, name: str = "image-folder") -> Images:
    """Colour images in folders: root/train/CLASS/... and root/val/CLASS/..., labels by the sorted names of the classes.

    root None: the folder ODEBRIDGE_DATA, then ./data. side: they are resized and cut to side x side. Files end in .jpg, .png or
    the like; others are not looked at. Checked before training: both parts have the same classes, two at least, none empty, no
    file of no bytes; a damaged file is named when it is read. FileNotFoundError without such folders, ValueError for a failed
    check.
    Standardised by the mean and deviation of ImageNet. Source: the layout of torchvision's ImageFolder. Caveat: see `OnDisk`.
    Use: `data = image_folder("flowers", side=96)`.
    """
    return _images(_root(root, "image-folder", ("",)), side, name)


def imagenet(root: str | Path | None = None, *, side: int = 224) -> Images:
    """ImageNet, ILSVRC 2012: 1,281,167 training and 50,000 validation photographs of 1000 classes.

    root: the folder with train/n01440764/... and val/n01440764/..., or one that holds it as `imagenet`; None: the folder
    ODEBRIDGE_DATA, then ./data. Checked: names and number of the classes and the numbers of files. All else as in
    `image_folder`. Source: Russakovsky et al., IJCV 2015. Caveat: read from disk in every epoch, the middle of each image
    alone; random crops of other sizes are not made. Use: `data = imagenet("/data/imagenet")`.
    """
    found = _images(_root(root, "ImageNet", ("", "imagenet")), side, "imagenet")
    pictures = (cast(OnDisk, found.train_x), cast(OnDisk, found.test_x))
    counts, wanted = (found.classes, *map(len, pictures)), (CLASSES, TRAIN, TEST)
    strange = next((p for p in pictures[1].paths if not re.fullmatch(r"n\d{8}", Path(p).parent.name)), None)
    if counts != wanted or strange is not None:
        odd = f"; {Path(strange).parent.name!r} is no name of its classes" if strange else ""
        has, must = (f"{c} classes, {a} training and {b} validation images" for c, a, b in (counts, wanted))
        raise ValueError(f"ImageNet: the folder has {has} and must have {must}{odd}; it is incomplete, or another set.")
    return found


def _root(root: str | Path | None, name: str, inside: Sequence[str]) -> Path:
    folders = [place / part for place in places(root) for part in inside]
    for folder in folders:
        if all((folder / part).is_dir() for part in ("train", "val")):
            return folder
    raise FileNotFoundError(
        f"{name}: no folder with train and val was found in {', '.join(map(str, folders))}. Give it as `root`, or name it in "
        "ODEBRIDGE_DATA; in each part every class has a folder. Nothing is downloaded."
    )


def _images(folder: Path, side: int, name: str) -> Images:
    if side < 8:
        raise ValueError(f"side must be at least 8 pixels, got {side!r}.")
    parts = {part: _files(folder / part) for part in ("train", "val")}
    classes = sorted(parts["train"])
    if other := sorted(set(classes) ^ set(parts["val"])):
        raise ValueError(f"{folder}: train and val have not the same classes; {other[0]!r} is in one of them only.")
    if len(classes) < 2:
        raise ValueError(f"{folder}: has {len(classes)} classes; every class is a folder in train and in val, two at least.")
    made = []
    for part in ("train", "val"):
        paths = [path for c in classes for path in parts[part][c]]
        labels = torch.tensor([i for i, c in enumerate(classes) for _ in parts[part][c]])
        made += [cast(Tensor, OnDisk(paths, side)), labels]  # indexed as a tensor is
    return Images(made[0], made[1], made[2], made[3], len(classes), name, mirror=True)


def _files(folder: Path) -> dict[str, list[str]]:
    """The images of every class, sorted; ValueError for a class without any and for an empty file."""
    found: dict[str, list[str]] = {}
    for one in sorted(entry.path for entry in os.scandir(folder) if entry.is_dir()):
        entries = [e for e in os.scandir(one) if e.name.lower().endswith(ENDINGS)]
        if not entries:
            raise ValueError(f"{one}: holds no image; an image ends in {', '.join(ENDINGS)}.")
        if empty := next((e.path for e in entries if e.stat().st_size == 0), None):
            raise ValueError(f"{empty}: is empty; fetch the file again.")
        found[Path(one).name] = sorted(e.path for e in entries)
    return found

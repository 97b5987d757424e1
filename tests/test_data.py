"""Data sets, and an idx reader that believes nothing."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from odebridge.data import (
    DATA,
    IMAGES,
    Points,
    Series,
    annuli,
    cifar,
    cifar10,
    cifar100,
    digits,
    fashion_mnist,
    list_data,
    pendulum,
    read_idx,
    shapes,
    spirals,
    stl,
    stl10,
)
from odebridge.data.fashion import DEBIAN, FILES
from odebridge.nets import resnet
from odebridge.train import fit


def idx(shape: tuple[int, ...], body: bytes, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + body


def put(folder: Path, content: bytes, packed: bool) -> Path:
    path = folder / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


PACKED = pytest.mark.parametrize("packed", [False, True])


@PACKED
@pytest.mark.parametrize(
    ("kind", "code", "dtype"),
    [
        (0x08, "B", torch.uint8),
        (0x09, "b", torch.int8),
        (0x0B, "h", torch.int16),
        (0x0C, "i", torch.int32),
        (0x0D, "f", torch.float32),
        (0x0E, "d", torch.float64),
    ],
)
def test_every_type(tmp_path: Path, packed: bool, kind: int, code: str, dtype: torch.dtype) -> None:
    numbers = [1, 2, 3, 100, 5, 6]
    x = read_idx(put(tmp_path, idx((2, 3), struct.pack(f">6{code}", *numbers), kind), packed))
    assert x.dtype == dtype
    assert x.tolist() == [numbers[:3], numbers[3:]]


FAULTS = {
    "empty": (b"", "not an idx file"),
    "short magic": (b"\0\0", "not an idx file"),
    "magic": (b"PK\x03\x04" + b"\0" * 20, "not an idx file.*50 4b"),
    "type": (idx((2,), b"ab", 0x0A), "not an idx file"),
    "no dimensions": (idx((), b"a"), "not an idx file"),
    "header cut": (idx((2, 3), b"")[:-2], "within its header"),
    "too short": (idx((2, 3), b"abcde"), "declares 6 bytes.*holds 5|ends after 5"),
    "too long": (idx((2, 3), b"abcdefg"), "declares 6 bytes.*holds 7|goes on after"),
    "lying": (idx((60000, 28, 28), b"abc"), "declares 47040000 bytes"),
    "beyond the limit": (idx((2**32 - 1, 2**32 - 1, 2**32 - 1), b""), "more than the limit"),
}


@PACKED
@pytest.mark.parametrize("fault", list(FAULTS))
def test_faults_are_named(tmp_path: Path, packed: bool, fault: str) -> None:
    content, message = FAULTS[fault]
    path = put(tmp_path, content, packed)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_broken_gzip_streams(tmp_path: Path) -> None:
    good = gzip.compress(idx((1000,), bytes(i * 7 % 251 for i in range(1000))))
    path = tmp_path / "x.gz"
    for bad in (good[:-12], good[:40] + bytes([good[40] ^ 255]) + good[41:], good[:-6] + b"\0\0\0\0" + good[-2:], good[:5]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"x\.gz: "):
            read_idx(path)


def test_gzip_bomb_is_neither_unpacked_nor_believed(tmp_path: Path) -> None:
    zeros = gzip.compress(idx((100,), b"\0" * 50_000_000))  # 49 kB on disk
    (tmp_path / "bomb.gz").write_bytes(zeros)
    (tmp_path / "liar.gz").write_bytes(gzip.compress(idx((40_000,), b"\0" * 50)))  # more than so few bytes can hold
    (tmp_path / "big.gz").write_bytes(gzip.compress(idx((50_000_000,), b"\0" * 50_000_000)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="goes on after the 100 bytes"):
        read_idx(tmp_path / "bomb.gz")
    with pytest.raises(ValueError, match=r"declares 40000|ends after"):
        read_idx(tmp_path / "liar.gz")
    with pytest.raises(ValueError, match="more than the limit of 1000000"):
        read_idx(tmp_path / "big.gz", cap=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_digits_are_split_by_the_seed() -> None:
    data, again, other = digits(), digits(), digits(seed=1)
    assert data.train_x.shape == (1437, 1, 8, 8)
    assert data.test_x.shape == (360, 1, 8, 8)
    assert data.train_x.dtype == torch.float32
    assert torch.equal(data.train_x, again.train_x)
    assert not torch.equal(data.test_y, other.test_y)
    assert abs(float(data.train_x.mean())) < 1e-5
    assert float(data.train_x.std()) == pytest.approx(1.0, abs=1e-3)
    assert data.classes == len(data.test_y.unique()) == 10
    assert data.channels == 1


def write_fashion(folder: Path, n: int = 6, side: int = 28, top: int = 9) -> None:
    folder.mkdir(parents=True)
    for name in FILES:
        if "images" in name:
            content = idx((n, side, side), bytes(i % 256 for i in range(n * side * side)))
        else:
            content = idx((n,), bytes([top] * n))
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))


@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw"])
def test_fashion_from_a_folder(tmp_path: Path, layout: str) -> None:
    write_fashion(tmp_path / "data" / layout)
    data = fashion_mnist(tmp_path / "data", train=4)
    assert data.train_x.shape == (4, 1, 28, 28)
    assert data.test_y.tolist() == [9] * 6
    assert data.mirror


def test_fashion_that_is_missing_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        fashion_mnist(tmp_path)
    write_fashion(tmp_path / "small", side=27)
    with pytest.raises(ValueError, match="not Fashion-MNIST"):
        fashion_mnist(tmp_path / "small")
    write_fashion(tmp_path / "labels", top=10)
    with pytest.raises(ValueError, match="from 0 to 9"):
        fashion_mnist(tmp_path / "labels")
    write_fashion(tmp_path / "good")
    with pytest.raises(ValueError, match="between 1 and 6"):
        fashion_mnist(tmp_path / "good", train=7)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="the package dataset-fashion-mnist is not installed")
def test_fashion_of_debian() -> None:
    data = fashion_mnist(train=1000)
    assert data.train_x.shape == (1000, 1, 28, 28)
    assert data.test_x.shape == (10_000, 1, 28, 28)
    assert data.test_y.bincount().tolist() == [1000] * 10


@pytest.fixture
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of a few images, else of the same form."""
    monkeypatch.setattr(cifar, "BATCH", 4)
    monkeypatch.setattr(stl, "COUNTS", {"train": 3, "test": 2})
    monkeypatch.delenv("ODEBRIDGE_DATA", raising=False)


def write_cifar(folder: Path, heads: int, files: dict[str, int], classes: int) -> None:
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    for name, n in files.items():
        rows = chance.integers(0, 256, (n, heads + 3072), dtype=np.uint8)
        rows[:, :heads] = chance.integers(0, classes, (n, heads))
        rows[0, heads : heads + 1024] = 7  # the first image's red
        (folder / name).write_bytes(rows.tobytes())


TEN = {**{f"data_batch_{i}.bin": 4 for i in range(1, 6)}, "test_batch.bin": 4}


@pytest.mark.parametrize(
    ("read", "heads", "files", "classes", "inside"),
    [(cifar10, 1, TEN, 10, "cifar-10-batches-bin"), (cifar100, 2, {"train.bin": 20, "test.bin": 4}, 100, "cifar-100-binary")],
)
def test_cifar_from_a_folder(small_records, tmp_path, monkeypatch, read, heads, files, classes, inside) -> None:
    write_cifar(tmp_path / inside, heads, files, classes)
    data = read(tmp_path)
    assert data.train_x.shape == (20, 3, 32, 32)
    assert data.test_x.shape == (4, 3, 32, 32)
    assert (data.classes, data.channels, data.mirror) == (classes, 3, True)
    assert (data.train_x[0, 0] == data.train_x[0, 0, 0, 0]).all()
    assert not (data.train_x[0, 1] == data.train_x[0, 1, 0, 0]).all()
    torch.testing.assert_close(data.train_x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    monkeypatch.setenv("ODEBRIDGE_DATA", str(tmp_path))
    assert torch.equal(read().train_y, data.train_y)
    first = tmp_path / inside / next(iter(files))
    raw = bytearray(first.read_bytes())
    raw[heads - 1] = 255
    first.write_bytes(raw)
    with pytest.raises(ValueError, match=f"from 0 to {classes - 1}"):
        read(tmp_path)
    first.write_bytes(raw[:-1])
    with pytest.raises(ValueError, match="bytes and must have"):
        read(tmp_path)
    first.unlink()
    with pytest.raises(FileNotFoundError, match="Nothing is downloaded"):
        read(tmp_path)


def test_stl_has_its_columns_first(small_records, tmp_path) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for name, n in (("train", 3), ("test", 2)):
        pictures = np.random.default_rng(1).integers(0, 256, (n, 3, 96, 96), dtype=np.uint8)
        pictures[0, 0, :, 0] = 255  # the left edge
        (folder / f"{name}_X.bin").write_bytes(pictures.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{name}_y.bin").write_bytes(bytes([10, 1, 2][:n]))
    data = stl10(tmp_path)
    assert data.train_x.shape == (3, 3, 96, 96)
    assert data.train_y.tolist() == [9, 0, 1]
    assert (data.train_x[0, 0, :, 0] == data.train_x[0, 0].max()).all()
    (folder / "test_y.bin").write_bytes(bytes([0, 1]))
    with pytest.raises(ValueError, match="from 0 to 9"):
        stl10(tmp_path)


def test_shapes_are_told_by_form_and_colour_together() -> None:
    data = shapes(train=600, test=200, seed=3)
    assert data.train_x.shape == (600, 3, 32, 32)
    assert data.train_y.bincount(minlength=10).min() > 30
    assert torch.equal(data.train_x, shapes(train=600, test=200, seed=3).train_x)
    warmth = (data.train_x[:, 0] - data.train_x[:, 2]).mean((1, 2))
    assert warmth[data.train_y % 2 == 0].mean() > warmth[data.train_y % 2 == 1].mean() + 0.2
    torch.manual_seed(0)
    settings = dict(epochs=8, lr=0.03, optimiser="muon", batch_size=32, weight_decay=0.0, device="cpu")
    history = fit(resnet(8, None, 3, 10, width=8, stem=2), data, **settings)
    assert history.test_accuracy[-1] > 0.6  # chance: 0.1, colour alone 0.2


def test_list_data() -> None:
    assert list_data() == list(DATA)
    assert {"digits", "annuli", "pendulum"} < set(DATA)
    assert list_data("fash*") == ["fashion-mnist"]


@pytest.mark.parametrize("name", [n for n in DATA if n not in IMAGES])
def test_made_data_depend_on_the_seed_alone(name: str) -> None:
    one, same, other = (DATA[name](seed=s) for s in (1, 1, 2))
    if isinstance(one, Points):
        assert one.train_x.shape == (len(one.train_y), 2)
        assert torch.equal(one.train_x, same.train_x)
        assert not torch.equal(one.train_x, other.train_x)
        assert abs(one.train_y.double().mean() - 0.5) < 0.01
    else:
        assert isinstance(one, Series)
        assert one.train.shape[1:] == one.test.shape[1:] == (len(one.times), len(one.components))
        assert torch.equal(one.train, same.train)
        assert torch.isfinite(one.train).all()
        assert torch.isfinite(one.test).all()
        assert (one.times.diff() > 0).all()
        if one.invariant is not None:
            kept = one.invariant(one.train)
            assert (kept - kept[:, :1]).abs().max() < 1e-7 * kept.abs().max()


def test_annuli_lie_in_a_disc_and_a_ring() -> None:
    data = annuli(seed=3)
    radius = data.train_x.norm(dim=1)
    assert radius[data.train_y == 0].max() <= 0.5 + 1e-6
    assert 1.0 - 1e-6 <= radius[data.train_y == 1].min() <= radius.max() <= 1.5 + 1e-6


def test_pendulum_and_spirals_follow_their_equations() -> None:
    """By differences in the middle of three neighbouring times."""
    data = pendulum(times=601)
    step = float(data.times[1])
    slope = (data.train[:, 2:] - data.train[:, :-2]) / (2 * step)
    q, p = data.train[:, 1:-1].unbind(-1)
    assert (slope - torch.stack([p, -q.sin()], -1)).abs().max() < 1e-4
    turned = spirals(times=601, noise=0.0, share=1.0)
    u, v = turned.train.unbind(-1)
    spin = (u[:, 0] * v[:, 1] - v[:, 0] * u[:, 1]).sign()
    assert turned.train_labels is not None
    assert torch.equal(spin > 0, turned.train_labels == 1)
    assert turned.train_mask is None


def test_spirals_are_seen_in_part() -> None:
    data = spirals(share=0.3)
    assert data.train_mask is not None
    assert data.train_mask[:, 0].all()
    assert abs(data.train_mask[:, 1:].double().mean() - 0.3) < 0.03
    with pytest.raises(ValueError, match="share"):
        spirals(share=0.0)

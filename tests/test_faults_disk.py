"""A full disk and a folder that cannot be written: a sentence with the name of the file, and nothing that was there is lost."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import Row, RunFolder, read, record
from odebridge.bench.journal import METRICS, Journal
from odebridge.bench.record import RESULTS
from odebridge.bench.report import write_report
from odebridge.control import Filter, load
from odebridge.control.calibrated import Calibrated
from odebridge.core import files
from odebridge.core.files import write_atomic
from odebridge.train import Epoch, load_checkpoint, save_checkpoint
from tests.limits import processor_seconds

runner = CliRunner()


@pytest.fixture(autouse=True)
def _in_time():
    with processor_seconds(60.0):
        yield


def a_law(n: int = 0) -> Calibrated:
    return Calibrated(Filter((0.5 + n,)), "rodas5p", 4, (1e-3, 1e-6), {"n": n, "padding": "x" * 4000})


def a_row(folder: Path, n: int = 0) -> None:
    RunFolder.reopened(folder, "test").append(Row("p", {"n": n, "padding": "x" * 4000}))


# Name of the file, how it is written for the n-th time, and what n is read.
WRITERS = {
    "checkpoint": (
        lambda d, n: save_checkpoint(d / "model.json", {"w": torch.full((2000,), float(n))}, {"n": n}),
        lambda d: load_checkpoint(d / "model.json")[1]["n"],
    ),
    "law": (lambda d, n: a_law(n).save(d / "law.json"), lambda d: load(d / "law.json").report["n"]),
    "results": (a_row, lambda d: read(d).rows[-1]["configuration"]["n"]),
    "journal": (
        lambda d, n: Journal(d, "loss" + "s" * 4000)(Epoch(n + 1, 0.0, 0.0, 0.0)),
        lambda d: json.loads((d / METRICS).read_text().splitlines()[-1])["epoch"] - 1,
    ),
    "any file": (lambda d, n: write_atomic(d / "a.txt", str(n).encode() * 4000), lambda d: int((d / "a.txt").read_text()[0])),
}


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The disk as good as full: the system refuses to let a file grow beyond."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, who may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_may_not_grow(tmp_path, kind):
    write, found = WRITERS[kind]
    write(tmp_path, 1)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    room = 1000 if kind != "results" else len(before[RESULTS]) + 1000  # half a row fits
    with no_file_above(room), pytest.raises(OSError, match="File too large") as refusal:
        write(tmp_path, 2)
    assert str(tmp_path) in str(refusal.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert found(tmp_path) == 1
    write(tmp_path, 3)  # once there is room again all goes on
    assert found(tmp_path) == 3


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_full_disk(tmp_path, monkeypatch, kind, call):
    write, found = WRITERS[kind]
    write(tmp_path, 1)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    real = Path.open

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path, mode="r", *rest, **more):
        return full(0) if set(mode) & set("wa") else real(path, mode, *rest, **more)

    with monkeypatch.context() as patched:
        if call == "fsync":
            patched.setattr(files.os, "fsync", full)
        else:
            patched.setattr(Path, "open", opened)
        with pytest.raises(OSError, match="No space left") as refusal:
            write(tmp_path, 2)
    assert str(tmp_path) in str(refusal.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    write(tmp_path, 3)
    assert found(tmp_path) == 3


@pytest.mark.parametrize("kind", [k for k in WRITERS if k != "results"])
def test_a_folder_that_is_read_only(tmp_path, monkeypatch, kind):
    write, found = WRITERS[kind]
    write(tmp_path, 1)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o555)
    try:
        with as_nobody(), pytest.raises(PermissionError):
            write(Path(), 2)
    finally:
        tmp_path.chmod(0o755)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert found(tmp_path) == 1


def test_a_read_only_folder_for_runs_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real = record._new_folder

    def made(*given):
        with as_nobody():
            return real(*given)

    monkeypatch.setattr(record, "_new_folder", made)
    tmp_path.chmod(0o555)
    try:
        for words in (
            "train node --data moons --epochs 1 --option width=4",
            "train resnet --depth 8 --width 2 --epochs 1",
            "bench nonstiff --quick",
            "bench stiffness --quick",
        ):
            outcome = runner.invoke(cli.app, words.split())
            assert outcome.exit_code == 2, (words, outcome.output)
            (said,) = outcome.output.strip().splitlines()
            assert "Permission denied" in said
            assert "runs" in said
    finally:
        tmp_path.chmod(0o755)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["train node --data moons --option width=4", "train resnet --depth 8 --width 2 --device cpu"])
def test_a_disk_that_fills_up_in_a_training(tmp_path, monkeypatch, words):
    """Exit code 1 and a sentence; once there is room --resume goes on to the end of a run that never stopped."""
    monkeypatch.chdir(tmp_path)
    whole = runner.invoke(cli.app, [*words.split(), "--epochs", "2", "--out", "whole"])
    assert whole.exit_code == 0, whole.output
    saves, real = [], save_checkpoint

    def full(path, *rest):
        saves.append(path)
        if Path(path).name == "training.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr("odebridge.train.state.save_checkpoint", full)
        outcome = runner.invoke(cli.app, [*words.split(), "--epochs", "2"])
    assert outcome.exit_code == 1, outcome.output
    last = outcome.output.strip().splitlines()[-1]
    assert last.startswith("odebridge: No space left on device")
    assert "training.json" in last
    assert "--resume" in last
    (folder,) = Path("runs").iterdir()
    assert not (folder / RESULTS).exists()
    on = runner.invoke(cli.app, [*words.split()[:2], "--resume", str(folder)])
    assert on.exit_code == 0, on.output
    (other,) = Path("whole").iterdir()
    losses = [json.loads((f / RESULTS).read_text())["values"]["train_loss"] for f in (folder, other)]
    assert losses[0] == losses[1]


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path):
    folder = RunFolder(tmp_path, "test", {}, "a test")
    folder.append(Row("p", {"n": 1}))
    write_report([folder.path], folder.path / "report.html")
    old = (folder.path / "report.html").read_bytes()
    with no_file_above(1000):
        outcome = runner.invoke(cli.app, ["report", str(folder.path)])
    assert outcome.exit_code == 1
    assert "File too large" in outcome.output
    assert (folder.path / "report.html").read_bytes() == old

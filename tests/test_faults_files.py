"""Files under kills, full disks, flipped bytes and torn lines: nothing saved is lost, no damage is read as data."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from odebridge.bench import Row, RunFolder, read
from odebridge.bench.record import RESULTS, RUN
from odebridge.bench.report import render
from odebridge.bench.resume import begun
from odebridge.core import files
from odebridge.data.idx import read_idx
from odebridge.train import load_checkpoint, save_checkpoint
from tests.limits import processor_seconds


@pytest.fixture(autouse=True)
def _in_time():
    with processor_seconds(30.0):
        yield


def saved(folder: Path, n: int = 0) -> Path:
    return save_checkpoint(folder / "model.json", {"w": torch.arange(6.0) + n}, {"epoch": n})


def flipped(path: Path, place: int, bit: int) -> bytes:
    """The file with one bit turned; returns what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
    return whole


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_a_flipped_bit_anywhere_in_a_checkpoint_is_refused(tmp_path, kind):
    page = saved(tmp_path)
    path = next(tmp_path.glob(f"*.{kind}"))
    for place in range(len(path.read_bytes())):
        whole = flipped(path, place, place % 8)
        try:
            _, record = load_checkpoint(page)
        except (ValueError, FileNotFoundError):
            pass
        else:  # only white space between the entries may change
            assert kind == "json"
            assert chr(whole[place]).isspace()
            assert record == {"epoch": 0}
        path.write_bytes(whole)
    load_checkpoint(page)


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_a_checkpoint_that_was_cut_off_is_refused_and_the_one_before_is_there(tmp_path, kind):
    saved(tmp_path, 1)
    page = saved(tmp_path, 2)
    path = page if kind == "json" else tmp_path / json.loads(page.read_text())["tensors"]
    whole = path.read_bytes()
    for length in {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="previous=True"):
            load_checkpoint(page)
        tensors, record = load_checkpoint(page, previous=True)
        assert record == {"epoch": 1}
        assert torch.equal(tensors["w"], torch.arange(6.0) + 1)


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from odebridge.train import load_checkpoint, save_checkpoint
torch.set_num_threads(1)
folder, chance, lost, last = Path(sys.argv[1]), random.Random(0), 0, 0
path = folder / "model.json"
save_checkpoint(path, {"w": torch.zeros(40_000)}, {"n": 0})
began = time.monotonic()
for _ in range(5):
    save_checkpoint(path, {"w": torch.zeros(40_000)}, {"n": 0})
pace = (time.monotonic() - began) / 5  # of one save, on a machine that is as busy as it is
for kill in range(20):
    child = os.fork()
    if child == 0:
        n = last
        while True:
            n += 1
            save_checkpoint(path, {"w": torch.full((40_000,), float(n))}, {"n": n})
    time.sleep(chance.uniform(0.5, 12.0) * pace)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    try:
        tensors, record = load_checkpoint(path)
        good = record["n"] >= last and bool((tensors["w"] == record["n"]).all())
        last = record["n"]
    except Exception as error:
        print(type(error).__name__, error)
        good = False
    lost += not good
print("lost", lost, "saves", last)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_while_saving_lose_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"lost (\d+) saves (\d+)", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1]) == 0, done.stdout
    assert int(found[2]) > 0


@pytest.mark.parametrize("call", ["fsync", "write", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    page = saved(tmp_path, 1)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(files.os, "fsync", full)
    elif call == "replace":
        monkeypatch.setattr(Path, "replace", full)
    else:
        monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path, 2)
    monkeypatch.undo()
    assert load_checkpoint(page)[1] == {"epoch": 1}
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def a_run(out: Path, rows: int = 3) -> RunFolder:
    folder = RunFolder(out, "test", {"a": 1}, "a test")
    values = {"relative": 1e-3, "mescd": 3.0, "time": 0.1, "f_evals": 10, "accepted": 5, "rejected": 1}
    for i in range(rows):
        folder.append(Row("solvers", {"problem": "hires", "method": "rodas5p", "rtol": 10.0**-i, "atol": 1e-6}, values))
    return folder


def test_a_torn_line_costs_that_line_and_is_counted(tmp_path):
    folder = a_run(tmp_path)
    path = folder.path / RESULTS
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start + 1, len(whole) - 1, 97):
        path.write_bytes(whole[:end])
        found = read(folder.path)
        assert (len(found.rows), found.torn, found.damaged) == (2, 1, 0)
    assert "the last line was cut off by a crash and is left out" in render([folder.path])


def test_a_flipped_bit_in_the_results_costs_that_line(tmp_path):
    folder = a_run(tmp_path)
    path = folder.path / RESULTS
    good = read(folder.path).rows
    size = len(path.read_bytes())
    for place in range(0, size, 7):
        whole = flipped(path, place, place % 7)
        if path.read_bytes() != whole:
            rows = read(folder.path).rows
            for row in rows:
                # What is read is what was written; a bit in the name of the checksum itself leaves a row without one.
                kept = {k: v for k, v in row.items() if k in good[0] and k != "check"}
                assert any(kept == {k: v for k, v in one.items() if k != "check"} for one in good)
            assert len(rows) >= len(good) - 2
        path.write_bytes(whole)


def test_a_damaged_run_page_is_told_by_name(tmp_path):
    folder = a_run(tmp_path)
    assert begun(folder.path, "test") == {"a": 1}
    page = folder.path / RUN
    text = page.read_text()
    for broken in (text[: len(text) // 2], text.replace('"a": 1', '"a": 2'), "[]", ""):
        page.write_text(broken)
        with pytest.raises(ValueError, match=RUN):
            begun(folder.path, "test")


IDX = b"\0\0\x08\x02" + (3).to_bytes(4, "big") + (4).to_bytes(4, "big") + bytes(range(12))


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_that_are_cut_off_or_lie_are_refused(tmp_path, packed):
    def write(body: bytes) -> Path:
        path = tmp_path / "x.idx"
        path.write_bytes(gzip.compress(body, mtime=0) if packed else body)
        return path

    assert read_idx(write(IDX)).tolist() == torch.arange(12).reshape(3, 4).tolist()
    for length in range(len(IDX)):
        with pytest.raises(ValueError, match=r"x\.idx"):
            read_idx(write(IDX[:length]))
    for place in range(12):  # of the header: another size, type or magic number
        for bit in range(8):
            body = IDX[:place] + bytes([IDX[place] ^ (1 << bit)]) + IDX[place + 1 :]
            try:
                read = read_idx(write(body))
            except ValueError:
                continue
            assert place == 2 or read.numel() == 12  # signed bytes in place of unsigned ones hold as many
    if packed:
        path = write(IDX)
        whole = path.read_bytes()
        for place in range(10, len(whole)):  # behind the header of gzip everything is checked by its own sum
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            with pytest.raises(ValueError, match=r"x\.idx"):
                read_idx(path)


def test_no_path_unpickles():
    root = Path(files.__file__).parents[1]
    text = {p: p.read_text() for p in root.rglob("*.py")}
    for path, body in text.items():
        assert "import pickle" not in body, path
        for call in re.findall(r"torch\.load\([^)]*\)", body):
            assert "weights_only=True" in call, (path, call)
        for call in re.findall(r"np\.load\([^)]*\)", body):
            assert "allow_pickle=True" not in call, (path, call)

"""Every reader of files on files that are damaged, forged or something else: the right content, or a sentence with the name.

Never a bare internal error, never code that runs, never content that was not written. A long run: pytest -m soak
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import Row, RunFolder, read
from odebridge.bench.counters import COUNTS, RTOLS, _kept
from odebridge.bench.journal import METRICS, Journal
from odebridge.bench.node_training import NodeTraining
from odebridge.bench.record import RESULTS, RUN, check_of, configuration_hash
from odebridge.bench.report import render
from odebridge.bench.resume import begun, unfinished
from odebridge.control import Filter, load
from odebridge.control.calibrated import Calibrated
from odebridge.control.features import FEATURES
from odebridge.control.learned import LearnedStep
from odebridge.core.files import digest_of
from odebridge.core.toml import read_toml, written_toml
from odebridge.data.folder import decoded
from odebridge.data.idx import read_idx
from odebridge.data.records import labels, records
from odebridge.train import Epoch, Keep, fit_loss, load_checkpoint, save_checkpoint
from tests.fuzz import VALUES, changed, files
from tests.limits import processor_seconds
from tests.soak import LONG, drawn

pytestmark = pytest.mark.soak


@pytest.fixture(autouse=True)
def _in_time():
    with processor_seconds(3600.0 if LONG else 60.0):
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def taken(reader, path: Path, body: bytes | None = None) -> Any:
    """What the reader makes of the file; None where it refuses it in a sentence with the name of the file."""
    if body is not None:
        path.write_bytes(body)
    try:
        return reader()
    except (ValueError, FileNotFoundError) as error:
        refusal = error
    assert type(refusal) in (ValueError, FileNotFoundError), repr(refusal)
    assert path.name.split(".")[0] in str(refusal), repr(refusal)
    return None


IDX = b"\0\0\x08\x02" + (3).to_bytes(4, "big") + (4).to_bytes(4, "big") + bytes(range(12))


@drawn(40, 20_000)
@given(body=files(IDX))
def test_idx_files(place, body):
    path = place / "a.idx"
    found = taken(lambda: read_idx(path), path, body)
    assert found is None or found.numel() * found.element_size() <= len(body)


@drawn(25, 20_000)
@given(body=files(gzip.compress(IDX, mtime=0)))
def test_packed_idx_files(place, body):
    path = place / "packed.idx.gz"
    found = taken(lambda: read_idx(path), path, body)
    assert found is None or found.numel() < 1000


@drawn(25, 5_000)
@given(body=files(gzip.compress(IDX[:4] + b"\xff" * 8 + bytes(2**16), mtime=0)))
def test_packed_idx_files_that_claim_to_be_huge(place, body):
    path = place / "huge.idx.gz"
    assert taken(lambda: read_idx(path), path, body) is None or body[:2] != b"\x1f\x8b"


def a_checkpoint(place: Path) -> tuple[Path, Path]:
    page = save_checkpoint(place / "model.json", {"w": torch.arange(6.0)}, {"epoch": 3, "loss": 0.5, "name": "ä"})
    return page, page.with_name(json.loads(page.read_text())["tensors"])


@pytest.mark.parametrize("kind", ["page", "tensors"])
@drawn(25, 20_000)
@given(data=st.data())
def test_checkpoints(place, kind, data):
    page, tensors = a_checkpoint(place)
    path = page if kind == "page" else tensors
    body = data.draw(files(path.read_bytes()))
    found = taken(lambda: load_checkpoint(page), path, body)
    if found is not None:
        assert torch.equal(found[0]["w"], torch.arange(6.0))
        assert found[1] == {"epoch": 3, "loss": 0.5, "name": "ä"}


@drawn(25, 20_000)
@given(data=st.data())
def test_forged_checkpoints(place, data):
    """With a checksum that is right, as another version or a hand may have made it."""
    page, _ = a_checkpoint(place)
    good = json.loads(page.read_text())
    forged = data.draw(changed({k: v for k, v in good.items() if k != "sha256"}))
    body = json.dumps({**forged, "sha256": digest_of(forged)}).encode()
    found = taken(lambda: load_checkpoint(page), page, body)
    assert found is None or torch.equal(found[0]["w"], torch.arange(6.0))


@drawn(12, 2_000)
@given(record=st.dictionaries(st.sampled_from(["plan", "rows", "scaler", "x"]), VALUES), names=st.lists(st.text(max_size=9)))
def test_states_of_another_training(place, record, names):
    """A sound checkpoint that is no state of this training."""
    path = save_checkpoint(place / "state.json", {name: torch.ones(2) for name in names}, record)

    def resumed():
        model, x = torch.nn.Linear(2, 2), torch.ones(4, 2)
        return fit_loss(model, x, x, epochs=2, device="cpu", keep=Keep(path, resume=True))

    assert taken(resumed, path) is None


@drawn(12, 2_000)
@given(data=st.data())
def test_states_of_this_training_that_were_changed(place, data):
    """The plan is right, and the rest is not: refused, or gone on with to a proper end."""
    x, path = torch.ones(4, 2), place / "begun.json"
    if not path.exists():
        fit_loss(torch.nn.Linear(2, 2), x, x, epochs=2, device="cpu", keep=Keep(path, every=0.0))
    (tensors, record), path = load_checkpoint(path), place / "changed.json"
    forged = {**data.draw(changed(record)), "plan": record["plan"]}
    left = {k: v for k, v in tensors.items() if data.draw(st.integers(0, 8))}
    save_checkpoint(path, left, forged)

    def resumed():
        return fit_loss(torch.nn.Linear(2, 2), x, x, epochs=2, device="cpu", keep=Keep(path, resume=True))

    history = taken(resumed, path)
    assert history is None or history.ended in ("done", "not finite")


LAWS = {
    "filter": Calibrated(Filter((0.5, -0.1), (0.2,)), "rodas5p", 4, (1e-3, 1e-6), {"text": "a law"}),
    "learned": Calibrated(
        LearnedStep(Filter((0.5,)), torch.full((2, len(FEATURES)), 0.25, dtype=torch.float64)), "tsit5", 4, (1e-3, 1e-6), {}
    ),
}


@pytest.mark.parametrize("kind", LAWS)
@drawn(25, 20_000)
@given(data=st.data())
def test_saved_laws(place, kind, data):
    path = LAWS[kind].save(place / "law.json")
    good = path.read_bytes()
    found = taken(lambda: load(path), path, data.draw(files(good)))
    if found is not None:
        assert found.save(place / "again.json").read_bytes() == good


@pytest.mark.parametrize("kind", LAWS)
@drawn(40, 20_000)
@given(data=st.data())
def test_forged_laws(place, kind, data):
    path = LAWS[kind].save(place / "law.json")
    page = json.loads(path.read_text())
    forged = data.draw(changed({k: v for k, v in page.items() if k != "sha256"}))
    found = taken(lambda: load(path), path, json.dumps({**forged, "sha256": digest_of(forged)}).encode())
    if found is not None:  # whatever was written there, it is a law that can be asked
        memory = found.law.start(torch.ones(2, 3, dtype=torch.float64), None)
        assert found.law.accepts(torch.ones(2, dtype=torch.float64), memory).shape == (2,)
        str(found)


def a_run(place: Path, name: str) -> Path:
    folder = RunFolder(place / name, "test", {"a": 1, "b": "x"}, "a test")
    for i in range(2):
        folder.append(Row("p", {"method": "tsit5", "i": i}, {"time": 0.1 * i, "list": [1, 2.5]}, seed=i))
    return folder.path


@pytest.fixture(scope="module")
def run(place):
    folder = a_run(place, "runs")
    return folder, (folder / RESULTS).read_bytes(), (folder / RUN).read_bytes()


@drawn(25, 20_000)
@given(data=st.data())
def test_results(run, data):
    folder, good, page = run
    (folder / RUN).write_bytes(page)
    rows = [json.loads(line) for line in good.splitlines()]
    found = taken(lambda: read(folder), folder / RESULTS, data.draw(files(good)))
    for row in () if found is None else found.rows:
        # A turned letter in the name of the checksum leaves a row without one, and with a word more.
        ours = {k: v for k, v in row.items() if k in rows[0] and k != "check"}
        assert any(ours == {k: v for k, v in one.items() if k != "check"} for one in rows)
    told = CliRunner().invoke(cli.app, ["report", str(folder)])
    assert told.exit_code in (0, 2), told.output
    assert isinstance(told.exception, SystemExit | None)


@pytest.mark.parametrize("part", ["p", "solvers", "library", "train", "networks", "versus", "attention"])
@drawn(6, 2_000)
@given(data=st.data())
def test_forged_rows(run, part, data):
    """A page, or a sentence, of rows of any content with a checksum that is right."""
    folder, good, page = run
    (folder / RUN).write_bytes(page)
    lines = []
    for line in good.splitlines():
        row = {**json.loads(line), "part": part}
        row = data.draw(changed({k: v for k, v in row.items() if k != "check"}))
        lines.append(json.dumps({**row, "check": check_of(row)}))
    (folder / RESULTS).write_text("\n".join(lines) + "\n")
    try:
        said = render([folder])
    except ValueError as error:
        said = str(error)
    assert "<html" in said or str(folder) in said or "report: the rows of part" in said, said


@drawn(25, 20_000)
@given(data=st.data())
def test_pages_of_runs(run, data):
    folder, _, good = run
    found = taken(lambda: begun(folder, "test", ("a",)), folder / RUN, data.draw(files(good)))
    assert found is None or {k: v for k, v in found.items() if k in ("a", "b")} == {"a": 1, "b": "x"}


@drawn(25, 20_000)
@given(data=st.data())
def test_forged_pages_of_trainings(place, data):
    settings = {"variant": "node", "data": "moons", "epochs": 1, "batch_size": 8, "lr": 0.1, "options": {}, "seed": 0}
    forged = data.draw(changed(settings))
    folder = place / "training"
    folder.mkdir(exist_ok=True)
    page = {"suite": "train-node", "settings": forged, "hash": configuration_hash(forged)}
    found = taken(lambda: unfinished(folder, "train-node", "x", NodeTraining), folder / RUN, json.dumps(page).encode())
    assert found is None or isinstance(found[0], NodeTraining)


@drawn(25, 20_000)
@given(data=st.data())
def test_journals(place, data):
    folder = place / "journal"
    folder.mkdir(exist_ok=True)
    (folder / METRICS).unlink(missing_ok=True)
    journal = Journal(folder, "loss")
    for n in (1, 2, 3):
        journal(Epoch(n, 1.0 / n, 0.5, 0.1))
    path = folder / METRICS
    path.write_bytes(data.draw(files(path.read_bytes())))
    Journal(folder, "loss")(Epoch(3, 7.0, math.nan, 0.1))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[-1] == {"epoch": 3, "train_loss": 7.0, "loss": None, "seconds": 0.1}
    assert all(row["epoch"] < 3 for row in rows[:-1])


COUNTED = json.dumps({"schema": 1, "rtols": list(RTOLS), "counts": {"hires, tsit5": {k: [1] * len(RTOLS) for k in COUNTS}}})


@drawn(25, 10_000)
@given(body=files(COUNTED.encode()))
def test_files_of_counts(place, body):
    path = place / "counts.json"
    taken(lambda: _kept(path), path, body)


TOML = written_toml({"epochs": 3, "lr": 0.01, "data": "moons", "option": {"width": 8, "regulariser": "steer"}}, "settings")


@drawn(50, 20_000)
@given(body=files(TOML.encode()))
def test_toml(place, body):
    path = place / "settings.toml"
    found = taken(lambda: read_toml(path), path, body)
    assert found is None or isinstance(found, dict)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT


@drawn(25, 10_000)
@given(page=st.dictionaries(TEXT, NUMBERS | st.lists(NUMBERS, max_size=3)), table=st.dictionaries(TEXT, NUMBERS))
def test_what_is_written_as_toml_is_read(place, page, table):
    path = place / "written.toml"
    whole = {**page, **({"a table": table} if table else {})}
    path.write_text(written_toml(whole, "a comment"), encoding="utf-8", newline="")
    assert read_toml(path) == whole


def a_picture(kind: str) -> bytes:
    body = io.BytesIO()
    pixels = np.arange(16 * 12 * 3, dtype=np.uint8).reshape(16, 12, 3)
    Image.fromarray(pixels).save(body, kind)
    return body.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "webp", "ppm"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own about odd files
@drawn(15, 10_000)
@given(data=st.data())
def test_pictures(place, kind, data):
    path = place / f"picture.{kind}"
    found = taken(lambda: decoded(str(path), 8), path, data.draw(files(a_picture(kind))))
    assert found is None or (found.shape == (8, 8, 3) and found.dtype == np.uint8)


@drawn(15, 5_000)
@given(body=st.binary(max_size=70), length=st.integers(1, 12), count=st.integers(1, 6))
def test_records(place, body, length, count):
    path = place / "data.bin"
    found = taken(lambda: records(path, length, count), path, body)
    assert (found is not None) == (len(body) == length * count)
    if found is not None:
        one = taken(lambda: labels(found[:, 0], 10, path), path)
        assert (one is not None) == (int(found[:, 0].max()) < 10)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch, old"])
def test_nothing_that_was_pickled_runs(tmp_path, kind):
    """In the place of every file that is read."""
    trace = tmp_path / "it-has-run"
    body = io.BytesIO()
    if kind == "pickle":
        pickle.dump(Bomb(trace), body)
    else:
        torch.save(Bomb(trace), body, _use_new_zipfile_serialization=kind == "torch")
    page, tensors = a_checkpoint(tmp_path)
    folder = a_run(tmp_path, "runs")
    readers = {
        tmp_path / "a.idx": read_idx, tmp_path / "law.json": load, page: load_checkpoint,
        tensors: lambda _: load_checkpoint(page),
        folder / RUN: lambda _: begun(folder, "test"), tmp_path / "a.toml": read_toml, tmp_path / "counts.json": _kept,
        tmp_path / "a.png": lambda p: decoded(str(p), 8),
    }  # fmt: skip
    for path, reader in readers.items():
        before = path.read_bytes() if path.exists() else b""
        path.write_bytes(body.getvalue())
        with pytest.raises(ValueError, match=re.escape(path.name)):
            reader(path)
        path.write_bytes(before)
    (folder / RESULTS).write_bytes(body.getvalue())
    assert read(folder).rows == ()
    assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace)))  # and it would have
    assert trace.exists()

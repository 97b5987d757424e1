"""Real signals to real processes: Ctrl-C to all of a terminal's, and a worker that is killed from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import read
from odebridge.bench.record import RESULTS

HERE = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
WAIT = 120.0  # seconds for a busy machine


def started(words: str, folder: Path) -> subprocess.Popen[str]:
    """A command as a terminal starts it: first of a group of processes, to which Ctrl-C goes."""
    line = [sys.executable, "-m", "odebridge", *words.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A test that runs in the background would hand down that Ctrl-C is ignored.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(line, cwd=folder, env=ENVIRONMENT, start_new_session=True, preexec_fn=heard, **pipes)


def until(process: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    end = time.monotonic() + WAIT
    while process.poll() is None and not list(folder.glob(pattern)):
        assert time.monotonic() < end, pattern
        time.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, errors = process.communicate(timeout=WAIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, errors


CASES = [
    ("train resnet --depth 8 --width 2 --epochs 1000 --device cpu", "runs/*/metrics.jsonl", 0.3),
    ("train node --data moons --option width=4 --epochs 1000", "runs/*/run.json", 1.0),
    ("bench stiffness --quick", "runs/*/results.jsonl", 0.1),
    ("bench solvers --quick --only hires*", "runs/*/results.jsonl", 0.1),
    ("bench solvers --quick --only hires* --jobs 2", "runs/*/run.json", 6.0),
    ("bench solvers --quick --only hires* --jobs 2", "runs/*/results.jsonl", 0.0),
    ("bench controllers --quick --only robertson,*rodas5p", "runs/*/run.json", 4.0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "ready", "pause"), CASES)
def test_ctrl_c(tmp_path, words, ready, pause):
    process = started(words, tmp_path)
    until(process, tmp_path, ready)
    time.sleep(pause)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    code, _, errors = ended(process)
    assert code == 130, errors
    assert "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1, errors
    assert "--resume" in errors
    (folder,) = (tmp_path / "runs").iterdir()
    if (folder / RESULTS).exists():
        found = read(folder)
        assert (found.torn, found.damaged) == (0, 0)
        assert all(row["status"] != "error" for row in found.rows)
    assert gone(process.pid), "a worker is left behind"


def gone(group: int) -> bool:
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def children(pid: int) -> list[int]:
    return [int(v) for v in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(), reason="needs /proc")
def test_a_worker_that_is_killed_from_outside_costs_no_row(tmp_path):
    """What it had in work is run again, alone."""
    process = started("bench solvers --quick --only hires* --jobs 2", tmp_path)
    until(process, tmp_path, "runs/*/results.jsonl")
    workers = [p for p in children(process.pid) if "loky" in Path(f"/proc/{p}/cmdline").read_text()]
    os.kill(workers[-1], signal.SIGKILL)
    code, out, errors = ended(process)
    assert code == 0, out + errors
    (folder,) = (tmp_path / "runs").iterdir()
    rows = read(folder).rows
    assert all(row["status"] != "error" for row in rows), [row["message"] for row in rows]
    assert len({row["hash"] for row in rows}) == len(rows) == 7


def test_ctrl_c_in_a_suite_keeps_the_rows_and_resume_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["bench", "nonstiff", "--quick"]
    ran = []

    def stops(*given):
        ran.append(given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("odebridge.bench.runner.run_case", stops)
        outcome = CliRunner().invoke(cli.app, words)
    assert outcome.exit_code == 130, outcome.output
    assert "--resume" in outcome.output.strip().splitlines()[-1]
    (folder,) = Path("runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["suite"] == "nonstiff"
    assert len(ran) == 1

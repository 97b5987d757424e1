"""Work in exact counts, against the committed baseline: a change of work is a failure that says which count changed."""

import json
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import counters

BASELINE = Path(__file__).parent.parent / "benchmarks" / "history" / "counters.json"
runner = CliRunner()
PINNED = [
    ("lotka_volterra", "tsit5"),
    ("lotka_volterra", "rodas5p"),
    ("hires", "rodas5p"),
    ("hires", "kvaerno5"),
    ("hires", "bdf"),
]


def test_the_baseline_has_every_cell():
    kept = json.loads(BASELINE.read_text())
    assert set(kept["counts"]) == {f"{p}, {m}" for p, m in counters.cells()}
    assert kept["rtols"] == list(counters.RTOLS)


@pytest.mark.parametrize("cell", PINNED, ids=", ".join)
def test_the_work_is_that_of_the_baseline(cell):
    """Meant to change: python -m odebridge bench counters --out benchmarks/history/counters.json, and say why."""
    kept, name = json.loads(BASELINE.read_text()), ", ".join(cell)
    new = counters.page(counters.counted([cell]))
    different, _ = counters.differences({**kept, "counts": {name: kept["counts"][name]}}, new)
    assert different == []


def test_differences_are_sentences_and_near_ones_are_told_apart():
    old = {"cpu": "a", "versions": {}, "rtols": [1e-3], "counts": {"p, m": {"f_evals": [1000], "result": ["OK"]}}}
    same = {**old, "counts": {"p, m": {"f_evals": [1010], "result": ["OK"]}, "q, m": {}}}
    assert counters.differences(old, same) == (["p, m, rtol 1e-03: f_evals 1000 -> 1010 (+1.0 %)", "q, m: is new"], [])
    different, near = counters.differences(old, {**same, "cpu": "b"})
    assert different == ["q, m: is new"]
    assert near == ["p, m, rtol 1e-03: f_evals 1000 -> 1010 (+1.0 %)"]
    far = {**old, "cpu": "b", "counts": {"p, m": {"f_evals": [1100], "result": ["MAX_STEPS"]}}}
    assert len(counters.differences(old, far)[0]) == 2
    assert counters.differences(old, old) == ([], [])


def test_the_command_writes_and_compares(tmp_path, monkeypatch):
    monkeypatch.setattr(counters, "cells", lambda: [("lotka_volterra", "bosh3")])
    file = tmp_path / "a.json"
    outcome = runner.invoke(cli.app, ["bench", "counters", "--out", str(file)])
    assert outcome.exit_code == 0, outcome.output
    again = runner.invoke(cli.app, ["bench", "counters", "--out", str(tmp_path / "b.json"), "--against", str(file)])
    assert again.exit_code == 0, again.output
    page = json.loads(file.read_text())
    page["counts"]["lotka_volterra, bosh3"]["f_evals"][0] += 1
    file.write_text(json.dumps(page))
    outcome = runner.invoke(cli.app, ["bench", "counters", "--out", str(tmp_path / "b.json"), "--against", str(file)])
    assert outcome.exit_code == 2
    assert "f_evals" in outcome.output


def test_the_script_of_gradients_loads():
    runpy.run_path(str(BASELINE.parent.parent / "gradients.py"), run_name="script")

"""Comparisons at equal error: interpolation inside the bracket only, rounds, failures as rows, tables."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from odebridge.bench import families
from odebridge.bench.contest import Cell, Contender, Contest, Pace, errors, first, ours, peer, points, run_contest
from odebridge.bench.equal import Point, bracket, ratio, spread, time_at
from odebridge.bench.verdict import markdown, told, verdicts, write
from odebridge.peers.base import EnsembleRun
from odebridge.problems import problem

PACE = Pace(rounds=2, slow=2.0, least=0.0, budget=20.0)
LINE = [Point(10.0**-k, 10.0**-k, (10.0**k, 2 * 10.0**k)) for k in range(2, 6)]


def test_times_are_interpolated_on_logarithms():
    assert time_at(LINE, 10**-2.5) == pytest.approx((10**2.5, 2 * 10**2.5))
    assert time_at(LINE, 1e-3) == pytest.approx((1e3, 2e3))


@pytest.mark.parametrize("target", [1e-1, 1e-6])
def test_nothing_is_extrapolated(target):
    assert time_at(LINE, target) is None


def test_a_bracket_joins_neighbouring_tolerances_that_have_an_error():
    lost = [*LINE[:2], Point(1e-4, math.inf, (1.0,)), LINE[3]]
    pair = bracket(lost, 10**-3.5)
    assert pair is not None
    assert [p.rtol for p in pair] == pytest.approx([1e-3, 1e-5])
    assert bracket(LINE[:1], 1e-2) is None


def test_ratios_are_taken_round_by_round():
    assert ratio([2.0, 9.0], [1.0, 3.0]) == spread([2.0, 3.0])
    assert ratio([4.0], [1.0, 2.0]).median == 4.0


def test_errors_are_infinite_where_a_trajectory_did_not_arrive():
    truth = np.array([[1.0, 2.0], [1.0, 2.0]])
    assert errors(np.array([[1.0, 2.2], [math.nan, 2.0]]), truth, None).tolist() == pytest.approx([0.1, math.inf])
    assert errors(np.array([[1.0, 2.2]]), truth, 1.0).tolist() == pytest.approx([0.2 / 3])


@pytest.mark.parametrize("name", families.ATOL_PER_RTOL)
def test_the_first_trajectories_do_not_depend_on_the_batch(name):
    many, few = families.family(name, 7), families.family(name, 3)
    cut = first(many, 3)
    assert torch.equal(cut.x0, few.x0)
    assert torch.equal(cut.args, few.args)
    for a, b in zip(cut.span, few.span, strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))


def broken(task, rtol, atol, limit):
    raise RuntimeError("out of order")


def absent(task, rtol, atol, limit):
    shape = tuple(task.x0.shape)
    return EnsembleRun(
        np.full(shape, np.nan), {}, 0.0, 0.0, 0.0, np.zeros(shape[0], dtype=bool), "x: not installed; pip install x."
    )


@pytest.fixture(scope="module")
def contest():
    task = families.family("lotka_volterra", 4)
    rtols = (1e-2, 1e-3, 1e-4, 1e-5)
    who = [
        ours("tsit5", compiled=False, rtols=rtols),
        peer("scipy:RK45", 2, rtols),
        Contender("broken", broken),
        Contender("absent", absent),
    ]
    return Contest("lotka_volterra, B=4", task, families.truth(task, 3, stiff=False), 1.0, (1e-3, 1e-30), who, who[0].name)


def test_a_contest_brackets_repeats_and_survives(contest, tmp_path):
    said: list[str] = []
    cells = run_contest(contest, PACE, said.append)
    mine = points(cells, contest.ours)
    pair = bracket(mine, 1e-3)
    assert pair is not None
    assert all(len(p.times) == PACE.rounds for p in pair)
    assert {c.lanes for c in cells if c.contender == "scipy:RK45"} == {2}
    rows = verdicts(contest, cells)
    by_name = {row["contender"]: row for row in rows if row["target"] == 1e-3}
    assert by_name["scipy:RK45"]["status"] == "ok"
    assert by_name["scipy:RK45"]["ratio"]["low"] <= by_name["scipy:RK45"]["ratio"]["median"]
    assert "out of order" in by_name["broken"]["status"]
    assert "pip install" in by_name["absent"]["status"]
    assert all("did not reach" in row["status"] for row in rows if row["target"] == 1e-30 and row["contender"] == contest.ours)
    assert all(told(row) for row in rows)
    page = markdown("title", "text", rows, {contest.name: cells}, "python x.py")
    assert "their time / our best" in page
    assert "python x.py" in page
    write(tmp_path, "title", "text", rows, {contest.name: cells}, "python x.py")
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert kinds == ["run", *["cell"] * len(cells), *["verdict"] * len(rows)]


def test_our_loosest_tolerance_bounds_the_time_where_it_is_better_than_asked(contest):
    cells = run_contest(contest, PACE, lambda text: None)
    loose = Contest(contest.name, contest.problem, contest.truth, 1.0, (0.9,), contest.contenders[:2], contest.ours)
    row = next(r for r in verdicts(loose, cells) if r["contender"] == contest.ours)
    assert row["status"] == "more accurate at its loosest tolerance"


@pytest.mark.slow
@pytest.mark.parametrize("script", ["single", "nonstiff", "ensembles"])
def test_the_scripts_run_in_their_quick_size(script, tmp_path):
    path = Path(__file__).parents[1] / "benchmarks" / f"{script}.py"
    only = {"single": "hires", "nonstiff": "lotka_volterra", "ensembles": "hires"}[script]
    command = [sys.executable, str(path), "--quick", "--minutes", "0.3", "--only", only, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "table.md").exists()


def test_published_end_states_are_what_single_compares_with():
    task, known = families.alone("hires")
    assert known.shape == (1, 8)
    assert len(task.x0) == 1
    reference = problem("hires").reference
    assert reference is not None
    assert np.array_equal(known[0], reference.numpy())


def test_the_best_of_ours_is_what_others_are_compared_with():
    task = families.family("lotka_volterra", 2)
    names = ("odebridge:slow", "odebridge:fast", "peer")
    who = [Contender(name, broken) for name in names]
    times = {"odebridge:slow": 4.0, "odebridge:fast": 1.0, "peer": 8.0}
    cells = [Cell(n, r, 2, error=r, worst=r, cpu=[times[n], times[n]]) for n in names for r in (1e-2, 1e-4)]
    rows = verdicts(Contest("x", task, task.x0.numpy(), 1.0, (1e-3, 1e-1), who), cells)
    at = {r["contender"]: r for r in rows if r["target"] == 1e-3}
    assert at["peer"]["ratio"]["median"] == pytest.approx(8.0)
    assert at["odebridge:slow"]["ratio"]["median"] == pytest.approx(4.0)
    assert "ratio" not in at["odebridge:fast"]
    assert not at["peer"]["at_least"]
    # At 0.1 all are more accurate than asked for: ours would give a bound, a peer's time is not comparable.
    assert all("ratio" not in r for r in rows if r["target"] == 1e-1)

"""Comparisons at equal error: interpolation inside the bracket only, rounds, failures as rows, tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from odebridge.bench import contests, families
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


@dataclass
class Scripted:
    """A solver that makes an error of 2 rtol in every component and says how long it took; message: why it never arrives."""

    cpu: float = 0.1
    rtols: Sequence[float] = (1e-1, 1e-2, 1e-3)
    made: list = field(default_factory=list)
    message: str = ""

    def __call__(self, task, rtol, atol, limit):
        self.made.append((rtol, atol, limit, len(task.x0), str(task.x0.device)))
        b = len(task.x0)
        x1 = (1.0 + 2.0 * rtol) * np.ones((b, 2))
        return EnsembleRun(x1, {"f_evals": 7}, self.cpu, self.cpu, 0.0, np.full(b, not self.message), self.message)

    def contest(self, targets, name="odebridge:scripted"):
        task = families.family("lotka_volterra", 2)
        return Contest("c", task, np.ones((2, 2)), 1.0, targets, [Contender(name, self, rtols=self.rtols)])


def test_a_contest_that_is_out_of_time_keeps_the_rounds_that_it_has():
    said: list[str] = []
    cells = run_contest(Scripted().contest((5e-2,)), Pace(rounds=3, slow=2.0, least=0.0, budget=-1.0), said.append)
    assert said[-1] == "c: out of time after 1 rounds"
    assert [len(c.cpu) for c in cells] == [1, 1]


def test_a_solver_that_is_better_than_asked_for_is_timed_at_its_loosest():
    who = Scripted(rtols=(1e-2, 1e-3))
    cells = run_contest(who.contest((0.5, 0.1)), Pace(rounds=2, slow=2.0, least=0.0), lambda _: None)
    (cell,) = cells  # the first is good enough for every target
    assert (cell.error, len(cell.cpu)) == (pytest.approx(2e-2), 2)


def test_a_measurement_repeats_what_is_too_short_to_be_timed():
    who = Scripted(cpu=0.125)
    contest = who.contest((5e-2,))
    run_contest(contest, Pace(rounds=1, slow=2.0, least=0.5), lambda _: None)
    climbed = 4  # two tolerances, twice each
    assert len(who.made) == climbed + 2 * 4


def test_another_device_gets_the_problem_before_the_clock_and_is_timed_by_it():
    who = Scripted(cpu=0.5)
    here = Contender("odebridge:a", who)
    assert contests._on("cpu", here) is here
    there = contests._on("meta", here)
    task = SimpleNamespace(to=lambda device: SimpleNamespace(x0=torch.zeros(2, 2, device=device)))
    run = there.solve(task, 1e-2, 1e-3, 1.0)
    assert (there.name, run.cpu) == ("odebridge:a (meta)", run.seconds)
    assert who.made == [(1e-2, 1e-3, 1.0, 2, "meta")]


@pytest.mark.parametrize("message", ["", "x: not installed; pip install x."])
def test_a_contest_is_a_row_that_json_can_hold(message):
    before = torch.get_num_threads()
    outcome = contests._held(lambda size, device: Scripted(message=message).contest((5e-2,)), "quick", "cpu", 5.0)
    values = json.loads(json.dumps(outcome.values, allow_nan=False))
    assert torch.get_num_threads() == before
    assert values["missing"] == [message] * len(values["cells"]) * bool(message)
    assert [c["error"] for c in values["cells"]] == ([None] * 3 if message else [pytest.approx(0.2), pytest.approx(0.02)])
    assert {v["status"] for v in values["verdicts"]} == {message or "ok"}


def test_threads_are_put_back_after_a_contest_that_breaks(monkeypatch):
    told = []
    monkeypatch.setattr(contests.torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(contests.torch, "set_num_threads", told.append)
    with pytest.raises(ZeroDivisionError), contests.one_thread():
        raise ZeroDivisionError
    assert told == [1, 3]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("size", ["quick", "standard"])
def test_who_takes_part(monkeypatch, size, device):
    """The truths are not computed; who compiles, who gets fewer trajectories, who runs on the device."""
    asked = []

    def truth(task, k, *, stiff):
        asked.append((task.name, k, stiff))
        return np.zeros((k, task.x0.shape[1]))

    monkeypatch.setattr(contests, "truth", truth)
    monkeypatch.setattr(contests.network, "truth", lambda b: np.zeros((1, 4)))
    monkeypatch.setattr(contests.stiff, "truth", lambda: np.zeros((2, 3)))
    quick = size == "quick"
    made = {
        "single": contests._single("robertson", size, "cpu"),
        "ensembles": contests._ensemble("hires", 3, 0, size, device),
        "nonstiff": contests._nonstiff("lotka_volterra", 3, 0, size, device),
        "network": contests._network(3, "float32", size, "cpu"),
        "rates": contests._rates(2, size, "cpu"),
    }
    assert asked == [("hires", 10 if quick else 100, True), ("lotka_volterra", 20 if quick else 100, False)]
    assert [made[k].name for k in made] == [
        "robertson", "hires, B=3", "lotka_volterra, B=3", "neural ODE, B=3, float32", "Robertson's rates, B=2"
    ]  # fmt: skip
    for kind, contest in made.items():
        names = [who.name for who in contest.contenders]
        assert len(set(names)) == len(names)
        mine = [who for who in contest.contenders if who.name.startswith(contest.ours)]
        assert 0 < len(mine) < len(names)
        assert list(contest.targets) == sorted(contest.targets, reverse=True)
        if kind in ("ensembles", "nonstiff"):
            assert all(who.name.endswith("(cuda)") == (device == "cuda") for who in mine)
            assert {who.compiles for who in mine} == {not quick and device == "cpu"}
    lanes = {who.name: who.lanes for who in made["ensembles"].contenders if who.lanes}
    assert lanes["scipy:odeint"] == (10 if quick else 50)
    assert any(name.startswith("diffrax") for name in lanes) == (not quick)
    assert made["single"].floor == made["single"].atol_per_rtol
    assert made["single"].truth.shape == (1, 3)


def test_growth_is_measured_warm():
    part = contests.growth("quick", 0, "cpu")
    assert [case.configuration["b"] for case in part.cases] == [100, 1000]
    values = contests._grown(2, 0, "quick", "cpu", 30.0).values
    assert values["cpu"] == values["runs"][0] > 0.0
    assert values["peak_mib"] > 10
    assert values["accepted"] > 2

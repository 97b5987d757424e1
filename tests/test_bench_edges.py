"""What suites do at the edges: cut, failed and missing measurements, terminals, counts of other machines."""

import io
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from odebridge.bench import (
    attention,
    counters,
    flowmap,
    library,
    networks,
    paired,
    refinement,
    solvers,
    stiffness,
    suites,
)  # fmt: skip
from odebridge.bench.controller_families import kepler
from odebridge.bench.cost import in_turns, ratio
from odebridge.bench.progress import Display
from odebridge.bench.record import Row
from odebridge.bench.runner import Event
from odebridge.problems import problem
from odebridge.train import History

D = torch.float64


def test_runs_take_turns_forward_and_backward_after_a_warm_up():
    order: list[str] = []
    took = in_turns({name: lambda name=name: order.append(name) for name in "ab"}, 3, warm=1)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert {name: len(v) for name, v in took.items()} == {"a": 3, "b": 3}
    assert all(v >= 0.0 for some in took.values() for v in some)


def test_a_ratio_is_taken_round_by_round():
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == {"low": 2.0, "ratio": 3.0, "high": 4.0, "rounds": 3}


@pytest.fixture
def terminal():
    text = io.StringIO()
    return text, Display(Console(file=text, force_terminal=True, width=100))


def test_on_a_terminal_every_part_has_a_bar_and_failures_are_named(terminal):
    text, show = terminal
    with show:
        for done in range(3):
            show(Event("p", f"case {done}", done, 2))
        show(Event("q", "other", 0, 5))
        show(Event("q", "other", 1, 5, Row("q", {}, {}, "failed", "gave up\nmore")))
    tasks = {task.fields["part"]: task for task in show.bars.tasks}
    assert {part: (task.completed, task.total) for part, task in tasks.items()} == {"p": (2, 2), "q": (1, 5)}
    assert (tasks["p"].fields["label"], tasks["q"].fields["label"]) == ("", "other")
    assert "other: failed: gave up" in text.getvalue()
    assert "more" not in text.getvalue()


def test_elsewhere_a_line_is_written_at_the_beginning_the_end_and_now_and_then(monkeypatch):
    text = io.StringIO()
    clock = iter([100.0, 101.0, 110.0, 111.0])
    monkeypatch.setattr("odebridge.bench.progress.time.monotonic", clock.__next__)
    with Display(Console(file=text, force_terminal=False, width=100)) as show:
        for done in range(4):
            show(Event("p", f"case {done}", done, 3))
    said = text.getvalue().splitlines()
    assert said == ["p 0/3, 0 s: case 0", "p 2/3, 10 s, about 5 s left: case 2", "p 3/3, 11 s: case 3"]


@pytest.mark.parametrize("name", ["attention", "refine", "stiffness", "tickets", "depth"])
@pytest.mark.parametrize("quick", [False, True])
def test_the_suites_of_networks_run_what_their_size_says(monkeypatch, tmp_path, name, quick):
    asked = {}

    def run_suite(suite, parts, _out, settings, *_):
        asked.update(suite=suite, parts=parts, **settings)

    monkeypatch.setattr(suites, "run_suite", run_suite)
    more = {} if name == "stiffness" else {"data": "digits"}
    suites.NetworkSuite(name)(tmp_path, 3, quick=quick, **more)
    (part,) = asked["parts"]
    assert (asked["suite"], part.name, asked["quick"], asked["seed"]) == (name, name, quick, 3)
    assert asked["data"] == more.get("data")
    assert {case.seed for case in part.cases if case.seed is not None} >= {3}
    made = {"attention": suites._attention, "refine": suites._refine, "tickets": suites._tickets, "depth": suites._depth}
    if name in made:
        assert len(made[name]("digits", True, 0).cases) < len(made[name]("digits", False, 0).cases)


def test_stiffness_takes_no_data():
    with pytest.raises(ValueError, match="always trains on the digits"):
        suites._stiffness("fashion-mnist", False, 0)


def test_fashion_mnist_is_taken_where_it_is_installed(monkeypatch):
    asked = []

    def images(name, train):
        asked.append((name, train))
        if not there:
            raise FileNotFoundError("not there")

    monkeypatch.setattr(paired, "images", images)
    there = True
    assert paired.settings_for(None, quick=False).data == "fashion-mnist"
    wider = paired.settings_for("fashion-mnist", quick=True)
    assert (wider.train, wider.stem) == (1000, 4)
    assert asked == [("fashion-mnist", paired.SUBSET)] * 2
    assert suites._refine(None, False, 0).cases[-1].configuration["stem"] == refinement.larger(paired.Settings()).stem
    assert refinement.shorter(paired.Settings()).probes == 128
    there = False
    assert paired.settings_for(None, quick=False).data == "digits"
    with pytest.raises(FileNotFoundError):
        paired.settings_for("fashion-mnist", quick=False)


@pytest.mark.parametrize(
    ("ended", "status", "said"),
    [("done", "ok", ""), ("time budget", "shortened", "1 of 3 epochs"), ("not finite", "failed", "the loss is NaN")],
)
def test_a_training_that_was_cut_or_failed_says_so_in_its_row(ended, status, said):
    epoch = SimpleNamespace(test_score=0.5, train_loss=1.0)
    history = History([epoch], ended, said if ended == "not finite" else "", 2.0)
    found = paired.outcome(torch.nn.Linear(2, 1), history, 3, lambda: {"more": 1})
    assert found.status == status
    assert said in found.message
    assert found.values.get("accuracy") == (None if status == "failed" else 0.5)
    assert found.values.get("parameters") == (None if status == "failed" else 3)


def test_networks_of_the_quick_suite_say_how_they_were_cut():
    assert networks.shortened(3, 3, "done") == ("ok", "")
    assert networks.shortened(2, 3, "done")[1].endswith("2 of 3 epochs to stay inside the part's time budget.")
    assert networks.shortened(2, 3, "time budget")[1].endswith("was stopped within the last of them.")
    assert all(math.isnan(v) for v in networks._step(None).values())
    assert networks._step(torch.tensor([1.0, 3.0]))["sd_samples"] == 1.0


@pytest.mark.parametrize("make", [networks.part, flowmap.part])
def test_a_loss_that_is_not_finite_is_a_failed_row(monkeypatch, make):
    lost = History([], "not finite", "the loss was NaN", 0.0)
    module = networks if make is networks.part else flowmap
    monkeypatch.setattr(module, "fit" if module is networks else "fit_loss", lambda *_, **__: lost)
    monkeypatch.setattr(module, "affordable", lambda epochs, *_: epochs)
    settings = module.Settings(budget=9.0) if module is networks else replace(flowmap.Settings(), train=4, held_out=4)
    case = next(c for c in make(settings).cases if "controller" in c.configuration and c.seed is not None)
    outcome = case.run(9.0)
    assert (outcome.status, outcome.message) == ("failed", "the loss was NaN")


def test_a_reference_that_fails_is_no_data(monkeypatch):
    lost = SimpleNamespace(
        failures=["x"], message="trajectory 0 stopped", stats=SimpleNamespace(f_evals=torch.ones(1)), x1=None
    )
    monkeypatch.setattr(flowmap, "_solve", lambda *_, **__: lost)
    with pytest.raises(RuntimeError, match="trajectory 0 stopped"):
        flowmap.make_flow(flowmap.Settings())


def test_without_gates_nothing_follows():
    seen = SimpleNamespace(nsi=torch.ones(2, 3), steps=[None] * 3)
    assert attention.follows(seen) == {"gate_blocks": None, "gate_samples": None}


def test_batches_of_one_image_do_not_set_statistics():
    net = torch.nn.BatchNorm1d(2, momentum=None)
    refinement.calibrated(net, torch.arange(258.0).reshape(129, 2))
    assert float(net.num_batches_tracked) == 1
    assert net.running_mean.tolist() == pytest.approx([127.0, 128.0])


def test_an_equation_of_few_steps_has_no_correlation():
    sol = SimpleNamespace(ts=torch.arange(5.0), xs=torch.zeros(5, 2), message="It stopped.")
    with pytest.raises(ValueError, match="only 5 states were kept, too few for a correlation"):
        stiffness.walked(problem("robertson"), sol)
    assert list(stiffness.network(7).every_seed) == [7, 8, 9]


def test_a_problem_without_a_reference_is_not_measured(monkeypatch):
    for end in (library.end_of, solvers._end):
        with pytest.raises(ValueError, match="kepler has no reference"):
            end(kepler())
    monkeypatch.setattr(
        library, "problem", lambda name: replace(problem(name), reference=None) if name == "hires" else problem(name)
    )
    (part,) = library.parts("quick")
    assert {case.configuration["problem"] for case in part.cases} == {"robertson", "lotka_volterra"}


def test_a_cell_fails_only_where_no_tolerance_was_reached():
    rows = [{"result": "MAX_STEPS", "rtol": r, "f_evals": 9, "method": "m"} for r in (1e-3, 1e-6)]
    lost = library._told(rows)
    assert (lost.status, lost.message) == ("failed", "MAX_STEPS")
    assert library._told([{**rows[0], "message": "said why"}, rows[1]]).message == "said why"
    assert library._told([*rows, {**rows[0], "result": "OK"}]).status == "ok"
    assert lost.values == {"result": ["MAX_STEPS"] * 2, "rtol": [1e-3, 1e-6], "f_evals": [9, 9]}
    assert library.methods_for(problem("ring_modulator"), False) == list(library.FEW["ring_modulator"])
    assert library._digits(math.nan, 1e-3) == {"mescd": None, "error_over_rtol": None}


def test_a_peer_has_a_row_for_every_tolerance(monkeypatch):
    p = problem("hires")
    off = p.reference.numpy() * (1.0 + 1e-4)

    def scripted(task, rtol, atol, **how):
        assert how["time_limit"] <= 60.0
        return SimpleNamespace(x1=off, ok=rtol < 1e-3, counts={"f_evals": 5}, message="" if rtol < 1e-3 else "lost")

    monkeypatch.setitem(library.PEERS, "scipy:Radau", scripted)
    rows = library.peer_rows(p, "scipy:Radau", [1e-3, 1e-5])
    assert [r["result"] for r in rows] == ["failed", "OK"]
    assert rows[0]["mescd"] is None
    assert 4.0 <= rows[1]["mescd"] < 6.0
    assert rows[1]["atol"] == pytest.approx(1e-8)
    assert library._peer_cell("hires", "scipy:Radau", [1e-3], 1.0).message == "lost"


RTOLS = '{"rtols": [1e-3, 1e-5], "counts": '
DAMAGED = (
    "",
    "[1]",
    RTOLS + "1}",
    RTOLS + '{"a": 1}}',
    RTOLS + '{"a": {"f": [1]}}}',
    '{"rtols": [1.0], "counts": {"a": {"f": [1]}}}',
)


@pytest.mark.parametrize("text", DAMAGED)
def test_a_file_of_other_counts_is_refused(tmp_path, text):
    path = tmp_path / "counters.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is damaged, or no file"):
        counters.counters(tmp_path / "new.json", against=path)
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize("watched", [False, True])
def test_counts_of_another_machine_may_be_near(monkeypatch, tmp_path, watched):
    monkeypatch.setattr(counters, "cells", lambda: [("hires", "rodas5p")])
    monkeypatch.setattr(counters, "run_cell", lambda *_: [{**dict.fromkeys(counters.COUNTS, 1000), "result": "OK"}] * 2)
    old = tmp_path / "old.json"
    counters.counters(old)
    kept = json.loads(old.read_text())
    kept["counts"]["hires, rodas5p"]["f_evals"][1] = 1010
    kept["cpu"] = "another"
    old.write_text(json.dumps(kept))
    said: list[Event] = []
    path = counters.counters(tmp_path / "new.json", tell=said.append if watched else None, against=old)
    assert path.exists()
    near = f"1 counts are near those of {old} (commit {kept['commit']})"
    assert [e.label for e in said] == (["hires, rodas5p", near] if watched else [])
    kept["counts"]["hires, rodas5p"]["f_evals"][1] = 2000
    old.write_text(json.dumps(kept))
    with pytest.raises(ValueError, match=r"f_evals 2000 -> 1000 \(-50.0 %\)"):
        counters.counters(tmp_path / "new.json", against=old)

"""What suites do at the edges: cut, failed and missing measurements, runs of other versions, terminals, other machines."""

import io
import json
import math
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import (
    attention,
    counters,
    doctor,
    environment,
    findings,
    flowmap,
    inference,
    journal,
    library,
    networks,
    paired,
    plots,
    record,
    refinement,
    report,
    residual,
    residual_training,
    solvers,
    stiffness,
    stiffness_page,
    suites,
    training,
    versus,
    versus_findings,
)  # fmt: skip
from odebridge.bench.controller_families import kepler
from odebridge.bench.cost import in_turns, ratio
from odebridge.bench.limit import limited
from odebridge.bench.node_training import option_of
from odebridge.bench.progress import Display
from odebridge.bench.record import Row, RunFolder
from odebridge.bench.resume import begun, finished, unfinished
from odebridge.bench.runner import Event
from odebridge.bench.suite import SUITES, Suite
from odebridge.bench.training import Training
from odebridge.bench.versus_data import Measured
from odebridge.cli import app, edge
from odebridge.problems import problem
from odebridge.train import RECIPES, History
from tests.rows import row

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


def test_methods_that_take_no_mass_are_left_out(monkeypatch):
    once = {**dict.fromkeys(counters.COUNTS, 1), "result": "OK"}
    monkeypatch.setattr(counters, "run_cell", lambda *_: [once] * 2)
    counts = counters.counted([("chemical_akzo_nobel", method) for method in ("tsit5", "rodas5p")])
    assert list(counts) == ["chemical_akzo_nobel, rodas5p"]


def test_runs_of_another_version_are_not_gone_on_with(tmp_path):
    few = RunFolder(tmp_path, "train", {"model": "resnet"}, "x").path
    with pytest.raises(ValueError, match="does not say 'seed'; it is of another version"):
        unfinished(few, "train", "a network", Training)
    more = RunFolder(tmp_path, "train", {"model": "resnet", "seed": 0, "colour": "red"}, "x").path
    with pytest.raises(ValueError, match="says 'colour'; it is of another version"):
        unfinished(more, "train", "a network", Training)
    with pytest.raises(ValueError, match="does not say 'data'"):
        begun(few, "train", ["model", "data"])
    assert finished(few) == set()
    good = RunFolder(tmp_path, "train", {"model": "resnet", "seed": 4}, "x").path
    assert unfinished(good, "train", "a network", Training) == (Training(), 4)


def test_what_a_suite_was_begun_with_holds_when_it_goes_on(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("odebridge.bench.suite.run_suite", lambda *given: asked.append(given) or tmp_path)
    settings = {"seed": 5, "size": "quick", "device": "cpu", "shard": "2/3", "only": "robertson, *", "families": None}
    folder = RunFolder(tmp_path, "controllers", settings, "x").path
    Suite("controllers")(tmp_path, resume=folder)
    name, todo, _, kept, _, command, resume, how = asked[0]
    assert (name, resume, how.shard) == ("controllers", folder, (2, 3))
    assert [case.label for part in todo for case in part.cases] == ["robertson, rodas5p"]
    assert command == "odebridge bench controllers --seed 5 --quick --shard 2/3 --only 'robertson, *'"
    assert kept == settings
    with pytest.raises(ValueError, match="'nonstiff' does not have it; 'controllers' does"):
        Suite("nonstiff")(tmp_path, families=tmp_path)
    assert set(SUITES) >= {"controllers", "nonstiff"}


def test_statistics_refuse_what_makes_no_pairs_and_bound_nothing_where_nothing_varies():
    with pytest.raises(ValueError, match="3 and 2 values do not make pairs"):
        inference.rank([1, 2, 3], [1, 2])
    assert math.isnan(inference.equivalent([1.0, 2.0], [0.0, 1.0], 0.5))
    for x, y in (([1, 2, 3, 4], [1, 3, 2, 4]), ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])):
        found = inference.rank_interval(x, y)
        assert math.isnan(found.low)
        assert 0.5 < found.mean <= 1.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf])
def test_a_limit_that_is_none_bounds_nothing(seconds):
    with limited(seconds):
        done = True
    assert done


def test_what_a_machine_does_not_say_is_unknown(monkeypatch):
    assert environment.version_of("no-such-package") is None
    assert environment.device_name("cpu") == environment.cpu_model()
    monkeypatch.setattr(environment.torch.cuda, "get_device_name", lambda device: f"card {device}")
    assert environment.device_name("cuda:1") == "card cuda:1"

    def broken(error):
        def fail(*_, **__):
            raise error

        return fail

    monkeypatch.setattr(environment.Path, "read_text", broken(OSError()))
    monkeypatch.setattr(environment.platform, "processor", lambda: "")
    monkeypatch.setattr(environment.platform, "machine", lambda: "arch")
    assert environment.cpu_model() == "arch"
    monkeypatch.setattr(environment.subprocess, "run", broken(OSError()))
    monkeypatch.setattr(environment, "commit", getattr(environment.commit, "__wrapped__", environment.commit))
    assert environment.commit() == "unknown"
    real = torch.ones
    monkeypatch.setattr(
        doctor.torch, "ones", lambda n, dtype, device: real(n) if dtype == torch.float32 else broken(TypeError())()
    )
    assert doctor._dtypes("cpu") == ["float32"]


def test_damaged_lines_of_a_journal_say_no_epoch():
    assert [journal._epoch(line) for line in ("{", "[1]", '{"epoch": "a"}', '{"epoch": 3}')] == [0, 0, 0, 3]


@pytest.mark.parametrize(("typed", "value"), [("store=true", True), ("store=False", False), ("width=7", 7)])
def test_options_of_a_variant_have_their_kind(typed, value):
    name, found = option_of(typed, RECIPES["leapfrog"])
    assert (name, found) == (typed.partition("=")[0], value)
    assert type(found) is type(value)


@pytest.mark.parametrize("typed", ["store=1", "store=", "width=a", "store"])
def test_other_values_are_sentences(typed):
    with pytest.raises(ValueError, match="option: "):
        option_of(typed, RECIPES["leapfrog"])


def test_a_training_refuses_data_without_images_and_numbers_of_a_cpu(tmp_path):
    with pytest.raises(ValueError, match="'spirals' holds no images"):
        training.train(Training(data="spirals"), tmp_path, seed=0, device="cpu", progress=print)
    with pytest.raises(ValueError, match="there is one 'cpu', without a number"):
        training._place("cpu:1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("memory", [False, True])
def test_a_network_that_is_too_small_for_its_images_is_told_before_anything_is_written(memory):
    class Net(torch.nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory") if memory else RuntimeError("size 0")

    images = SimpleNamespace(train_x=torch.zeros(4, 1, 8, 8))
    with pytest.raises(torch.OutOfMemoryError if memory else ValueError, match="out of memory" if memory else "of 8x8 pixels"):
        training._tried(Net(), images)


def test_families_of_learned_steps_are_what_their_names_say():
    u = torch.rand(50, 4, generator=torch.Generator().manual_seed(0), dtype=D)
    x0, mu, seen = residual._van_der_pol(u[:, :3])
    assert torch.equal(x0, seen)
    assert float(x0.abs().max()) <= 2.5
    assert 1.0 <= float(mu.min()) < float(mu.max()) <= 10.0
    x0, rate, _ = residual._linear_spirals(u)
    slope = torch.stack(residual._linear_spiral(None, x0.unbind(1), rate.unbind(1)), 1)
    assert torch.allclose(slope.sum(1), -rate[:, 0] * x0.sum(1))  # the mean decays at its rate
    around = x0 - x0.mean(1, keepdim=True)
    growth = ((slope - slope.mean(1, keepdim=True)) * around).sum(1) / around.square().sum(1)
    assert torch.allclose(growth, torch.full_like(growth, -0.3))  # and the spiral around it at 0.3


def test_steps_that_all_blow_up_have_no_sizes(monkeypatch):
    found = SimpleNamespace(n=2, weight=torch.ones(2))
    walk = SimpleNamespace(solve=lambda *_, **__: SimpleNamespace(x1=torch.full((3, 2), 1e9), hs=torch.ones(3, 4, 2)))
    sample = residual.Sample(torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(3, 2))
    assert residual_training.sizes(walk, sample, found) == {"h": None, "h_spread": None}
    walk.solve = lambda *_, **__: SimpleNamespace(x1=torch.zeros(3, 2), hs=torch.ones(3, 4, 2))
    assert residual_training.sizes(walk, sample, found) == {"h": [1.0] * 4, "h_spread": 0.0}


def test_pictures_and_sentences_of_parts_without_rows_are_none():
    other = [row("other", {}, {})]
    drawn = [
        plots.accuracy(other), plots.flow(other, "time", "median"), plots.training(other),
        plots._over_blocks(other, "x", "title", "label", ("a", "b", "c")),
    ]  # fmt: skip
    assert drawn == [None] * 4
    assert findings.networks(other) == findings.flowmap(other) == []


def solved(method, rtol, relative, time, **more):
    values = {"relative": relative, "time": time, "f_evals": 10, **more}
    return row("solvers", {"problem": "hires", "method": method, "rtol": rtol}, values)


def test_a_batch_is_told_only_where_all_of_its_lanes_were_solved_alone():
    about = {"problem": "hires", "method": "rodas5p", "lanes": [1e-3, 1e-6], "rtol": None}
    batch = row("solvers", about, {"time": 1.0, "x1": [[1.0], [2.0]]})
    alone = [solved("rodas5p", 1e-3, 0.1, 1.0, x1=[1.0]), solved("rodas5p", 1e-6, 0.1, 3.0, x1=[2.5])]
    assert findings._batches([batch, alone[0]]) == []
    (said,) = findings._batches([batch, *alone])
    assert "HIRES 1 s instead of 4 s, 1 of 2 lanes with the same bits as alone" in said


def test_a_peer_that_was_never_as_accurate_and_peers_without_ours_are_told_apart():
    ours, rough = solved("rodas5p", 1e-3, 1e-3, 1.0), solved("scipy:Radau", 1e-3, 1e-1, 1.0)
    assert findings._against_peers([ours, rough])[0] == "No run of SciPy Radau was as accurate as a run of Rodas5P."
    assert findings._against_peers([rough]) == []


def test_networks_are_told_apart_by_two_seeds_each():
    def net(controller, accuracy, seed):
        values = {"accuracy": accuracy, "test_images": 100, "epochs": 2}
        return row("networks", {"controller": controller}, values, seed=seed)

    assert not any("lie between" in s for s in findings.networks([net("fixed", 0.5, 0), net("half", 0.9, 0)]))
    rows = [net(c, a + 0.01 * s, s) for c, a in (("fixed", 0.5), ("half", 0.9)) for s in (0, 1)]
    (apart,) = [s for s in findings.networks([*rows, row("networks", {}, {})]) if "lie between" in s]
    assert apart.startswith("40.0 points")
    assert "do not overlap" in apart


def flow(what, median, time, evaluations=10, **more):
    values = {"median": median, "p90": median, "time": time, "evaluations": evaluations, "states": 100}
    about = {"solver": {"method": "tsit5", "steps": 4}, "network": {"controller": "se", "blocks": 4}}[what]
    return row(
        "flowmap", {"what": what, **about}, {**values, "train_seconds": 2.0, "data_seconds": 1.0, "data_f_evals": 50, **more}
    )


@pytest.mark.parametrize(
    ("solver", "said"),
    [
        (flow("solver", 0.5, 1.0), "No solver run is as accurate as the best of the 1 networks"),
        (flow("solver", 0.01, 1.0), "earned back after some 330 states, at this accuracy and no better"),
        (flow("solver", 0.01, 0.05), "; it is not faster, so that this is never earned back"),
        (flow("solver", None, 1.0, status="failed"), "No solver run is as accurate"),
    ],
)
def test_what_a_network_costs_is_earned_back_only_where_it_is_faster(solver, said):
    solver = {**solver, "status": solver["values"].pop("status", "ok")}
    assert any(said in s for s in findings.flowmap([flow("network", 0.1, 0.1), solver]))


def tiny_settings(iterations, grid):
    return versus.Settings(
        ("lotka_volterra",), ("constant",), 0, 1, 64, 32, iterations, 16, steps={"constant": (2,)}, grid=grid, adaptive={},
        compiled=(), rounds=3,
    )  # fmt: skip


def test_a_network_without_a_finite_end_state_has_failed_and_a_short_training_says_so(monkeypatch):
    tiny = tiny_settings(4, {})
    real = versus.train

    def cut(*given):
        return replace(real(*given), done=1)

    monkeypatch.setattr(versus, "train", cut)
    short = versus._network(tiny, "lotka_volterra", "constant", 2, 60.0)
    assert (short.status, short.message) == ("shortened", "Trained for 1 of 4 iterations.")
    monkeypatch.setattr(versus, "end_state", lambda net, found, given: torch.full_like(found.test_end, math.nan))
    lost = versus._network(tiny, "lotka_volterra", "constant", 2, 60.0)
    assert lost.status == "failed"
    assert lost.values["median"] == [None]


def test_the_clock_stops_when_its_time_is_up_and_repeats_nothing_slow(monkeypatch):
    tiny = tiny_settings(1, {"rk4": (4,)})
    monkeypatch.setattr(versus, "_seconds", lambda go, like: 2 * versus.SLOW)
    slow = versus._clock(tiny, "lotka_volterra", 60.0).values["times"]
    assert [len(v) for v in slow.values()] == [1, 1]
    monkeypatch.setattr(versus, "_seconds", lambda go, like: 0.1)
    assert [len(v) for v in versus._clock(tiny, "lotka_volterra", 60.0).values["times"].values()] == [3, 3]
    assert [len(v) for v in versus._clock(tiny, "lotka_volterra", 0.0).values["times"].values()] == [1, 1]


def test_families_without_a_clock_or_a_good_network_say_so():
    def said(times):
        return versus_findings._against([Measured("a family", (), (), times, 0, 0.0)])

    assert said({}) == ["a family: the clock of this family has not been run."]
    assert said({"x": [1.0]}) == ["a family: no network has a median error below one standard deviation."]


def test_what_was_not_measured_of_laws_stiffness_and_costs_is_not_told():
    about = {"what": "solver", "method": "tsit5", "rtol": 1e-3, "compiled": True, "calibrated": 3, "stiff": True}
    m = Measured("a", ({"configuration": about, "values": {"median": 0.1, "f_calls": 9}},), (), {}, 0, 0.0)
    assert versus_findings._laws([m]) == versus_findings._stiff([m]) == versus_findings._cost([m]) == []


def test_a_run_of_one_equation_by_one_method_is_told_alone():
    about = {"what": "equation", "problem": "orego", "settings": {}, "method": "radau5"}
    rows = [row("stiffness", about, {"reached": 1.0, "steps": 9, "index_and_1/h": 0.5})]
    assert stiffness_page.sentences([]) == []
    (said,) = stiffness_page.sentences(rows)
    assert said.startswith("Implicit method (Radau5)")
    assert "Oregonator +0.50; with the spectral radius: Oregonator" in said
    assert list(stiffness_page.section([], rows, False).figures) == []


def test_a_cluster_without_a_backend_is_one_of_dask_and_a_run_without_cases_says_how_to_go_on(monkeypatch, tmp_path, capsys):
    asked = {}

    def suite(out, seed=0, tell=None, *, cluster=None, backend=None):
        asked.update(cluster=cluster, backend=backend)
        return tmp_path

    monkeypatch.setitem(sys.modules["odebridge.cli.bench"].SUITES, "nonstiff", suite)
    done = CliRunner().invoke(app, ["bench", "nonstiff", "--cluster", "tcp://host:8786"])
    assert (done.exit_code, asked) == (0, {"cluster": "tcp://host:8786", "backend": "dask"})
    assert f"No case was run; `--resume {tmp_path}` goes on." in done.output


def test_the_console_hides_warnings_for_developers_and_no_faults(capsys, monkeypatch):
    edge._warn("old name", DeprecationWarning)
    edge._warn("look here", UserWarning)
    assert capsys.readouterr().err == "odebridge: look here\n"
    command = get_command(app)
    command.main(["list", "methods", "rodas5*"], standalone_mode=False)
    assert "rodas5p" in capsys.readouterr().out

    def broken(*_):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(cli, "matching", broken)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        command.main(["list", "methods"], standalone_mode=False)


def test_of_several_processes_only_the_first_writes(monkeypatch, tmp_path):
    history = History([], "done", "", 0.0)
    monkeypatch.setattr(training, "launched", lambda place: nullcontext((SimpleNamespace(rank=1), place)))
    monkeypatch.setattr(training, "fit", lambda *_, **how: history if how["keep"] is None else None)
    assert training.train(Training(), tmp_path, seed=0, device="cpu", progress=print) == (None, history)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_cannot_be_shown_and_numbers_that_json_has_not_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"part p cannot be shown \(ZeroDivisionError"):
        report._shown("p", lambda: 1 / 0)
    folder = RunFolder(tmp_path, "s", {}, "x")
    folder.append(Row("p", {}, {"a": 0.25}))
    line = (folder.path / "results.jsonl").read_bytes()
    assert record._parsed(line)["values"] == {"a": 0.25}
    assert record._parsed(line.replace(b"0.25", b"1e999")) is None


def test_the_best_formula_is_no_worse_than_equal_steps():
    found = residual.data("linear_spiral", 16, 16)
    best = residual_training.written(found, 4)
    (equal,) = residual_training.trained("equal", found, 4, True, [0], residual_training.Budget(1, 4))
    assert best["formula"] in residual.formulas(4)
    chosen = [residual.built("equal", found, hs, True, 0) for hs in ([1.0] * 4, residual.formulas(4)[best["formula"]])]
    marks = [residual_training.judged(walk, found.choose, found)["rms"] for walk in chosen]
    assert marks[1] <= marks[0]
    assert sum(equal["h"]) == pytest.approx(1.0)
    assert equal["parameters"] == best["parameters"] == 0

"""What runs and pages do at the edges: other versions, damaged lines, parts without rows, options of any value."""

import math
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import (
    counters,
    doctor,
    environment,
    findings,
    inference,
    journal,
    plots,
    record,
    report,
    residual,
    residual_training,
    stiffness_page,
    training,
    versus,
    versus_findings,
)  # fmt: skip
from odebridge.bench.limit import limited
from odebridge.bench.node_training import option_of
from odebridge.bench.record import Row, RunFolder
from odebridge.bench.resume import begun, finished, unfinished
from odebridge.bench.suite import SUITES, Suite
from odebridge.bench.training import Training
from odebridge.bench.versus_data import Measured
from odebridge.cli import app, edge
from odebridge.train import RECIPES, History
from tests.rows import row

D = torch.float64


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

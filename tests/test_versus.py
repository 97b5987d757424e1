"""Solver against network in a tiny size: families, networks, stacked training, counts, comparisons, sentences."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from odebridge.bench import versus, versus_data, versus_findings
from odebridge.bench.arithmetic import flops
from odebridge.bench.compare_page import counts_of
from odebridge.bench.equal import bootstrap
from odebridge.bench.flow_data import integrated, judged, pairs
from odebridge.bench.flow_networks import KINDS, built
from odebridge.bench.flow_training import Recipe, end_state, inputs, train
from odebridge.bench.flows import FLOWS
from odebridge.bench.quick import run_suite
from odebridge.bench.record import read
from odebridge.bench.report import render, sentences
from odebridge.bench.versus_data import Measured, curves, error_of, measured
from odebridge.bench.versus_data import versus as compared
from odebridge.bench.versus_findings import law_ratio, log_ratios, over_families

TINY = versus.Settings(
    ("lotka_volterra", "stiff_spiral"), ("constant", "se", "stepnet", "neurvec", "deeponet"), 0, 2, 64, 32, 8, 32,
    steps={k: (2,) for k in ("constant", "se", "stepnet", "neurvec")}, grid={"rk4": (4, 32), "rosenbrock23": (8,)},
    adaptive={"tsit5": (1e-1, 1e-3), "rodas5p": (1e-1, 1e-3)}, compiled=(), rounds=3,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def quick_estimates():
    """The cost of a training is estimated from one iteration here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("odebridge.bench.flow_training.ALONE", 1)
        yield


def ignore(_anything):
    """Nobody watches."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return run_suite("solver-vs-network", versus.parts(TINY), out, {}, ignore, "a test")


@pytest.mark.parametrize("name", FLOWS)
def test_a_family_is_a_problem_whose_first_systems_do_not_depend_on_their_number(name):
    few, features = FLOWS[name].sample(3, 1)
    many, more = FLOWS[name].sample(8, 1)
    assert torch.equal(few.x0, many.x0[:3])
    assert torch.equal(features, more[:3])
    one = few.trajectory(0)
    if one.jacobian is not None:
        t = torch.full((3,), float(one.span[0]) + 0.1, dtype=torch.float64)
        args = () if few.args is None else (few.args,)
        given, x = few.jacobian(t, few.x0, *args), few.x0.clone()
        for j in range(x.shape[1]):
            h = 1e-6 * (1.0 + x[:, j].abs())
            up, down = x.clone(), x.clone()
            up[:, j] += h
            down[:, j] -= h
            slope = (few.field(t, up, *args) - few.field(t, down, *args)) / (2 * h)[:, None]
            assert torch.allclose(given[:, :, j], slope, rtol=1e-4, atol=1e-4 * float(given.abs().max()))


def test_errors_are_in_standard_deviations_and_what_did_not_arrive_is_infinitely_wrong():
    found = pairs("lotka_volterra", 64, 32, 0)
    assert judged(found.test_end, found)["p99"] == 0.0
    off = found.test_end + 2.0 * found.error_scale
    off[0] = math.nan
    got = judged(off, found)
    assert got["median"] == pytest.approx(2.0)
    assert got["p99"] == math.inf
    assert got["not_finite_states"] == 1
    fine = integrated(found.test, "dopri8", 1e-9, found.error_scale).x1
    assert judged(fine, found)["p99"] < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_training_is_training_each_seed_alone(kind):
    """Same first weights, same batches: the second seed of a stack is the seed trained without the first."""
    found, k = pairs("lotka_volterra", 64, 32, 0), KINDS[kind].steps[0]
    both = train(kind, k, found, [0, 1], Recipe(3, 16), 60.0)
    alone = train(kind, k, found, [1], Recipe(3, 16), 60.0)
    given = inputs(found, found.test_features, found.test, KINDS[kind].known)
    with torch.no_grad():
        a, b = (end_state(net, found, given) for net in (both.nets[1], alone.nets[0]))
        start = end_state(built(kind, found, k, 1), found, given)
    assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(a, start, rtol=1e-5, atol=1e-7) or not torch.isfinite(start).all()
    assert both.done == 3


@pytest.mark.parametrize("gate", ["constant", "se", "stepnet"])
def test_gates_differ_in_nothing_but_the_gate(gate):
    found = pairs("lotka_volterra", 64, 32, 0)
    plain, gated = (built(kind, found, 4, 5).state_dict() for kind in ("fixed", gate))
    assert all(torch.equal(v, gated[name]) for name, v in plain.items())
    assert len(gated) > len(plain)


def test_a_network_is_trained():
    found = pairs("lotka_volterra", 512, 64, 0)
    given = inputs(found, found.test_features, found.test, False)
    errors = []
    for n in (1, 150):
        (net,) = train("constant", 2, found, [0], Recipe(n, 128), 60.0).nets
        with torch.no_grad():
            errors.append(judged(end_state(net, found, given), found)["median"])
    assert errors[1] < 0.5 * errors[0]


def test_operations_are_counted():
    x, net = torch.ones(7, 3), nn.Sequential(nn.Linear(3, 5), nn.Tanh())
    assert flops(lambda: net(x)) == 2 * 7 * 5 * 3 + 7 * 5
    assert flops(lambda: torch.cat([x, x]).reshape(-1).clone()) == 0
    a = torch.eye(4).expand(2, 4, 4).contiguous()
    assert flops(lambda: torch.linalg.lu_factor_ex(a)) == pytest.approx(2 * 2 / 3 * 64)


@pytest.mark.slow
def test_two_runs_with_one_seed_have_the_same_counts_and_errors(tiny, tmp_path):
    pairs.cache_clear()
    again = run_suite("solver-vs-network", versus.parts(TINY), tmp_path, {}, ignore, "a test")
    first, second = (read(path).rows for path in (tiny, again))
    assert [r["message"] for r in first if r["status"] == "error"] == []
    assert [r["hash"] for r in first] == [r["hash"] for r in second]
    for a, b in zip(first, second, strict=True):
        assert list(counts_of(a["values"])) == list(counts_of(b["values"]))
        assert a["values"].get("median") == b["values"].get("median")
    assert "are equal" in render([tiny, again])


def test_curves_and_comparisons_use_equal_errors(tiny):
    for m in measured(read(tiny).rows):
        assert set(curves(m, "median")) <= {"RK4, equal steps", "Rosenbrock23, equal steps", "Tsit5", "Rodas5P"}
        for v in compared(m, "median"):
            able = [p for name, points in curves(m, "median").items() if name == v.solver for p in points]
            assert min(p.error for p in able) <= v.error == error_of(v.row, "median")
            assert v.ratio > 0
            assert v.interval is None or v.interval[0] <= v.ratio <= v.interval[1]
            assert (v.pays is None) == (v.ratio <= 1) or abs(v.ratio - 1) < 0.2


def test_the_page_answers_the_three_questions(tiny):
    said = "\n".join(s for some in sentences([tiny]).values() for s in some)
    assert "StepNet (reconstruction) steps against learned constant steps at equal evaluations" in said
    assert "some network is faster than every solver at its own median error" in said
    assert "on the stiff families" in said
    page = render([tiny])
    assert page.count("<svg") == 6
    assert "<title>rk4, 32 steps: error" in page


def test_gates_are_compared_pair_by_pair(tiny):
    found = measured(read(tiny).rows)
    logs = log_ratios(found, "se", "constant")
    assert set(logs) == {("lotka_volterra", 2), ("stiff_spiral", 2)}
    assert all(len(v) == 2 for v in logs.values())
    mean, low, high, n = over_families({("a", 2): [math.log(2.0)], ("b", 2): [math.log(8.0)]}, ["a", "b"])
    assert (mean, n) == (pytest.approx(4.0), 2)
    assert low < mean < high


def test_the_bootstrap_bounds_the_median():
    assert bootstrap([1.0, 2.0]) is None
    assert bootstrap([2.0, 2.0, 2.0]) == (2.0, 2.0)
    low, high = bootstrap([1.0, 2.0, 3.0, 4.0, 5.0])
    assert 1.0 <= low < 3.0 < high <= 5.0
    assert bootstrap([1.0, 2.0, 3.0]) == bootstrap([1.0, 2.0, 3.0])


def test_calibrated_settings_are_compared_at_equal_error_with_the_compiled_ones():
    def row(rtol, error, work, **more):
        setting = {"what": "solver", "method": "tsit5", "rtol": rtol, "compiled": True, "stiff": False, **more}
        return {"configuration": setting, "values": {"median": error, "f_calls": work}}

    law = {"calibrated": 5, "law_seed": 0}
    own = [row(1e-2, 1e-2, 100.0), row(1e-4, 1e-4, 400.0)]
    ours = [row(1e-2, 1e-3, 100.0, **law), row(1e-4, 1e-6, 300.0, **law)]  # half the work at 1e-3; nothing to compare at 1e-6
    m = Measured("lotka_volterra", (*own, *ours), (), {}, 8, 0.0)
    assert law_ratio(m, "tsit5", lambda _, r: r["values"]["f_calls"]) == pytest.approx(0.5)
    assert law_ratio(m, "rodas5p", lambda _, r: r["values"]["f_calls"]) is None


def test_calibrated_laws_are_run_where_fields_compile_and_within_their_tolerances():
    these = replace(TINY, compiled=("tsit5", "rodas5p"), calibrated=3)
    some = [run for run in versus.solvers(these, "stiff_spiral") if run.get("calibrated")]
    assert [(run["method"], run["rtol"]) for run in some] == [("tsit5", 1e-3), ("rodas5p", 1e-3)]
    assert not [run for run in versus.solvers(these, "spring_chain") if run.get("calibrated")]


@pytest.mark.slow
def test_a_calibrated_law_is_a_row(tmp_path):
    these = replace(
        TINY, families=("lotka_volterra",), kinds=("constant",), grid={}, adaptive={"tsit5": (1e-2, 1e-4, 1e-6)},
        compiled=("tsit5",), calibrated=2,
    )  # fmt: skip
    found = read(run_suite("solver-vs-network", versus.parts(these), tmp_path, {}, ignore, "a test")).rows
    mine = [r for r in found if r["configuration"].get("calibrated")]
    assert [r["status"] for r in mine] == ["ok"] * 3
    assert all(r["values"]["train_seconds"] > 0 for r in mine)
    (m,) = measured(found)
    assert "Tsit5, compiled, calibrated" in curves(m, "median")
    assert 0.2 < law_ratio(m, "tsit5", lambda _, r: r["values"]["f_calls"]) < 2.0


def test_the_largest_gain_told_is_one_that_is_beyond_the_noise(monkeypatch):
    def network(steps, error, ratio, interval):
        about = {"what": "network", "kind": "residual", "gate": "fixed", "steps": steps, "stiff": False}
        row = {"configuration": about, "values": {"train_seconds": 3.0, "error": {"p99": 2 * error}}, "status": "ok"}
        return versus_data.Versus(row, error, "RK4", ratio, interval, 1e6)

    every = [network(8, 0.01, 0.5, (0.4, 0.6)), network(2, 0.05, 9.0, (0.2, 30.0)), network(4, 0.03, 2.0, (1.9, 2.1))]
    monkeypatch.setattr(versus_findings, "versus", lambda m, key: every)
    monkeypatch.setattr(versus_findings, "curves", lambda m, key: {})
    monkeypatch.setattr(versus_findings, "said", lambda row: f"K = {row['configuration']['steps']}")
    monkeypatch.setattr(versus_findings, "error_of", lambda row, key: row["values"]["error"][key])
    head, text = versus_findings._against([versus_data.Measured("a family", (), (), {"x": [1.0]}, 10, 1.0)])
    assert head.startswith("In 1 of 1 family some network is faster")
    assert "the most accurate network (K = 8)" in text
    assert "The largest gain is at error 0.030 (K = 4): 2 [1.9, 2.1] times" in text

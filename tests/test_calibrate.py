"""`ob.calibrate`: the same seed the same law, no harm done, bad input told."""

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

import odebridge as ob
from odebridge.control import CONTROLLERS, TUNED, Filter, LearnedStep
from odebridge.train.calibration import calibrate as module
from odebridge.train.calibration.equal import log_ratios
from odebridge.train.calibration.search import Found, Space, as_filter, search
from odebridge.train.calibration.workload import measured, tolerances, wide
from tests.kernels import WHY

ROOT = Path(__file__).parent.parent
SMALL = {"method": "tsit5", "instances": 8, "generations": 4, "progress": False}


@pytest.fixture(scope="module")
def made():
    if WHY is not None:
        pytest.skip(WHY)
    return ob.calibrate("lotka_volterra", **SMALL)


def test_the_report_says_how_and_what(made):
    report = made.report
    assert report["family"] == "lotka_volterra"
    assert report["kept"] in ("learned", report["best_classical"])
    ours = report["compared"]["learned"]
    assert ours["low"] <= ours["ratio"] <= ours["high"]
    assert ours["instances"] == 8
    assert "equal error" in str(made)
    assert (made.method, made.order, made.rtols) == ("tsit5", 4, (1e-3, 1e-6))


def test_the_same_seed_the_same_law(made):
    again = ob.calibrate("lotka_volterra", **SMALL)
    task = ob.problems.problem("lotka_volterra").sample(3, 5)
    one, other = (ob.solve(task, method="tsit5", controller=law, rtol=1e-5) for law in (made, again))
    assert torch.equal(one.x1, other.x1)
    assert made.report["compared"] == again.report["compared"]
    assert made.report["tuned"] == again.report["tuned"]


@pytest.mark.parametrize("method", ["rodas5p", "kvaerno5"])
def test_other_methods(method):
    law = ob.calibrate("robertson", **(SMALL | {"method": method, "generations": 2}))
    sol = ob.solve("robertson", method=method, controller=law, rtol=1e-4, atol=1e-9)
    assert int(sol.result) == 0


def test_a_law_that_does_harm_is_not_returned(monkeypatch):
    """The check on separate instances catches a gate that the search praised."""

    def misled(_objective, _check, start, **how):
        bad = 2.0 * np.random.default_rng(0).normal(size=len(start))  # a gate that says anything
        return Found(bad if len(start) > 20 else start, how["scale"], -1.0)

    monkeypatch.setattr(module, "search", misled)
    law = ob.calibrate("lotka_volterra", **SMALL)
    assert not law.learned
    assert law.report["compared"]["learned"]["low"] > 1.0
    assert law.report["kept"] == law.report["best_classical"]
    assert "the classical law is kept" in str(law)


def test_searches_find_what_is_there():
    """A quadratic stands for the work: the search goes to its lowest point, and the scale follows the drift."""
    target = np.array([0.3, -0.2, 0.1])
    seen = []

    def objective(z, scale):
        seen.append(scale)
        return ((z - target) ** 2).sum(1), np.log(2.0 / scale)

    found = search(objective, objective, np.zeros(3), sigma=0.1, generations=80, seed=1)
    assert np.allclose(found.z, target, atol=0.05)
    assert found.scale == pytest.approx(2.0)
    assert seen[0] == 1.0


def test_measures_agree_with_plain_solves():
    """Work of a filter measured in a swarm is what `integrate` counts, and curves of the same law have ratio 1."""
    split = module.split_of("lotka_volterra", 8, (1e-3, 1e-6), None, 0, True)
    load, law = split.judge, CONTROLLERS["pi42"]
    curves = measured(load, ob.methods.catalogue.METHODS["tsit5"], law)
    task, rtol = load.task, load.rtols[2]
    sol = ob.integrate(
        task.field,
        task.x0,
        task.span,
        args=task.args,
        method="tsit5",
        controller=law,
        rtol=rtol,
        atol=rtol * load.atol_per_rtol,
    )
    assert np.allclose(np.exp(curves.work[:, 2]), sol.stats.f_evals.numpy())
    same = log_ratios(curves, measured(wide(load), ob.methods.catalogue.METHODS["tsit5"], law))
    assert abs(np.median(same)) < 1e-6
    assert np.abs(same).max() < 0.05  # where errors are not monotone, more tolerances pool them otherwise
    groups = [{tuple(row.tolist()) for row in part.task.x0} for part in (split.train, split.choose, split.judge)]
    assert not groups[0] & groups[1]
    assert not (groups[0] | groups[1]) & groups[2]


def test_tolerances_reach_from_end_to_end():
    assert tolerances((1e-3, 1e-6)) == pytest.approx((1e-3, 1e-4, 1e-5, 1e-6))
    assert len(tolerances((1e-3, 1e-6), per_decade=2)) == 7
    assert tolerances((1e-3, 1e-6), wider=10.0)[0] == pytest.approx(1e-2)


def test_spaces_start_at_their_base():
    law = Filter((0.6, -0.2), (0.1,), safety=0.8, threshold=1.3)
    space = Space(law.coefficients, linear=True, gate=True, places=2)
    coefficients, weights = space.laws(np.zeros((1, space.size)))
    assert as_filter(coefficients[0]).coefficients == pytest.approx(law.coefficients)
    assert not weights.any()


def test_families_of_every_kind():
    nominal = ob.problems.problem("lotka_volterra")
    batch = nominal.sample(16, 3)
    kinds = [nominal, batch, lambda b, seed: nominal.sample(b, seed)]
    for family in kinds:
        law = ob.calibrate(family, **(SMALL | {"generations": 1}))
        assert isinstance(law.law, LearnedStep | Filter) or law.report["best_classical"] == "predictive"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "lotka_voltera"}, "lotka_volterra"),
        ({"family": 3}, "family: must be"),
        ({"family": ob.problems.problem("lotka_volterra").sample(9, 0)}, "has 9 instances, and 16 are needed"),
        ({"family": dataclasses.replace(ob.problems.problem("lotka_volterra"), spread=None)}, "says nothing about its family"),
        ({"family": lambda b, seed: None}, "must return a Problem"),
        ({"method": "rk4"}, "no error estimate"),
        ({"method": "tsit55"}, "tsit5"),
        ({"controller": "predictive"}, "linear filter"),
        ({"controller": "pi24"}, "pi"),
        ({"instances": 2}, "instances: must be a whole number of at least 8, got 2"),
        ({"generations": 0}, "generations"),
        ({"seed": 1.5}, "seed"),
        ({"rtols": (1e-6, 1e-3)}, "rtols"),
        ({"rtols": 1e-3}, "rtols"),
        ({"state": "pool"}, 'state: must be True, False or "pooled"'),
    ],
)
def test_bad_input_gets_a_sentence(change, message):
    how = {"family": "lotka_volterra", **SMALL} | change
    family = how.pop("family")
    with pytest.raises((ValueError, TypeError), match=message):
        ob.calibrate(family, **how)


def test_tuned_laws_are_those_of_the_results_and_the_page_says_what_they_give():
    script = runpy.run_path(str(ROOT / "benchmarks" / "tuned_laws.py"), run_name="script")
    page = json.loads((ROOT / "benchmarks" / "results" / "tuned_laws.json").read_text())
    text = (ROOT / "docs" / "learned.md").read_text()
    assert script["updated"](text, page) == text, "run: python benchmarks/tuned_laws.py --write"
    assert list(TUNED) == [name for name in script["FOUND"] if name in page["rows"]]
    for name, law in TUNED.items():
        wanted = page["rows"][name]["laws"]["tuned"]["coefficients"]
        assert [float(v) for v in law.coefficients] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("method", list(TUNED))
def test_tuned_laws_solve(method):
    task = ob.problems.problem("lotka_volterra")
    sol = ob.solve(task, method=method, controller=TUNED[method], rtol=1e-5, atol=1e-8)
    exact = ob.solve(task, method="dopri8", rtol=1e-11, atol=1e-13).x1
    assert float((sol.x1 - exact).abs().max()) < 5e-3

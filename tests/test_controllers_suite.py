"""The suite of calibrated laws: its families, a user's file of more, and what is measured of a law."""

import math
import re

import numpy as np
import pytest
import torch

from odebridge.bench import controllers, flow_laws, versus
from odebridge.bench.controller_families import MILD, STIFF, brusselator, families, kepler, relaxing_cell
from odebridge.bench.flow_data import pairs
from odebridge.control.calibrated import Calibrated
from odebridge.control.catalogue import CONTROLLERS
from odebridge.integrate import integrate
from odebridge.train.calibration.equal import Curves
from odebridge.train.calibration.workload import Workload

D = torch.float64
RTOLS = (1e-2, 1e-4)


@pytest.mark.parametrize("name", [*MILD, *STIFF])
def test_a_family_is_sampled_by_its_seed_and_marked_as_what_it_is(name):
    family = {**MILD, **STIFF}[name]()
    many, few = family.sample(4, 7), family.sample(2, 7)
    assert torch.equal(many.x0[:2], few.x0)
    assert many.args is None or torch.equal(many.args[:2], few.args)
    assert not torch.equal(many.x0, family.sample(4, 8).x0) or not torch.equal(many.args, family.sample(4, 8).args)
    assert family.stiff == (name in STIFF)
    assert families("rodas5p" if family.stiff else "tsit5")[name]().name == family.name


@pytest.mark.parametrize("make", [kepler, brusselator, relaxing_cell])
def test_the_jacobian_of_a_family_is_the_derivative_of_its_field(make):
    many = make().sample(3, 0)
    t = torch.zeros(3, dtype=D)
    given = many.jacobian(t, many.x0, many.args)
    for i in range(3):
        one = torch.autograd.functional.jacobian(lambda v, i=i: many.field(t[:1], v[None], many.args[i : i + 1])[0], many.x0[i])
        assert torch.allclose(given[i], one, rtol=1e-10, atol=1e-12 * float(one.abs().max()))


def test_orbits_begin_at_the_perihelion_of_ellipses_with_the_period_of_the_span():
    many = kepler().sample(50, 0)
    r, v = many.x0[:, 0], many.x0[:, 3]
    assert torch.allclose(v * v / 2 - 1 / r, torch.full_like(r, -0.5), rtol=1e-12)  # a half axis of 1
    assert 0.1 <= float(r.min()) < 0.3 < 0.8 < float(r.max()) <= 1.0
    assert many.span == (0.0, 2 * math.pi)


@pytest.mark.parametrize(("make", "column", "low", "high"), [(brusselator, 1, 4.0, 20.0), (relaxing_cell, 0, 1e-4, 1e-2)])
def test_rates_are_drawn_from_the_whole_of_their_range(make, column, low, high):
    drawn = make().sample(200, 0).args[:, column].log()
    assert math.log(low) <= float(drawn.min()) < float(drawn.max()) <= math.log(high)
    assert float(drawn.mean()) == pytest.approx((math.log(low) + math.log(high)) / 2, abs=0.3 * math.log(high / low))


def test_families_of_a_file_are_those_of_its_dictionary(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from odebridge.bench.controller_families import kepler\nFAMILIES = {'orbits': kepler}\n")
    assert list(controllers.from_file(path)) == ["orbits"]
    part = controllers.sized("quick", 3, str(path))
    assert [case.label for case in part.cases] == ["orbits, tsit5", "orbits, rodas5p"]
    assert {case.configuration["file"] for case in part.cases} == {str(path)}
    assert {case.seed for case in part.cases} == {3}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine.txt", "FAMILIES = {}", "must end in .py"),
        ("mine.py", "FAMILIES = 1 / 0", "fails when it is run (ZeroDivisionError"),
        ("mine.py", "OTHER = {}", "must have a dictionary FAMILIES"),
        ("mine.py", "FAMILIES = {}", "must have a dictionary FAMILIES"),
        ("mine.py", "FAMILIES = [print]", "must have a dictionary FAMILIES"),
        ("mine.py", "FAMILIES = {'a': 1}", "must have a dictionary FAMILIES"),
    ],
)
def test_a_file_without_families_is_a_sentence(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        controllers.part(file=str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="no file"):
        controllers.from_file(tmp_path / "other.py")


@pytest.mark.parametrize(("size", "generations"), [("standard", 250), ("full", 750)])
def test_every_family_is_compared_by_every_method(size, generations):
    cases = controllers.sized(size, 0).cases
    assert len(cases) == len(MILD) + 2 * len(STIFF)
    assert {case.configuration["generations"] for case in cases} == {generations}
    some = controllers.part(only=("kepler", "hires")).cases
    assert [case.label for case in some] == ["kepler, tsit5", "hires, rodas5p", "hires, kvaerno5"]


def known_law():
    """PI42, as if it had been found by a search: tuned numbers that are its own."""
    law = CONTROLLERS["pi42"]
    report = {"tuned": list(law.coefficients), "atol_per_rtol": 1.0, "kept": "pi42"}
    return Calibrated(law, "tsit5", 4, RTOLS, report)


def scripted(monkeypatch):
    """A search that finds PI42, and work instead of solves: PI42's and the tuned filter's is half of what others need."""
    asked = {}

    def calibrate(family, **how):
        asked.update(how, name=family.name)
        return known_law()

    def workload(task, rtols, atol_per_rtol):
        return Workload(task, task.x0, task.x0, task.x0, rtols, atol_per_rtol)

    def measured(load, method, law):
        low = list(CONTROLLERS["pi42"].coefficients)
        cost = 1.0 if isinstance(law, Calibrated) or list(getattr(law, "coefficients", [])) == low else 2.0
        error = np.log(np.tile(load.rtols, (len(load), 1)))
        work = np.log(100.0 * cost) - 0.2 * error
        if isinstance(law, Calibrated):
            work[0, 0] = math.nan  # a solve that failed
        return Curves(work, error)

    def solved(task, method, **how):
        asked.setdefault("timed", []).append(how["controller"])
        how["max_steps"] = 50 if isinstance(how["controller"], Calibrated) else how["max_steps"]  # some do not arrive
        return integrate(task.field, task.x0, task.span, args=task.args, method=method, throw=False, **how)

    for name, other in {"calibrate": calibrate, "workload": workload, "measured": measured, "solved": solved}.items():
        monkeypatch.setattr(controllers, name, other)
    monkeypatch.setattr(controllers, "RTOLS", RTOLS)
    monkeypatch.setattr(controllers, "FRESH", 3)
    monkeypatch.setattr(controllers, "ROUNDS", 2)
    return asked


def test_a_law_is_compared_with_every_other_at_equal_error_and_timed_in_turns(monkeypatch):
    asked = scripted(monkeypatch)
    (case,) = controllers.part(("tsit5",), 1, 8, 5, ("kepler",), timed=3).cases
    values = case.run(60.0).values
    about = {"name": "kepler", "method": "tsit5", "generations": 1, "instances": 8, "seed": 5, "rtols": RTOLS}
    assert asked.items() >= about.items()
    ratios = values["ratios"]
    assert set(ratios) == {"tuned on the family", "i", "pi42", "pi34", "pid", "h211b", "predictive"}
    for name, found in ratios.items():
        want = 1.0 if name in ("pi42", "tuned on the family") else 0.5
        assert found == {**{k: pytest.approx(want) for k in ("ratio", "low", "high")}, "instances": 3}, name
    assert (values["failed"], values["failed_tuned"]) == (1, 0)
    curves = values["curves"]
    assert curves["calibrated"]["rtol"] == pytest.approx([10**-2.5, 1e-3, 10**-3.5, 1e-4])  # without the one that failed
    assert max(curves["i"]["rtol"]) > 1e-2 > 1e-4 > min(curves["i"]["rtol"])
    assert [isinstance(law, Calibrated) for law in asked["timed"]] == [True, False] * 3
    assert values["rejected"]["tuned on the family"] > 0.0
    time = values["time_per_f"]
    assert 0.0 < time["low"] <= time["ratio"] <= time["high"]
    assert time["b"] == 3
    assert values["report"] == dict(known_law().report)


def test_means_are_taken_where_every_instance_was_measured_and_a_share_of_nothing_is_none():
    nan = math.nan
    logs = np.log([[4.0, 9.0, 2.0], [16.0, 4.0, 2.0]])
    lost = Curves(logs, np.where([[False, False, False], [False, False, True]], nan, np.log([[0.1, 0.01, 1e-3]] * 2)))
    found = controllers._mean(lost, (1e-1, 1e-2, 1e-3))
    assert found == {"rtol": [1e-1, 1e-2], "error": pytest.approx([0.1, 0.01]), "work": pytest.approx([8.0, 6.0])}
    none, some = torch.zeros(2, dtype=torch.int64), torch.tensor([1, 2])
    assert controllers._share(none, none) == 0.0
    assert controllers._share(some, torch.tensor([3, 6])) == 0.25


def test_a_law_for_a_flow_map_is_searched_apart_from_its_data_and_once(monkeypatch):
    asked = []

    def calibrate(family, **how):
        asked.append((family(2, 0), how))
        return known_law()

    monkeypatch.setattr(flow_laws, "calibrate", calibrate)
    flow_laws._law.cache_clear()
    found = pairs("lotka_volterra", 64, 32, 0)
    run = {"method": "tsit5", "calibrated": 3, "law_seed": 1}
    try:
        law = versus.calibrated(found, run)
        assert versus.calibrated(found, run) is law
    finally:
        flow_laws._law.cache_clear()
    ((task, how),) = asked
    assert (how["method"], how["generations"], how["seed"], how["rtols"]) == ("tsit5", 3, 1, flow_laws.RTOLS)
    assert how["atol_per_rtol"] == float(found.error_scale.min())
    assert not any(torch.equal(task.x0[0], x) for x in torch.cat([found.task.x0, found.test.x0]))

"""The benchmark of step laws inside the training of neural ODEs: its windows, its pairing, what it counts."""

import dataclasses
import runpy
from pathlib import Path

import pytest
import torch

import odebridge as ob

SCRIPT = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "node_controllers.py"), run_name="script")


@pytest.fixture(scope="module")
def data():
    return SCRIPT["SETS"]["Lotka-Volterra"](0)


@pytest.fixture
def field(data):
    torch.manual_seed(0)
    made = SCRIPT["network"](data)
    SCRIPT["fit_slopes"](made, data, 60, 0)
    return made


def test_windows_begin_at_data_points_and_go_on_as_the_series_do(data):
    x0, want = data.windows(data.train, 40, torch.Generator().manual_seed(3))
    assert want.shape == (40, data.window, 2)
    for start, rest in zip(x0, want, strict=True):
        i, j = (int(v) for v in (data.train == start).all(-1).nonzero()[0])
        assert torch.equal(data.train[i, j + 1 : j + 1 + data.window], rest)


def test_a_true_field_has_no_loss(data):
    """The windows' times are those of the series."""
    task = ob.problems.problem("lotka_volterra")
    x0, want = data.windows(data.train, 6, torch.Generator().manual_seed(0))
    args = task.args.expand(6, -1)
    sol = ob.integrate(
        task.field, x0, (0.0, float(data.way[-1])), args=args, method="dopri8", rtol=1e-9, save=ob.At(data.way)
    )  # fmt: skip
    torch.testing.assert_close(sol.xs, want, rtol=1e-6, atol=1e-6)


def test_laws_train_on_the_same_windows_from_the_same_weights(field, data):
    weights = {k: v.clone() for k, v in field.state_dict().items()}
    size, runs = SCRIPT["Size"](batch=4), []
    for law in (None, ob.control.CONTROLLERS["i"], None):
        field.load_state_dict(weights)
        runs.append(SCRIPT["go_on"](field, data, law, 2, size, 1e-3, 7))
    assert runs[0] == runs[2]
    assert runs[1]["f_evals"] != runs[0]["f_evals"]
    assert runs[1]["loss"] == pytest.approx(runs[0]["loss"], rel=0.05)
    assert runs[0]["failed"] == 0


def test_error_and_cost_of_a_solve_are_those_of_its_law(field, data):
    law = ob.control.CONTROLLERS["pi42"]
    loose = SCRIPT["scored"](field, data, data.test, law, 1e-3)
    sol = SCRIPT["solve"](field, data, data.windows(data.test, 128, torch.Generator().manual_seed(0))[0], law, 1e-3)
    assert loose["f_evals"] == pytest.approx(float(sol.stats.f_evals.double().mean()))
    assert 1e-6 < loose["solve_error"] < 0.1
    assert loose["failed"] == 0


def test_equal_error_is_that_of_the_own_law(field, data):
    own = ob.control.CONTROLLERS[SCRIPT["OWN"]]
    assert SCRIPT["matched"](field, data, own) == pytest.approx(SCRIPT["RTOL"], rel=0.1)
    strict = dataclasses.replace(own, scale=10.0)  # reads every error as ten times as large
    assert SCRIPT["matched"](field, data, strict) > 3 * SCRIPT["RTOL"]

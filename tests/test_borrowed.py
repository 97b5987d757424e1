"""What goes through to other people's code, Jacobians, bands, first and longest steps, and what it is not asked to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import odebridge as ob
from odebridge.methods.borrowed import BORROWED, Task
from odebridge.methods.borrowed_scipy import SOLVERS, packed, walk
from odebridge.peers import PEERS, jax_field, unmeasured
from odebridge.problems import problem

D = torch.float64
CVODE = pytest.param("sundials:BDF", marks=pytest.mark.peers)
METHODS = [*(m for m in BORROWED if m.startswith("scipy")), CVODE]


def installed(name):
    """Skip where the library of a peer is not installed."""
    if (PEERS[name].version if name in PEERS else None) is None:
        pytest.skip(f"{name} is not installed")


def pushed(n=60):
    """x' = A (x - g), tridiagonal and stiff: field, Jacobian, x0 and the end at t = 1, which is g."""
    a = torch.diag(torch.full((n,), -2.0)) + torch.diag(torch.ones(n - 1), 1) + torch.diag(0.5 * torch.ones(n - 1), -1)
    a, x0, g = 500.0 * a.double(), torch.linspace(1.0, 2.0, n, dtype=D)[None], torch.linspace(0.0, 3.0, n, dtype=D)
    return lambda t, x: (x - g) @ a.T, lambda t, x: a.expand(len(x), n, n), x0, g[None]


@pytest.mark.parametrize("given", ["band", "pattern"])
@pytest.mark.parametrize("method", ["scipy:Radau", "scipy:LSODA", CVODE])
def test_a_jacobian_is_handed_on_as_the_library_stores_it(method, given):
    """In bands, as a sparse matrix or full: the same end. The callback hears of every trajectory."""
    installed(method)
    f, jacobian, x0, exact = pushed()
    sparsity = (1, 1) if given == "band" else torch.ones(60, 60).tril(1).triu(-1).bool()
    told, options = [], dict(method=method, rtol=1e-7, atol=1e-9, sparsity=sparsity)
    with_it = ob.integrate(f, x0, (0.0, 1.0), jacobian=jacobian, callback=told.append, **options)
    without = ob.integrate(f, x0, (0.0, 1.0), **options)
    assert torch.allclose(with_it.x1, exact, atol=1e-5)
    assert torch.allclose(without.x1, exact, atol=1e-5)
    assert int(with_it.stats.jacobians) > 0
    assert len(told) == 1


def test_bands_are_those_of_lapack():
    full = np.arange(1.0, 17.0).reshape(4, 4)
    bands = packed(lambda t, y: full, 1, 2)(0.0, np.zeros(4))
    assert bands.shape == (4, 4)
    for i in range(4):
        for j in range(4):
            if -1 <= j - i <= 2:
                assert bands[2 + i - j, j] == full[i, j]


@pytest.mark.parametrize("method", METHODS)
def test_first_and_longest_steps_are_handed_on(method):
    installed(method)
    f, x0, exact = (lambda t, x: -t[:, None] * x), torch.tensor([[1.0, 2.0]], dtype=D), np.exp(-2.0)
    options = dict(method=method, rtol=1e-7, atol=1e-9)
    sol = ob.integrate(f, x0, (0.0, 2.0), save=ob.Every(), first_step=1e-3, max_step=0.04, **options)
    assert torch.allclose(sol.x1, exact * x0, atol=1e-5)
    assert float(sol.hs.max()) <= 0.04 * (1 + 1e-9)
    assert int(sol.stats.accepted) >= 50
    assert float(sol.hs[0, 0]) <= 1e-3 * (1 + 1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_steps_that_run_out_between_times_that_were_asked_for(method):
    installed(method)
    sol = ob.integrate(
        lambda t, x: -x, torch.ones(1, 1, dtype=D), (0.0, 9.0), method=method, rtol=1e-8, max_steps=4, throw=False,
        save=ob.At([1e-6, 8.0]),
    )  # fmt: skip
    assert sol.result.tolist() == [int(ob.Result.MAX_STEPS)]
    assert float(sol.xs[0, 0, 0]) == pytest.approx(1.0, abs=1e-4)
    assert bool(torch.isnan(sol.xs[0, 1]).all())


@pytest.mark.parametrize("save", [ob.Last(), ob.At([0.5])], ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_a_field_that_stops_being_finite_ends_with_its_code(method, save):
    installed(method)
    sol = ob.integrate(
        lambda t, x: torch.where(t[:, None] > 0.0, torch.inf, -x), torch.ones(1, 1, dtype=D), (0.0, 1.0), method=method,
        throw=False, save=save, first_step=0.1,
    )  # fmt: skip
    assert sol.result.tolist() == [int(ob.Result.NOT_FINITE)]


@pytest.mark.peers
def test_cvode_is_stopped_where_its_differences_are_never_finite():
    """520 calls for one Jacobian, all of them infinite."""
    installed("sundials:BDF")
    sol = ob.integrate(
        lambda t, x: torch.where(t[:, None] > 0.0, torch.inf, -x), torch.ones(1, 520, dtype=D), (0.0, 1.0),
        method="sundials:BDF", throw=False,
    )  # fmt: skip
    assert sol.result.tolist() == [int(ob.Result.NOT_FINITE)]


def test_a_users_mistake_is_not_a_failure_of_the_library():
    """A ValueError of the field, all its values finite, reaches the caller as it is."""

    def broken(t, y):
        if t > 0.1:
            raise ValueError("mine")
        return -y

    with pytest.raises(ValueError, match="mine"):
        walk("RK45", Task(broken, np.ones(1), 0.0, 1.0, 1e-6, 1e-8))


def test_steps_that_do_not_move_are_given_up(monkeypatch):
    """Also where no slope was infinite."""

    class Still(SOLVERS["LSODA"]):
        def step(self):
            self.nfev += 1

    monkeypatch.setitem(SOLVERS, "LSODA", Still)
    run = walk("LSODA", Task(lambda t, y: -y, np.ones(1), 0.0, 1.0, 1e-6, 1e-8))
    assert (run.stop, run.counts["accepted"]) == ("step", 0)


def test_a_limit_that_has_passed_before_the_first_step_is_a_time_limit():
    run = walk("Radau", Task(lambda t, y: -y, np.ones(1), 0.0, 1.0, 1e-6, 1e-8, deadline=0.0))
    assert run.stop == "time_limit"
    assert (run.t, run.y.tolist(), run.counts["f_evals"]) == (0.0, [1.0], 1)


def test_dense_output_beyond_what_was_reached_is_nan():
    sol = ob.integrate(
        lambda t, x: x * x, torch.ones(1, 1, dtype=D), (0.0, 2.0), method="scipy:RK45", save=ob.Dense(), throw=False
    )
    assert float(sol(0.5)) == pytest.approx(2.0, rel=1e-2)
    assert bool(torch.isnan(sol(1.5)).all())
    assert bool(torch.isnan(sol(-0.5)).all())


# What peers are not asked


def test_an_ensemble_one_by_one_stops_at_its_time_limit():
    many = problem("lotka_volterra").sample(3, seed=1)
    run = PEERS["scipy:RK45"].ensemble(many, 1e-6, 1e-9, time_limit=1e-9)
    assert run.ok.tolist() == [False, False, False]
    assert "time_limit=1e-09 s" in run.message
    assert np.isnan(run.x1).all()


@pytest.mark.peers
@pytest.mark.parametrize("name", ["torchdiffeq:dopri5", "torchode:dopri5"])
def test_peers_in_pytorch_are_stopped_and_asked_only_what_they_can(name):
    installed(name)
    many = problem("lotka_volterra").sample(2, seed=1)
    late = PEERS[name].ensemble(many, 1e-6, 1e-9, time_limit=0.0)
    assert "used up time_limit=0 s" in late.message
    assert not late.ok.any()
    assert np.isnan(late.x1).all()
    assert late.counts["f_evals"] > 0
    heavy = PEERS[name](problem("chemical_akzo_nobel"), 1e-6, 1e-9)
    assert not heavy.ok
    assert "mass" in heavy.message


@pytest.mark.peers
def test_a_step_that_becomes_too_small_is_an_answer():
    installed("torchdiffeq:dopri5")
    run = PEERS["torchdiffeq:dopri5"](ob.Problem(lambda t, x: x * x, [1.0], (0.0, 2.0)), 1e-6, 1e-9, max_steps=50)
    assert not run.ok
    assert run.message
    assert np.isnan(run.x1).all()


def test_a_mass_matrix_has_no_form_in_jax():
    with pytest.raises(TypeError, match="has a mass matrix, which diffrax does not take"):
        jax_field.in_jax(replace(problem("robertson"), mass=torch.ones(3)))


def test_jax_without_diffrax_is_no_library(monkeypatch):
    monkeypatch.setattr(jax_field, "optional", lambda module: None)
    assert jax_field.libraries.__wrapped__() is None


def test_odeint_takes_bands_and_their_jacobian():
    f, jacobian, x0, exact = pushed(30)
    mine = ob.Problem(f, x0[0], (0.0, 1.0), sparsity=(1, 1))
    for task in (mine, replace(mine, jacobian=jacobian)):
        run = PEERS["scipy:odeint"](task, 1e-8, 1e-10)
        assert run.ok
        assert np.abs(run.x1 - exact[0].numpy()).max() < 1e-6


def test_a_peer_that_is_there_and_not_tried_says_so(monkeypatch):
    monkeypatch.setattr(unmeasured, "installed", lambda name: "9.9")
    run = unmeasured.UnmeasuredPeer("yabi:bdf", "yabi-torch", "No wheel was to be had.")(problem("robertson"), 1e-3, 1e-6)
    assert "yabi-torch 9.9 is installed, and no adapter for it has been tested. No wheel" in run.message
    assert not run.ok

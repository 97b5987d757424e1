"""Other people's solvers: the catalogue, what they answer, and their methods through `integrate`."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import odebridge as ob
from odebridge.methods import borrowed_sundials
from odebridge.methods.borrowed import BORROWED
from odebridge.peers import KNOWN_FAULTS, PEERS, EnsembleRun, faults_of, jax_field, list_peers
from odebridge.peers import torchdiffeq as torchdiffeq_peer
from odebridge.peers import torchode as torchode_peer
from odebridge.problems import PROBLEMS, problem
from odebridge.problems.componentwise import Field

CVODE = pytest.param("sundials:BDF", marks=pytest.mark.peers)
METHODS = [*(m for m in BORROWED if m.startswith("scipy")), CVODE]
STIFF = ["scipy:Radau", "scipy:BDF", "scipy:LSODA", "scipy:odeint"]
STIFF += [pytest.param(p, marks=pytest.mark.peers) for p in PEERS if p.startswith("sundials") or "Kvaerno" in p]
EXPLICIT = ["scipy:RK45"]
EXPLICIT += [
    pytest.param(p, marks=pytest.mark.peers) for p in PEERS if p.startswith("torch") or p.endswith(("Tsit5", "Dopri8"))
]
OPTIONAL = [p for p in PEERS if not p.startswith("scipy")]


def installed(name):
    """Skip where the library of a peer is not installed."""
    if (PEERS[name].version if name in PEERS else None) is None:
        pytest.skip(f"{name} is not installed")


def off(x1, task):
    return float(np.max(np.abs(x1 - task.reference.numpy()) / np.abs(task.reference.numpy())))


def decay(b=3):
    rate = torch.linspace(0.5, 2.0, b, dtype=torch.float64)
    x0 = torch.linspace(1.0, 2.0, 2 * b, dtype=torch.float64).reshape(b, 2)
    return lambda t, x, k: -k[:, None] * t[:, None] * x, x0, rate, lambda t: x0 * torch.exp(-rate[:, None] * t * t / 2)


# The catalogue


def test_the_catalogue_names_libraries_and_methods():
    assert all(name == peer.name and name.count(":") == 1 for name, peer in PEERS.items())
    assert "diffrax:Kvaerno5+fix" in list_peers("diffrax:*")
    assert ob.list_methods("*:*") == list(BORROWED)


def test_known_faults_belong_to_peers_and_say_what_is_done():
    for fault in KNOWN_FAULTS:
        assert any(fault in faults_of(name) for name in PEERS), fault.peer
        assert fault.what.endswith(".")
        assert fault.remedy.endswith(".")
    released, fixed = faults_of("diffrax:Kvaerno5"), faults_of("diffrax:Kvaerno5+fix")
    assert len(released) == len(fixed) + 1


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_missing_peer_answers_with_a_pip_line(name, monkeypatch):
    monkeypatch.setattr(borrowed_sundials, "library", lambda: None)
    monkeypatch.setattr(torchdiffeq_peer, "optional", lambda module: None)
    monkeypatch.setattr(torchode_peer, "optional", lambda module: None)
    monkeypatch.setattr("odebridge.peers.diffrax.libraries", lambda: None)
    one, many = problem("lotka_volterra"), problem("lotka_volterra").sample(2)
    out, run = PEERS[name](one, 1e-3, 1e-6), PEERS[name].ensemble(many, 1e-3, 1e-6)
    assert not out.ok
    assert "is not installed; pip install" in out.message
    assert np.isnan(out.x1).all()
    assert isinstance(run, EnsembleRun)
    assert not run.ok.any()
    assert "pip install" in run.message


def test_importing_the_peers_imports_none_of_them():
    """JAX alone takes more than a second; only a peer that is asked may do so. Runs in a process of its own."""
    import subprocess

    code = "import sys, odebridge.peers; print([m for m in ('jax', 'sksundae', 'torchode', 'torchdiffeq') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert out.stdout.strip() == "[]"


# What they answer


@pytest.mark.parametrize("task", ["robertson", "hires", "van_der_pol"])
@pytest.mark.parametrize("name", STIFF)
def test_stiff_peers_reach_published_end_states(name, task):
    installed(name)
    stiff = problem(task)
    if name == "diffrax:Kvaerno5" and task == "van_der_pol":
        out = PEERS[name](stiff, 1e-6, 1e-9)
        assert out.counts["rejected"] > 0.25 * out.counts["accepted"]  # its fault shows, see KNOWN_FAULTS
        return
    out = PEERS[name](stiff, 1e-6, 1e-12)
    assert out.ok, out.message
    assert off(out.x1, stiff) < 1e-3
    assert out.counts["accepted"] > 50
    assert out.cpu > 0


@pytest.mark.parametrize("name", EXPLICIT)
def test_explicit_peers_solve_lotka_volterra(name):
    installed(name)
    task = problem("lotka_volterra")
    out = PEERS[name](task, 1e-8, 1e-8)
    assert out.ok, out.message
    assert off(out.x1, task) < 1e-5


@pytest.mark.parametrize("name", [*STIFF, *EXPLICIT])
def test_an_ensemble_equals_its_trajectories(name):
    installed(name)
    many = problem("lotka_volterra").sample(3, seed=1)
    run = PEERS[name].ensemble(many, 1e-7, 1e-9)
    truth = ob.solve(many, method="dopri8", rtol=1e-11, atol=1e-13).x1.numpy()
    assert run.ok.all(), run.message
    assert run.x1.shape == (3, 2)
    assert np.abs(run.x1 - truth).max() < 1e-3


@pytest.mark.peers
def test_the_corrected_newton_test_saves_steps():
    installed("diffrax:Kvaerno5")
    short = problem("robertson", t1=1e5)
    tried = {n: sum(PEERS[n](short, 1e-6, 1e-9).counts.values()) for n in ("diffrax:Kvaerno5", "diffrax:Kvaerno5+fix")}
    assert tried["diffrax:Kvaerno5+fix"] < 0.5 * tried["diffrax:Kvaerno5"]


@pytest.mark.peers
@pytest.mark.parametrize("name", [n for n in PROBLEMS if isinstance(problem(n).field, Field) and problem(n).mass is None])
def test_one_definition_serves_torch_and_jax(name):
    installed("diffrax:Tsit5")
    jax, _ = jax_field.libraries()
    task = problem(name)
    many = task.sample(4) if task.spread is not None else task.batched()
    t = torch.full((len(many.x0),), 0.3, dtype=torch.float64)
    ours = many.field(t, many.x0) if many.args is None else many.field(t, many.x0, many.args)
    field = jax.jit(jax_field.in_jax(task))
    for i in range(len(many.x0)):
        args = None if many.args is None else many.args[i].numpy()
        theirs = np.asarray(field(0.3, many.x0[i].numpy(), args))
        np.testing.assert_allclose(theirs, ours[i].numpy(), rtol=1e-10, atol=1e-12 * float(ours[i].abs().max()))


@pytest.mark.peers
def test_diffrax_says_which_fields_it_cannot_have():
    installed("diffrax:Tsit5")
    run = PEERS["diffrax:Tsit5"](problem("heat"), 1e-3, 1e-6)
    assert not run.ok
    assert "no form in JAX" in run.message


@pytest.mark.peers
def test_compile_time_is_reported_once():
    installed("diffrax:Tsit5")
    many = problem("lotka_volterra").sample(5)
    first, second = (PEERS["diffrax:Tsit5"].ensemble(many, rtol, 1e-6) for rtol in (1e-3, 1e-5))
    assert first.compile_seconds > 0
    assert second.compile_seconds == 0
    assert second.counts["accepted"] > first.counts["accepted"]


# Their methods through `integrate`


@pytest.mark.parametrize("method", METHODS)
def test_borrowed_methods_save_as_ours_do(method):
    installed(method)
    f, x0, k, exact = decay()
    options = {"args": k, "method": method, "rtol": 1e-8, "atol": 1e-10}
    end = ob.integrate(f, x0, (0.0, 2.0), **options)
    assert torch.allclose(end.x1, exact(2.0), atol=1e-6)
    assert end.result.tolist() == [0, 0, 0]
    assert (end.stats.accepted > 5).all()
    assert (end.stats.f_evals > end.stats.accepted).all()
    at = ob.integrate(f, x0, (0.0, 2.0), save=ob.At([0.0, 0.7, 2.0]), **options)
    assert torch.allclose(at.xs[:, 1], exact(0.7), atol=1e-5)
    assert torch.equal(at.xs[:, 0], x0)
    steps = ob.integrate(f, x0, (0.0, 2.0), save=ob.Every(of=lambda t, x: x[:, :1]), **options)
    assert steps.xs.shape[::2] == (3, 1)
    assert steps.ts.shape[1] == int(steps.stats.accepted.max()) + 1
    back = ob.integrate(f, end.x1, (2.0, 0.0), **options)
    assert torch.allclose(back.x1, x0, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_failure_belongs_to_one_trajectory(method):
    installed(method)
    x0 = torch.tensor([[0.1], [1.0], [0.2]], dtype=torch.float64)
    sol = ob.integrate(lambda t, x: x * x, x0, (0.0, 2.0), method=method, rtol=1e-6, atol=1e-9, throw=False)
    assert sol.result.tolist()[::2] == [0, 0]
    assert sol.result[1] != 0
    assert torch.isnan(sol.x1[1]).all()
    assert torch.allclose(sol.x1[[0, 2], 0], torch.tensor([1 / 8, 1 / 3], dtype=torch.float64), atol=1e-4)
    with pytest.raises(ob.SolveError, match="trajectory 1"):
        ob.integrate(lambda t, x: x * x, x0, (0.0, 2.0), method=method, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_limits_and_nan_have_their_codes(method):
    installed(method)
    x0 = torch.ones(1, 1, dtype=torch.float64)
    few = ob.integrate(lambda t, x: -x, x0, (0.0, 9.0), method=method, rtol=1e-8, max_steps=4, throw=False)
    assert few.result.tolist() == [int(ob.Result.MAX_STEPS)]
    assert int(few.stats.accepted) == 4
    nan = ob.integrate(lambda t, x: torch.where(t[:, None] > 1, torch.nan, -x), x0, (0.0, 2.0), method=method, throw=False)
    assert nan.result.tolist() == [int(ob.Result.NOT_FINITE)]
    late = ob.integrate(lambda t, x: torch.sin(1e6 * t[:, None]), x0, (0.0, 9.0), method=method, rtol=1e-9, atol=1e-12,
                        max_steps=10**7, time_limit=0.1, throw=False)  # fmt: skip
    assert late.result.tolist() == [int(ob.Result.TIME_LIMIT)]


@pytest.mark.parametrize("method", METHODS)
def test_a_jump_of_the_field_starts_the_library_anew(method):
    installed(method)
    x0 = torch.ones(1, 1, dtype=torch.float64)
    sol = ob.integrate(lambda t, x: torch.where(t[:, None] > 1, -x, 2 * x), x0, (0.0, 2.0), method=method, rtol=1e-9,
                       atol=1e-12, discontinuities=[1.0], save=ob.At([1.0, 1.5]))  # fmt: skip
    assert torch.allclose(sol.xs[0, :, 0], torch.tensor([math.e**2, math.e**1.5], dtype=torch.float64), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_library_cannot_do_is_refused_in_a_sentence(method):
    installed(method)
    f, x0 = (lambda t, x: -x), torch.ones(2, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"gradient: .*no_grad"):
        ob.integrate(f, x0.requires_grad_(), (0.0, 1.0), method=method)
    x0, rate = x0.detach(), torch.ones((), dtype=torch.float64, requires_grad=True)

    def late(t, x):  # the first slope knows nothing of the rate
        return -x * (rate if float(t[0]) > 0.5 else 1.0)

    with pytest.raises(ValueError, match=r"gradient: .*no_grad"):
        ob.integrate(late, x0, (0.0, 1.0), method=method)
    with pytest.raises(TypeError, match=r"float64 on the CPU"):
        ob.integrate(f, x0.float(), (0.0, 1.0), method=method)
    with pytest.raises(ValueError, match=r"span \(t0, t1\) instead of a grid"):
        ob.integrate(f, x0, ob.Steps(3), method=method)
    with pytest.raises(ValueError, match=r"events: .* another library's code"):
        ob.integrate(f, x0, (0.0, 1.0), method=method, events=ob.Event(lambda t, x: x[:, 0] - 0.5))
    with pytest.raises(ValueError, match=r"controller: .* another library's code"):
        ob.integrate(f, x0, (0.0, 1.0), method=method, controller="pi")
    with pytest.raises(ValueError, match=r"mass: .* another library's code"):
        ob.integrate(f, x0, (0.0, 1.0), method=method, mass=torch.ones(1))
    with pytest.raises(ValueError, match="bandwidths"):
        ob.integrate(f, x0, (0.0, 1.0), method=method, sparsity="krylov")
    if method == "sundials:BDF":
        with pytest.raises(ValueError, match="no dense output"):
            ob.integrate(f, x0, (0.0, 1.0), method=method, save=ob.Dense())


def test_a_wrong_name_and_a_missing_library_are_sentences(monkeypatch):
    with pytest.raises(ValueError, match="did you mean 'scipy:Radau'"):
        ob.solve("hires", method="scipy:radau")
    monkeypatch.setattr(borrowed_sundials, "library", lambda: None)
    with pytest.raises(ValueError, match="pip install scikit-sundae"):
        ob.solve("hires", method="sundials:BDF")


@pytest.mark.parametrize("method", [m for m in METHODS if m != CVODE])
def test_dense_output_of_scipy(method):
    f, x0, k, exact = decay()
    sol = ob.integrate(f, x0, (0.0, 2.0), args=k, method=method, rtol=1e-8, atol=1e-10, save=ob.Dense())
    assert torch.allclose(sol(0.31), exact(0.31), atol=1e-6)
    assert torch.allclose(sol([0.0, 2.0])[:, 1], exact(2.0), atol=1e-6)


@pytest.mark.parametrize("method", ["scipy:Radau", "scipy:LSODA", CVODE])
def test_banded_systems_use_their_band(method):
    installed(method)
    task = problem("heat")
    ours = ob.solve(task, method="rodas5p", rtol=1e-8, atol=1e-10).x1
    theirs = ob.solve(task, method=method, rtol=1e-8, atol=1e-10).x1
    assert torch.allclose(theirs, ours, atol=1e-5)


def test_states_of_any_shape_and_a_single_system():
    x0 = torch.ones(2, 2, 3, dtype=torch.float64)
    sol = ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), method="scipy:LSODA", rtol=1e-8, atol=1e-8)
    assert sol.x1.shape == (2, 2, 3)
    assert torch.allclose(sol.x1, x0 / math.e, atol=1e-6)
    one = ob.solve(replace(problem("hires"), name="mine"), method="scipy:Radau", rtol=1e-6, atol=1e-9)
    assert one.x1.shape == (8,)
    still = ob.integrate(lambda t, x: -x, x0, (1.0, 1.0), method="scipy:LSODA")
    assert torch.equal(still.x1, x0)

"""Who meets in the contests on gradients: everybody's gradient is the same one, a failure is a row, memory is counted."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from odebridge.bench import gradient_memory as memory
from odebridge.bench import gradient_network as network
from odebridge.bench import gradient_stiff as stiff
from odebridge.integrate import Forward, Replay

D = torch.float64
COMPILED = [name for name in network.LOSSES if "compiled" in name]
EAGER = [name for name in network.LOSSES if name not in COMPILED]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def short(monkeypatch):
    """Robertson's loss at five times up to 0.001."""
    monkeypatch.setattr(stiff, "T1", 1e-3)
    monkeypatch.setattr(stiff, "TIMES", np.logspace(-5, -3, 5))
    monkeypatch.setattr(stiff, "KNOWN", 2)


def points(b=3):
    chance = torch.Generator().manual_seed(0)
    x = torch.rand(b, 3, generator=chance, dtype=D) * torch.tensor([1.0, 1e-4, 1.0], dtype=D)
    return x, torch.tensor(stiff.RATES) + 0.3 * torch.randn(b, 3, generator=chance, dtype=D)


def slopes(of, x):
    """Derivatives of a field (b, n) by its argument (b, m), trajectory by trajectory: (b, n, m)."""
    return torch.stack([torch.autograd.functional.jacobian(lambda v, i=i: of(v[None], i)[0], x[i]) for i in range(len(x))])


def test_the_jacobian_is_the_derivative_of_the_field():
    x, k = points()
    given = stiff.jacobian(None, x, k)
    assert torch.allclose(given, slopes(lambda v, i: stiff.field(None, v, k[i : i + 1]), x), rtol=1e-12)


def test_the_twelve_equations_are_the_field_and_its_sensitivities():
    x, k = points(1)
    s = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=D)  # by rate, then by component
    out, block = np.empty(12), np.empty((12, 12))
    y = np.concatenate([x[0].numpy(), s.numpy().ravel()])
    rates = k[0].exp().tolist()
    stiff._bound(stiff._sensitive, rates)(0.0, y, out)
    stiff._bound(stiff._block, rates)(0.0, y, None, block)
    jac = stiff.jacobian(None, x, k)[0]
    by_rate = slopes(lambda v, _: stiff.field(None, x, v), k)[0]
    assert np.allclose(out[:3], stiff.field(None, x, k)[0].numpy(), rtol=1e-12)
    assert np.allclose(out[3:].reshape(3, 3), (s @ jac.T + by_rate.T).numpy(), rtol=1e-10)
    assert np.array_equal(block, np.kron(np.eye(4), jac.numpy()))


@pytest.mark.usefixtures("short")
def test_all_of_ours_agree_with_the_truth_and_with_cvode():
    pytest.importorskip("sksundae")
    task, known = stiff.task(2), stiff.truth.__wrapped__()
    assert known.shape == (2, 3)
    who = [
        stiff.by_us("replay", "rodas5p", Replay(), compiled=False),
        stiff.by_us("at once", "rodas5p", Replay(at_once=True), compiled=False),
        stiff.by_us("forward", "rodas5p", Forward(), compiled=False),
        stiff.by_cvode(),
    ]
    for one in who:
        run = one.solve(task, 1e-5, 1e-11, 60.0)
        assert run.ok.all(), one.name
        assert np.allclose(run.x1, known, rtol=1e-3), one.name
    assert not np.allclose(known[0], known[1], rtol=1e-2)  # each has rates of its own


@pytest.mark.usefixtures("short")
def test_a_cvode_that_gives_up_is_a_failure_of_its_own_trajectories(monkeypatch):
    class Solver:
        made = 0

        def __init__(self, *_, **options):
            Solver.made += 1
            self.good = Solver.made == 1
            assert options["rtol"] == 1e-3
            assert np.isclose(options["atol"][[0, 1, 2, 4]] / 1e-9, [100.0, 1.0, 100.0, 1.0]).all()

        def solve(self, times, _y0):
            return SimpleNamespace(success=self.good, y=np.ones((len(times), 12)))

    monkeypatch.setattr(stiff, "optional", lambda name: SimpleNamespace(cvode=SimpleNamespace(CVODE=Solver)))
    run = stiff.by_cvode().solve(stiff.task(2), 1e-3, 1e-9, 1.0)
    assert run.ok.tolist() == [True, False]
    assert run.x1[0].tolist() == [10.0 * (1.0 + 1e8 + 1.0)] * 3  # 2 w y s at five times
    assert np.isnan(run.x1[1]).all()
    assert run.message == "CVODE failed"


@pytest.mark.parametrize("bad", [False, True])
def test_a_gradient_of_diffrax_counts_where_it_is_finite(monkeypatch, bad):
    def in_jax(solver, mode):
        assert (solver, mode) == ("Kvaerno5", "reverse")
        return lambda k, rtol, atol: np.where(bad & (np.arange(len(k)) == 1), np.nan, 1.0)[:, None] * np.ones((1, 3))

    monkeypatch.setattr(stiff, "_in_jax", in_jax)
    one = stiff.by_diffrax("Kvaerno5", "reverse")
    run = one.solve(stiff.task(2), 1e-3, 1e-9, 1.0)
    assert one.name == "diffrax:Kvaerno5 reverse"
    assert (run.ok.tolist(), run.message) == (([True, False], "not finite") if bad else ([True, True], ""))


@pytest.mark.parametrize("compiled", [False, True])
def test_the_field_of_the_stiff_contest_is_ours_and_theirs(compiled):
    who = stiff.contenders(compiled=compiled)
    names = [one.name for one in who]
    assert len(set(names)) == len(names) == 9
    assert [one.compiles for one in who] == [compiled] * 4 + [False] * 5
    assert [one.lanes for one in who if one.lanes] == [stiff.LOOPED]


def test_the_first_trajectories_do_not_depend_on_the_batch():
    assert torch.equal(stiff.task(5).args[:2], stiff.task(2).args)
    assert torch.equal(stiff.task(5).args[0], torch.tensor(stiff.RATES))
    assert torch.equal(network.states(5, D)[:2], network.states(2, D))
    assert network.task(3, torch.float32).x0.dtype == torch.float32


@pytest.fixture(scope="module")
def known():
    return network.truth(3)


def check_gradient(name, known):
    library = name.partition(":")[0]
    if library != "odebridge":
        pytest.importorskip(library)
    one = network.by_torch(name, D)
    run = one.solve(network.task(3, D), 1e-6, 1e-8, 60.0)
    again = one.solve(network.task(3, D), 1e-6, 1e-8, 60.0)
    assert run.x1.shape == (3, known.shape[1])
    assert np.array_equal(run.x1[0], run.x1[2])  # the one gradient in the place of each trajectory
    assert np.allclose(run.x1[:1], known, atol=1e-4 * np.abs(known).max())
    assert np.allclose(run.x1, again.x1, rtol=1e-9, atol=1e-12)  # nothing is added up from solve to solve
    assert run.ok.all()


@pytest.mark.parametrize("name", EAGER)
def test_everybody_has_the_same_gradient_of_the_network(name, known):
    check_gradient(name, known)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_so_have_the_compiled_ones(name, known):
    check_gradient(name, known)


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("name", network.DIFFRAX)
def test_so_has_diffrax(name, known):
    pytest.importorskip("diffrax")
    run = network.by_diffrax(name, 3, D).solve(network.task(3, D), 1e-6, 1e-8, 60.0)
    assert np.allclose(run.x1[:1], known, atol=1e-4 * np.abs(known).max())


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.usefixtures("short")
def test_diffrax_has_the_gradient_of_the_stiff_contest(mode):
    pytest.importorskip("diffrax")
    stiff._in_jax.cache_clear()
    run = stiff.by_diffrax("Kvaerno5", mode).solve(stiff.task(2), 1e-7, 1e-11, 60.0)
    stiff._in_jax.cache_clear()
    assert np.allclose(run.x1, stiff.truth.__wrapped__(), rtol=1e-3)


def test_a_gradient_of_diffrax_is_one_row_in_float64(monkeypatch):
    grads = [np.full((2, 2), 0.5, np.float32), np.array([1.0, np.inf], np.float32)]
    asked = []
    monkeypatch.setattr(
        network, "jax_gradient", lambda *about: lambda rtol, atol: asked.append((*about, rtol, atol)) or (0.0, grads)
    )
    one = network.by_diffrax("diffrax:Tsit5 vmap", 2, torch.float32)
    run = one.solve(network.task(2, torch.float32), 1e-3, 1e-4, 1.0)
    assert asked == [("diffrax:Tsit5 vmap", 2, torch.float32, 1e-3, 1e-4)]
    assert run.x1.dtype == np.float64
    assert run.x1.tolist() == [[0.5] * 4 + [1.0, np.inf]] * 2
    assert (run.ok.tolist(), run.message) == ([False, False], "not finite")
    assert list(one.rtols) == network.F32


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_the_network_contest_has_every_loss_and_diffrax(dtype):
    who = network.contenders(2, dtype)
    assert [one.name for one in who] == [*network.LOSSES, *network.DIFFRAX]
    assert {tuple(one.rtols) for one in who} == {tuple(network.F32 if dtype == torch.float32 else network.F64)}


def test_a_faster_network_is_the_same_one_for_longer():
    x = network.states(2, torch.float32)
    assert torch.equal(network.Net(3.0)(0.0, x), 3.0 * network.Net()(0.0, x))


@LINUX
def test_memory_counts_what_autograd_keeps_and_checkpoints_keep_less():
    plain, steps = (memory.measured(f"odebridge:tsit5{how}", 4, 1e-3, 1.0) for how in ("", " steps"))
    assert plain["kept"] > steps["kept"] > 0
    assert plain["peak"] >= 0


@LINUX
def test_the_memory_of_diffrax_is_its_peak_in_the_second_solve(monkeypatch):
    asked = []
    monkeypatch.setattr(network, "jax_gradient", lambda *about: lambda *tols: asked.append((about, tols)))
    found = memory.measured(network.DIFFRAX[0], 2, 1e-3, 10.0)
    assert asked == [((network.DIFFRAX[0], 2, D, 10.0), (1e-3, 1e-3))] * 2
    assert found["kept"] is None
    assert found["peak"] >= 0


@LINUX
def test_the_module_prints_one_row(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gradient_memory", "odebridge:tsit5", "2", "1e-2", "1"])
    runpy.run_path(memory.__file__, run_name="__main__")
    assert json.loads(capsys.readouterr().out).keys() == {"peak", "kept"}


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (SimpleNamespace(returncode=0, stdout='a warning\n{"peak": 1, "kept": null}\n', stderr=""), ""),
        (SimpleNamespace(returncode=1, stdout="", stderr="MemoryError: no more\n"), "MemoryError: no more"),
        (subprocess.TimeoutExpired("x", 1.5), "no gradient after 1.5 s"),
    ],
)
def test_a_process_that_fails_or_never_ends_is_a_failed_row(monkeypatch, done, said):
    def run(words, **options):
        assert words[1:] == ["-m", "odebridge.bench.gradient_memory", "diffrax:Tsit5 vmap", "64", "0.001", "1.0"]
        assert options["timeout"] == 1.5
        if isinstance(done, Exception):
            raise done
        return done

    monkeypatch.setattr(subprocess, "run", run)
    case = next(c for c in memory.part("quick").cases if c.configuration["contender"] == "diffrax:Tsit5 vmap")
    outcome = case.run(1.5)
    assert (outcome.status, outcome.message) == ("failed" if said else "ok", said)
    assert outcome.values == ({} if said else {"peak": 1, "kept": None})


@pytest.mark.parametrize(("size", "cases"), [("quick", 1), ("standard", 3), ("full", 3)])
def test_memory_is_measured_of_everybody(size, cases):
    part = memory.part(size)
    assert len(part.cases) == cases * (len(network.LOSSES) + len(network.DIFFRAX))
    assert replace(part, cases=()).each == memory.EACH

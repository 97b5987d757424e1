"""compile=True: the same answers as the eager loop, whatever is asked of it, and one sentence where it cannot be had."""

import os
import warnings

import pytest
import torch

import odebridge as ob
from odebridge.control import CONTROLLERS
from odebridge.core.result import Result
from odebridge.integrate.engine import build, launch
from odebridge.integrate.engine import refuse as refusal
from odebridge.methods import METHODS
from odebridge.methods.dirk import Dirk
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Rosenbrock

COMPILED = [m for m, v in METHODS.items() if isinstance(v, (ExplicitRK, Rosenbrock, Dirk)) and v.error_order is not None]
FAST = {"tsit5", "rodas5p", "kvaerno3"}
NEEDS = pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")


@pytest.fixture(scope="session", autouse=True)
def kernels(tmp_path_factory):
    """Kernels of these tests are made anew."""
    folder = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ODEBRIDGE_CACHE", str(folder))
        yield folder


def some(names, fast=FAST):
    return [n if n in fast else pytest.param(n, marks=pytest.mark.slow) for n in names]


def oscillator(t, x):
    a, b = x.unbind(-1)
    return torch.stack([b, 5.0 * (1 - a * a) * b - a + 0.1 * t], -1)


def start(b=5, dtype=torch.float64):
    return torch.stack([torch.linspace(0.5, 2, b), torch.zeros(b)], -1).to(dtype)


def both(field, x0, over, **options):
    """The solve compiled, with no warning, and eager."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        compiled = ob.integrate(field, x0, over, compile=True, throw=False, **options)
    return compiled, ob.integrate(field, x0, over, throw=False, **options)


def alike(a, b, rtol=1e-9, atol=1e-9):
    assert torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True), (a - b).abs().nan_to_num().max()


@NEEDS
@pytest.mark.parametrize("method", some(COMPILED))
def test_one_step_is_the_eager_one_from_every_visited_state(method):
    options = dict(method=method, rtol=1e-5, atol=1e-8)
    path = ob.integrate(oscillator, start(2), (0.0, 3.0), save=ob.Every(), **options)
    there = ~torch.isnan(path.ts)
    x, t = path.xs[there][:-2], path.ts[there][:-2]
    h = 0.02 + 0 * t
    one = dict(options, max_steps=1, first_step=h, save=ob.Every(), controller="fixed")
    a, b = both(oscillator, x, (t, t + 1.0), **one)
    scale = b.xs.nan_to_num().abs().max()
    assert a.xs.shape[1] == 2
    assert (a.xs - b.xs).abs().max() < 1e-12 * scale
    assert (a.errors - b.errors).abs().max() < 1e-6


@NEEDS
@pytest.mark.parametrize("method", some(COMPILED))
def test_whole_solves_agree(method):
    a, b = both(oscillator, start(), (0.0, 8.0), method=method, rtol=1e-6, atol=1e-8)
    alike(a.x1, b.x1, 1e-7, 1e-8)
    for name in ("accepted", "rejected", "f_evals", "jacobians", "factorisations", "solves", "newton_iterations"):
        assert torch.equal(getattr(a.stats, name), getattr(b.stats, name)), name


@NEEDS
@pytest.mark.parametrize("jacobian", [None, "given"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_jacobian_is_kept_while_it_serves_and_made_again_where_it_does_not(jacobian, dtype):
    """Trajectories of every stiffness side by side, so that some lanes renew J or try twice and their neighbours do not."""

    def field(t, x, mu):
        a, b = x.unbind(-1)
        return torch.stack([b, mu * ((1 - a * a) * b) - a], -1)

    def derivative(t, x, mu):
        a, b = x.unbind(-1)
        rows = [torch.zeros_like(a), torch.ones_like(a), -2 * mu * a * b - 1, mu * (1 - a * a)]
        return torch.stack(rows, -1).reshape(-1, 2, 2)

    mu, b = torch.logspace(0, 3, 40).to(dtype), 40
    x0 = torch.tensor([[2.0, 0.0]], dtype=dtype).repeat(b, 1)
    options = dict(args=mu, method="kencarp4", rtol=1e-4, atol=1e-7, jacobian=jacobian and derivative)
    batch, eager = both(field, x0, (0.0, 20.0), **options)
    twice = eager.stats.jacobians - eager.stats.accepted - eager.stats.rejected
    assert (eager.stats.jacobians < 0.9 * eager.stats.accepted).any()
    assert bool((twice < 0).any())
    if dtype == torch.float64:
        alike(batch.x1, eager.x1, 1e-8, 1e-10)
        for name in ("accepted", "rejected", "jacobians", "factorisations", "newton_iterations"):
            assert torch.equal(getattr(batch.stats, name), getattr(eager.stats, name)), name
    for i in (0, 17, 39):
        alone, _ = both(field, x0[i : i + 1], (0.0, 20.0), **{**options, "args": mu[i : i + 1]})
        assert torch.equal(alone.x1[0], batch.x1[i])
        assert torch.equal(alone.stats.jacobians[0], batch.stats.jacobians[i])


@NEEDS
@pytest.mark.parametrize("law", some([c for c in CONTROLLERS if c != "fixed"], {"pid", "h211b"}))
def test_laws_agree(law):
    a, b = both(oscillator, start(), (0.0, 4.0), method="dopri5", controller=law, rtol=1e-5)
    alike(a.x1, b.x1)
    assert torch.equal(a.stats.accepted, b.stats.accepted)
    assert torch.equal(a.stats.rejected, b.stats.rejected)


@NEEDS
def test_controllers_made_of_controllers_and_learned_ones():
    class Learned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(2, 1).double().requires_grad_(False)

        def start(self, x, tol):
            return torch.zeros(len(x), dtype=torch.float64)

        def forward(self, seen, memory):
            if seen.error is None:
                return seen.h, memory
            e = seen.error.clamp_min(1e-8).log()
            factor = torch.exp(-0.15 * e + 0.01 * torch.tanh(self.net(torch.stack([e, memory], -1))[:, 0])).clamp(0.2, 3.0)
            return seen.h * 0.9 * factor, e

        def accepts(self, error, memory):
            return error <= 1.0

    torch.manual_seed(0)
    law = Learned()
    for _ in range(2):
        a, b = both(oscillator, start(), (0.0, 4.0), method="tsit5", controller=law, rtol=1e-5)
        alike(a.x1, b.x1)
        assert torch.equal(a.stats.accepted, b.stats.accepted)
        law.net.weight.mul_(-30.0)  # the kernel must not remember the old ones
    a, b = both(oscillator, start(), (0.0, 4.0), method="tsit5", max_step=torch.linspace(0.01, 0.1, 5), rtol=1e-5)
    alike(a.x1, b.x1)
    assert torch.equal(a.stats.accepted, b.stats.accepted)


@NEEDS
@pytest.mark.parametrize("save", [ob.Last(), ob.Every(), ob.Dense()], ids=lambda s: type(s).__name__)
def test_a_large_batch_goes_in_groups(monkeypatch, save):
    x0, options = start(2500), dict(method="kencarp4", rtol=1e-4, atol=1e-6, compile=True, save=save)
    whole = ob.integrate(oscillator, x0, (0.0, 1.0), **options)
    monkeypatch.setattr(launch.Cores, "columns", 1)
    parts = ob.integrate(oscillator, x0, (0.0, 1.0), **options)
    assert torch.equal(whole.x1, parts.x1)
    assert torch.equal(whole.stats.jacobians, parts.stats.jacobians)
    if whole.xs is not None:
        assert torch.equal(whole.xs.nan_to_num(), parts.xs.nan_to_num())
    if isinstance(save, ob.Dense):
        assert torch.equal(whole(0.37), parts(0.37))


@NEEDS
def test_every_result_code_belongs_to_its_trajectory():
    def field(t, x, kind):
        a = x[:, 0]
        blows = a * a
        poisoned = torch.where(t > 0.5, torch.nan, 1.0 + 0.0 * a)
        many = 1e3 * torch.cos(1e3 * t)
        return torch.where(kind == 1, blows, torch.where(kind == 2, poisoned, torch.where(kind == 3, many, -a)))[:, None]

    kind = torch.tensor([0.0, 1.0, 2.0, 3.0, 0.0] * 3)
    x0 = torch.ones(15, 1, dtype=torch.float64)
    a, b = both(field, x0, (0.0, 2.0), args=kind, method="tsit5", rtol=1e-6, max_steps=300)
    assert torch.equal(a.result, b.result)
    assert {Result(int(c)) for c in a.result} >= {Result.OK, Result.NOT_FINITE, Result.MAX_STEPS}
    alike(a.x1, b.x1)
    assert torch.isnan(a.x1[1]).all()
    alike(a.x1[0], torch.exp(torch.tensor([-2.0], dtype=torch.float64)), 1e-5)
    assert [(f.trajectory, f.result, f.component) for f in a.failures] == [
        (f.trajectory, f.result, f.component) for f in b.failures
    ]
    alike(torch.tensor([f.t for f in a.failures]), torch.tensor([f.t for f in b.failures]), 1e-6)
    with pytest.raises(ob.SolveError, match="trajectory 1"):
        ob.integrate(field, x0, (0.0, 2.0), args=kind, method="tsit5", rtol=1e-6, max_steps=300, compile=True)


@NEEDS
def test_singular_matrices_and_steps_too_small():
    def jacobian(t, x):
        return torch.where(x[:, :1, None] > 1.5, torch.nan, -1.0 + 0.0 * x[:, :, None])

    x0 = torch.tensor([[1.0], [2.0], [1.0]], dtype=torch.float64)
    a, b = both(lambda t, x: -x, x0, (0.0, 1.0), method="rodas5p", jacobian=jacobian)
    assert torch.equal(a.result, b.result)
    assert a.result.tolist() == [Result.OK, Result.SINGULAR, Result.OK]
    a, b = both(lambda t, x: x * x, x0, (0.0, 3.0), method="rosenbrock23", rtol=1e-4)
    assert torch.equal(a.result, b.result)
    assert Result.OK not in a.result.tolist()


@NEEDS
def test_a_time_limit_stops_those_that_are_not_done():
    def field(t, x, w):
        return torch.stack([x[:, 1] * w, -x[:, 0] * w], -1)

    x0, w = torch.ones(6, 2, dtype=torch.float64), torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1e9], dtype=torch.float64)
    options = dict(args=w, method="dopri5", rtol=1e-8, throw=False)
    sol = ob.integrate(field, x0, (0.0, 1.0), compile=True, time_limit=0.3, max_steps=10**9, **options)
    assert sol.result.tolist() == [Result.OK] * 5 + [Result.TIME_LIMIT]
    assert torch.isfinite(sol.x1[:5]).all()
    assert torch.isnan(sol.x1[5]).all()


@NEEDS
@pytest.mark.parametrize("method", some(["tsit5", "rodas5p", "kvaerno3"], {"tsit5", "rodas5p"}))
def test_saves_events_and_jumps(method):
    times = torch.linspace(0.0, 4.0, 17, dtype=torch.float64)
    near = (1e-6, 1e-7)
    options = dict(method=method, rtol=1e-6, atol=1e-8)
    a, b = both(oscillator, start(), (0.0, 4.0), save=ob.At(times), **options)
    alike(a.xs, b.xs, *near)
    alike(a.ts, b.ts)
    a, b = both(oscillator, start(), (0.0, 4.0), save=ob.Dense(), **options)
    alike(a(1.234), b(1.234), *near)
    alike(a.ts, b.ts, *near)
    event = ob.Event(lambda t, x: x[:, 0], direction=-1)
    a, b = both(oscillator, start(), (0.0, 9.0), events=event, **options)
    assert torch.equal(a.result, b.result)
    alike(a.t1, b.t1, *near)
    alike(a.events[0].ts, b.events[0].ts, *near)
    jump = dict(discontinuities=(1.0, 2.5), **options)
    a, b = both(lambda t, x: torch.where(t[:, None] < 1.0, -x, 2.0 * x), start(), (0.0, 3.0), **jump)
    alike(a.x1, b.x1, *near)
    seen = []
    a, _ = both(oscillator, start(), (0.0, 1.0), callback=seen.append, **options)
    assert seen[-1].running == 0


@NEEDS
@pytest.mark.parametrize("method", some(["tsit5", "rodas5p", "kvaerno3"], {"tsit5"}))
def test_gradients_agree(method):
    def gradient(compiled):
        w = torch.tensor([5.0, 1.0], dtype=torch.float64, requires_grad=True)

        def field(t, x):
            a, b = x.unbind(-1)
            return torch.stack([b, w[0] * (1 - a * a) * b - w[1] * a], -1)

        x0 = start(3).requires_grad_()
        times = torch.tensor([0.5, 2.0])
        sol = ob.integrate(field, x0, (0.0, 2.0), method=method, rtol=1e-7, atol=1e-9, save=ob.At(times), compile=compiled)
        sol.xs.square().sum().backward()
        return torch.cat([w.grad, x0.grad.flatten()])

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        compiled = gradient(True)
    alike(compiled, gradient(False), 1e-7, 1e-7)


@NEEDS
def test_nothing_that_a_field_reads_is_remembered():
    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
            self.more = 0.0

        def forward(self, t, x):
            return -(self.rate + self.more) * x

    def end(field):
        with torch.no_grad():
            sol, _ = both(field, torch.ones(3, 1, dtype=torch.float64), (0.0, 1.0), rtol=1e-8, atol=1e-10)
        return -float(sol.x1[0].log())

    net = Field()
    assert end(net) == pytest.approx(1.0, rel=1e-6)
    net.rate.data.fill_(2.0)
    assert end(net) == pytest.approx(2.0, rel=1e-6)
    net.rate = torch.nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
    assert end(net) == pytest.approx(3.0, rel=1e-6)
    net.more = 1.5
    assert end(net) == pytest.approx(4.5, rel=1e-6)
    k, w, index = 0.7, torch.tensor([2.0, 4.0], dtype=torch.float64), torch.tensor([0])

    def closure(t, x):
        return -k * w[index] * x

    assert end(closure) == pytest.approx(1.4, rel=1e-6)
    k = 0.9
    assert end(closure) == pytest.approx(1.8, rel=1e-6)
    w.mul_(2.0)
    assert end(closure) == pytest.approx(3.6, rel=1e-6)
    index.fill_(1)
    assert end(closure) == pytest.approx(7.2, rel=1e-6)
    for rate in (0.5, 0.6, 0.7):
        assert end(lambda t, x, rate=rate: -rate * x) == pytest.approx(rate, rel=1e-6)


@NEEDS
def test_another_number_in_a_field_is_no_other_kernel(kernels):
    def of(rate):
        return lambda t, x: -rate * x * x

    x0 = torch.ones(3, 1, dtype=torch.float64)
    both(of(0.37), x0, (0.0, 1.0))
    before = len(os.listdir(kernels))
    a, b = both(of(0.53), x0, (0.0, 1.0))
    alike(a.x1, b.x1)
    assert len(os.listdir(kernels)) == before


@NEEDS
def test_fields_in_all_the_ways_they_are_written():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double().requires_grad_(False)
    a = torch.randn(2, 2, dtype=torch.float64)

    def in_place(t, x):
        out = torch.empty_like(x)
        out[:, 0] = x[:, 1]
        out[:, 1] = -x[:, 0].sin() * t.cos()
        return out

    fields = [
        lambda t, x: net(x), lambda t, x: torch.tanh(x @ a), in_place,
        lambda t, x: torch.einsum("bi,ij->bj", x, a) - x**3 + t[:, None].exp() * 0.1,
        lambda t, x: torch.where(x > 1.0, -x.abs().sqrt(), -x) + torch.sigmoid(x).clamp(0.2, 0.7),
        lambda t, x: x.flip(-1) * torch.tensor([1.0, -1.0], dtype=x.dtype) / (1 + x.square().sum(-1, keepdim=True)),
        lambda t, x: torch.softmax(x, -1) - x, lambda t, x: x @ (a - 2.0 * torch.eye(2, dtype=x.dtype)),
    ]  # fmt: skip
    for field in fields:
        got, want = both(field, start(), (0.0, 1.0), method="rodas5p", rtol=1e-6, atol=1e-8)
        alike(got.x1, want.x1, 1e-7, 1e-8)


@NEEDS
def test_single_precision_shapes_ends_and_limiters():
    a, b = both(oscillator, start(dtype=torch.float32), (0.0, 3.0), method="rodas5p", rtol=1e-4)
    assert a.x1.dtype == torch.float32
    alike(a.x1, b.x1, 1e-3, 1e-3)
    x0 = torch.rand(4, 2, 3, dtype=torch.float64)
    ends = (torch.zeros(4, dtype=torch.float64), torch.tensor([1.0, -1.0, 0.0, 2.0], dtype=torch.float64))
    a, b = both(lambda t, x: -x * x.flip(1), x0, ends, method="tsit5")
    alike(a.x1, b.x1)
    assert torch.equal(a.stats.accepted, b.stats.accepted)
    a, b = both(lambda t, x: -1.0 - 0 * x, start(), (0.0, 3.0), after=lambda x: x.clamp_min(0.25))
    alike(a.x1, b.x1)
    a, b = both(lambda t, x: -x.clamp_min(0.0).sqrt(), start(), (0.0, 3.0), nonnegative=True)
    alike(a.x1, b.x1)


@NEEDS
def test_what_is_not_compiled_says_why_once_and_is_solved():
    x0 = start()

    def branches(t, x):
        return -x if bool((x[0, 0] > 0.0).item()) else x

    cases = [
        (dict(method="bdf"), "method 'bdf' is not compiled"),
        (dict(method="rodas5p", mass=torch.tensor([2.0, 1.0], dtype=torch.float64)), "mass matrix"),
        (dict(method="rodas5p", sparsity="krylov"), "sparsity"),
    ]
    for options, words in cases:
        with pytest.warns(RuntimeWarning, match=words) as found:
            sol = ob.integrate(oscillator, x0, (0.0, 1.0), compile=True, **options)
        assert len(found) == 1
        assert torch.equal(sol.x1, ob.integrate(oscillator, x0, (0.0, 1.0), **options).x1)
    with pytest.warns(RuntimeWarning, match="does not trace"):
        ob.integrate(branches, x0[:1], (0.0, 1.0), compile=True)
    with pytest.warns(RuntimeWarning, match="does not know the operation"):
        ob.integrate(lambda t, x: -x.sort(1).values, x0, (0.0, 1.0), compile=True)


def test_a_grid_is_not_compiled_and_says_so():
    with pytest.warns(RuntimeWarning, match="a grid"):
        ob.integrate(oscillator, start(), ob.Steps(3), method="heun", compile=True)
    with pytest.raises(TypeError, match="compile"):
        ob.integrate(oscillator, start(), (0.0, 1.0), compile="yes")


@NEEDS
def test_states_of_several_parts_and_single_systems():
    x0 = (torch.ones(3, 2, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64))
    a, b = both(lambda t, s: (-s[0] * s[1], -s[1]), x0, (0.0, 1.0), method="rodas5p")
    alike(a.x1[0], b.x1[0])
    problem = ob.Problem(lambda t, x: -x, torch.ones(2, dtype=torch.float64), (0.0, 1.0))
    assert ob.solve(problem, method="tsit5", compile=True, rtol=1e-8).x1.shape == (2,)


@NEEDS
@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ODEBRIDGE_CACHE", str(tmp_path / "made"))
    ob.integrate(lambda t, x: -1.25 * x, start(), (0.0, 1.0), compile=True)
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
    (tmp_path / "made").chmod(0o777)
    with pytest.warns(RuntimeWarning, match="everybody may write"):
        ob.integrate(lambda t, x: -1.75 * x, start(), (0.0, 1.0), compile=True)


def test_no_compiler_and_old_versions_say_so(monkeypatch):
    monkeypatch.setattr(build, "compiler", lambda: None)
    with pytest.warns(RuntimeWarning, match="no C\\+\\+ compiler"):
        sol = ob.integrate(oscillator, start(), (0.0, 1.0), compile=True)
    assert sol.result.tolist() == [0] * 5
    monkeypatch.setattr(refusal, "MEASURED", (99, 0))
    with pytest.warns(RuntimeWarning, match="older than"):
        ob.integrate(oscillator, start(), (0.0, 1.0), compile=True)


@NEEDS
@pytest.mark.parametrize("name", some(["robertson", "hires", "van_der_pol", "pollu", "orego"], {"robertson"}))
def test_problems_of_the_library_agree(name):
    if name not in ob.list_problems():
        pytest.skip("no such problem")
    options = dict(method="rodas5p", rtol=1e-6, atol=1e-10)
    a, b = ob.solve(name, compile=True, **options), ob.solve(name, **options)
    alike(a.x1, b.x1, 1e-5, 1e-9)
    assert abs(int(a.stats.accepted) - int(b.stats.accepted)) <= 0.01 * int(b.stats.accepted)


@NEEDS
def test_a_trajectory_in_a_batch_is_the_one_alone_to_the_bit_on_any_number_of_threads():
    def field(t, x, k):
        return -k[:, None] * x**2

    x0, k = torch.rand(600, 3, dtype=torch.float64), torch.rand(600, dtype=torch.float64)
    options = dict(method="rodas5p", compile=True)
    whole = ob.integrate(field, x0, (0.0, 5.0), args=k, **options).x1
    for part in (slice(7, 8), slice(5, 10)):
        assert torch.equal(ob.integrate(field, x0[part], (0.0, 5.0), args=k[part], **options).x1, whole[part])
    torch.set_num_threads(2)
    try:
        assert torch.equal(ob.integrate(field, x0, (0.0, 5.0), args=k, **options).x1, whole)
    finally:
        torch.set_num_threads(1)

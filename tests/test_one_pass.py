"""Explicit steps get their graph when they are tried: the gradients, decisions and values of the walk, at half its price."""

import pytest
import torch
from selection import dear

import odebridge as ob
from odebridge.methods import METHODS
from odebridge.methods.explicit_rk import ExplicitRK

D = torch.float64
EXPLICIT = [m for m in METHODS if isinstance(METHODS[m], ExplicitRK) and METHODS[m].error_order is not None]
SAVES = [ob.Last(), ob.At([0.0, 0.2, 0.21, 0.9]), ob.Every()]


def field(t, x, p):
    a, b = x.unbind(-1)
    return torch.stack([b, p[:, 0] * (1 - a * a) * b - a + 0.1 * torch.sin(t)], -1)


def run(gradient, method, save, grad=True):
    """Four trajectories that reject, finish apart, or run into a pole; returns solution and gradients."""
    x0 = torch.tensor([[2.0, 0.0], [1.0, -0.5], [0.3, 0.4], [0.2, 0.0]], dtype=D).requires_grad_(grad)
    p = torch.tensor([[9.0], [2.0], [4.0], [1.0]], dtype=D).requires_grad_(grad)

    def with_pole(t, x, p):
        pole = torch.where(p == 1.0, 1.0 / (0.7 - t[:, None]).clamp_min(0.0), 0.0)  # the last one's field is infinite at 0.7
        return field(t, x, p) + pole

    t1 = torch.tensor([1.0, 2.0, 1.5, 1.0], dtype=D)
    sol = ob.integrate(
        with_pole, x0, (0.0, t1), args=p, method=method, save=save, gradient=gradient, throw=False, rtol=1e-4, atol=1e-6,
        first_step=0.4, max_steps=400,
    )  # fmt: skip
    if not grad:
        return sol, ()
    what = sol.x1[:3].square().sum() if sol.xs is None else torch.nansum(sol.xs[:3].square())
    what.backward()
    return sol, (x0.grad, p.grad)


@pytest.mark.parametrize("save", SAVES, ids=["last", "at", "every"])
@pytest.mark.parametrize("method", dear(EXPLICIT))
def test_the_gradient_is_that_of_the_walk(method, save):
    once, grads = run(ob.Replay(), method, save)
    walked, same = run(ob.Replay(checkpoints=1), method, save)
    _, back = run(ob.Replay("steps"), method, save)
    plain, _ = run(ob.Replay(), method, save, grad=False)
    assert int(once.stats.rejected.sum()) > 0
    assert int(once.result[3]) != ob.Result.OK
    for a, b in zip(grads, same, strict=True):
        assert bool(torch.isfinite(a).all())
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-13)
    for a, b in zip(grads, back, strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-13)
    for other in (walked, plain):
        assert torch.equal(torch.nan_to_num(once.x1), torch.nan_to_num(other.x1))
        assert torch.equal(once.stats.accepted, other.stats.accepted)
        assert torch.equal(once.stats.f_evals, other.stats.f_evals)
        if other.xs is not None:
            assert torch.equal(torch.nan_to_num(once.xs), torch.nan_to_num(other.xs))


def test_a_step_that_all_have_kept_is_made_once():
    calls = []

    def f(t, x):
        calls.append(1)
        return -x

    def count(**options):
        calls.clear()
        sol = ob.integrate(f, torch.ones(3, 2, dtype=D, requires_grad=True), (0.0, 3.0), first_step=0.01, **options)
        assert int(sol.stats.rejected.sum()) == 0
        return len(calls), int(sol.stats.f_evals[0])

    once, needed = count()
    assert once <= needed + 3  # and what the first look at the field costs
    assert count(gradient=ob.Replay(checkpoints=1))[0] > 1.9 * needed


def test_a_rejected_try_with_an_infinite_derivative_leaves_no_nan():
    """The square root of what is cut off at 0 has an infinite derivative there, and rejected tries come there."""

    def f(t, x, a):
        return -a * x.clamp_min(0.0).sqrt()

    a = torch.tensor([[3.0], [0.1]], dtype=D, requires_grad=True)
    x0 = torch.tensor([[1.0], [1.0]], dtype=D)
    sol = ob.integrate(f, x0, (0.0, 0.6), args=a, first_step=0.6, rtol=1e-8, atol=1e-10)
    assert int(sol.stats.rejected[0]) > 0
    assert int(sol.stats.rejected[1]) == 0
    sol.x1.sum().backward()
    exact = -0.6 * (1 - 0.3 * a.detach())  # x = (1 - a t / 2)^2
    assert torch.allclose(a.grad, exact, rtol=1e-5)


@pytest.mark.parametrize("gradient", [ob.Replay(), ob.Replay("steps"), ob.Replay(2), ob.Replay(at_once=True)], ids=repr)
def test_a_start_on_a_pole_leaves_no_nan_in_shared_gradients(gradient):
    def gradients(x0):
        w = torch.tensor(1.0, dtype=D, requires_grad=True)
        sol = ob.integrate(lambda t, x: -w / x, x0, (0.0, 0.1), method="tsit5", gradient=gradient, throw=False)
        torch.nansum(sol.x1).backward()
        return sol.result.tolist(), w.grad

    x0 = torch.tensor([[1.0], [0.0], [2.0]], dtype=D)
    codes, got = gradients(x0)
    assert codes == [ob.Result.OK, ob.Result.NOT_FINITE, ob.Result.OK]
    assert torch.isfinite(got)
    torch.testing.assert_close(got, gradients(x0[[0, 2]])[1], rtol=1e-12, atol=0)


def test_second_derivatives_go_through():
    x0 = torch.tensor([[0.7], [0.2]], dtype=D, requires_grad=True)
    x1 = ob.integrate(lambda t, x: x * (1 - x), x0, (0.0, 1.0), rtol=1e-10, atol=1e-12).x1
    (first,) = torch.autograd.grad(x1.sum(), x0, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x0)
    e = torch.tensor(1.0, dtype=D).exp()
    exact = -2 * e * (e - 1) / (1 + x0.detach() * (e - 1)) ** 3
    assert torch.allclose(second, exact, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [ob.Replay(compiled=True), ob.Replay("steps", compiled=True)], ids=["plain", "steps"])
def test_compiled_steps_have_the_same_gradient_where_lanes_reject_finish_and_fail(policy):
    for save in (ob.Last(), ob.At([0.0, 0.2, 0.21, 0.9])):
        eager, grads = run(ob.Replay(), "tsit5", save)
        compiled, same = run(policy, "tsit5", save)
        for name in ("accepted", "rejected", "f_evals"):  # near the pole of the last one every rounding decides
            assert torch.equal(getattr(eager.stats, name)[:3], getattr(compiled.stats, name)[:3])
        assert torch.allclose(eager.x1[:3], compiled.x1[:3], rtol=1e-10, atol=1e-12)
        for a, b in zip(grads, same, strict=True):
            assert torch.allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_a_network_is_compiled_once_for_many_solves():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()

    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, t, x):
            return self.net(x)

    field, found, graphs = Field(), [], []
    torch._dynamo.utils.counters.clear()
    x0 = torch.tensor([[0.3, 0.1], [1.0, -1.0]], dtype=D)
    for policy in (ob.Replay(), ob.Replay(compiled=True), ob.Replay(compiled=True)):
        field.zero_grad()
        ob.integrate(field, x0, (0.0, 1.0), rtol=1e-7, gradient=policy).x1.square().sum().backward()
        found.append([p.grad.clone() for p in field.parameters()])
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] == 0
    assert graphs[1] == graphs[2]
    assert 1 <= graphs[1] <= 2
    for other in found[1:]:
        assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-12) for a, b in zip(found[0], other, strict=True))


def test_steps_made_again_keep_one_step_in_memory_and_have_first_derivatives():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2)).double()

    def kept(policy, t1):
        seen = {}

        def pack(v):
            seen[v.untyped_storage().data_ptr()] = (v.untyped_storage().nbytes(), v)
            return v

        x0 = torch.randn(16, 2, dtype=D, generator=torch.Generator().manual_seed(0))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda v: v):
            sol = ob.integrate(
                lambda t, x: net(x), x0, (0.0, t1), controller="fixed", first_step=0.1, gradient=policy, save=ob.At([0.05])
            )
        return sum(n for n, _ in seen.values()), sol

    assert kept(ob.Replay(), 4.0)[0] > 3.5 * kept(ob.Replay(), 1.0)[0]
    assert kept(ob.Replay("steps"), 4.0)[0] < 0.05 * kept(ob.Replay(), 4.0)[0]
    sol = kept(ob.Replay("steps"), 0.5)[1]
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(sol.x1.sum() + sol.xs.sum(), list(net.parameters()), create_graph=True)


def test_a_parameter_that_enters_later_is_an_error_where_steps_are_made_again():
    late = torch.tensor(0.5, dtype=D, requires_grad=True)
    early = torch.tensor(0.5, dtype=D, requires_grad=True)

    def f(t, x):
        return -early * x if float(t[0]) < 0.5 else -(early + late) * x

    x1 = ob.integrate(f, torch.ones(1, 1, dtype=D), (0.0, 1.0), gradient=ob.Replay("steps")).x1
    with pytest.raises(RuntimeError, match="not used at the start"):
        x1.sum().backward()


def test_forward_tells_the_sensitivities():
    told = {}
    x0 = torch.tensor([[1.0], [2.0]], dtype=D)
    p = torch.tensor([[0.5, 0.1], [0.7, 0.2]], dtype=D, requires_grad=True)
    policy = ob.Forward(tell=told.update)
    for method in ("tsit5", "bdf"):  # all steps as one batch, and one by one
        ob.integrate(
            lambda t, x, p: -p[:, :1] * x + p[:, 1:], x0, (0.0, 1.0), args=p, method=method, gradient=policy, rtol=1e-9,
            atol=1e-11, save=ob.At([0.5, 1.0]),
        )  # fmt: skip
        end, kept = told[("args", 0)]
        assert end.shape == (2, 2, 1)
        assert kept.shape == (2, 2, 2, 1)
        a, c = p.detach().unbind(1)
        e = torch.exp(-a)
        by_c = (1 - e) / a
        by_a = -e * x0[:, 0] + c * (e * a - (1 - e)) / a**2
        assert torch.allclose(end[:, :, 0], torch.stack([by_a, by_c]), rtol=1e-6)
        assert torch.allclose(kept[:, :, 1], end)


def test_compiled_steps_are_for_explicit_methods():
    x0 = torch.ones(1, 2, dtype=D, requires_grad=True)
    with pytest.raises(ValueError, match="explicit methods"):
        ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), method="rodas5p", gradient=ob.Replay(compiled=True))


# Compiled steps, without a compiler: which rows a step is made of, and what is left where torch.compile fails. The compiler
# itself is tried by the slow tests above.


def as_it_is(function, **options):
    return function


@pytest.mark.parametrize("policy", [ob.Replay(compiled=True), ob.Replay("steps", compiled=True)], ids=["plain", "steps"])
@pytest.mark.parametrize("save", [ob.Last(), ob.At([0.0, 0.2, 0.21, 0.9])], ids=["last", "at"])
def test_steps_of_a_full_batch_have_the_gradient_of_those_of_the_lanes_that_are_in(monkeypatch, policy, save):
    """A compiled step has one size: rows that are out of it make the step of one that is in, and nothing comes back."""
    eager, grads = run(ob.Replay(), "tsit5", save)
    monkeypatch.setattr(torch, "compile", as_it_is)
    whole, same = run(policy, "tsit5", save)
    for name in ("accepted", "rejected", "f_evals"):
        assert torch.equal(getattr(eager.stats, name), getattr(whole.stats, name))
    assert torch.equal(torch.nan_to_num(eager.x1), torch.nan_to_num(whole.x1))
    for a, b in zip(grads, same, strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("method", ["bosh3", "rk4", "tsit5"])
def test_a_compiled_step_is_the_step_of_its_method(monkeypatch, method):
    """Its numbers are those of the method: order, error estimate, dense output, counts; with and without a slope at the end."""
    monkeypatch.setattr(torch, "compile", as_it_is)
    x0 = torch.tensor([[1.0, 0.2], [0.3, -0.5]], dtype=D, requires_grad=True)
    options = dict(method=method, controller="fixed", first_step=0.25, max_step=0.25)
    for save in (ob.Last(), ob.At([0.1, 0.6]), ob.Every(), ob.Dense()):
        plain, compiled = (
            ob.integrate(lambda t, x: torch.sin(x) * t[:, None], x0, (0.0, 1.0), save=save, gradient=g, **options)
            for g in (ob.Replay(), ob.Replay(compiled=True))
        )
        assert torch.equal(plain.x1, compiled.x1)
        assert torch.equal(plain.stats.f_evals, compiled.stats.f_evals)
        assert plain.stats.work == compiled.stats.work
        if plain.xs is not None:
            assert torch.equal(plain.xs, compiled.xs)
        one, other = (torch.autograd.grad(s.x1.square().sum(), x0)[0] for s in (plain, compiled))
        assert torch.allclose(one, other, rtol=1e-12)


def test_where_the_compiler_fails_steps_are_eager_and_one_warning_says_so(monkeypatch):
    made = []

    def broken(function, **options):
        def run(*given):
            made.append(1)
            raise RuntimeError("no compiler")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    f, x0 = (lambda t, x: -x), torch.ones(2, 2, dtype=D, requires_grad=True)
    with pytest.warns(RuntimeWarning, match=r"torch.compile fails \(RuntimeError\), so the steps run eager"):
        compiled = ob.integrate(f, x0, (0.0, 1.0), gradient=ob.Replay(compiled=True))
    again = ob.integrate(f, x0, (0.0, 1.0), gradient=ob.Replay(compiled=True))  # the same field: not tried again
    assert len(made) == 1
    assert torch.equal(compiled.x1, ob.integrate(f, x0, (0.0, 1.0)).x1)
    assert torch.equal(again.x1, compiled.x1)


def test_at_a_jump_a_compiled_step_is_an_eager_one(monkeypatch):
    """Its graph knows nothing of the times between which a field that jumps may be asked."""
    monkeypatch.setattr(torch, "compile", as_it_is)
    x0 = torch.tensor([[1.0]], dtype=D, requires_grad=True)
    f = lambda t, x: torch.where(t[:, None] > 0.5, -x, 2 * x)  # noqa: E731
    options = dict(discontinuities=[0.5], rtol=1e-9, atol=1e-12)
    sol = ob.integrate(f, x0, (0.0, 1.0), gradient=ob.Replay(compiled=True), **options)
    (g,) = torch.autograd.grad(sol.x1.sum(), x0)
    assert torch.equal(sol.x1, ob.integrate(f, x0, (0.0, 1.0), **options).x1)
    assert float(g) == pytest.approx(float(torch.tensor(0.5).double().exp()), rel=1e-8)

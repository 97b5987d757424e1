"""Replay: the gradient of the frozen-step map, with finished lanes, rejected and overflowing tries in the batch."""

import pytest
import torch
from selection import dear

import odebridge as ob
from odebridge.methods import METHODS

ADAPTIVE = [m for m in METHODS if METHODS[m].error_order is not None]


def field(t, x, p):
    a, b = x.unbind(-1)
    return torch.stack([b, p[:, 0] * (1 - a * a) * b - a + 0.1 * torch.sin(t)], -1)


def central(value, v, eps=1e-6):
    """Finite differences of value(v) in every entry of v."""
    out = torch.zeros_like(v)
    for i in range(v.numel()):
        hi, lo = v.detach().clone(), v.detach().clone()
        hi.view(-1)[i] += eps
        lo.view(-1)[i] -= eps
        out.view(-1)[i] = (value(hi) - value(lo)) / (2 * eps)
    return out


@pytest.mark.parametrize("method", dear(ADAPTIVE))
def test_gradient_agrees_with_finite_differences_at_tight_tolerance(method):
    low = METHODS[method].order <= 3
    x0 = torch.tensor([[2.0, 0.0], [1.0, -0.5]], dtype=torch.float64, requires_grad=True)
    p = torch.tensor([[1.0], [2.0]], dtype=torch.float64, requires_grad=True)
    t1 = torch.tensor([0.4, 1.2], dtype=torch.float64, requires_grad=True)  # lanes finish apart
    options = {"method": method, "rtol": 1e-5 if low else 1e-7, "atol": 1e-6 if low else 1e-9, "max_steps": 20_000}

    def value(x0=x0, p=p, t1=t1):
        sol = ob.integrate(field, x0, (0.0, t1), args=p, **options)
        return (sol.x1 * torch.tensor([1.0, 0.7])).sum()

    value().backward()
    tolerance = {"rtol": 2e-2, "atol": 1e-3} if low else {"rtol": 1e-4, "atol": 1e-6}
    assert torch.allclose(x0.grad, central(lambda v: value(x0=v), x0), **tolerance)
    assert torch.allclose(p.grad, central(lambda v: value(p=v), p), **tolerance)
    slope = field(t1.detach(), ob.integrate(field, x0, (0.0, t1), args=p, **options).x1.detach(), p.detach())
    assert torch.allclose(t1.grad, (slope * torch.tensor([1.0, 0.7])).sum(1), **tolerance)


@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_walked_states_are_those_found_to_the_bit(method):
    x0 = torch.tensor([[2.0, 0.0], [1.0, -0.5], [0.3, 0.1]], dtype=torch.float64)
    p = torch.tensor([[1.0], [5.0], [2.0]], dtype=torch.float64)
    for save in (ob.Last(), ob.Every(), ob.At([0.1, 0.5, 2.0]), ob.Dense()):
        plain = ob.integrate(field, x0, (0.0, 2.0), args=p, method=method, save=save)
        graph = ob.integrate(field, x0.clone().requires_grad_(), (0.0, 2.0), args=p, method=method, save=save)
        assert torch.equal(plain.x1, graph.x1)
        assert graph.x1.requires_grad
        assert torch.equal(plain.stats.accepted, graph.stats.accepted)
        if plain.xs is not None:
            assert torch.equal(torch.nan_to_num(plain.xs), torch.nan_to_num(graph.xs.detach()))
        if isinstance(save, ob.Dense):
            assert torch.equal(plain(0.77), graph(0.77).detach())


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "dopri8"])
def test_an_overflowing_rejected_try_leaves_no_nan(method):
    """diffrax and naive loops give nan here: 0 * inf behind a where."""
    a = torch.tensor([[3.0], [1.0]], dtype=torch.float64, requires_grad=True)

    def f(t, x, a):
        return -a * torch.sinh(5 * x)

    def value(a):
        x0 = torch.tensor([[1.5], [0.2]], dtype=torch.float64)
        return ob.integrate(f, x0, (0.0, 1.0), args=a, method=method, first_step=0.9, rtol=1e-8, atol=1e-10)

    sol = value(a)
    assert int(sol.stats.rejected[0]) > 0
    sol.x1.sum().backward()
    assert bool(torch.isfinite(a.grad).all())
    numeric = central(lambda v: value(v).x1.sum().detach(), a, 1e-5)
    assert torch.allclose(a.grad, numeric, rtol=1e-4, atol=1e-9)


def test_a_failed_trajectory_has_no_gradient_and_spoils_none():
    x0 = torch.tensor([[0.4], [3.0]], dtype=torch.float64, requires_grad=True)
    sol = ob.integrate(lambda t, x: x * x, x0, (0.0, 1.0), throw=False, rtol=1e-8)
    assert int(sol.result[1]) != ob.Result.OK
    torch.nansum(sol.x1).backward()
    assert float(x0.grad[0]) == pytest.approx(1 / (1 - 0.4) ** 2, rel=1e-6)
    assert float(x0.grad[1]) == 0.0


def test_parameters_in_modules_and_closures():
    class Decay(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

        def forward(self, t, x):
            return -self.rate * x

    module = Decay()
    ob.integrate(module, torch.ones(1, 1).double(), (0.0, 2.0), rtol=1e-9, atol=1e-12).x1.sum().backward()
    expected = -2.0 * torch.exp(torch.tensor(-1.4)).item()
    assert float(module.rate.grad) == pytest.approx(expected, rel=1e-6)
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    ob.integrate(lambda t, x: -rate * x, torch.ones(1, 1).double(), (0.0, 2.0), rtol=1e-9, atol=1e-12).x1.sum().backward()
    assert float(rate.grad) == pytest.approx(expected, rel=1e-6)


def test_gradient_to_start_time_and_save_times():
    t0 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    times = torch.tensor([0.8, 1.9], dtype=torch.float64, requires_grad=True)

    def f(t, x):
        return torch.cos(t)[:, None] * x

    sol = ob.integrate(f, torch.ones(1, 1).double(), (t0, 2.0), save=ob.At(times), rtol=1e-10, atol=1e-12)
    (sol.x1.sum() + sol.xs.sum()).backward()
    s, c = torch.sin, torch.cos
    exact = lambda t: torch.exp(s(t) - s(t0)).detach()  # noqa: E731
    end = torch.tensor(2.0, dtype=torch.float64)
    assert float(t0.grad) == pytest.approx(float(-c(t0) * (exact(end) + exact(times).sum())), rel=1e-5)
    assert torch.allclose(times.grad, (c(times) * exact(times)).detach(), rtol=1e-4)


def test_nothing_is_walked_where_nothing_needs_it():
    calls = []

    def f(t, x):
        calls.append(torch.is_grad_enabled())
        return -x

    ob.integrate(f, torch.ones(1, 1), (0.0, 1.0))
    plain = len(calls)
    assert sum(calls) == 1  # the probe that asks whether a graph is needed
    with torch.no_grad():
        ob.integrate(f, torch.ones(1, 1, requires_grad=True), (0.0, 1.0))
    assert len(calls) == 2 * plain


def test_trainable_controllers_are_refused_over_a_span_with_a_sentence():
    with pytest.raises(ValueError, match=r"ob\.Direct"):
        ob.integrate(lambda t, x: -x, torch.ones(1, 4), (0.0, 1.0), controller=ob.control.SE(4, reduction=2))
    frozen = ob.control.SE(4, reduction=2).requires_grad_(False)
    with pytest.raises(ValueError, match="per-channel steps have no common clock"):
        ob.integrate(lambda t, x: -x, torch.ones(2, 4), (0.0, 1.0), controller=frozen)

"""Corrected methods: the base to the bit with a zero network, order and exactness with a known one, and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import odebridge as ob
from odebridge.data.springs import spring_energy, spring_field
from odebridge.methods.catalogue import METHODS
from odebridge.methods.corrected import Corrected
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.nets.node import Correction
from odebridge.tableaus.explicit import EULER, RK4
from odebridge.train import RECIPES
from odebridge.train.recipes.corrected import FIELDS, correction_task, finer, one_step

torch.manual_seed(0)
EXPLICIT = [m.tableau for m in METHODS.values() if isinstance(m, ExplicitRK)]
X0 = torch.tensor([[1.0, 0.5], [0.2, -1.0]], dtype=torch.float64)


def field(t, x):
    return torch.stack([x[:, 1] + t, -x[:, 0].sin()], -1)


def grid(n, end=1.0):
    return ob.Grid(tuple(end * i / n for i in range(n + 1)))


@pytest.mark.parametrize("power", [None, 1, 3])
@pytest.mark.parametrize("base", EXPLICIT, ids=lambda b: b.name)
def test_a_zero_network_is_the_base(base, power):
    net = Correction(2, (8,), dtype=torch.float64)
    plain = ob.integrate(field, X0, grid(7), method=ExplicitRK(base))
    with_net = ob.integrate(field, X0, grid(7), method=Corrected(base, net, power))
    # a base whose last stage is the next slope computes it again, in the same bits up to the rounding of t
    assert torch.allclose(plain.x1, with_net.x1, rtol=1e-14, atol=1e-15)
    if not base.fsal:
        assert torch.equal(plain.x1, with_net.x1)
        assert int(plain.stats.f_evals[0]) == int(with_net.stats.f_evals[0])


def test_the_leading_error_term_raises_the_order():
    """X' = -x: Euler leaves out h^2 x / 2, so with g = -slope / 2 it is of order 2."""

    def end(method, n):
        return float(ob.integrate(lambda t, x: -x, torch.ones(1, 1).double(), grid(n), method=method).x1)

    method = Corrected(EULER, lambda t, x, slope: -0.5 * slope)
    errors = [abs(end(method, n) - math.exp(-1)) for n in (32, 64)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1)
    assert errors[1] < 0.05 * abs(end("euler", 64) - math.exp(-1))


def test_an_exact_neurvec_is_exact():
    h = 0.25
    method = Corrected(EULER, lambda t, x, slope: (math.exp(-h) - 1 + h) / h * x, power=1)
    x1 = ob.integrate(lambda t, x: -x, torch.ones(1, 1).double(), grid(8, 2.0), method=method).x1
    assert float(x1) == pytest.approx(math.exp(-2), rel=1e-14)
    assert (method.order, Corrected(EULER, nn.Identity()).order, Corrected(RK4, nn.Identity()).exponent) == (0, 1, 5)


def test_the_gradient_to_the_network_is_that_of_differences():
    net = Correction(2, (4,), time=True, dtype=torch.float64)
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)

    def value():
        return ob.integrate(field, X0, grid(5), method=Corrected(RK4, net, 2)).x1.square().sum()

    value().backward()
    for p in net.parameters():
        flat, i = p.data.view(-1), p.numel() // 2
        sides = []
        for move in (1e-6, -2e-6):
            flat[i] += move
            sides.append(float(value().detach()))
        flat[i] += 1e-6
        assert float(p.grad.view(-1)[i]) == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6, abs=1e-9)


def test_it_is_refused_where_its_gradient_or_error_would_be_missing():
    method = Corrected(EULER, Correction(2, (4,), dtype=torch.float64))
    with pytest.raises(ValueError, match="first_step"):
        ob.integrate(field, X0, (0.0, 1.0), method=method)
    with pytest.raises(ValueError, match="Train it over"):
        ob.integrate(field, X0, (0.0, 1.0), method=method, controller="fixed", first_step=0.1)
    with torch.no_grad():
        span = ob.integrate(field, X0, (0.0, 1.0), method=method, controller="fixed", first_step=0.25).x1
    assert torch.allclose(span, ob.integrate(field, X0, grid(4), method="euler").x1)
    with pytest.raises(ValueError, match="power must be"):
        Corrected(EULER, nn.Identity(), 0)
    with pytest.raises(ValueError, match="must return shape"):
        ob.integrate(field, X0, grid(2), method=Corrected(EULER, lambda t, x, slope: x[:, :1]))
    with pytest.raises(ValueError, match="no parameters"):
        correction_task(Corrected(EULER, lambda t, x, s: x), spring_field, ob.data.DATA["spring-chain"](train=2, test=2))
    with pytest.raises(ValueError, match="explicit Runge-Kutta"):
        RECIPES["hypersolver"].task(ob.data.DATA["lotka-volterra"](train=2, test=2), base="radau5")


def test_one_step_with_many_clocks_is_the_step_of_the_loop():
    method, t = Corrected(RK4, lambda t, x, slope: x.sin() + t[:, None]), torch.tensor([0.3, 0.7], dtype=torch.float64)
    timed = lambda t, x: x.cos() * t[:, None]  # noqa: E731
    got = one_step(method, timed, t, X0, torch.full((2,), 0.1).double())
    for i, clock in enumerate(t.tolist()):
        same = Corrected(RK4, lambda t, x, slope: x.sin() + t)  # on a grid the clock of a network is a number
        one = ob.integrate(timed, X0[i : i + 1], ob.Grid((clock, clock + 0.1)), method=same)
        assert torch.allclose(got[i], one.x1[0], rtol=1e-6)


@pytest.mark.parametrize("name", FIELDS)
def test_the_field_behind_a_set_is_that_of_the_set(name):
    data = ob.data.DATA[name](train=3, test=2)
    finest = finer(data, FIELDS[name], 2)
    assert torch.allclose(finest.train[:, ::2], data.train, atol=1e-6)
    assert finest.train.shape[1] == 2 * (len(data.times) - 1) + 1


def test_the_chain_keeps_its_energy_and_knows_its_frequencies():
    data = ob.data.DATA["spring-chain"](train=2, test=1)
    energy = spring_energy(data.train)
    assert torch.allclose(energy, energy[:, :1].expand_as(energy), rtol=1e-8)
    j = torch.arange(1, 21, dtype=torch.float64) * math.pi / 21
    shapes = torch.stack([torch.sin(torch.arange(1, 21) * a) for a in j])
    forces = spring_field(None, torch.cat([shapes, torch.zeros_like(shapes)], -1))[:, 20:]
    assert torch.allclose(forces, -((2 * torch.sin(j / 2)) ** 2)[:, None] * shapes, atol=1e-12)

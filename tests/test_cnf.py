"""Flows: the closed form of a linear field, total probability, the estimate of the trace, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import odebridge as ob
from odebridge.nets.node import MLPField, Solver
from odebridge.nets.node.cnf import CNF, divergence
from odebridge.train.recipes.cnf import total_probability

A = torch.tensor([[0.3, -1.0], [0.7, -0.5]], dtype=torch.float64)
TIGHT = Solver("dopri8", rtol=1e-10, atol=1e-10)


class Linear(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(a)

    def forward(self, t, z):
        return (z[:, None] * self.a).sum(-1)


def closed_form(x, a):
    """The end of a linear flow is e^A x, and the log of its determinant tr A."""
    z = x @ torch.linalg.matrix_exp(a).T
    return -0.5 * z.square().sum(1) - math.log(2 * math.pi) + a.trace()


@pytest.mark.parametrize("solver", [TIGHT, Solver("rk4", steps=60), Solver("kvaerno5", rtol=1e-8, atol=1e-8)], ids=str)
def test_a_linear_field_has_a_closed_form(solver):
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flow = CNF(Linear(A.clone()), 2, solver=solver)
    got = flow.log_prob(x)
    assert torch.allclose(got, closed_form(x, A), atol=1e-6)
    a = A.clone().requires_grad_()
    (expected,) = torch.autograd.grad(closed_form(x, a).sum(), a)
    got.sum().backward()
    assert torch.allclose(flow.field.a.grad, expected, rtol=1e-5, atol=1e-6)


def test_the_estimate_is_exact_for_a_diagonal_and_right_in_the_mean():
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flow = CNF(Linear(torch.diag(A.diagonal())), 2, trace="hutchinson", solver=TIGHT)
    assert torch.allclose(flow.log_prob(x), closed_form(x, torch.diag(A.diagonal())), atol=1e-8)
    many = x[:1].expand(4000, 2)
    flow = CNF(Linear(A.clone()), 2, solver=Solver("rk4", steps=20)).requires_grad_(False)
    guess = flow.log_prob(many, trace="hutchinson", generator=torch.Generator().manual_seed(1))
    # e^T A e = tr A -+ 0.3
    assert float(guess.std()) == pytest.approx(0.3, rel=0.05)
    assert float(guess.mean() - closed_form(x[:1], A)) == pytest.approx(0.0, abs=4 * 0.3 / math.sqrt(4000))


def test_divergence_is_the_trace_of_the_jacobian():
    field = MLPField(3, (8,), time=True, dtype=torch.float64)
    z, t = torch.randn(4, 3, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    slope, trace = divergence(field, t, z, None)
    assert torch.allclose(slope, field(t, z))
    for i in range(4):
        jac = torch.autograd.functional.jacobian(lambda v, i=i: field(t[i : i + 1], v[None])[0], z[i])
        assert float(trace[i].detach()) == pytest.approx(float(jac.trace()), rel=1e-10)


def test_the_density_adds_up_to_one_and_samples_come_from_it():
    torch.manual_seed(0)
    field = MLPField(2, (16,), time=True, dtype=torch.float64)
    flow = CNF(field, 2, solver=Solver("dopri5", rtol=1e-5, atol=1e-6))
    assert total_probability(flow, reach=7.0, nodes=101) == pytest.approx(1.0, abs=1e-4)
    x = flow.sample(2000, torch.Generator().manual_seed(0))
    line = torch.linspace(-7, 7, 101, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        weight = flow.log_prob(grid).exp() * (line[1] - line[0]) ** 2
    mean = (weight[:, None] * grid).sum(0)
    assert torch.allclose(x.mean(0), mean, atol=0.1)


@pytest.mark.parametrize("gradient", [ob.Replay(), ob.Replay(checkpoints="sqrt"), ob.Adjoint()], ids=str)
@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_gradients_are_those_of_differences(trace, gradient):
    torch.manual_seed(0)
    field = MLPField(2, (3,), time=True, dtype=torch.float64)
    flow = CNF(field, 2, trace=trace, solver=Solver("dopri8", rtol=1e-9, atol=1e-9, gradient=gradient))
    x = torch.randn(3, 2, dtype=torch.float64)

    def value():
        return flow.log_prob(x, generator=torch.Generator().manual_seed(5)).sum()

    value().backward()
    for p in field.parameters():
        flat, sides = p.data.view(-1), []
        for move in (1e-5, -2e-5):
            flat[0] += move
            sides.append(float(value().detach()))
        flat[0] += 1e-5
        assert float(p.grad.view(-1)[0]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5, abs=1e-7)


def test_bad_input_is_a_sentence():
    with pytest.raises(ValueError, match="trace must be"):
        CNF(Linear(A), 2, trace="guess")
    with pytest.raises(ValueError, match=r"shape \(b, 2\)"):
        CNF(Linear(A), 2).log_prob(torch.zeros(3))

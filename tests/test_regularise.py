"""Regularisers: their values by other means, their gradients by differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import KIND, agrees_with_differences, drawn, made
from torch import nn

import odebridge as ob
from odebridge.methods import METHODS
from odebridge.nets.node import REGULARISERS, Augment, MLPField, NeuralODE, Solver, Terms, regularised

FIXED = {"controller": "fixed", "first_step": 0.25}


def net(method: str = "tsit5", steps: int | None = None, fixed: bool = False, head: bool = True) -> NeuralODE:
    """Steps that are found by tolerance differ between two weights, so differences are taken over fixed ones."""
    solver = Solver(method, 1e-9, 1e-11, steps=steps, more=FIXED if fixed else {})
    return made(
        lambda: NeuralODE(MLPField(3, (8,), time=True), lift=Augment(1), head=nn.Linear(3, 2) if head else None, solver=solver)
    )


def of(net: NeuralODE, x: torch.Tensor, terms: Terms, seed: int = 5):
    return regularised(net, x, terms, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", [n for n in REGULARISERS if n != "none"])
@pytest.mark.parametrize("over", ["span", "grid"])
def test_gradients_by_differences(name, over):
    model = net(steps=4) if over == "grid" else net(fixed=True)
    x = drawn(4, 2).requires_grad_()
    terms = REGULARISERS[name]

    def loss():
        y, penalty = of(model, x, terms)
        return penalty + (0.1 * y.square().sum() if terms.steer else 0.0)

    assert loss() > 0
    # error estimates are small, so rounding is felt in their differences
    tol = 1e-4 if terms.error else 1e-5
    agrees_with_differences(loss, [x, *model.field.parameters()], 1e-4, tol)


@pytest.mark.parametrize(
    "gradient", [ob.Replay(), ob.Replay(checkpoints="sqrt"), ob.Adjoint()], ids=["replay", "sqrt", "adjoint"]
)
def test_gradients_of_the_integrals_over_steps_of_their_own(gradient):
    model, x = net(), drawn(4, 2).requires_grad_()
    model.solver = replace(model.solver, gradient=gradient)
    agrees_with_differences(lambda: of(model, x, REGULARISERS["rnode"])[1], [x, *model.field.parameters()], 1e-4, 1e-5)


def test_the_error_of_a_rosenbrock_method():
    model, x = net("rodas4", fixed=True), drawn(3, 2).requires_grad_()
    agrees_with_differences(lambda: of(model, x, Terms(error=100.0))[1], [x, *model.field.parameters()], 1e-4, 1e-4)


def test_the_output_is_that_of_the_net():
    model, x = net(), drawn(4, 2)
    for name, terms in REGULARISERS.items():
        y, penalty = of(model, x, terms)
        if not terms.steer:
            assert torch.allclose(y, model(x), atol=1e-7), name
        assert (penalty > 0) == (name not in ("none", "steer"))


def test_integrals_by_quadrature():
    """Simpson's rule on a dense output, with the signs of each sample."""
    model, x = net(head=False), drawn(3, 2)
    with torch.no_grad():
        sol = model.solve(x, save=ob.Dense())
        nodes = torch.linspace(0, 1, 201, dtype=KIND)
        states = sol(nodes)  # (b, k, d)
    signs = torch.randint(0, 2, (3, 3), generator=torch.Generator().manual_seed(5)) * 2.0 - 1.0
    weights = torch.ones(201, dtype=KIND)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    weights /= 600.0
    kinetic, jacobian = torch.zeros(3, dtype=KIND), torch.zeros(3, dtype=KIND)
    for i in range(201):
        t = nodes[i].expand(3)
        h = states[:, i].clone().requires_grad_()
        f = model.field(t, h)
        (back,) = torch.autograd.grad(f, h, signs.to(KIND))
        kinetic += weights[i] * f.detach().square().sum(1)
        jacobian += weights[i] * back.square().sum(1)
    assert of(model, x, Terms(kinetic=1.0))[1].item() == pytest.approx(kinetic.mean().item(), rel=1e-6)
    assert of(model, x, Terms(jacobian=1.0))[1].item() == pytest.approx(jacobian.mean().item(), rel=1e-6)


def test_the_error_term_is_the_solvers_own_estimate():
    """`sol.errors` is the estimate divided by the tolerance, rms over the components."""
    model, x = net(fixed=True), drawn(4, 2)
    with torch.no_grad():
        sol = model.solve(x, save=ob.Every())
        low, high = sol.xs[:, :-1].abs(), sol.xs[:, 1:].abs()
    method, f = METHODS["tsit5"], model.field
    expected = 0.0
    for i in range(sol.hs.shape[1]):
        t, dt, at = sol.ts[:, i], sol.hs[:, i], sol.xs[:, i]
        error = method.step(f, t, at, dt, dt[:, None], f(t, at), None).error
        scaled = (error / (1e-11 + 1e-9 * torch.maximum(low[:, i], high[:, i]))).square().mean(1).sqrt()
        assert torch.allclose(scaled, sol.errors[:, i], rtol=1e-6)
        expected += float((error.norm(dim=1) * dt).mean().detach())
    assert of(model, x, Terms(error=1.0))[1].item() == pytest.approx(expected, rel=1e-9)


def test_the_stiffness_term_of_a_linear_field_is_its_eigenvalue():
    """k_s - k_(s-1) = A (g_s - g_(s-1)), for A = -l I a quotient of l in every step."""
    solver = Solver("dopri5", 1e-3, 1e-6)
    model = NeuralODE(lambda t, h: -3.0 * h, solver=solver)
    x = drawn(4, 2)
    steps = model.solve(x).stats.accepted.double()
    assert of(model, x, Terms(stiffness=1.0))[1].item() == pytest.approx(3.0 * steps.mean().item(), rel=1e-6)
    assert of(model, x, Terms(stiffness=1.0, sampled=True))[1].item() == pytest.approx(3.0, rel=1e-6)


def test_sampled_steps_are_those_of_a_uniform_time():
    """Their mean, weighted with nothing, is the integral over the steps by their length."""
    model, x = net(fixed=True), drawn(4, 2)
    with torch.no_grad():
        drawn_ones = torch.stack([of(model, x, Terms(error=1.0, sampled=True), seed)[1] for seed in range(150)])
        whole = of(model, x, Terms(error=1.0))[1]
    assert drawn_ones.mean().item() == pytest.approx(whole.item() / 4, rel=0.15)  # four steps of equal length


def test_steer_ends_where_it_says():
    model = NeuralODE(lambda t, h: torch.ones_like(h), solver=Solver("tsit5", 1e-9, 1e-11))
    ends = torch.cat([of(model, torch.zeros(1, 1, dtype=KIND), Terms(steer=0.25), s)[0] for s in range(100)])
    assert ends.min() > 0.75
    assert ends.max() < 1.25
    assert abs(ends.mean() - 1.0) < 0.05
    assert ends.std() > 0.12


def test_a_field_without_error_has_gradients_that_are_finite():
    weight = torch.ones(1, dtype=KIND, requires_grad=True)
    model = NeuralODE(lambda t, h: weight.expand_as(h), solver=Solver())
    penalty = of(model, drawn(3, 1), Terms(error=1.0, stiffness=1.0))[1]
    assert torch.isfinite(torch.autograd.grad(penalty, weight, allow_unused=True, materialize_grads=True)[0]).all()


@pytest.mark.parametrize(
    ("method", "terms", "says"),
    [
        ("kvaerno5", Terms(error=1.0), "embedded error estimate"),
        ("rk4", Terms(error=1.0), "embedded error estimate"),
        ("bosh3", Terms(stiffness=1.0), "'dopri5'"),
        ("tsit5", Terms(steer=1.5), "length of the span"),
    ],
)
def test_what_a_method_cannot_give_is_refused(method, terms, says):
    with pytest.raises(ValueError, match=says):
        of(net(method), drawn(2, 2), terms)


def test_weights_are_checked():
    with pytest.raises(ValueError, match="kinetic"):
        Terms(kinetic=-1.0)
    assert Terms(error=2.0, steer=0.1).times(3.0) == Terms(error=6.0, steer=0.1)

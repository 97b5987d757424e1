"""The stiff neural ODE: scaling changes units and nothing else, windows, masks, positivity, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import odebridge as ob
from odebridge.data import pollu, robertson
from odebridge.nets.node import Kinetics, MLPField, Solver, StiffNODE
from odebridge.nets.node.stiff import normalised_mae, scales_of, windows
from odebridge.train import RECIPES
from odebridge.train.recipes.stiff import Kinetic, clipped, judged

KIND = torch.float64
TIMES = torch.tensor([0.5, 1.0, 3.0, 10.0], dtype=KIND)
TIGHT = Solver("rodas5p", rtol=1e-8, atol=1e-10)


class Relax(nn.Module):
    """v' = rate (1 - v), in scaled units."""

    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor([3.0, 300.0], dtype=KIND))

    def forward(self, t, v):
        return self.rate * (1.0 - v)


@pytest.mark.parametrize("method", ["rodas5p", "kvaerno5", "radau5", "bdf", "tsit5"])
def test_scales_are_units(method):
    """u / y_scale follows v(t / t_scale), whatever the units."""
    y, t = torch.tensor([2.0, 1e-5], dtype=KIND), 20.0
    net = StiffNODE(Relax(), y, t, solver=Solver(method, rtol=1e-7, atol=1e-9))
    u0 = torch.zeros(1, 2, dtype=KIND)
    expected = y * (1.0 - torch.exp(-net.field.rate.detach() * (TIMES[:, None] - TIMES[0]) / t))
    got = net.path(u0, TIMES)[0].detach()
    assert torch.allclose(got / y, expected / y, atol=1e-5)


def test_each_trajectory_has_its_own_times():
    net = StiffNODE(Relax(), torch.ones(2, dtype=KIND), 1.0, solver=TIGHT)
    u0 = torch.tensor([[0.0, 0.5], [0.3, 0.1]], dtype=KIND)
    times = torch.stack([TIMES, 2.0 * TIMES])
    both = net.path(u0, times)
    assert torch.allclose(both[1], net.path(u0[1:], 2.0 * TIMES)[0], atol=1e-7)


def test_log_time_is_the_same_equation_for_a_field_that_knows_it():
    class Timed(nn.Module):
        def forward(self, s, v):
            return -torch.exp(s)[:, None] * v

    net = StiffNODE(Timed(), torch.ones(1, dtype=KIND), 1.0, log_time=True, solver=TIGHT)
    got = net.path(torch.ones(1, 1, dtype=KIND), TIMES)[0, :, 0]
    assert torch.allclose(got, torch.exp(-(TIMES - TIMES[0])), atol=1e-6)
    with pytest.raises(ValueError, match="log_time needs times above 0"):
        net.path(torch.ones(1, 1, dtype=KIND), torch.tensor([0.0, 1.0]))


def test_production_minus_loss_keeps_species_positive():
    torch.manual_seed(0)
    field = Kinetics(4, (8,))
    v = torch.rand(50, 4, dtype=KIND)
    v[:, 1] = 0.0
    assert (field(torch.zeros(50), v)[:, 1] > 0).all()
    net = StiffNODE(field, torch.ones(4, dtype=KIND), 1.0, solver=TIGHT)
    assert (net.path(v[:3], torch.tensor([0.0, 0.1, 1.0, 10.0])) > -1e-8).all()


@pytest.mark.parametrize("gradient", [ob.Replay(), ob.Replay(at_once=True), ob.Adjoint("interpolated")], ids=str)
def test_gradients_are_those_of_differences(gradient):
    torch.manual_seed(0)
    field = Kinetics(2, (3,), rates=torch.tensor([1.0, 100.0], dtype=KIND))
    net = StiffNODE(field, torch.ones(2, dtype=KIND), 10.0, solver=Solver("rodas5p", 1e-7, 1e-9, gradient))
    u0 = torch.tensor([[1.0, 0.2], [0.5, 0.0]], dtype=KIND)

    def value():
        return net.path(u0, TIMES)[:, 1:].square().sum()

    value().backward()
    for p in list(field.parameters())[1::2]:
        flat, sides = p.data.view(-1), []
        for move in (1e-4, -2e-4):
            flat[0] += move
            sides.append(float(value().detach()))
        flat[0] += 1e-4
        assert float(p.grad.view(-1)[0]) == pytest.approx((sides[0] - sides[1]) / 2e-4, rel=1e-3, abs=1e-5)


def test_windows_start_everywhere_and_one_goes_to_the_end():
    rows = windows(6, 2)
    assert rows.tolist() == [
        [0, 1, 2, 3, 4, 5], [1, 2, 3, 3, 3, 3], [2, 3, 4, 4, 4, 4], [3, 4, 5, 5, 5, 5], [4, 5, 5, 5, 5, 5],
    ]  # fmt: skip


@pytest.mark.parametrize("make", [robertson, pollu])
def test_the_sets_are_the_problems(make):
    data = make()
    assert (len(data.times), int(data.train_mask[0, :, 0].sum())) == (99, 50)
    assert torch.equal(data.train_mask, ~data.test_mask)
    assert torch.allclose(data.times.log().diff(), data.times.log().diff()[0])
    one = ob.problems.problem(data.name).batched()
    ref = ob.integrate(
        one.field, data.train[:, 0], (float(data.times[0]), float(data.times[-1])), args=one.args, method="radau5", rtol=1e-7,
        atol=1e-18,
    ).x1  # fmt: skip
    y_scale, _, rates = scales_of(data.times, data.train)
    assert float(normalised_mae(data.train[:, -1], ref, y_scale)) < 1e-5
    assert bool((rates > 0).all())


def test_a_failed_solve_is_judged_as_wrong_and_not_as_missing():
    net = RECIPES["stiff"].task("robertson", method="tsit5", max_steps=20).model
    true = Kinetic.of(robertson())
    with torch.no_grad():
        for p in net.parameters():
            p.add_(3.0)
    wrong, sol = judged(net, true)
    assert int(sol.result) != 0
    assert float(wrong[-1].min()) == 1.0
    assert bool(torch.isfinite(wrong).all())


def test_a_long_gradient_is_cut_and_a_short_one_is_not():
    net = nn.Linear(1, 1, bias=False, dtype=KIND)
    for factor, expected in ((0.5, 0.5), (1e6, 1.0)):
        net.zero_grad()
        value = clipped(lambda factor=factor: factor * net.weight.sum(), net)
        value.backward()
        assert float(value.detach()) == pytest.approx(factor * float(net.weight))
        assert float(net.weight.grad) == pytest.approx(expected)


def test_bad_input_is_a_sentence():
    with pytest.raises(ValueError, match="scales must be positive"):
        StiffNODE(MLPField(2), torch.tensor([1.0, 0.0]), 1.0)
    data, options = ob.data.DATA["lotka-volterra"](train=2, test=2), RECIPES["stiff"].given({})
    with pytest.raises(ValueError, match="learns from one"):
        RECIPES["stiff"].build(data, 0, **options)

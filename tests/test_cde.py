"""Splines equal SciPy's; a CDE along a line is an ODE; the speed of a path does not matter; gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline, CubicSpline
from torch import nn

import odebridge as ob
from odebridge.nets.node import MatrixField, NeuralCDE, Solver, hermite_cubic, natural_cubic

KINDS = {"natural": natural_cubic, "hermite": hermite_cubic}
TIGHT = Solver("dopri8", rtol=1e-9, atol=1e-9)


def series(b=3, k=9, c=2, seed=0):
    chance = torch.Generator().manual_seed(seed)
    times = torch.rand(b, k, generator=chance, dtype=torch.float64).cumsum(1)
    values = torch.randn(b, k, c, generator=chance, dtype=torch.float64)
    mask = torch.rand(b, k, c, generator=chance) < 0.7
    mask[:, 3:5] = True
    return times, values, mask


def reference(kind, t, x):
    if kind == "natural":
        return CubicSpline(t, x, bc_type="natural")
    rise = np.diff(x) / np.diff(t)
    return CubicHermiteSpline(t, x, np.concatenate([rise[:1], rise]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_a_spline_is_that_of_scipy(kind, masked):
    times, values, mask = series()
    spline = KINDS[kind](times, values, mask if masked else None)
    for i in range(3):
        for j in range(2):
            seen = mask[i, :, j] if masked else torch.ones(9, dtype=torch.bool)
            t, x = times[i, seen].numpy(), values[i, seen, j].numpy()
            exact = reference(kind, t, x)
            for s in np.linspace(t[0], t[-1], 23):
                at = torch.full((3,), float(s), dtype=torch.float64)
                assert float(spline.value(at)[i, j]) == pytest.approx(float(exact(s)), abs=1e-10)
                assert float(spline.slope(at)[i, j]) == pytest.approx(float(exact(s, 1)), abs=1e-9)
            beyond = torch.full((3,), float(t[-1]) + 1.0, dtype=torch.float64)
            assert float(spline.value(beyond)[i, j]) == pytest.approx(x[-1])
            assert float(spline.slope(beyond)[i, j]) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_one_observed_value_is_a_constant(kind):
    times, values, _ = series(1, 4, 1)
    mask = torch.tensor([[[False], [True], [False], [False]]])
    spline = KINDS[kind](times, values, mask)
    for t in (0.0, float(times[0, 1]), 5.0):
        assert float(spline.value(torch.tensor([t]))) == float(values[0, 1, 0])
        assert float(spline.slope(torch.tensor([t]))) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_spline_is_differentiable_in_the_values(kind):
    times, values, mask = series(2, 6, 1)
    at = torch.tensor([1.0, 1.3], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: KINDS[kind](times, v, mask).value(at), values.requires_grad_())


class Rotation(nn.Module):
    """F(z) = (A z) e_0^T: the first channel turns the state, the second does nothing."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([[0.2, -1.0], [1.0, 0.1]], dtype=torch.float64))

    def forward(self, z):
        turned = (z[:, None] * self.a).sum(-1)
        return torch.stack([turned, torch.zeros_like(turned)], -1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "solver", [TIGHT, Solver("rodas5p", rtol=1e-8, atol=1e-8), Solver("rk4", steps=400)], ids=lambda s: s.method
)
def test_along_a_line_it_is_an_ode(kind, solver):
    times = torch.tensor([0.0, 0.3, 1.1, 2.0], dtype=torch.float64)
    values = torch.stack([1.5 * times, 1.0 + 0.0 * times], -1)[None]
    lift = nn.Linear(2, 2, dtype=torch.float64)
    net = NeuralCDE(Rotation(), lift, solver=solver)
    z1 = net(KINDS[kind](times, values), (0.0, 2.0))
    exact = torch.linalg.matrix_exp(3.0 * net.field.a) @ lift(values[:, 0])[0]
    assert torch.allclose(z1[0], exact, atol=1e-5)


def test_the_speed_of_a_path_does_not_matter():
    times, values, _ = series()
    times = times - times[:, :1]
    field, lift = MatrixField(4, 2, (6,), dtype=torch.float64), nn.Linear(2, 4, dtype=torch.float64)
    net = NeuralCDE(field, lift, solver=TIGHT)
    one = net(natural_cubic(times, values), (times[:, 0], times[:, -1]))
    slower = net(natural_cubic(3.0 * times + 1.0, values), (3.0 * times[:, 0] + 1.0, 3.0 * times[:, -1] + 1.0))
    assert torch.allclose(one, slower, atol=1e-7)
    assert (one[0] - one[1]).abs().max() > 1e-3
    # and each trajectory has its own control, gathered with it
    alone = net(natural_cubic(times[1:2], values[1:2]), (times[1:2, 0], times[1:2, -1]))
    assert torch.allclose(one[1], alone[0], atol=1e-9)


@pytest.mark.parametrize("gradient", [ob.Replay(), ob.Adjoint()], ids=str)
def test_gradients_are_those_of_differences(gradient):
    times, values, _ = series(2, 5, 2)
    times = times - times[:, :1]
    torch.manual_seed(0)
    net = NeuralCDE(
        MatrixField(2, 2, (3,), dtype=torch.float64), nn.Linear(2, 2, dtype=torch.float64),
        solver=Solver("dopri8", rtol=1e-12, atol=1e-12, gradient=gradient),
    )  # fmt: skip
    data = values.clone().requires_grad_()

    def value(v):
        return net(natural_cubic(times, v), (0.0, 1.0)).square().sum()

    value(data).backward()
    targets = [*[(p.data, p.grad) for p in net.parameters()][::3], (values, data.grad)]
    for tensor, grad in targets:
        flat, sides = tensor.view(-1), []
        for move in (1e-3, -2e-3):  # the knots make the steps, and so the last digits, jump
            flat[1] += move
            sides.append(float(value(values).detach()))
        flat[1] += 1e-3
        assert float(grad.reshape(-1)[1]) == pytest.approx((sides[0] - sides[1]) / 2e-3, rel=1e-5, abs=1e-7)


def test_bad_input_is_a_sentence():
    times, values, mask = series()
    with pytest.raises(ValueError, match="must rise"):
        natural_cubic(times.flip(1), values)
    mask[1, :, 1] = False
    with pytest.raises(ValueError, match="trajectory 1 has no observed value in channel 1"):
        hermite_cubic(times, values, mask)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_may_be_nan_and_observed_ones_may_not(kind):
    times, values, mask = series()
    missing = torch.where(mask, values, torch.nan)
    assert all(map(torch.equal, KINDS[kind](times, values, mask), KINDS[kind](times, missing, mask)))
    with pytest.raises(ValueError, match="isnan"):
        KINDS[kind](times, missing)
    with pytest.raises(TypeError, match=r"mask\.bool"):
        KINDS[kind](times, values, mask.double())
    with pytest.raises(ValueError, match="merge"):
        KINDS[kind](torch.zeros_like(times), values, mask)
    with pytest.raises(ValueError, match="times"):
        KINDS[kind](times[:, 1:], values, mask)

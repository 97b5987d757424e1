"""IMEX pairs: the stiff half of a `Split` field implicitly, the other explicitly, at the order of the pair."""

import pytest
import torch
from manufactured import exact, field, slope, start
from small import agrees_with_differences

import odebridge as ob
from odebridge.core.fields import Split
from odebridge.methods import METHODS

D = torch.float64
PAIRS = [m for m in METHODS if getattr(getattr(METHODS[m], "tableau", None), "explicit", None) is not None]
TURN = torch.tensor([[-1.0, 2.0], [-2.0, -1.5]], dtype=D)
COUPLED = Split(stiff=lambda t, x: x @ TURN.T, nonstiff=lambda t, x: field(t, x) - x @ TURN.T)


def test_the_catalogue_has_pairs():
    assert {"kencarp3", "kencarp4", "kencarp5"} <= set(PAIRS)


@pytest.mark.parametrize("method", PAIRS)
def test_a_split_field_is_solved_at_the_order_of_the_pair(method):
    end, sizes, errors = exact(torch.tensor([1.6], dtype=D)), [], []
    for n in (24, 48):
        sol = ob.integrate(
            COUPLED, start(), (0.0, 1.6), method=method, controller="fixed", first_step=1.6 / n, rtol=1e-12, atol=1e-12
        )
        sizes.append(1.6 / n)
        errors.append(float((sol.x1 - end).norm()))
    assert abs(slope(sizes, errors) - METHODS[method].order) < 0.4, errors


@pytest.mark.parametrize(("method", "rtol"), [("kencarp3", 1e-3), ("kencarp4", 1e-5), ("kencarp5", 1e-5)])
def test_newton_sees_the_stiff_half_only_and_the_estimate_sees_both(method, rtol):
    """x' = -1e6 (x - cos t) - sin t with the forcing explicit.

    KenCarp3 answered 90 tolerances off with OK while W^-1 filtered what the explicit weights add to the last stage.
    """
    asked = []

    def jacobian(t, x):
        asked.append(len(x))
        return torch.full((len(x), 1, 1), -1e6, dtype=D)

    halves = Split(lambda t, x: -1e6 * (x - torch.cos(t)[:, None]), lambda t, x: -torch.sin(t)[:, None].expand_as(x))
    sol = ob.integrate(halves, torch.ones(2, 1, dtype=D), (0.0, 1.0), method=method, rtol=rtol, atol=1e-9, jacobian=jacobian)
    end = torch.cos(torch.tensor(1.0, dtype=D))
    assert float((sol.x1 - end).abs().max() / end) < 10 * rtol
    assert int(sol.stats.accepted[0]) < 400  # 5e5 explicit ones
    assert asked


@pytest.mark.parametrize("method", PAIRS)
def test_its_gradient_is_that_of_differences(method):
    """The implicit stages by the implicit function theorem, the explicit ones by autodiff, and a state between two steps."""
    rate = torch.tensor([[2.0], [3.0]], dtype=D, requires_grad=True)
    x0 = torch.tensor([[1.0, 0.5], [0.2, -0.4]], dtype=D, requires_grad=True)
    f = Split(lambda t, x, k: -k * x, lambda t, x, k: torch.sin(x) * k.square() * 0.1)

    def loss():
        sol = ob.integrate(
            f, x0, (0.0, 1.0), args=rate, method=method, controller="fixed", first_step=0.2, rtol=1e-12, atol=1e-12,
            save=ob.At([0.3, 1.0]),
        )  # fmt: skip
        return sol.xs.square().sum()

    agrees_with_differences(loss, [x0, rate], step=1e-5, tol=1e-7)


def test_a_pair_takes_no_mass():
    with pytest.raises(ValueError, match="mass: an IMEX pair on a Split field takes none; pass the sum of both parts"):
        ob.integrate(COUPLED, start(), (0.0, 1.0), method="kencarp4", mass=torch.tensor([1.0, 2.0]))


# Mass matrices

STIFF = ["tr_bdf2", "kvaerno3", "kvaerno5"]
M = torch.tensor([[2.0, 1.0], [0.5, 3.0]], dtype=D)


@pytest.mark.parametrize("method", STIFF)
def test_a_dirk_method_with_a_mass_matrix_is_that_of_the_field_divided_by_it(method):
    """M x' = M f(t, x): the same solution, and the parabola of the dense output is right to third order."""
    options = dict(method=method, controller="fixed", rtol=1e-11, atol=1e-11)
    end, errors, between = exact(torch.tensor([1.6], dtype=D)), [], []
    for n in (12, 24):
        sol = ob.integrate(
            lambda t, x: field(t, x) @ M.T, start(), (0.0, 1.6), mass=M, first_step=1.6 / n, save=ob.At([0.83, 1.6]), **options
        )
        errors.append(float((sol.xs[:, 1] - end).norm()))
        between.append(float((sol.xs[:, 0] - exact(torch.tensor([0.83], dtype=D))).norm()))
    assert slope([1.6 / 12, 1.6 / 24], errors) > METHODS[method].order - 0.4
    assert between[1] < max(1e-3, 4 * errors[1])


@pytest.mark.parametrize("method", ["kvaerno5", "tr_bdf2", "rodas5p", "radau5"])
def test_an_algebraic_equation_is_fulfilled_and_differentiated(method):
    """x' = -k x and 0 = z - x^2: z follows x, in its value and in its derivative to k and x0."""
    k = torch.tensor([[0.7]], dtype=D, requires_grad=True)
    x = torch.tensor([[1.3]], dtype=D, requires_grad=True)
    sol = ob.integrate(
        lambda t, x, k: torch.cat([-k * x[:, :1], x[:, 1:] - x[:, :1].square()], 1), torch.cat([x, x.square()], 1), (0.0, 1.0),
        args=k, mass=[1.0, 0.0], method=method, rtol=1e-6, atol=1e-8, save=ob.At([0.4, 1.0]),
    )  # fmt: skip
    assert torch.allclose(sol.xs[..., 1], sol.xs[..., 0].square(), atol=1e-4)
    found = torch.autograd.grad(sol.xs[0, 1, 1], [k, x])
    end = (x * torch.exp(-k)).square()
    for g, exactly in zip(found, torch.autograd.grad(end.sum(), [k, x]), strict=True):
        assert torch.allclose(g, exactly, rtol=1e-4)

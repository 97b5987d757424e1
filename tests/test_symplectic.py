"""Symplectic methods: order, reversibility, energy, the map itself, gradients, batches."""

import math

import pytest
import torch
from manufactured import slope

import odebridge as ob
from odebridge.core.fields import Separable, Split
from odebridge.integrate.system import BoundField
from odebridge.methods.symplectic import LEAPFROG, VERLET, YOSHIDA4, Symplectic

ALL = [Symplectic(c) for c in (VERLET, LEAPFROG, YOSHIDA4)]
NAMES = [m.name for m in ALL]


def force(t, q):
    """Henon & Heiles: V = (x^2 + y^2) / 2 + x^2 y - y^3 / 3."""
    x, y = q.unbind(-1)
    return -torch.stack([x + 2.0 * x * y, y + x * x - y * y], -1)


HENON = Separable(lambda t, p: p, force)
# Both halves depend on time and the kinetic energy is not quadratic.
DRIVEN = Separable(
    lambda t, p: torch.sin(p) * (1.0 + 0.3 * torch.cos(t)[:, None]), lambda t, q: -torch.sin(q + 0.5 * t[:, None])
)


def energy(x):
    (a, b), p = x[..., :2].unbind(-1), x[..., 2:]
    return 0.5 * p.square().sum(-1) + 0.5 * (a * a + b * b) + a * a * b - b * b * b / 3.0


def henon_start(b=1):
    return torch.tensor([[0.1, 0.2, 0.3, -0.2]]).double() * torch.linspace(1.0, 0.5, b).double()[:, None]


def walk(method, field, x0, h, n):
    return ob.integrate(field, x0, ob.Grid(tuple(h * k for k in range(n + 1))), method=method).x1


@pytest.mark.parametrize("method", ALL, ids=NAMES)
@pytest.mark.parametrize(("field", "width"), [(HENON, 4), (DRIVEN, 2)], ids=["henon", "driven"])
def test_order(method, field, width):
    x0 = torch.tensor([[0.3, 0.4, 0.5, -0.6][:width]]).double()
    truth = ob.integrate(field, x0, (0.0, 2.0), method="dopri8", rtol=1e-13, atol=1e-14).x1
    sizes = [20, 40, 80, 160]
    errors = [float((walk(method, field, x0, 2.0 / n, n) - truth).norm()) for n in sizes]
    assert abs(slope([2.0 / n for n in sizes], errors) - method.order) < 0.15


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_turning_the_momenta_leads_back(method):
    x0 = henon_start()
    turn = torch.tensor([1.0, 1.0, -1.0, -1.0]).double()
    back = walk(method, HENON, walk(method, HENON, x0, 0.1, 200) * turn, 0.1, 200) * turn
    assert float((back - x0).abs().max()) < 1e-12


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_minus_h_undoes_a_step_that_depends_on_time(method):
    x0 = torch.tensor([[0.3, 0.4]]).double()
    there = ob.integrate(DRIVEN, x0, ob.Grid((0.0, 0.3, 0.6)), method=method).x1
    back = ob.integrate(DRIVEN, there, ob.Grid((0.6, 0.3, 0.0)), method=method).x1
    assert float((back - x0).abs().max()) < 1e-14


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_the_map_is_symplectic(method):
    omega = torch.zeros(4, 4).double()
    omega[:2, 2:], omega[2:, :2] = torch.eye(2), -torch.eye(2)

    def step(x):
        return walk(method, HENON, x[None], 0.4, 3)[0]

    jac = torch.autograd.functional.jacobian(step, henon_start()[0])
    assert float((jac.T @ omega @ jac - omega).abs().max()) < 1e-13
    rk4 = torch.autograd.functional.jacobian(lambda x: walk("rk4", HENON, x[None], 0.4, 3)[0], henon_start()[0])
    assert float((rk4.T @ omega @ rk4 - omega).abs().max()) > 1e-5


@pytest.mark.parametrize("steps", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_energy_swings_and_does_not_drift(steps):
    x0 = henon_start()
    ts = ob.Grid(tuple(0.3 * k for k in range(steps + 1)))

    def swing(method):
        sol = ob.integrate(HENON, x0, ts, method=method, save=ob.Every())
        off = (energy(sol.xs[0]) - energy(x0)).abs()
        return float(off[:300].max()), float(off[-300:].max())

    for method, bound in zip(ALL, (3e-3, 3e-3, 1e-4), strict=True):
        early, late = swing(method)
        assert late < 1.5 * early < bound
    early, late = swing("rk4")
    assert late > 3.0 * early


def test_leapfrog_is_verlet_with_the_halves_exchanged():
    """Drift-kick-drift is kick-drift-kick in the coordinates Q = p, P = -q."""
    x0 = torch.tensor([[0.3, 0.4, 0.5, -0.6]]).double()
    turned = Separable(lambda t, p: force(t, -p), lambda t, q: -q)
    leap = walk(Symplectic(LEAPFROG), HENON, x0, 0.2, 10)
    other = walk(Symplectic(VERLET), turned, torch.cat([x0[:, 2:], -x0[:, :2]], -1), 0.2, 10)
    assert torch.allclose(leap, torch.cat([-other[:, 2:], other[:, :2]], -1), rtol=0, atol=1e-14)
    assert not torch.allclose(leap, walk(Symplectic(VERLET), HENON, x0, 0.2, 10), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_forces_are_counted(method):
    calls = []

    def counted(t, q):
        calls.append(len(q))
        return force(t, q)

    kicks = {"verlet": 1, "leapfrog": 2, "yoshida4": 3}[method.name]
    walk(method, Separable(lambda t, p: p, counted), henon_start(), 0.1, 10)
    assert len(calls) == 1 + 10 * kicks
    f = BoundField(HENON)
    t, x = torch.zeros(1).double(), henon_start()
    assert method.step(f, t, x, 0.1, 0.1, f(t, x), None).cost.f_evals == kicks


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_the_slope_at_the_end_is_the_fields(method):
    f = BoundField(DRIVEN)
    t, dt, x = torch.tensor([0.2, 0.7]).double(), torch.tensor([0.1, 0.2]).double(), torch.rand(2, 6).double()
    step = method.step(f, t, x, dt, dt[:, None], f(t, x), None)
    assert torch.equal(step.slope, f(t + dt, step.x))


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_together_equals_alone_and_takes_args(method):
    field = Separable(lambda t, p, m: p / m, lambda t, q, m: -torch.sin(q))
    x0 = torch.linspace(0.1, 1.2, 8).double().reshape(4, 2)
    mass = torch.tensor([[0.5], [1.0], [2.0], [3.0]]).double()
    ends = torch.tensor([0.55, 1.0, 2.0, 1.71]).double()
    options = {"method": method, "controller": "fixed", "first_step": 0.1, "save": ob.Every()}
    batch = ob.integrate(field, x0, (0.0, ends), args=mass, **options)
    for i in range(4):
        alone = ob.integrate(field, x0[i : i + 1], (0.0, ends[i : i + 1]), args=mass[i : i + 1], **options)
        assert torch.equal(batch.x1[i], alone.x1[0])
    # a pendulum of mass m swings slowly with frequency 1 / sqrt(m) when the angle is small
    small = ob.integrate(field, 1e-4 * x0[:1], (0.0, 1.0), args=mass[:1], **options).x1
    w = math.sqrt(2.0)
    q, p = 1e-4 * x0[0]
    assert float(small[0, 0]) == pytest.approx(float(q * math.cos(w) + p * w * math.sin(w)), rel=1e-2)


@pytest.mark.parametrize("method", ALL, ids=NAMES)
@pytest.mark.parametrize("span", [True, False])
def test_gradient_agrees_with_finite_differences(method, span):
    over = (0.0, 0.95) if span else ob.Grid(tuple(0.1 * k for k in range(11)))
    options = {"controller": "fixed", "first_step": 0.1} if span else {}
    weights = torch.tensor([1.0, -0.5, 0.3, 2.0]).double()

    def value(x0):
        return (ob.integrate(HENON, x0, over, method=method, **options).x1 * weights).sum()

    x0 = henon_start().requires_grad_()
    value(x0).backward()
    eps = 1e-6
    for i in range(4):
        shift = torch.zeros(1, 4).double()
        shift[0, i] = eps
        apart = value(x0.detach() + shift) - value(x0.detach() - shift)
        assert float(x0.grad[0, i]) == pytest.approx(float(apart) / (2 * eps), rel=1e-7)


def test_any_shape_whose_last_dimension_is_even():
    x0 = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    out = walk(Symplectic(YOSHIDA4), Separable(lambda t, p: p, lambda t, q: -q), x0, 0.1, 10)
    flat = walk(Symplectic(YOSHIDA4), Separable(lambda t, p: p, lambda t, q: -q), x0.reshape(15, 4), 0.1, 10)
    assert torch.equal(out.reshape(15, 4), flat)


@pytest.mark.parametrize("field", [lambda t, x: -x, Split(lambda t, x: -x, lambda t, x: x)], ids=["plain", "split"])
def test_other_fields_are_refused(field):
    for over, options in ((ob.Grid((0.0, 0.1)), {}), ((0.0, 1.0), {"controller": "fixed", "first_step": 0.1})):
        with pytest.raises(ValueError, match=r"method 'verlet': needs ob.Separable\(dq, dp\)"):
            ob.integrate(field, henon_start(), over, method=Symplectic(VERLET), **options)


def test_bad_states_and_steps_are_refused():
    with pytest.raises(ValueError, match="must be even"):
        walk(Symplectic(VERLET), HENON, torch.zeros(1, 3).double(), 0.1, 1)
    f, x = BoundField(HENON), henon_start()
    with pytest.raises(ValueError, match="one step a trajectory"):
        Symplectic(VERLET).step(f, 0.0, x, 0.1, torch.full((1, 4), 0.1).double(), f(0.0, x), None)
    with pytest.raises(ValueError, match="no error estimate"):
        ob.integrate(HENON, x, (0.0, 1.0), method=Symplectic(VERLET), controller="pi")

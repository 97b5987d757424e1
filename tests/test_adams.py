"""Adams methods: weights against exact rationals, orders, uneven steps, the iteration, gradients, batches."""

from fractions import Fraction

import pytest
import torch
from manufactured import exact, field, slope, start

import odebridge as ob
from odebridge.core.protocols import Counts
from odebridge.core.result import Result
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.system import BoundField
from odebridge.methods.adams import AdamsBashforth, AdamsMoulton, quadrature

END = 1.6
BOTH = [AdamsBashforth, AdamsMoulton]


def rational(nodes):
    """Integrals over (0, 1) of the Lagrange polynomials of integer nodes, exactly."""
    out = []
    for i, s in enumerate(nodes):
        poly = [Fraction(1)]
        for m, z in enumerate(nodes):
            if m != i:
                down = [Fraction(0), *poly]
                poly = [(a - z * b) / (s - z) for a, b in zip(down, [*poly, Fraction(0)], strict=True)]
        out.append(sum(c / (k + 1) for k, c in enumerate(poly)))
    return out


def test_weights_of_equal_steps_are_the_published_fractions():
    assert rational([0, -1, -2, -3]) == [Fraction(n, 24) for n in (55, -59, 37, -9)]
    assert rational([1, 0, -1, -2]) == [Fraction(n, 24) for n in (9, 19, -5, 1)]
    for first in (0, 1):
        for k in range(1, 10):
            nodes = [first - i for i in range(k)]
            got = quadrature([torch.full((2,), float(s)).double() for s in nodes])
            for w, true in zip(got, rational(nodes), strict=True):
                assert w.tolist() == pytest.approx([float(true)] * 2, rel=2e-14, abs=1e-15)


def test_weights_of_uneven_steps_integrate_polynomials():
    nodes = [torch.tensor(v).double() for v in ([0.0, 0.0], [-0.3, -1.7], [-1.9, -2.2], [-2.0, -7.0], [-4.1, -7.5])]
    weights = quadrature(nodes)
    for k in range(5):
        total = sum(w * s.pow(k) for w, s in zip(weights, nodes, strict=True))
        assert total.tolist() == pytest.approx([1.0 / (k + 1)] * 2, abs=1e-11)


def errors(method, sizes):
    """Errors at the end, one lane per number of equal steps."""
    end = exact(torch.tensor([END], dtype=torch.float64))
    h = END / torch.tensor(sizes).double()
    sol = ob.integrate(field, start(len(sizes)), (0.0, END), method=method, controller="fixed", first_step=h)
    return (sol.x1 - end).norm(dim=1).tolist()


def uneven(method, n):
    """The same on a grid where every other step is half as long again."""
    end = exact(torch.tensor([END], dtype=torch.float64))
    sizes = torch.tensor([1.0, 1.5] * (n // 2)).double()
    ts = torch.cat([torch.zeros(1).double(), sizes.cumsum(0)]) * (END / float(sizes.sum()))
    return float((ob.integrate(field, start(), ob.Grid((*ts.tolist()[:-1], END)), method=method).x1 - end).norm())


SIZES = {2: (80, 120, 160), 3: (100, 140, 200), 4: (100, 150, 200), 5: (100, 150, 200), 6: (60, 90, 120)}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("order", list(SIZES))
def test_order(kind, order):
    sizes = SIZES[order]
    assert abs(slope([END / n for n in sizes], errors(kind(order=order), sizes)) - order) < 0.3


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("order", [3, 5])
def test_order_with_uneven_steps(kind, order):
    sizes = SIZES[order]
    assert abs(slope([END / n for n in sizes], [uneven(kind(order=order), n) for n in sizes]) - order) < 0.3


@pytest.mark.parametrize("kind", BOTH)
def test_high_orders_reach_rounding_with_few_steps(kind):
    for order, bound in ((7, 1e-9), (8, 2e-10), (9, 2e-11)):
        assert errors(kind(order=order), [140])[0] < bound


def test_a_shorter_last_step_keeps_the_order():
    end = exact(torch.tensor([END], dtype=torch.float64))
    options = {"controller": "fixed", "first_step": 0.0099}
    for kind in BOTH:
        sol = ob.integrate(field, start(), (0.0, END), method=kind(), save=ob.Every(), **options)
        assert float(sol.ts[0, -1] - sol.ts[0, -2]) < 0.007
        assert float((sol.x1 - end).norm()) < 1.2 * errors(kind(), [161])[0]


def test_cost_is_one_slope_a_step_after_the_start():
    sol = ob.integrate(field, start(), (0.0, END), method=AdamsBashforth(), controller="fixed", first_step=END / 20)
    assert (int(sol.stats.accepted), int(sol.stats.f_evals)) == (20, 1 + 3 * 6 + 19)
    one = AdamsMoulton()
    t, x, f = torch.zeros(1).double(), start(), BoundField(field)
    memory, spent = one.start(f, t, x), []
    for _ in range(8):
        step = one.step(f, t, x, torch.full((1,), 0.02).double(), 0.02, f(t, x), memory)
        t, x, memory = t + 0.02, step.x, step.memory
        spent.append(int(step.cost.f_evals))
        assert isinstance(step.cost, Counts)
    assert spent[:2] == [6, 6]
    assert max(spent[2:]) <= 3


@pytest.mark.parametrize("kind", BOTH)
def test_together_equals_alone_to_the_bit(kind):
    x0 = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)).double() + 0.5
    p = torch.rand(5, 2, generator=torch.Generator().manual_seed(1)).double() + 0.5
    ends = torch.tensor([0.31, 0.9, 1.0, 1.75, 2.0], dtype=torch.float64)
    h = torch.tensor([0.04, 0.05, 0.03, 0.02, 0.1], dtype=torch.float64)

    def f(t, x, p):
        a, b = x.unbind(-1)
        return torch.stack([p[:, 0] * a - a * b, a * b - p[:, 1] * b + 0.1 * torch.sin(t)], -1)

    options = {"method": kind(order=5), "controller": "fixed"}
    batch = ob.integrate(f, x0, (0.0, ends), args=p, first_step=h, **options)
    for i in range(5):
        alone = ob.integrate(f, x0[i : i + 1], (0.0, ends[i : i + 1]), args=p[i : i + 1], first_step=h[i : i + 1], **options)
        assert torch.equal(batch.x1[i], alone.x1[0])
        assert int(batch.stats.f_evals[i]) == int(alone.stats.f_evals[0])


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("over", [ob.Grid(tuple(0.1 * k for k in range(11))), (0.0, 1.0)])
def test_gradient_agrees_with_finite_differences(kind, over):
    options = {} if isinstance(over, ob.Grid) else {"controller": "fixed", "first_step": 0.07}

    def value(x0):
        sol = ob.integrate(lambda t, x: torch.cos(t)[:, None] * x - x * x.flip(-1), x0, over, method=kind(), **options)
        return (sol.x1 * torch.tensor([1.0, -0.5]).double()).sum()

    x0 = torch.tensor([[0.5, 1.0], [1.5, 0.2]], dtype=torch.float64, requires_grad=True)
    value(x0).backward()
    eps = 1e-6
    for i in range(4):
        shift = torch.zeros(4, dtype=torch.float64)
        shift[i] = eps
        apart = value(x0.detach() + shift.reshape(2, 2)) - value(x0.detach() - shift.reshape(2, 2))
        assert float(x0.grad.reshape(-1)[i]) == pytest.approx(float(apart) / (2 * eps), rel=2e-6, abs=1e-8)


def test_a_replayed_step_has_the_same_bits():
    one, f = AdamsMoulton(order=4), BoundField(field)
    t, x = torch.tensor([0.0, 0.3], dtype=torch.float64), start(2)
    dt = torch.tensor([0.02, 0.2], dtype=torch.float64)
    memory = again = one.start(f, t, x)
    for k in range(6):
        slope = f(t, x)
        step = one.step(f, t, x, dt, dt[:, None], slope, memory)
        made = one.replay(f, t, x, dt, dt[:, None], slope, again, step.found)
        assert torch.equal(made.x, step.x)
        if k > 2:
            assert int(step.found[0]) < int(step.found[1])
        t, x, memory, again = t + dt, step.x, step.memory, made.memory


def test_an_iteration_that_does_not_converge_is_told():
    def stiff(t, x):
        return -torch.tensor([[1.0], [300.0]], dtype=x.dtype) * x

    one, f = AdamsMoulton(order=2), BoundField(stiff)
    x, t = torch.ones(2, 1).double(), torch.zeros(2).double()
    dt = torch.full((2,), 0.1).double()
    step = one.step(f, t, x, dt, dt[:, None], f(t, x), one.start(f, t, x))
    assert step.trouble.tolist() == [int(Result.OK), int(Result.NEWTON_FAILED)]
    sol = ob.integrate(
        lambda t, x, k: -k * x, x, (0.0, 1.0), args=torch.tensor([[1.0], [300.0]]).double(), method=one, controller="fixed",
        first_step=0.1, throw=False,
    )  # fmt: skip
    assert sol.result.tolist() == [int(Result.OK), int(Result.NEWTON_FAILED)]
    assert float(sol.x1[0, 0]) == pytest.approx(0.3682, abs=1e-3)
    grid = one.step(f, 0.0, x, 0.1, 0.1, f(t, x), one.start(f, 0.0, x))
    assert bool(torch.isfinite(grid.x[0]).all())
    assert bool(torch.isnan(grid.x[1]).all())


def test_after_a_jump_the_past_is_forgotten():
    one = AdamsBashforth(order=3)
    f = BoundField(field, tol=Tolerance(torch.full((2,), 1e-6).double(), torch.full((2, 1), 1e-6).double()))
    t, x, dt = torch.zeros(2).double(), start(2), torch.full((2,), 0.05).double()
    memory = one.start(f, t, x)
    for _ in range(4):
        step = one.step(f, t, x, dt, dt[:, None], f(t, x), memory)
        t, x, memory = t + dt, step.x, step.memory
    assert memory.have.tolist() == [2, 2]
    memory = one.restart(memory, torch.tensor([True, False]))
    step = one.step(f, t, x, dt, dt[:, None], f(t, x), memory)
    assert step.cost.f_evals.tolist() == [6, 0]
    truth = exact(t + dt)
    assert bool(((step.x - truth).norm(dim=1) < 1e-3).all())
    assert not torch.equal(step.x[0], step.x[1])


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("order", [1, 10, 4.0, True])
def test_bad_orders_are_refused(kind, order):
    with pytest.raises(ValueError, match="whole number from 2 to 9"):
        kind(order=order)


def test_no_error_estimate_no_controller():
    with pytest.raises(ValueError, match="no error estimate"):
        ob.integrate(field, start(), (0.0, 1.0), method=AdamsBashforth(), controller="pi")

"""Every method of the catalogue through one contract: a new entry is tested by existing."""

from dataclasses import replace

import pytest
import torch
from manufactured import exact, field, slope, start
from selection import dear

from odebridge.core.over import Grid
from odebridge.core.tolerance import Tolerance
from odebridge.integrate import At, Dense, Every, integrate
from odebridge.integrate.system import BoundField
from odebridge.methods import METHODS

ALL = list(METHODS)
VARYING = {"auto", "bdf", "explicit_adams", "implicit_adams"}  # of varying order: measured in tests of their own
SEPARABLE = {"verlet", "leapfrog", "yoshida4"}  # need a field of two parts
SINGLE = [m for m in ALL if m not in VARYING | SEPARABLE]
ADAPTIVE = [m for m in ALL if METHODS[m].error_order is not None]
END = 1.6
FLOOR = 2e-12


def fixed(method, n, **options):
    # Newton's iteration takes its part of the tolerance, so that must be far below the errors to be measured.
    tight = {"rtol": 1e-11, "atol": 1e-11, **options}
    scheme = METHODS[method]
    if hasattr(scheme, "iterations"):  # a fixed step cannot become shorter to help Newton's iteration
        scheme = replace(scheme, iterations=50)
    return integrate(field, start(), (0.0, END), method=scheme, controller="fixed", first_step=END / n, **tight)


def measured(error_of, method):
    """Slope over the last four step sizes whose errors lie above the rounding floor."""
    sizes, errors = [], []
    high = METHODS[method].order > 6
    # Rodas4PW's next error term is large: its order shows at small steps only.
    n = 24 if method == "rodas4pw" else 3 if high else 6
    floor = 5e-12 if high else 1e-10 if hasattr(METHODS[method], "iterations") else FLOOR
    while len(sizes) < 8:
        error = error_of(n)
        if error < floor:
            break
        sizes.append(END / n)
        errors.append(error)
        n = max(n + 1, int(n * (1.25 if high else 1.6)))
    assert len(sizes) >= 4, "fewer than four points above the rounding floor"
    return slope(sizes[-4:], errors[-4:])


@pytest.mark.parametrize("method", dear(SINGLE))
def test_order_on_a_nonlinear_nonautonomous_problem(method):
    end = exact(torch.tensor([END], dtype=torch.float64))
    order = METHODS[method].order
    assert abs(measured(lambda n: float((fixed(method, n).x1 - end).norm()), method) - order) < 0.15


@pytest.mark.parametrize("method", dear([m for m in SINGLE if m in ADAPTIVE]))
def test_error_estimate_has_its_order(method):
    """The estimate of one step from exact data falls as h^(error_order + 1)."""
    scheme = METHODS[method]
    t, x = torch.full((1,), 0.3).double(), exact(torch.full((1,), 0.3).double())

    f = BoundField(field, tol=Tolerance(torch.full((1,), 1e-9).double(), torch.full((1, 1), 1e-11).double()))
    sizes = [(0.02 if method == "rodas3p" else 0.1) / 1.4**k for k in range(4)]  # Rodas3P's next term is large

    def estimate(h):
        dt = torch.full((1,), h).double()
        step = scheme.step(f, t, x, dt, dt[:, None], f(t, x), scheme.start(f, t, x))
        return float(step.error.norm())

    assert abs(slope(sizes, [estimate(h) for h in sizes]) - (scheme.error_order + 1)) < 0.5


@pytest.mark.parametrize("method", dear(SINGLE))
def test_dense_output_has_its_order_and_meets_the_nodes(method):
    order = METHODS[method].dense_order
    times = torch.linspace(0.0, END, 401, dtype=torch.float64)
    truth = exact(times)

    def error_of(n):
        return float((fixed(method, n, save=At(times)).xs[0] - truth).abs().max())

    # The interpolant's local error is h^(dense_order + 1); where the method's own global error is of the same or lower
    # order it hides it, so the slope is at least the stated order.
    assert measured(error_of, method) > order - 0.15
    sol = fixed(method, 7, save=Dense())
    assert torch.equal(sol(sol.ts[0]), sol.xs)
    assert torch.isnan(sol(END + 0.1)).all()


@pytest.mark.parametrize("method", dear(ADAPTIVE))
def test_error_follows_the_tolerance(method):
    end = exact(torch.tensor([END], dtype=torch.float64))
    order = METHODS[method].order
    for rtol in (1e-3, 1e-5) if order <= 3 else (1e-4, 1e-6) if order == 4 else (1e-4, 1e-7, 1e-9):
        sol = integrate(field, start(), (0.0, END), method=method, rtol=rtol, atol=rtol, max_steps=50_000)
        assert float((sol.x1 - end).abs().max()) < 100 * rtol


@pytest.mark.parametrize("method", dear(ADAPTIVE))
def test_backward_in_time_returns_to_the_start(method):
    rtol = 1e-4 if METHODS[method].order <= 3 else 1e-6
    options = {"method": method, "rtol": rtol, "atol": 1e-2 * rtol, "max_steps": 50_000}
    there = integrate(field, start(), (0.0, 1.0), **options)
    back = integrate(field, there.x1, (1.0, 0.0), **options)
    assert float((back.x1 - start()).abs().max()) < 1000 * rtol


@pytest.mark.parametrize("method", dear(SINGLE))
def test_grid_and_fixed_span_agree(method):
    nodes = [END * k / 8 for k in range(9)]
    grid = integrate(field, start(), Grid(tuple(nodes)), method=method)
    span = fixed(method, 8, save=Every())
    tight = 1e-9 if hasattr(METHODS[method], "iterations") else 1e-12  # Newton's iteration stops within its own tolerance
    assert torch.allclose(grid.x1, span.x1, rtol=tight, atol=0.1 * tight)
    assert int(span.stats.accepted) == int(grid.stats.accepted) == 8


def test_counters_are_exact():
    """What a trajectory needed, counted by hand."""
    sol = fixed("rk4", 10)
    # one slope at the start, three stages a step, one slope after each kept step but the last
    assert (int(sol.stats.accepted), int(sol.stats.f_evals)) == (10, 1 + 10 * 3 + 9)
    sol = fixed("tsit5", 10)
    assert int(sol.stats.f_evals) == 1 + 10 * 6
    sol = fixed("rodas5p", 10)
    assert int(sol.stats.f_evals) == 1 + 10 * 7 + 9
    assert (int(sol.stats.jacobians), int(sol.stats.factorisations), int(sol.stats.solves)) == (10, 10, 80)
    for method, evaluations in (("euler", 8), ("rk4", 8 * 4), ("tsit5", 1 + 8 * 6), ("rodas5p", 8 * 8)):
        calls = []

        def counting(t, x, calls=calls):
            calls.append(len(x))
            return field(t, x)

        grid = integrate(counting, start(), Grid(tuple(0.2 * k for k in range(9))), method=method)
        assert int(grid.stats.f_evals) == evaluations
        assert len(calls) == evaluations + (8 if method == "rodas5p" else 0)  # and a call for each Jacobian


@pytest.mark.parametrize("method", dear(ADAPTIVE))
def test_work_counts_every_row_that_the_field_saw(method):
    """`stats.work` is what was computed: rows of field calls, idle lanes and Jacobian columns included."""
    rows = []

    def counting(t, x):
        rows.append(len(x))
        return field(t, x)

    ends = torch.tensor([0.3, 1.0, 1.6], dtype=torch.float64)
    sol = integrate(counting, start(3), (0.0, ends), method=method, rtol=1e-4, atol=1e-6, max_steps=20_000)
    # Asked before the first step: have trajectory 0 alone, and with the others elsewhere, and the last one the same slope.
    probes = 1 + 3 + 1
    # df/dt and the columns of J come out of one call of n + 1 copies of the batch
    assert sum(rows) == sol.stats.work + probes
    assert int(sol.stats.f_evals.sum()) <= sol.stats.work


def test_a_rejected_step_keeps_its_jacobian():
    calls = []

    def jacobian(t, x):
        calls.append(len(x))
        return -50.0 * torch.eye(1, dtype=x.dtype).expand(len(x), 1, 1)

    sol = integrate(
        lambda t, x: -50.0 * (x - torch.cos(t)[:, None]), torch.ones(1, 1).double(), (0.0, 1.0), method="rodas5p",
        jacobian=jacobian, first_step=1.0, rtol=1e-8, atol=1e-10,
    )  # fmt: skip
    assert int(sol.stats.rejected) > 0
    assert int(sol.stats.jacobians) == int(sol.stats.accepted) == len(calls)
    assert int(sol.stats.factorisations) == int(sol.stats.accepted + sol.stats.rejected)


@pytest.mark.parametrize("method", ["rosenbrock23", "rodas4", "rodas5p"])
def test_prothero_robinson_is_no_harder_when_stiffer(method):
    """y' = lam (y - cos t) - sin t: errors stay bounded and fall with h however stiff (stage order, not classical order)."""
    end = torch.cos(torch.tensor([[1.0]]).double())

    def error(lam, n):
        def f(t, x):
            c, s = torch.cos(t)[:, None], torch.sin(t)[:, None]
            return lam * (x - c) - s

        sol = integrate(f, torch.ones(1, 1).double(), (0.0, 1.0), method=method, controller="fixed", first_step=1.0 / n)
        return float((sol.x1 - end).abs().max())

    assert error(-1e6, 20) < 1e-4
    assert error(-1e6, 40) < error(-1e6, 20) * 0.75 + 1e-11

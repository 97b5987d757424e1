"""The library of test problems: every one has the field, Jacobian and end state it claims."""

from __future__ import annotations

import inspect
import math
import pickle
import runpy
import sys
import warnings
from functools import cache
from itertools import pairwise
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import odebridge as ob
from odebridge.problems import PROBLEMS, Problem, Spread, list_problems, problem, robertson, van_der_pol
from odebridge.problems.arrays import pattern_of
from odebridge.problems.componentwise import over_expm1, over_expm1_slope

NAMES = sorted(PROBLEMS)
WITH_JACOBIAN = [name for name in NAMES if problem(name).jacobian is not None]
SPARSE = [name for name in NAMES if problem(name).sparsity is not None]
ALGEBRAIC = ["chemical_akzo_nobel", "transistor_amplifier"]
ODES = [name for name in NAMES if name not in ALGEBRAIC]
# Fields on tensors, and the ring: SciPy's Radau takes minutes there, its LSODA seconds.
LARGE = [name for name in ODES if len(problem(name).x0) > 28] + ["ring_modulator"]
SMALL = [name for name in ODES if name not in LARGE]
MINUTES = ["allen_cahn", "beam", "brusselator_2d", "kuramoto_sivashinsky", "medical_akzo_nobel", "ring_modulator"]
# Absolute tolerance as a part of the relative one: far below the smallest component of the solution.
TINY = {
    **{"robertson": 1e-14, "pollu": 1e-14, "e5": 1e-14, "stiff_d4": 1e-12, "stiff_d6": 1e-14},
    **{"stiff_f1": 1e-15, "stiff_f3": 1e-18, "stiff_f5": 1e-12, "stiff_b1": 1e-12, "ring_modulator": 1e-8},
}
# Problems whose every component is judged by its own size; the others by their largest.
BY_COMPONENT = [
    *("robertson", "hires", "orego", "pollu", "pleiades", "van_der_pol", "prothero_robinson", "lotka_volterra", "lorenz"),
    *("stiff_a2", "stiff_c5", "stiff_d4", "stiff_d6", "stiff_e3", "stiff_f1", "stiff_f3", "stiff_f5", "hodgkin_huxley"),
]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scipy_solution(p: Problem, rtol: float, method: str | None = None):
    q = p.as_numpy()
    method = method or ("LSODA" if p.name in LARGE else "Radau" if p.stiff else "DOP853")
    how = {} if method == "DOP853" else {"jac": q.jac}
    if method == "LSODA" and isinstance(p.sparsity, tuple):
        how = {"lband": p.sparsity[0], "uband": p.sparsity[1]}
    y, stops = q.y0, [*q.span[:1], *q.discontinuities, *q.span[1:]]
    for start, stop in pairwise(stops):
        start = start if start == stops[0] else np.nextafter(start, stop)
        with warnings.catch_warnings():  # a first try of SciPy's may overflow; it takes a shorter one
            warnings.simplefilter("ignore", RuntimeWarning)
            sol = solve_ivp(q.fun, (start, stop), y, method, rtol=rtol, atol=rtol * TINY.get(p.name, 1e-6), **how)
        assert sol.status == 0
        y = sol.y[:, -1]
    return sol


def reduced(p: Problem):
    """The ODE under a system with a singular mass: its slope, the full state from its own, and its start."""
    script = Path(__file__).parent.parent / "benchmarks" / "references.py"
    return runpy.run_path(str(script), run_name="script")["reduced"](p)


@cache
def points(name: str, b: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(t, x, args) of b trajectories: states on a rough solution, each 10 % off, with 10 % off parameters."""
    p = problem(name)
    rng = np.random.default_rng(0)
    if name in SMALL:
        sol = scipy_solution(p, 1e-4)
        at = rng.integers(0, len(sol.t), b)
        t, x = sol.t[at].copy(), sol.y.T[at]
    else:  # between both ends
        part = rng.uniform(0, 1, (b, 1))
        t, x = p.span[1] * part[:, 0], part * p.reference.numpy() + (1 - part) * p.x0.numpy()
    x = torch.from_numpy((x + 1e-3) * rng.uniform(0.9, 1.1, x.shape))
    args = p.args * torch.from_numpy(rng.uniform(0.9, 1.1, (b, *p.args.shape)))
    return torch.from_numpy(t), x, args


def relative_error(y: np.ndarray, p: Problem) -> float:
    # In chemistry component by component, so that POLLU's 4e-18 counts too.
    end = p.reference.numpy()
    floor = 0.0 if p.name in BY_COMPONENT else np.abs(end).max()
    return float(np.max(np.abs(y - end) / (np.abs(end) + floor)))


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_complete(name):
    p = problem(name)
    assert p.name == name
    assert p.single
    assert p.source
    assert "\n" not in p.source
    assert p.source.startswith(("exact", "periodic", "computed: ", "IVP test set 2.4"))
    assert p.x0.dtype == p.args.dtype == p.reference.dtype == torch.float64
    assert p.reference.shape == p.x0.shape
    assert 8 <= p.digits <= 16
    assert p.spread is not None
    assert "Caveat" in inspect.getdoc(PROBLEMS[name])
    assert name in repr(p)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_field_and_jacobian_keep_shape_and_dtype(name, dtype):
    p = problem(name).to(dtype).sample(5)
    n = p.x0.shape[-1]
    t = torch.full((5,), p.span[0], dtype=dtype)
    f = p.field(t, p.x0, p.args)
    assert f.shape == (5, n)
    assert f.dtype == dtype
    if p.jacobian is not None:
        matrix = p.jacobian(t, p.x0, p.args)
        assert matrix.shape == (5, n, n)
        assert matrix.dtype == dtype


def assert_jacobian(p: Problem, t, x, args) -> None:
    basis = torch.eye(x.shape[1], dtype=x.dtype)
    columns = [torch.func.jvp(lambda x: p.field(t, x, args), (x,), (e.expand_as(x),))[1] for e in basis]
    matrix = p.jacobian(t, x, args)
    # A current of the ring below -gamma (1 - 1e-16) has a slope that the derivative of expm1 rounds away.
    torch.testing.assert_close(matrix, torch.stack(columns, -1), rtol=1e-12, atol=1e-12 + 1e-16 * float(matrix.abs().max()))


@pytest.mark.parametrize("name", WITH_JACOBIAN)
def test_jacobian_is_the_derivative_of_the_field(name):
    assert_jacobian(problem(name), *points(name))


def test_scaled_van_der_pol_has_the_right_jacobian():
    p = van_der_pol(30.0, scaled=True).sample(7)
    assert_jacobian(p, torch.zeros(7, dtype=torch.float64), p.x0, p.args)


@pytest.mark.parametrize("name", NAMES)
def test_a_trajectory_does_not_feel_its_batch(name):
    p = problem(name)
    t, x, args = points(name)
    calls = [call for call in (p.field, p.jacobian) if call is not None]
    for call in calls:
        together = call(t, x, args)
        for b in (1, 2, 3, 7, 16, 33):
            assert torch.equal(call(t[:b].clone(), x[:b].clone(), args[:b].clone()), together[:b])
        for i in range(len(x)):
            assert torch.equal(call(t[i : i + 1].clone(), x[i : i + 1].clone(), args[i : i + 1].clone())[0], together[i])


@pytest.mark.parametrize("name", NAMES)
def test_gradient_of_the_field_reaches_state_and_parameters(name):
    p = problem(name)
    t, x, args = (v[:3].clone().requires_grad_() for v in points(name))
    p.field(t, x, args).square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(args.grad).all()
    assert args.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ODES)
def test_as_numpy_is_the_same_field(name):
    p = problem(name)
    t, x, args = points(name)
    for i in range(10):
        one = Problem(p.field, x[i], p.span, args[i], p.jacobian).as_numpy()
        at, y = float(t[i]), x[i].numpy()
        f = one.fun(at, y)
        assert f.dtype == np.float64
        assert f.shape == y.shape
        np.testing.assert_allclose(f, p.field(t[i : i + 1], x[i : i + 1], args[i : i + 1])[0].numpy(), rtol=1e-13, atol=1e-300)
        if p.jacobian is None:
            assert one.jac is None
        else:
            matrix = p.jacobian(t[i : i + 1], x[i : i + 1], args[i : i + 1])[0].numpy()
            np.testing.assert_allclose(one.jac(at, y), matrix, rtol=1e-13, atol=1e-300)


def test_as_numpy_of_any_field_and_where_python_raises():
    p = Problem(lambda t, x: x.square() * t[:, None], [1.0, 2.0], (0, 1)).as_numpy()
    assert p.fun(2.0, np.array([3.0, 1.0])).tolist() == [18.0, 2.0]
    assert p.span == (0.0, 1.0)
    shared = Problem(lambda t, x: x, [1.0], (0, 1)).as_numpy()
    y = np.array([5.0])
    f = shared.fun(0.0, y)
    y[0] = 7.0
    assert f.tolist() == [5.0]  # SciPy reuses y; the slope must not change with it
    # On top of the earth Python divides by zero and raises; an array holds a value that is not finite, and so must this.
    orbit = problem("arenstorf")
    crash = np.array([-float(orbit.args[0]), 0.0, 0.0, 0.0])
    assert not np.isfinite(orbit.as_numpy().fun(0.0, crash)).all()


@pytest.mark.parametrize("name", NAMES)
def test_sample_draws_a_family(name):
    p = problem(name)
    family, again, other, fewer = p.sample(6, seed=3), p.sample(6, seed=3), p.sample(6, seed=4), p.sample(2, seed=3)
    assert family.x0.shape == (6, *p.x0.shape)
    assert family.args.shape == (6, *p.args.shape)
    assert family.reference is None
    assert family.digits is None
    assert torch.equal(family.x0, again.x0)
    assert torch.equal(family.args, again.args)
    assert torch.equal(family.x0[:2], fewer.x0)
    assert torch.equal(family.args[:2], fewer.args)
    drawn = torch.cat([family.x0, family.args], 1)
    assert not torch.equal(drawn, torch.cat([other.x0, other.args], 1))
    assert (drawn.std(0) > 0).any()
    assert ((family.args > 0) == (p.args > 0)).all()
    one = family.trajectory(4)
    assert one.single
    assert torch.equal(one.x0, family.x0[4])
    assert torch.equal(one.args, family.args[4])


def test_sample_follows_its_ranges():
    rates = robertson().sample(4000).args / robertson().args
    assert rates.log().std(0).sub(0.3).abs().max() < 0.02
    assert torch.equal(robertson().sample(3).x0, robertson().x0.expand(3, 3))
    mu = van_der_pol(50.0, mu_range=(1.0, 1e4)).sample(2000).args
    assert mu.min() >= 1.0
    assert mu.max() <= 1e4
    assert abs(float(mu.log10().mean()) - 2.0) < 0.1


def test_sample_takes_a_nest_of_parameters_or_a_function():
    nest = {"k": torch.tensor([1.0, 2.0]).double(), "power": 3, "on": torch.tensor(True)}
    p = Problem(lambda t, x, args: x, [1.0], (0, 1), nest, spread=Spread(args_log=0.5)).sample(4)
    assert p.args["k"].shape == (4, 2)
    assert p.args["power"] == 3
    assert p.args["on"].tolist() == [True] * 4
    own = Problem(lambda t, x: x, [1.0], (0, 1), spread=lambda p, b, g: (torch.rand(b, 1, generator=g), None)).sample(3)
    assert own.x0.shape == (3, 1)


@pytest.mark.parametrize("name", [n if n not in MINUTES else pytest.param(n, marks=pytest.mark.slow) for n in ODES])
def test_reference_is_reached(name):
    p = problem(name)
    sol = scipy_solution(p, 1e-9 if p.stiff else 1e-11)
    # E5 is limited to some four digits in double precision, at any tolerance.
    assert relative_error(sol.y[:, -1], p) < (1e-2 if name == "e5" else 1e-5 if name in LARGE else 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in SMALL if n not in ("e5", "stiff_e1")])  # these two are limited by rounding
def test_reference_is_reached_to_its_digits(name):
    p = problem(name)
    sol = scipy_solution(p, 1e-12 if p.stiff else 1e-13)
    # SciPy's own error at this tolerance, about ten times it, is in the measured digits; the orbits amplify it further.
    assert relative_error(sol.y[:, -1], p) < {"arenstorf": 1e-8, "pleiades": 1e-10}.get(name, 1e-11)


@pytest.mark.parametrize("name", ["chemical_akzo_nobel", pytest.param("transistor_amplifier", marks=pytest.mark.slow)])
def test_reference_of_a_differential_algebraic_system_is_reached(name):
    """By SciPy, with the algebraic components solved for inside the field."""
    p = problem(name)
    slope, state, w0 = reduced(p)
    np.testing.assert_allclose(state(0.0, w0), p.x0.numpy(), rtol=1e-12, atol=1e-12)  # x0 is consistent
    sol = solve_ivp(slope, p.span, w0, "Radau", rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(state(p.span[1], sol.y[:, -1]), p.reference.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ALGEBRAIC)
def test_sampled_differential_algebraic_systems_start_consistently(name):
    p = problem(name).sample(5)
    for i in range(5):
        one = p.trajectory(i)
        _, state, w0 = reduced(one)
        np.testing.assert_allclose(state(0.0, w0), one.x0.numpy(), rtol=1e-12, atol=1e-12)


def test_published_components_of_the_large_problems():
    """The test set prints four components of each."""
    beam, tissue = problem("beam").reference, problem("medical_akzo_nobel").reference
    published = torch.tensor([-0.5792366591285007e-2, -0.1695298550721735e-1, -0.1767201761075488, 0.3747362681329794e-1])
    torch.testing.assert_close(beam[[0, 1, 39, 40]], published.double(), rtol=1e-6, atol=0)
    published = torch.tensor([0.5113983840919909e-5, 0.1027858770570419e-4, 0.1549349862635799e-4, 0.7030103051210320e-4])
    torch.testing.assert_close(tissue[[0, 2, 4, 24]], published.double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", SPARSE)
def test_sparsity_holds_every_entry_of_the_jacobian(name):
    p = problem(name)
    t, x, args = (v[:1] for v in points(name))
    pattern = pattern_of(p.sparsity, x.shape[1])
    seen = np.zeros_like(pattern)
    for j, e in enumerate(torch.eye(x.shape[1], dtype=x.dtype)):
        seen[:, j] = torch.func.jvp(lambda x: p.field(t, x, args), (x,), (e[None],))[1][0] != 0
    assert not (seen & ~pattern).any()
    assert seen.sum() > 0.6 * pattern.sum()  # and hardly more than those
    np.testing.assert_array_equal(p.as_numpy().sparsity, pattern)


@pytest.mark.parametrize("name", [n for n in NAMES if problem(n).discontinuities])
def test_field_jumps_after_its_discontinuities_and_not_at_them(name):
    p = problem(name)
    x, args = p.reference[None], p.args[None]
    for t in p.discontinuities:
        before, at, after = (
            p.field(torch.tensor([s], dtype=torch.float64), x, args) for s in (np.nextafter(t, -1), t, np.nextafter(t, 99))
        )
        torch.testing.assert_close(at, before, rtol=1e-9, atol=1e-9)
        if name != "beam":  # its force ends smoothly, in second derivatives
            assert (after - at).abs().max() > 1


@pytest.mark.parametrize("cells", [3, 5, 12])
@pytest.mark.parametrize("name", [n for n in NAMES if "cells" in inspect.signature(PROBLEMS[n]).parameters])
def test_grids_of_other_sizes(name, cells):
    if name in ("heat", "kuramoto_sivashinsky"):
        cells += 2
    p = problem(name, cells=cells)
    assert torch.isfinite(p.field(torch.zeros(1).double(), p.x0[None], p.args[None])).all()
    assert (p.reference is None) == (name != "heat")
    with pytest.raises(ValueError, match=r"cells is 0; write a whole number"):
        problem(name, cells=0)


def test_rates_of_hodgkin_and_huxley_are_smooth_through_their_singularities():
    z = torch.tensor([-40.0, -1.0, -0.1000001, -0.0999999, -1e-9, 0.0, 1e-9, 0.0999999, 0.1000001, 1.0, 40.0]).double()
    with mpmath.workdps(40):
        exact = [mpmath.mpf(v) / mpmath.expm1(v) if v else mpmath.mpf(1) for v in z.tolist()]
        slopes = [mpmath.diff(lambda v: v / mpmath.expm1(v) if v else mpmath.mpf(1), v) for v in z.tolist() if v]
    np.testing.assert_allclose(over_expm1(z).numpy(), [float(v) for v in exact], rtol=4e-16)
    np.testing.assert_allclose([over_expm1(v) for v in z.tolist()], [float(v) for v in exact], rtol=4e-16)
    np.testing.assert_allclose(over_expm1_slope(z[z != 0]).numpy(), [float(v) for v in slopes], rtol=2e-14)
    np.testing.assert_allclose([over_expm1_slope(v) for v in z.tolist() if v], [float(v) for v in slopes], rtol=2e-14)
    assert over_expm1_slope(0.0) == float(over_expm1_slope(torch.zeros(1))) == -0.5
    z.requires_grad_()
    over_expm1(z).sum().backward()
    torch.testing.assert_close(z.grad, over_expm1_slope(z.detach()), rtol=1e-13, atol=1e-16)


def test_mass_sparsity_and_discontinuities_travel_with_the_problem():
    p = Problem(lambda t, x: -x, [1, 2], (0, 1), mass=[1, 2], sparsity=(0, 1), discontinuities=[0.7, 0.2, 0.7])
    assert p.mass.dtype == torch.float64
    assert p.discontinuities == (0.2, 0.7)
    for q in (
        p.batched(),
        p.batched().trajectory(0),
        p.to(torch.float32),
        pickle.loads(pickle.dumps(problem("heat").batched())),
    ):
        assert q.sparsity is not None
    assert p.batched().mass is p.mass
    assert p.to(torch.float32).mass.dtype == torch.float32
    pattern = np.array([[True, False], [True, True]])
    assert Problem(lambda t, x: -x, [1, 2], (0, 1), sparsity=pattern).batched().sparsity.tolist() == pattern.tolist()
    family = problem("transistor_amplifier").sample(3)
    assert family.mass.shape == (8, 8)
    assert problem("medical_akzo_nobel").sample(2).discontinuities == (5.0,)


def test_as_numpy_divides_by_a_mass_that_has_an_inverse():
    def decay(t, x):
        return -x

    y = np.array([3.0, 4.0])
    diagonal = Problem(
        decay, [1.0, 1.0], (0, 1), jacobian=lambda t, x: -torch.eye(2).double()[None], mass=[2.0, 1e-9]
    ).as_numpy()
    assert diagonal.fun(0.0, y).tolist() == pytest.approx([-1.5, -4e9])
    assert diagonal.jac(0.0, y).tolist() == pytest.approx(np.diag([-0.5, -1e9]))
    full = np.array([[2.0, 1.0], [1.0, 3.0]]) * 1e-9
    dense = Problem(decay, [1.0, 1.0], (0, 1), mass=full, sparsity=(0, 0)).as_numpy()
    np.testing.assert_allclose(full @ dense.fun(0.0, y), -y)
    assert dense.sparsity is None  # the inverse is full


def test_solve_hands_mass_and_structure_to_the_integrator(monkeypatch):
    seen = {}

    def integrate(field, x0, span, **options):
        seen.update(options)
        raise KeyboardInterrupt

    # The module, which the function of the same name hides in the package.
    monkeypatch.setattr(sys.modules["odebridge.problems.solve"], "integrate", integrate)
    for name, expected in (
        ("lorenz", set()),
        ("medical_akzo_nobel", {"sparsity", "discontinuities"}),
        ("transistor_amplifier", {"mass"}),
    ):
        seen.clear()
        with pytest.raises(KeyboardInterrupt):
            ob.solve(name)
        assert {"mass", "sparsity", "discontinuities"} & set(seen) == expected
    with pytest.raises(TypeError, match="mass: belongs to the problem"):
        ob.solve("lorenz", mass=torch.ones(3))


def test_scaled_van_der_pol_is_the_same_oscillator():
    p = van_der_pol(scaled=True)
    sol = scipy_solution(p, 1e-8)
    assert relative_error(sol.y[:, -1], p) < 1e-7
    plain = van_der_pol()
    torch.testing.assert_close(p.reference, plain.reference * torch.tensor([1.0, 1e3]).double(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("mu", [0.1, 1.0, 2.9, 5.0, 100.0])
def test_van_der_pol_spans_about_two_periods(mu):
    p = van_der_pol(mu)
    q = p.as_numpy()

    def rising(t, y):
        return y[0]

    rising.direction = 1
    sol = solve_ivp(q.fun, (0, 3 * q.span[1]), q.y0, method="LSODA", jac=q.jac, rtol=1e-7, atol=1e-9, events=rising)
    assert p.reference is None
    assert p.span[1] / np.diff(sol.t_events[0])[-1] == pytest.approx(2.0, rel=0.15)


def test_conserved_quantities():
    t, x, args = points("robertson")
    slope = problem("robertson").field(t, x, args)
    assert (slope.sum(1).abs() <= 1e-12 * slope.abs().sum(1)).all()
    t, x, args = points("hires")
    slope = problem("hires").field(t, x, args)
    assert torch.equal(slope[:, 6], -slope[:, 7])
    t, x, args = points("pleiades")
    force = problem("pleiades").field(t, x, args)[:, 14:].unflatten(1, (2, 7)) * args[:, None]
    assert (force.sum(-1).abs() <= 1e-12 * force.abs().sum(-1)).all()
    for name, balance in (
        ("e5", [0, 1, -1, -1]),
        ("stiff_d4", [1, 1, -1]),
        ("stiff_d6", [1, 1, 1]),
        ("stiff_f3", [0, 1, 1, 1, 0]),
        ("stiff_f3", [1, 0, 1, 1, 1]),
        ("stiff_f5", [1, 0, 0, 1]),
        ("stiff_f5", [0, 1, 1, 1]),
        ("kuramoto_sivashinsky", [1] * 64),
    ):
        t, x, args = points(name)
        slope = problem(name).field(t, x, args) * torch.tensor(balance)
        # Against the rates that cancel inside a component, not only between them.
        assert (slope.sum(1).abs() <= 1e-10 * slope.abs().sum(1) + 1e-15 * (args.abs().amax(1) * x.abs().amax(1))).all()
    p = problem("henon_heiles")
    ends = torch.stack([p.x0, p.reference])
    a, b, pa, pb = ends.unbind(1)
    energy = (pa * pa + pb * pb + a * a + b * b) / 2 + a * a * b - b * b * b / 3
    assert abs(float(energy[1] - energy[0])) < 1e-14


def test_problem_takes_positions_lists_and_arrays():
    def f(t, x, args):
        return -args[0] * x

    p = Problem(f, [1, 2], (0, 40), (np.array(3.0),), None)
    assert p.x0.dtype == torch.float64
    assert p.span == (0.0, 40.0)
    b = p.batched()
    assert b.x0.shape == (1, 2)
    assert b.args[0].shape == (1,)
    assert b.batched() is b
    assert Problem(f, torch.tensor([1, 2]), (0, 1), ()).x0.dtype == torch.float64
    assert Problem(f, torch.zeros(2), (0, 1), ()).x0.dtype == torch.float32
    two = Problem(f, np.ones((2, 3), dtype=np.float32), (0.0, [1.0, 2.0]), (torch.ones(2, 1),), reference=np.ones((2, 3)))
    assert not two.single
    assert two.span[1].tolist() == [1.0, 2.0]
    assert two.trajectory(1).span == (0.0, 2.0)
    assert two.to(torch.float32).x0.dtype == torch.float32
    assert two.to(torch.float32).reference.dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_problems_can_be_sent_to_other_processes(name):
    p = pickle.loads(pickle.dumps(problem(name).sample(2)))
    t = torch.zeros(2).double()
    assert torch.equal(p.field(t, p.x0, p.args), problem(name).field(t, p.x0, p.args))


def test_catalogue():
    assert list_problems() == list(PROBLEMS)
    assert list_problems("*lor*") == ["lorenz"]
    assert problem("van_der_pol", mu=5.0).args.tolist() == [5.0]
    assert robertson(40.0).reference is None
    with pytest.raises(ValueError, match="There is no problem named 'robertsn': did you mean 'robertson'"):
        problem("robertsn")
    with pytest.raises(TypeError, match="'van_der_pol' has no setting 'my': did you mean 'mu'"):
        problem("van_der_pol", my=5.0)
    with pytest.raises(TypeError, match="'hires' has no setting 'mu': it has none"):
        problem("hires", mu=5.0)


def f(t, x):
    return -x


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Problem("f", [1.0], (0, 1)), "field is 'f'; write a function"),
        (lambda: Problem(f, [1.0], (0, 1), jacobian=torch.eye(1)), "jacobian is a Tensor; write a function"),
        (lambda: Problem(f, "one", (0, 1)), "x0 is 'one'; write numbers"),
        (lambda: Problem(f, [[1.0], [1.0, 2.0]], (0, 1)), "x0 is .*; write numbers"),
        (lambda: Problem(f, 1.0, (0, 1)), r"x0 has shape \(\); write \(n,\)"),
        (lambda: Problem(f, torch.zeros(2, 3, 4), (0, 1)), r"x0 has shape \(2, 3, 4\); write \(n,\)"),
        (lambda: Problem(f, [1.0, math.nan], (0, 1)), r"x0\[1\] is nan; every component must be a finite number"),
        (lambda: Problem(f, [1.0], 3.0), r"span is 3.0; write the two ends"),
        (lambda: Problem(f, [1.0], (0, 1, 2)), r"span is \(0, 1, 2\); write the two ends"),
        (lambda: Problem(f, [1.0], (0, math.inf)), "t1 of the span is inf; write a finite number"),
        (lambda: Problem(f, [1.0], ("a", 1)), "t0 of the span is 'a'; write a number"),
        (lambda: Problem(f, [1.0], (0, [1.0, 2.0])), r"t1 of the span has shape \(2,\); write a number"),
        (lambda: Problem(f, [[1.0]], (0, [1.0, 2.0])), r"one per trajectory, shape \(1,\)"),
        (lambda: Problem(f, [[1.0], [2.0]], (0, 1), torch.ones(3)), r"args has shape \(3,\) and x0 holds 2 trajectories"),
        (lambda: Problem(f, [1.0], (0, 1), reference=[1.0, 2.0]), r"reference has shape \(2,\) and x0 \(1,\)"),
        (lambda: Problem(f, [1.0], (0, 1)).sample(3), "nothing to draw from; give it spread="),
        (lambda: robertson().sample(2).sample(2), r"sample draws around one system, and x0 has shape \(2, 3\)"),
        (lambda: robertson().sample(0), "sample's b is 0; write a whole number"),
        (lambda: robertson().sample(2).as_numpy(), r"as_numpy is for one system, .* use problem.trajectory\(i\)"),
        (lambda: Problem(f, [1j], (0, 1)).as_numpy(), "as_numpy is for real states"),
        (lambda: robertson().sample(2).trajectory(2), "there is no trajectory 2; choose one of 0 to 1"),
        (lambda: robertson().trajectory(0), "this problem is one system already"),
        (lambda: robertson().to("cuda"), "to.. got dtype='cuda'; write a floating dtype"),
        (lambda: Problem(f, [1.0], (0, 1), mass="one"), "mass is 'one'; write numbers"),
        (lambda: Problem(f, [1.0], (0, 1), mass=[1.0, 2.0]), r"mass has shape \(2,\) and the state 1 components; write \(1,\)"),
        (lambda: Problem(f, [1.0], (0, 1), mass=[math.inf]), "mass holds a value that is not finite"),
        (lambda: Problem(f, [1.0], (0, 1), sparsity=(1, 0)), r"sparsity is \(1, 0\); write the bandwidths .* from 0 to 0"),
        (lambda: Problem(f, [1.0], (0, 1), sparsity=3), "sparsity is 3; write the bandwidths"),
        (
            lambda: Problem(f, [1.0], (0, 1), sparsity=torch.ones(1, 1)),
            r"sparsity is .*float32 .*write bool \(1, 1\)",
        ),
        (lambda: Problem(f, [1.0], (0, 1), discontinuities=5.0), r"discontinuities is 5.0; write a tuple of times"),
        (lambda: Problem(f, [1.0], (0, 1), discontinuities=(math.nan,)), "every time must be a finite number"),
        (lambda: problem("transistor_amplifier").as_numpy(), "'?transistor_amplifier'? has a singular mass"),
        (lambda: problem("chemical_akzo_nobel").as_numpy(), "'?chemical_akzo_nobel'? has a singular mass"),
        (lambda: problem("beam", segments=2), "segments is 2; write a whole number of at least 3"),
        (lambda: problem("stiff_b5", alpha=0.0), "alpha is 0.0; write a positive number"),
        (lambda: problem("stiff_c5", beta=-1.0), "beta is -1.0; write a positive number"),
        (lambda: van_der_pol(-1.0), "mu is -1.0; write a positive number"),
        (lambda: van_der_pol(5.0, mu_range=(2.0, 1.0)), "mu_range is .* write .low, high."),
        (lambda: problem("prothero_robinson", lam=3.0), "lam is 3.0; write a negative number"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(make, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        make()

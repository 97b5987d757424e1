"""RKC2 and RKL2: polynomials, order, spectral radius, stage numbers per trajectory, their bound, gradients, batches."""

import math

import pytest
import torch
from manufactured import exact, field, slope, start

import odebridge as ob
from odebridge.core.result import Result
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.system import BoundField
from odebridge.methods.spectrum import AGE, power_iteration
from odebridge.methods.stabilised import RKC2, RKL2

BOTH = [RKC2, RKL2]
N = 40


def heat(t, x, k=None):
    """k u'' on (0, 1) with u = 0 at both ends, second differences on N points."""
    u = torch.nn.functional.pad(x, (1, 1))
    slope = (u[:, 2:] - 2.0 * x + u[:, :-2]) * (N + 1) ** 2
    return slope if k is None else k * slope


RADIUS = 4.0 * (N + 1) ** 2 * math.cos(math.pi / (2 * (N + 1))) ** 2
GRID = torch.arange(1, N + 1).double() / (N + 1)
SMOOTH = torch.sin(math.pi * GRID)  # an eigenvector, so that its end is known exactly
DECAY = 4.0 * (N + 1) ** 2 * math.sin(math.pi / (2 * (N + 1))) ** 2


def growth(method, z):
    """x1 / x0 of one step of length 1 for x' = z x, z (b,)."""
    f = BoundField(lambda t, x: z[:, None] * x)
    t, x = torch.zeros_like(z), torch.ones(len(z), 1).double()
    step = method.step(f, t, x, 1.0, 1.0, f(t, x), method.start(f, t, x))
    return step.x[:, 0]


def legendre(s, v):
    last, now = torch.ones_like(v), v
    for j in range(2, s + 1):
        last, now = now, ((2 * j - 1) * v * now - (j - 1) * last) / j
    return now


@pytest.mark.parametrize("s", [2, 3, 4, 7, 20, 101])
def test_rkc2_has_its_stability_polynomial(s):
    w0 = 1.0 + 2.0 / 13.0 / s**2
    a = math.acosh(w0)
    r = math.sqrt(w0 * w0 - 1.0)
    value, first = math.cosh(s * a), s * math.sinh(s * a) / r
    second = (s * s * value - w0 * first / 1.0) / (r * r)
    beta = (s * s - 1.0) / 1.54
    z = -torch.linspace(0.02, 1.0, 57).double() * beta

    def chebyshev(v):
        return torch.where(
            v.abs() <= 1.0, torch.cos(s * torch.acos(v.clamp(-1, 1))), torch.cosh(s * torch.acosh(v.clamp_min(1)))
        )

    b, w1 = second / first**2, first / second
    truth = 1.0 - b * value + b * chebyshev(w0 + w1 * z)
    # the radius that makes the method choose s stages
    got = growth(RKC2(radius=lambda t, x: torch.full((57,), 0.999 * beta).double()), z)
    assert torch.allclose(got, truth, rtol=0, atol=1e-13 * s * s)
    assert float(truth[z < -0.1 * beta].abs().max()) < 0.97  # damped


@pytest.mark.parametrize("s", [3, 5, 7, 21, 101])
def test_rkl2_has_its_stability_polynomial(s):
    beta = (s * s + s - 2.0) / 2.0
    z = -torch.linspace(0.02, 1.0, 57).double() * beta
    b = (s * s + s - 2.0) / (2.0 * s * (s + 1.0))
    truth = 1.0 - b + b * legendre(s, 1.0 + 4.0 / (s * s + s - 2.0) * z)
    got = growth(RKL2(radius=lambda t, x: torch.full((57,), 0.999 * beta).double()), z)
    assert torch.allclose(got, truth, rtol=0, atol=1e-13 * s * s)
    assert float(truth.abs().max()) <= 1.0


@pytest.mark.parametrize("kind", BOTH)
def test_stage_numbers_are_the_least_that_are_stable(kind):
    one = kind()
    reach = torch.tensor([0.0, 0.5, 1.9, 5.0, 13.9, 14.1, 1000.0]).double()
    s = one.stages(reach)
    assert bool((reach <= one.bound(s)).all())
    less = one.bound(s - (2 if kind is RKL2 else 1))
    least = 3 if kind is RKL2 else 2
    assert bool(((reach > 0.98 * less) | (s == least)).all())
    if kind is RKL2:
        assert bool((s % 2 == 1).all())


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("per_step", [None, 30.0, 300.0])
def test_order(kind, per_step):
    """With few stages, and with a radius far above the true one, so that there are many."""
    end, errors, sizes = exact(torch.tensor([1.6], dtype=torch.float64)), [], (30, 50, 80)
    for n in sizes:
        # h times radius stays what it is when h falls, and so does the number of stages
        radius = None if per_step is None else lambda t, x, n=n: torch.full((len(x),), per_step * n / 1.6).double()
        grid = ob.Grid(tuple(1.6 * k / n for k in range(n + 1)))
        errors.append(float((ob.integrate(field, start(), grid, method=kind(radius=radius)).x1 - end).norm()))
    assert abs(slope([1.6 / n for n in sizes], errors) - 2.0) < 0.1


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("radius", [None, 2000.0])
def test_error_estimate_is_the_local_error_to_third_order(kind, radius):
    """The formula of RKC with the constant of each method; larger than the true error, since x1 stands in it as well."""
    t = torch.full((4,), 0.3).double()
    h = 0.05 / 1.4 ** torch.arange(4).double()
    one = kind() if radius is None else kind(radius=lambda t, x: radius * 0.05 / h)
    f = BoundField(field, tol=Tolerance(torch.full((4,), 1e-6).double(), torch.full((4, 1), 1e-6).double()))
    x = exact(t)
    step = one.step(f, t, x, h, h[:, None], f(t, x), one.start(f, t, x))
    assert abs(slope(h.tolist(), step.error.norm(dim=1).tolist()) - 3.0) < 0.15
    true = (step.x - exact(t + h)).norm(dim=1)
    ratio = step.error.norm(dim=1) / true
    assert bool(((ratio > 0.5) & (ratio < 3.5)).all())


def test_spectral_radius_from_a_smooth_state():
    """The slope of an eigenvector is that eigenvector: the iteration must not settle on it."""
    x, t = torch.stack([SMOOTH, 1.0 - SMOOTH, 0.0 * SMOOTH]), torch.zeros(3).double()
    f = BoundField(heat)
    radius, vector, calls = power_iteration(f, t, x, f(t, x), f(t, x))
    assert bool(((radius > RADIUS) & (radius < 1.2 * RADIUS)).all())
    assert int(calls.max()) <= 30
    again, _, fewer = power_iteration(f, t, x, f(t, x), vector)
    assert bool((fewer < calls).all())
    assert bool((again > RADIUS).all())


def test_spectral_radius_of_a_nonlinear_field_is_that_of_its_jacobian():
    x = torch.tensor([[2.0, 0.5], [0.3, 1.0]]).double()
    t = torch.zeros(2).double()
    f = BoundField(lambda t, x: torch.stack([-x[:, 0].pow(3), -100.0 * x[:, 1] * x[:, 0]], -1))
    radius, _, _ = power_iteration(f, t, x, f(t, x), torch.zeros_like(x))
    assert radius.tolist() == pytest.approx([240.0, 36.0], rel=0.02)
    zero, _, calls = power_iteration(BoundField(lambda t, x: 0.0 * x), t, x, 0.0 * x, torch.zeros_like(x))
    assert (zero.tolist(), calls.tolist()) == ([0.0, 0.0], [1, 1])
    swing = BoundField(lambda t, x: torch.stack([x[:, 1], -9.0 * x[:, 0]], -1))  # never settles: radius 3, norm 9
    radius, _, calls = power_iteration(swing, t, x, swing(t, x), torch.zeros_like(x))
    assert bool(((radius >= 3.6) & (radius <= 1.2 * 9.0)).all())
    assert int(calls.max()) <= 50


@pytest.mark.parametrize("kind", BOTH)
def test_heat_at_a_fraction_of_the_evaluations(kind):
    x0 = (SMOOTH + GRID * (GRID > 0.5))[None]
    options = {"rtol": 1e-4, "atol": 1e-6}
    few = ob.integrate(heat, x0, (0.0, 0.5), method=kind(), **options)
    many = ob.integrate(heat, x0, (0.0, 0.5), method="bosh3", **options)
    truth = ob.integrate(heat, x0, (0.0, 0.5), method="rodas5p", rtol=1e-9, atol=1e-12).x1
    assert float((few.x1 - truth).abs().max()) < 1e-4
    assert 4 * int(few.stats.f_evals) < int(many.stats.f_evals)
    assert int(few.stats.f_evals) <= few.stats.work
    sharp = ob.integrate(heat, x0, (0.0, 0.5), method=kind(radius=lambda t, x: torch.full((1,), RADIUS).double()), **options)
    assert int(sharp.stats.f_evals) < int(few.stats.f_evals)


def decaying(k):
    return SMOOTH * math.exp(-DECAY * 0.2 * float(k))


@pytest.mark.parametrize("kind", BOTH)
def test_every_trajectory_has_its_own_stages_and_is_itself_alone_to_the_bit(kind):
    k = torch.tensor([[1.0], [0.01], [0.3], [5.0], [0.0]]).double()
    x0 = SMOOTH.expand(5, N)
    options = {"method": kind(), "rtol": 1e-5, "atol": 1e-8, "save": ob.Every()}
    batch = ob.integrate(heat, x0, (0.0, 0.2), args=k, **options)
    assert torch.allclose(batch.x1, torch.stack([decaying(v) for v in k]), rtol=0, atol=3e-4)
    assert len(set(batch.stats.f_evals.tolist())) == 5
    for i in range(5):
        alone = ob.integrate(heat, x0[i : i + 1], (0.0, 0.2), args=k[i : i + 1], **options)
        assert torch.equal(batch.x1[i], alone.x1[0])
        for name in ("accepted", "rejected", "f_evals"):
            assert int(getattr(batch.stats, name)[i]) == int(getattr(alone.stats, name)[0]), name
    # lanes that have had their last stage leave: what is computed is what is needed, but for the end slope of some tries
    assert batch.stats.work < 1.2 * int(batch.stats.f_evals.sum())


@pytest.mark.parametrize("kind", BOTH)
def test_counts_of_one_step(kind):
    one, h = kind(), 0.01
    calls = []

    def counted(t, x):
        calls.append(len(x))
        return heat(t, x)

    f = BoundField(counted)
    t, x = torch.zeros(1).double(), SMOOTH[None]
    slope = f(t, x)
    step = one.step(f, t, x, torch.full((1,), h).double(), h, slope, one.start(f, t, x))
    assert int(step.cost.f_evals) == len(calls) - 1
    assert int(step.memory.age) == 1
    before = len(calls)
    more = one.step(f, t + h, step.x, torch.full((1,), h).double(), h, step.slope, step.memory)
    assert len(calls) - before == int(more.cost.f_evals) == int(more.found)
    assert torch.equal(more.slope, heat(t, more.x))
    for _ in range(AGE):
        more = one.step(f, t, x, torch.full((1,), h).double(), h, slope, more.memory)
    assert int(more.memory.age) == 1 + (1 + AGE) % AGE
    # a rejected try has the estimate made again, unless it was made here
    fresh = one.step(f, t, x, torch.full((1,), h).double(), h, slope, more.retry)
    assert int(fresh.cost.f_evals) > int(fresh.found)
    again = one.step(f, t, x, torch.full((1,), h).double(), h, slope, fresh.retry)
    assert int(again.cost.f_evals) == int(again.found)


@pytest.mark.parametrize("kind", BOTH)
def test_a_bound_on_the_stages_bounds_the_step(kind):
    one = kind(most=9)
    sol = ob.integrate(heat, SMOOTH[None], (0.0, 1.0), method=one, rtol=1e-2, atol=1e-3, first_step=0.5, save=ob.Every())
    assert float(sol.x1.abs().max()) < 2e-3
    assert int(sol.stats.rejected) < 0.1 * int(sol.stats.accepted) + 12
    longest = float(one.bound(torch.tensor([9]))) / RADIUS
    assert float(torch.nan_to_num(sol.hs).max()) <= longest
    assert float(sol.hs[0, 20:-1].median()) > 0.6 * longest
    # a fixed step that is too long is told, on a grid by nan, and costs nothing
    told = ob.integrate(heat, SMOOTH[None], (0.0, 1.0), method=one, controller="fixed", first_step=0.1, throw=False)
    assert int(told.result) == Result.STEP_TOO_SMALL
    f, t, x = BoundField(heat), torch.zeros(1).double(), SMOOTH[None]
    step = one.step(f, 0.0, x, 0.1, 0.1, f(t, x), one.start(f, 0.0, x))
    assert bool(torch.isnan(step.x).all())
    assert step.trouble.tolist() == [int(Result.STEP_TOO_SMALL)]


def test_rounding_bounds_the_stages_of_float32():
    f = BoundField(heat, tol=Tolerance(torch.full((1,), 1e-3), torch.full((1, 1), 1e-3)))
    x, t = SMOOTH[None].float(), torch.zeros(1).double()
    one = RKC2()
    for h, expected in ((0.05, Result.OK), (0.5, Result.STEP_TOO_SMALL)):
        dt = torch.full((1,), h).double()
        step = one.step(f, t, x, dt, dt[:, None].float(), f(t, x), one.start(f, t, x))
        assert step.trouble.tolist() == [int(expected)]
        assert step.x.dtype == torch.float32
        assert int(step.found) <= math.sqrt(1e-3 / (10 * torch.finfo(torch.float32).eps))
    sol = ob.integrate(heat, x, (0.0, 0.2), method=one)
    assert torch.allclose(sol.x1[0].double(), decaying(1.0), rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", BOTH)
def test_grid(kind):
    sol = ob.integrate(heat, SMOOTH[None], ob.Grid(tuple(0.01 * k for k in range(21))), method=kind())
    assert torch.allclose(sol.x1[0], decaying(1.0), rtol=0, atol=2e-3)
    span = ob.integrate(heat, SMOOTH[None], (0.0, 0.2), method=kind(), controller="fixed", first_step=0.01, rtol=1e-4)
    assert torch.allclose(sol.x1, span.x1, rtol=0, atol=1e-5)


def bent(t, x, k):
    """Diffusion that depends on the state, and a source in time."""
    u = torch.nn.functional.pad(x, (1, 1))
    mid = 0.5 * (u[:, 1:] + u[:, :-1])
    flux = k * (1.0 + mid * mid) * (u[:, 1:] - u[:, :-1])
    return 30.0 * (flux[:, 1:] - flux[:, :-1]) + torch.sin(t)[:, None]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("grid", [False, True])
def test_gradient_agrees_with_finite_differences(kind, grid):
    g = torch.Generator().manual_seed(0)
    x0, k = torch.rand(3, 6, generator=g).double(), torch.tensor([[0.2], [1.0], [3.0]]).double()
    weights = torch.rand(6, generator=g).double()
    ends = torch.tensor([0.3, 0.2, 0.25]).double()

    def value(x0, k):
        if grid:
            sol = ob.integrate(bent, x0, ob.Grid((0.0, 0.05, 0.1)), args=k, method=kind())
        else:
            options = {"controller": "fixed", "first_step": 0.04, "rtol": 1e-6}
            sol = ob.integrate(bent, x0, (0.0, ends), args=k, method=kind(), **options)
        return (sol.x1 * weights).sum()

    x, p = x0.clone().requires_grad_(), k.clone().requires_grad_()
    value(x, p).backward()
    eps = 1e-6
    for have, which in ((x.grad, 0), (p.grad, 1)):
        for i in range(0, have.numel(), 1 if which else 5):
            both = []
            for sign in (1.0, -1.0):
                moved = [x0.clone(), k.clone()]
                moved[which].view(-1)[i] += sign * eps
                both.append(float(value(*moved)))
            assert float(have.reshape(-1)[i]) == pytest.approx((both[0] - both[1]) / (2 * eps), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", BOTH)
def test_the_replayed_walk_has_the_same_bits_after_rejections(kind):
    x0, k = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)).double(), torch.tensor([[0.2], [1.0], [3.0]]).double()
    options = {"method": kind(), "rtol": 1e-5, "atol": 1e-7, "first_step": 0.5, "save": ob.Every()}
    plain = ob.integrate(bent, x0, (0.0, 1.0), args=k, **options)
    assert int(plain.stats.rejected.sum()) > 3
    walked = ob.integrate(bent, x0.clone().requires_grad_(), (0.0, 1.0), args=k, **options)
    assert walked.x1.requires_grad
    assert torch.equal(plain.x1, walked.x1)
    assert torch.equal(torch.nan_to_num(plain.xs), torch.nan_to_num(walked.xs.detach()))


def test_dense_output_and_jumps():
    times = torch.linspace(0.0, 0.2, 33, dtype=torch.float64)
    sol = ob.integrate(heat, SMOOTH[None], (0.0, 0.2), method=RKC2(), rtol=1e-6, atol=1e-9, save=ob.At(times))
    truth = SMOOTH * torch.exp(-DECAY * times)[:, None]
    assert float((sol.xs[0] - truth).abs().max()) < 1e-4
    one = RKC2()
    memory = one.start(BoundField(heat), 0.0, SMOOTH[None])._replace(age=torch.tensor([3]))
    assert int(one.restart(memory, torch.tensor([True])).age) == AGE
    assert int(one.restart(memory, torch.tensor([False])).age) == 3


@pytest.mark.parametrize("kind", BOTH)
def test_bad_input_is_refused(kind):
    with pytest.raises(ValueError, match="from 3 to 2000"):
        kind(most=1)
    with pytest.raises(TypeError, match="must be a function"):
        kind(radius=3.0)
    with pytest.raises(ValueError, match=r"one number per trajectory, shape \(1,\), got \(1, 40\)"):
        ob.integrate(heat, SMOOTH[None], (0.0, 1.0), method=kind(radius=lambda t, x: x))
    with pytest.raises(ValueError, match="at least 0"):
        ob.integrate(heat, SMOOTH[None], (0.0, 1.0), method=kind(radius=lambda t, x: -torch.ones(1)))


def test_a_field_that_is_not_finite_nearby_is_told():
    told = ob.integrate(
        lambda t, x: -torch.where(x == 1.0, x, torch.nan), torch.ones(1, 2).double(), (0.0, 1.0), method=RKC2(), throw=False
    )
    assert int(told.result) == Result.NOT_FINITE

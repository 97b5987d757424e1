"""Events: where and when a function of time and state changes its sign."""

import math

import pytest
import torch

import odebridge as ob

D = torch.float64
GRAVITY = torch.tensor([[9.81], [1.62], [3.7]], dtype=D)
THROWN = torch.tensor([[0.0, 10.0], [0.0, 7.0], [5.0, 1.0]], dtype=D)
TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def fall(t, x, g):
    return torch.stack([x[:, 1], -g[:, 0]], 1)


def rotate(t, x):
    return torch.stack([x[:, 1], -x[:, 0]], 1)


def height(t, x):
    return x[:, 0]


def landing(g, x0):
    """When a thrown ball is back on the ground."""
    return (x0[:, 1] + (x0[:, 1] ** 2 + 2 * g[:, 0] * x0[:, 0]).sqrt()) / g[:, 0]


GROUND = ob.Event(height, direction=-1)
APEX = ob.Event(lambda t, x: x[:, 1], terminal=False)


@pytest.mark.parametrize("method", ["tsit5", "bosh3", "rodas5p", "kvaerno5", "auto"])
def test_a_terminal_event_ends_each_trajectory_at_its_own_time(method):
    rough = method == "bosh3"
    options = {"rtol": 1e-6, "atol": 1e-8} if rough else TIGHT
    sol = ob.integrate(fall, THROWN, (0.0, 50.0), args=GRAVITY, method=method, events=(GROUND, APEX), **options)
    assert sol.result.tolist() == [ob.Result.EVENT] * 3
    assert not sol.failures
    assert sol.message == "all trajectories reached the end or a terminal event"
    assert torch.allclose(sol.t1, landing(GRAVITY, THROWN), rtol=1e-11)
    assert float(sol.x1[:, 0].abs().max()) < 1e-9
    ground, apex = sol.events
    assert torch.equal(ground.ts[:, 0], sol.t1)
    assert torch.equal(ground.xs[:, 0], sol.x1)
    assert torch.allclose(apex.ts[:, 0], THROWN[:, 1] / GRAVITY[:, 0], rtol=1e-11)


def test_what_is_kept_ends_at_the_event():
    times = torch.tensor([0.0, 0.5, 2.0, 9.0], dtype=D)
    kept = {
        save: ob.integrate(fall, THROWN, (0.0, 50.0), args=GRAVITY, events=GROUND, save=save, **TIGHT)
        for save in (ob.Every(), ob.Dense(), ob.At(times))
    }
    every, dense, at = kept.values()
    count = torch.isfinite(every.ts).sum(1)
    rows = torch.arange(3)
    assert torch.equal(every.ts[rows, count - 1], every.t1)
    assert torch.equal(every.xs[rows, count - 1], every.x1)
    assert torch.allclose(torch.nansum(every.hs, 1), every.t1)
    reached = times <= at.t1[:, None]
    exact = THROWN[:, :1] + THROWN[:, 1:] * times - 0.5 * GRAVITY * times**2
    assert reached.sum(1).tolist() == [3, 3, 2]
    for xs in (at.xs, dense(times)):
        assert torch.allclose(xs[..., 0][reached], exact[reached], atol=1e-9)
        assert torch.equal(torch.isnan(xs[..., 0]), ~reached)
    assert torch.equal(torch.isnan(at.ts), ~reached)
    assert torch.equal(dense(dense.t1[:, None])[:, 0], dense.x1)


def test_several_occurrences_in_either_direction():
    x0 = torch.tensor([[1.0, 0.0]], dtype=D)
    crossings = tuple(ob.Event(height, terminal=False, direction=d) for d in (0, 1, -1))
    quarter = 0.5 * math.pi
    for span, sign in (((0.0, 12.0), 1.0), ((0.0, -12.0), -1.0)):
        sol = ob.integrate(rotate, x0, span, events=crossings, **TIGHT)
        both, rising, falling = (e.ts[0] for e in sol.events)
        truth = sign * quarter * torch.tensor([1.0, 3.0, 5.0, 7.0], dtype=D)
        assert torch.allclose(both, truth, atol=1e-8)
        assert torch.equal(rising, both[1::2])
        assert torch.equal(falling, both[::2])
        assert int(sol.result) == ob.Result.OK
        assert float(sol.t1) == span[1]


def test_the_earliest_terminal_event_of_a_step_wins_and_later_ones_do_not_count():
    """x = t in one step of 1."""
    levels = (0.7, 0.3, 0.2, 0.5)
    ends = (False, True, False, True)
    events = tuple(ob.Event(lambda t, x, v=v: x[:, 0] - v, terminal=e) for v, e in zip(levels, ends, strict=True))
    sol = ob.integrate(
        lambda t, x: torch.ones_like(x),
        torch.zeros(1, 1, dtype=D),
        (0.0, 1.0),
        controller="fixed",
        first_step=1.0,
        events=events,
    )
    assert int(sol.stats.accepted) == 1
    assert float(sol.t1) == pytest.approx(0.3, abs=1e-15)
    assert [e.ts.shape[1] for e in sol.events] == [0, 1, 1, 0]
    assert float(sol.events[2].ts) == pytest.approx(0.2, abs=1e-15)


def test_zero_at_the_start_is_no_event_and_zero_at_a_step_end_is_one():
    options = {"method": "euler", "controller": "fixed", "first_step": 0.25}
    x0 = torch.tensor([[0.0], [-0.5]], dtype=D)
    event = ob.Event(height, terminal=False)
    sol = ob.integrate(lambda t, x: torch.ones_like(x), x0, (0.0, 1.0), events=event, save=ob.Every(), **options)
    assert float(sol.xs[1, 2, 0]) == 0.0
    assert torch.isnan(sol.events[0].ts[0]).all()
    assert sol.events[0].ts[1].tolist() == [0.5]


def test_times_are_located_to_a_few_roundings_whatever_the_condition_looks_like():
    root = 1.0 / 3.0
    shapes = {
        "steep": lambda t, x: torch.expm1(200.0 * (x[:, 0] - root)),
        "flat": lambda t, x: (x[:, 0] - root) * (x[:, 0] - root).abs(),
        "jump": lambda t, x: torch.where(x[:, 0] >= root, 1.0, -1.0).double(),
        "pole": lambda t, x: torch.where(x[:, 0] >= root, torch.inf, x[:, 0] - 5.0),
    }
    for name, shape in shapes.items():
        sol = ob.integrate(
            lambda t, x: torch.ones_like(x), torch.zeros(1, 1, dtype=D), (0.0, 1.0), controller="fixed", first_step=1.0,
            events=ob.Event(shape),
        )  # fmt: skip
        assert abs(float(sol.t1) - root) < 4e-16, name


def test_events_in_a_batch_are_those_of_each_alone():
    x0 = torch.tensor([[2.0, 0.0], [0.3, 0.1], [1.0, -0.5], [0.1, 2.0]], dtype=D)
    mu = torch.tensor([[1.0], [5.0], [0.2], [3.0]], dtype=D)

    def oscillator(t, x, p):
        return torch.stack([x[:, 1], p[:, 0] * (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], 1)

    stop = ob.Event(lambda t, x, p: t - 3.0 * p[:, 0].sqrt() - x[:, 1])
    cross = ob.Event(height, terminal=False)
    for method in ("tsit5", "rodas5p"):
        options = {"method": method, "events": (cross, stop), "save": ob.Every(), "rtol": 1e-5}
        batch = ob.integrate(oscillator, x0, (0.0, 30.0), args=mu, **options)
        assert (batch.result == ob.Result.EVENT).all()
        for i in range(4):
            solo = ob.integrate(oscillator, x0[i : i + 1], (0.0, 30.0), args=mu[i : i + 1], **options)
            assert torch.equal(solo.t1[0], batch.t1[i])
            assert torch.equal(solo.x1[0], batch.x1[i])
            assert torch.equal(solo.h[0], batch.h[i])
            for a, b in ((solo.ts, batch.ts), (solo.xs, batch.xs), *zip(solo.events[0], batch.events[0], strict=True)):
                k = a.shape[1]
                assert torch.equal(a[0], b[i, :k])
                assert torch.isnan(b[i, k:]).all()


def test_a_failed_trajectory_keeps_its_events_and_its_last_time():
    event = ob.Event(lambda t, x: x[:, 0] - 2.0, terminal=False)
    sol = ob.integrate(
        lambda t, x: x * x,
        torch.tensor([[1.0], [0.1]], dtype=D),
        (0.0, 2.0),
        events=event,
        throw=False,
        save=ob.Every(),
        **TIGHT,
    )
    assert int(sol.result[0]) in {ob.Result.STEP_TOO_SMALL, ob.Result.NOT_FINITE}
    assert float(sol.events[0].ts[0, 0]) == pytest.approx(0.5, abs=1e-7)
    assert torch.isnan(sol.events[0].ts[1]).all()
    assert float(sol.t1[0]) == float(sol.ts[0][torch.isfinite(sol.ts[0])].max())
    assert float(sol.t1[1]) == 2.0


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5"])
def test_the_time_of_an_event_has_a_gradient(method):
    """Landing time and speed on impact against their formulas."""
    g, x0 = GRAVITY.clone().requires_grad_(), THROWN.clone().requires_grad_()
    sol = ob.integrate(fall, x0, (0.0, 50.0), args=g, method=method, events=(GROUND, APEX), save=ob.Every(), **TIGHT)
    with torch.no_grad():
        plain = ob.integrate(fall, x0, (0.0, 50.0), args=g, method=method, events=(GROUND, APEX), save=ob.Every(), **TIGHT)
    for a, b in ((sol.t1, plain.t1), (sol.x1, plain.x1), (sol.events[1].xs, plain.events[1].xs)):
        assert torch.equal(a.detach(), b)
    assert torch.equal(sol.xs.detach().nan_to_num(), plain.xs.nan_to_num())
    truth = landing(g, x0)
    speed = x0[:, 1] - g[:, 0] * truth
    top = x0[:, 0] + 0.5 * x0[:, 1] ** 2 / g[:, 0]
    for found, exact in ((sol.t1, truth), (sol.x1[:, 1], speed), (sol.events[1].xs[:, 0, 0], top)):
        assert torch.allclose(found, exact, rtol=1e-8)
        for a, b in zip(
            torch.autograd.grad(found.sum(), (g, x0), retain_graph=True),
            torch.autograd.grad(exact.sum(), (g, x0), retain_graph=True),
            strict=True,
        ):
            assert torch.allclose(a, b, rtol=1e-7, atol=1e-8)
    assert torch.autograd.grad(sol.x1[:, 0].sum(), g)[0].abs().max() < 1e-8  # on the ground, whatever g is


@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_gradient_of_a_crossing_of_van_der_pol_agrees_with_finite_differences(method):
    def oscillator(t, x, p):
        return torch.stack([x[:, 1], p[:, 0] * (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], 1)

    x0 = torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=D)
    level = torch.tensor(0.1, dtype=D, requires_grad=True)
    event = ob.Event(lambda t, x, p: x[:, 0] - level * p[:, 0], direction=-1)
    mu = torch.tensor([[2.0], [1.0]], dtype=D, requires_grad=True)

    def value(mu):
        options = {"rtol": 1e-10, "atol": 1e-12, "save": ob.At([0.2, 0.7])}
        sol = ob.integrate(oscillator, x0, (0.0, 20.0), args=mu, method=method, events=event, **options)
        return sol.t1.sum() + 0.3 * sol.x1[:, 1].sum() + sol.events[0].xs[:, 0, 1].sum() + sol.xs.sum()

    found = torch.autograd.grad(value(mu), (mu, level))
    with torch.no_grad():
        eps = 1e-5
        steps = eps * torch.eye(2, dtype=D)[:, :, None]
        numeric = torch.stack([(value(mu + s) - value(mu - s)) / (2 * eps) for s in steps])
        level += eps
        high = value(mu)
        level -= 2 * eps
        low = value(mu)
        level += eps
    assert torch.allclose(found[0][:, 0], numeric, rtol=1e-6)
    assert float(found[1]) == pytest.approx(float(high - low) / (2 * eps), rel=1e-6)


def test_an_event_time_does_not_depend_on_the_end_of_the_span():
    t1 = torch.tensor([50.0, 0.5, 50.0], dtype=D, requires_grad=True)
    sol = ob.integrate(fall, THROWN, (0.0, t1), args=GRAVITY, events=GROUND, **TIGHT)
    assert sol.result.tolist() == [ob.Result.EVENT, ob.Result.OK, ob.Result.EVENT]
    gradient = torch.autograd.grad(sol.t1.sum() + sol.x1.sum(), t1)[0]
    slope = THROWN[1, 1] - GRAVITY[1, 0] * 0.5 - GRAVITY[1, 0]
    assert torch.allclose(gradient, torch.stack([0 * slope, 1 + slope, 0 * slope]), rtol=1e-9)


def test_a_ball_bounces_by_going_on_from_the_event():
    x0, t = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=D), 0.0
    g = GRAVITY[:2]
    drop = torch.sqrt(2 * x0[:, 0] / g[:, 0])
    for bounce in range(4):
        sol = ob.integrate(fall, x0, (t, 100.0), args=g, events=GROUND, **TIGHT)
        exact = drop * (1 + 2 * sum(0.8**k for k in range(1, bounce + 1)))
        assert torch.allclose(sol.t1, exact, rtol=1e-9)
        x0, t = sol.x1 * torch.tensor([0.0, -0.8], dtype=D), sol.t1


def test_single_precision_and_one_system():
    sol = ob.integrate(rotate, torch.tensor([[1.0, 0.0]]), (0.0, 5.0), events=ob.Event(height), rtol=2e-5, atol=1e-7)
    assert sol.x1.dtype == torch.float32
    assert float(sol.t1) == pytest.approx(0.5 * math.pi, abs=1e-4)
    one = ob.solve(ob.Problem(rotate, [1.0, 0.0], (0.0, 5.0)), method="tsit5", events=ob.Event(height), **TIGHT)
    assert one.t1.shape == ()
    assert one.events[0].ts.shape == (1,)
    assert one.events[0].xs.shape == (1, 2)
    assert "1 trajectory: EVENT" in repr(one)


WEIGHTS = torch.ones(2, dtype=D)

REFUSED = {
    "a function": (height, TypeError, r"ob\.Event"),
    "a number": (3, TypeError, r"ob\.Event"),
    "a matrix": (ob.Event(lambda t, x: x), ValueError, "event 0 must return one floating number"),
    "a bool": (ob.Event(lambda t, x: x[:, 0] > 0), ValueError, "event 0"),
    "a captured batch": ((APEX, ob.Event(lambda t, x: x[:, 0] * WEIGHTS)), ValueError, "event 1 fails for trajectory 0 alone"),
    "coupled": (ob.Event(lambda t, x: x[:, 0] - 5 * x[:, 0].sum()), ValueError, "must not depend on each other"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_events_get_a_sentence(case):
    events, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        ob.integrate(rotate, torch.ones(2, 2, dtype=D), (0.0, 1.0), events=events)


def test_bad_settings_of_an_event():
    for settings, kind in (({"condition": 3}, TypeError), ({"terminal": 1}, TypeError), ({"direction": 2}, ValueError)):
        with pytest.raises(kind, match="Event"):
            ob.Event(**{"condition": height, **settings})
    with pytest.raises(ValueError, match="events: works over a span"):
        ob.integrate(rotate, torch.ones(1, 2), ob.Grid((0.0, 1.0)), events=GROUND)

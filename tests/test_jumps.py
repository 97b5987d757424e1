"""Fields that jump at known times, and forcing by tables."""

import math

import pytest
import torch
from scipy.interpolate import CubicSpline

import odebridge as ob
from odebridge.methods import METHODS

D = torch.float64
TIGHT = {"rtol": 1e-8, "atol": 1e-10}


def switch(t, x, a):
    """x' = x before t = 1 and -a x from there on."""
    return torch.where(t[:, None] >= 1.0, -a * x, x)


def rates(*values):
    return torch.tensor(values, dtype=D)[:, None]


METHODS_TRIED = [m for m in ("tsit5", "dopri8", "rodas5p", "kvaerno5", "auto", "radau5", "bdf", "adams") if m in METHODS]


@pytest.mark.parametrize("method", METHODS_TRIED)
@pytest.mark.parametrize("span", [(0.0, 2.0), (2.0, 0.0)])
def test_a_jump_costs_no_accuracy_and_few_rejections(method, span):
    a = rates(3.0, 0.5)
    exact = torch.exp(1.0 - a) if span[0] == 0.0 else torch.exp(a - 1.0)
    blind = ob.integrate(switch, torch.ones(2, 1, dtype=D), span, args=a, method=method, **TIGHT)
    sol = ob.integrate(
        switch, torch.ones(2, 1, dtype=D), span, args=a, method=method, discontinuities=(5.0, 1.0), save=ob.Every(), **TIGHT
    )
    assert bool((sol.ts == 1.0).any(1).all())
    history = method in ("bdf", "adams")  # they start anew at order 1
    assert torch.allclose(sol.x1, exact, rtol=1e-5 if history else 5e-8)
    if not history:
        assert int(sol.stats.rejected.max()) <= 4
        assert bool((sol.stats.rejected + 10 <= blind.stats.rejected).all())
        assert bool((sol.stats.accepted < blind.stats.accepted).all())


@pytest.mark.parametrize("method", ["heun", "rk4", "tsit5", "rodas5p"])
def test_the_order_is_not_lost(method):
    """Fixed steps that do not fit the jump: the error of a blind solve falls as h, this one as h^order."""

    def error(n, discontinuities):
        sol = ob.integrate(
            switch, torch.ones(1, 1, dtype=D), (0.0, 2.0), args=rates(3.0), method=method, controller="fixed",
            first_step=2.0 / n, discontinuities=discontinuities,
        )  # fmt: skip
        return float((sol.x1 - math.exp(-2.0)).abs())

    low, high = (7, 21) if METHODS[method].order > 2 else (21, 63)
    order = math.log(error(low, (1.0,)) / error(high, (1.0,))) / math.log(high / low)
    assert order > METHODS[method].order - 0.5
    if METHODS[method].order > 2:
        assert error(high, ()) > 100 * error(high, (1.0,))


def test_each_step_sees_the_field_from_its_own_side():
    for dtype in (torch.float64, torch.float32):
        asked = []

        def f(t, x, asked=asked):
            asked.append(t.clone())
            return torch.ones_like(x)

        ob.integrate(
            f, torch.zeros(1, 1, dtype=dtype), (0.0, 2.0), method="tsit5", controller="fixed", first_step=0.3,
            discontinuities=torch.tensor([1.3, 0.7]),
        )  # fmt: skip
        times = torch.cat(asked)
        assert times.dtype == dtype
        eps = torch.finfo(dtype).eps
        for jump in (float(torch.tensor(1.3)), float(torch.tensor(0.7))):
            near = times[(times - jump).abs() < 100 * eps]
            assert len(near) >= 2
            assert not bool((near == jump).any())
            assert bool((near < jump).any())
            assert bool((near > jump).any())
            assert float((near - jump).abs().max()) < 8 * eps


def test_single_precision_lands_on_the_right_side():
    sol = ob.integrate(
        lambda t, x: torch.where(t[:, None] >= 0.7, -x, x), torch.ones(2, 1), (0.0, 1.4), rtol=1e-5, discontinuities=(0.7,)
    )
    assert torch.allclose(sol.x1, torch.ones(2, 1), rtol=2e-5)
    assert int(sol.stats.rejected.max()) == 0


def test_jumps_at_the_ends_and_outside_change_nothing_but_the_side():
    def f(t, x):
        return torch.where((t[:, None] <= 0.0) | (t[:, None] >= 1.0), 1e3, 1.0).to(x)

    x0 = torch.zeros(2, 1, dtype=D)
    t0 = torch.tensor([0.0, 0.25], dtype=D)
    sol = ob.integrate(f, x0, (t0, 1.0), discontinuities=(0.0, 1.0, -3.0, 7.0), save=ob.Every())
    assert torch.allclose(sol.x1[:, 0], 1.0 - t0, rtol=1e-13)
    smooth = ob.integrate(lambda t, x: torch.ones_like(x), x0, (t0, 1.0), save=ob.Every())
    assert torch.equal(sol.stats.accepted, smooth.stats.accepted)


def test_jumps_in_a_batch_are_those_of_each_alone():
    a = rates(3.0, 0.5, 1.0, 40.0)
    t0, t1 = torch.tensor([0.0, 2.0, 1.0, 0.5], dtype=D), torch.tensor([2.0, 0.3, 1.5, 6.0], dtype=D)
    for method in ("tsit5", "rodas5p", "kvaerno5"):
        options = {"method": method, "discontinuities": (1.0, 1.2), "save": ob.Every()}
        batch = ob.integrate(switch, torch.ones(4, 1, dtype=D), (t0, t1), args=a, **options)
        for i in range(4):
            solo = ob.integrate(switch, torch.ones(1, 1, dtype=D), (t0[i], t1[i]), args=a[i : i + 1], **options)
            k = solo.ts.shape[1]
            assert torch.equal(solo.ts[0], batch.ts[i, :k])
            assert torch.equal(solo.xs[0], batch.xs[i, :k])
            assert int(solo.stats.f_evals) == int(batch.stats.f_evals[i])


@pytest.mark.parametrize("method", [m for m in ("tsit5", "rk4", "rodas5p", "kvaerno5", "bdf") if m in METHODS])
def test_gradients_go_through_jumps(method):
    a = rates(3.0, 0.5).requires_grad_()
    x0 = torch.tensor([[1.0], [2.0]], dtype=D, requires_grad=True)
    options = {"method": method, "discontinuities": (1.0,), "save": ob.At([0.5, 1.0, 1.7])}
    options |= {"controller": "fixed", "first_step": 0.013} if method == "rk4" else TIGHT
    sol = ob.integrate(switch, x0, (0.0, 2.0), args=a, **options)
    with torch.no_grad():
        plain = ob.integrate(switch, x0, (0.0, 2.0), args=a, **options)
    assert torch.equal(sol.x1.detach(), plain.x1)
    assert torch.equal(sol.xs.detach(), plain.xs)
    ga, gx = torch.autograd.grad(sol.x1.sum() + sol.xs.sum(), (a, x0))
    with torch.no_grad():
        first, end, late = math.exp(0.5) + math.e, torch.exp(1 - a), torch.exp(1 - 0.7 * a)
        rough = {"rtol": 1e-4} if method == "bdf" else {"rtol": 1e-6}
        assert torch.allclose(gx, first + end + late, **rough)
        assert torch.allclose(ga, -x0 * (end + 0.7 * late), **rough)


def test_a_stiff_reaction_front_whose_inflow_stops():
    """Like the Medical Akzo Nobel problem: a boundary value falls from 2 to 0 at t = 5."""
    n, k = 8, 100.0

    def f(t, x):
        u, v = x.chunk(2, 1)
        edge = torch.where(t[:, None] <= 5.0, 2.0, 0.0).to(x)
        padded = torch.cat([edge, u, u[:, -1:]], 1)
        bend = (padded[:, 2:] - 2 * u + padded[:, :-2]) * n * n
        return torch.cat([bend - k * u * v, -k * u * v], 1)

    x0 = torch.cat([torch.zeros(1, n), torch.ones(1, n)], 1).double()
    options = {"method": "rodas5p", "rtol": 1e-6, "atol": 1e-8}
    reference = ob.integrate(f, x0, (0.0, 5.0), **{**options, "rtol": 1e-8, "atol": 1e-10})

    def dry(t, x):
        return f(t + 10.0, x)

    reference = ob.integrate(dry, reference.x1, (0.0, 5.0), **{**options, "rtol": 1e-8, "atol": 1e-10})
    blind = ob.integrate(f, x0, (0.0, 10.0), **options)
    sol = ob.integrate(f, x0, (0.0, 10.0), discontinuities=(5.0,), **options)
    assert float((sol.x1 - reference.x1).abs().max()) < 1e-6
    assert int(sol.stats.rejected) <= int(blind.stats.rejected)


BAD = {
    "text": ("5.0", TypeError),
    "nothing": (None, TypeError),
    "not finite": ((1.0, math.inf), ValueError),
    "a table": (torch.ones(2, 2), ValueError),
    "words": (("a", "b"), TypeError),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_discontinuities_get_a_sentence(case):
    given, kind = BAD[case]
    with pytest.raises(kind, match="discontinuities"):
        ob.integrate(lambda t, x: -x, torch.ones(2, 1), (0.0, 1.0), discontinuities=given)


def test_discontinuities_on_a_grid_are_refused():
    with pytest.raises(ValueError, match="discontinuities: works over a span"):
        ob.integrate(lambda t, x: -x, torch.ones(2, 1), ob.Steps(2), discontinuities=(0.5,))


TABLE = torch.tensor([0.0, 0.4, 1.0, 1.1, 2.0, 3.0], dtype=D)
VALUES = torch.tensor([1.0, -0.5, 2.0, 0.3, 0.0, 1.5], dtype=D)


def test_tables_are_met_and_held_outside():
    for kind in ("previous", "linear", "cubic"):
        u = ob.Forcing(TABLE, VALUES, kind)
        assert torch.allclose(u(TABLE), VALUES, atol=1e-15)
        assert u(torch.tensor([-1.0, 9.0], dtype=D)).tolist() == [1.0, 1.5]
        assert u.knots == tuple(TABLE.tolist())
    t = torch.linspace(0.0, 3.0, 101, dtype=D)
    assert ob.Forcing(TABLE, VALUES, "previous")(torch.tensor([0.39, 0.41], dtype=D)).tolist() == [1.0, -0.5]
    assert float(ob.Forcing(TABLE.tolist(), VALUES.tolist())(torch.tensor([0.2], dtype=D))) == pytest.approx(0.25)
    spline = CubicSpline(TABLE.numpy(), VALUES.numpy(), bc_type="natural")(t.numpy())
    assert torch.allclose(ob.Forcing(TABLE, VALUES, "cubic")(t), torch.from_numpy(spline), atol=1e-14)


@pytest.mark.parametrize("kind", ["previous", "linear", "cubic"])
def test_columns_and_tables_of_the_trajectories(kind):
    t = torch.linspace(-0.2, 3.2, 9, dtype=D)
    columns = torch.stack([VALUES, VALUES.flip(0)], 1)
    shared = ob.Forcing(TABLE, columns, kind)(t)
    assert torch.allclose(shared[:, 0], ob.Forcing(TABLE, VALUES, kind)(t), atol=1e-15)
    assert torch.allclose(shared[:, 1], ob.Forcing(TABLE, VALUES.flip(0), kind)(t), atol=1e-15)
    own = columns.expand(9, 6, 2)
    u = ob.Forcing(TABLE, kind=kind)
    assert torch.allclose(u(t, own), shared, atol=1e-15)
    assert torch.allclose(u(t, own[..., 1]), shared[:, 1], atol=1e-15)
    assert torch.allclose(ob.Forcing(TABLE, own, kind)(t), shared, atol=1e-15)


@pytest.mark.parametrize("kind", ["previous", "linear", "cubic"])
def test_a_forced_system_has_gradients_to_its_table_and_equals_itself_alone(kind):
    u = ob.Forcing(TABLE, kind=kind)
    tables = torch.stack([VALUES, 0.5 * VALUES, VALUES.flip(0)]).requires_grad_()
    options = {"discontinuities": u.knots, **TIGHT}

    def f(t, x, v):
        return u(t, v)[:, None] - x

    def end(v):
        return ob.integrate(f, torch.zeros(len(v), 1, dtype=D), (0.0, 2.7), args=v, **options).x1

    x1 = end(tables)
    # x1 is linear in the table: the gradient times the table is x1 itself
    gradient = torch.autograd.grad(x1.sum(), tables)[0]
    assert torch.allclose((gradient * tables).sum(1), x1[:, 0], rtol=1e-6)
    with torch.no_grad():
        for i in range(3):
            assert torch.equal(end(tables[i : i + 1])[0], x1[i])
        hi, lo = tables.clone(), tables.clone()
        hi[:, 2] += 1e-4
        lo[:, 2] -= 1e-4
        assert torch.allclose((end(hi) - end(lo))[:, 0] / 2e-4, gradient[:, 2], rtol=1e-5, atol=1e-8)
    stiff = ob.integrate(f, torch.zeros(3, 1, dtype=D), (0.0, 2.7), args=tables.detach(), method="rodas5p", **options)
    assert torch.allclose(stiff.x1, x1.detach(), rtol=1e-6)


TABLES = {
    "an unknown kind": ((TABLE, VALUES, "akima"), ValueError, "kind"),
    "falling times": ((TABLE.flip(0), VALUES), ValueError, "above the last"),
    "one time": (([0.0], [1.0]), ValueError, "at least two"),
    "too few values": ((TABLE, VALUES[:3]), ValueError, "k=6"),
    "words": ((["a", "b"], VALUES), TypeError, "numbers"),
}


@pytest.mark.parametrize("case", TABLES)
def test_bad_tables_get_a_sentence(case):
    given, kind, words = TABLES[case]
    with pytest.raises(kind, match=words):
        ob.Forcing(*given)


def test_a_table_of_the_trajectories_must_come_as_args():
    u = ob.Forcing(TABLE, VALUES.expand(3, 6)[..., None])
    with pytest.raises(ValueError, match="args"):
        ob.integrate(lambda t, x: u(t) - x, torch.zeros(3, 1, dtype=D), (0.0, 1.0))
    with pytest.raises(ValueError, match="has no values"):
        ob.Forcing(TABLE)(torch.zeros(2, dtype=D))

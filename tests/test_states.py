"""States: parts of them, several parts, nonnegative, complex, steady ones, and going on from the last one."""

import math
from typing import NamedTuple

import pytest
import torch

import odebridge as ob
from odebridge.core.fields import Separable, Split

D = torch.float64
TIGHT = {"rtol": 1e-8, "atol": 1e-10}


class Phase(NamedTuple):
    q: torch.Tensor
    p: torch.Tensor


def rotate(t, x):
    return torch.stack([x[:, 1], -x[:, 0]], 1)


def swing(t, s):
    return Phase(s.p, -s.q)


def decay(t, x):
    return -x


def phase(b=3):
    q = torch.arange(1.0, 1.0 + 2 * b, dtype=D).reshape(b, 2)
    return Phase(q, 0.5 * q.flip(0))


def flat(s):
    return torch.cat([s.q, s.p], 1)


def energy(t, x):
    return x.square().sum(1)


# ---- a function of the state


@pytest.mark.parametrize("graph", [False, True])
def test_a_function_of_the_state_is_kept_instead_of_it(graph):
    x0 = flat(phase()).reshape(3, 2, 2)[:, :, 0].contiguous().requires_grad_(graph)
    for save in (ob.Every, lambda of=None: ob.At([0.0, 0.3, 1.0], of=of)):
        whole = ob.integrate(rotate, x0, (0.0, 1.0), save=save())
        part = ob.integrate(rotate, x0, (0.0, 1.0), save=save(of=lambda t, x: x[:, 1:]))
        assert torch.equal(part.xs, whole.xs[..., 1:])
        assert torch.equal(part.ts, whole.ts)
        assert torch.equal(part.x1, whole.x1)
        scalar = ob.integrate(rotate, x0, (0.0, 1.0), save=save(of=energy))
        assert torch.allclose(scalar.xs, whole.xs.square().sum(2))
        timed = ob.integrate(rotate, x0, (0.0, 1.0), save=save(of=lambda t, x: t))
        assert torch.equal(timed.xs, whole.ts)
        if graph:
            a, b = (torch.autograd.grad(v.sum(), x0)[0] for v in (scalar.xs, whole.xs.square()))
            assert torch.allclose(a, b)


def test_a_function_of_the_layers_of_a_grid():
    sol = ob.integrate(decay, torch.ones(2, 3), ob.Steps(4), method="euler", save=ob.Every(of=lambda t, x: x.sum(1) + t))
    assert sol.xs.tolist() == [[3.0, 1.0, 2.0, 3.0, 4.0]] * 2
    assert sol.t1.tolist() == [4.0, 4.0]


def test_bad_functions_of_the_state_get_a_sentence():
    cases = {
        "must be a function": (3, TypeError),
        "one row per trajectory": (lambda t, x: x.sum(), ValueError),
        "return floats": (lambda t, x: x > 0, TypeError),
    }
    for words, (of, kind) in cases.items():
        for save in (ob.Every(of=of), ob.At([0.5], of=of)):
            with pytest.raises(kind, match=words):
                ob.integrate(decay, torch.ones(2, 2), (0.0, 1.0), save=save)


# ---- nonnegative


def knee(t, x):
    """The solution follows 1 - t down to 0 at t = 1 and stays there; at -0 it would leave for 1 - t < 0."""
    return ((1.0 - t)[:, None] * x - x * x) / 1e-6


@pytest.mark.parametrize("method", ["rosenbrock23", "rodas5p", "auto"])
def test_a_solution_is_kept_from_the_branch_below_zero(method):
    x0 = torch.ones(1, 1, dtype=D)
    free = ob.integrate(knee, x0, (0.0, 2.0), method=method)
    held = ob.integrate(knee, x0, (0.0, 2.0), method=method, nonnegative=True, save=ob.Every())
    assert float(free.x1) == pytest.approx(-1.0, abs=1e-3)
    assert float(held.x1) == pytest.approx(0.0, abs=1e-6)
    assert float(held.xs.min()) >= 0.0
    assert int(held.stats.rejected) > int(free.stats.rejected)


def test_only_the_marked_components_are_held_and_each_trajectory_as_if_alone():
    def f(t, x, k):
        return torch.stack([-k[:, 0] * x[:, 0], -torch.ones_like(t)], 1)

    x0 = torch.tensor([[1.0, 1.0], [2.0, 0.5], [0.0, 0.1]], dtype=D)
    k = torch.tensor([[1.0], [400.0], [3.0]], dtype=D)
    options = {"nonnegative": torch.tensor([True, False]), "save": ob.Every(), "rtol": 1e-2, "atol": 1e-3}
    batch = ob.integrate(f, x0, (0.0, 2.0), args=k, **options)
    assert torch.allclose(batch.x1[:, 1], x0[:, 1] - 2.0)
    kept = torch.isfinite(batch.ts)
    assert float(batch.xs[kept][:, 0].min()) >= 0.0
    for i in range(3):
        solo = ob.integrate(f, x0[i : i + 1], (0.0, 2.0), args=k[i : i + 1], **options)
        assert torch.equal(solo.x1[0], batch.x1[i])
        assert torch.equal(solo.ts[0], batch.ts[i, : solo.ts.shape[1]])
    assert torch.equal(ob.integrate(decay, x0, (0.0, 1.0), nonnegative=False).x1, ob.integrate(decay, x0, (0.0, 1.0)).x1)


def test_the_limiter_comes_before_the_floor_and_gradients_pass():
    x0 = torch.tensor([[0.5, 2.0]], dtype=D, requires_grad=True)
    sol = ob.integrate(decay, x0, (0.0, 1.0), nonnegative=True, after=lambda x: x.clamp_max(0.7), **TIGHT)
    assert float(sol.x1.max()) <= 0.7
    slope = torch.autograd.grad(sol.x1[0, 0], x0)[0]
    assert float(slope[0, 0]) == pytest.approx(math.exp(-1), rel=1e-6)


def test_bad_marks_get_a_sentence():
    cases = {
        "bool tensor": (torch.ones(2), TypeError),
        "shape of one state": (torch.ones(3, dtype=torch.bool), ValueError),
        r"index \(1, 0\)": (True, ValueError),
    }
    for words, (given, kind) in cases.items():
        with pytest.raises(kind, match=words):
            ob.integrate(decay, torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), (0.0, 1.0), nonnegative=given)
    with pytest.raises(TypeError, match="complex"):
        ob.integrate(decay, torch.ones(1, 1, dtype=torch.complex64), (0.0, 1.0), nonnegative=True)
    with pytest.raises(ValueError, match="nonnegative: works over a span"):
        ob.integrate(decay, torch.ones(1, 1), ob.Steps(1), nonnegative=True)


# ---- several parts


@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_a_state_of_parts_is_the_same_solve_as_one_tensor(method):
    def plain(t, x):
        return torch.cat([x[:, 2:], -x[:, :2]], 1)

    s0 = phase()
    times = torch.tensor([0.2, 1.4], dtype=D)
    for save in (ob.Last(), ob.Every(), ob.At(times), ob.Dense()):
        whole = ob.integrate(plain, flat(s0), (0.0, 2.0), method=method, save=save)
        parts = ob.integrate(swing, s0, (0.0, 2.0), method=method, save=save)
        assert isinstance(parts.x1, Phase)
        assert torch.equal(flat(parts.x1), whole.x1)
        assert torch.equal(parts.stats.accepted, whole.stats.accepted)
        if whole.xs is not None:
            assert torch.equal(torch.cat(parts.xs, 2), whole.xs)
        if isinstance(save, ob.Dense):
            assert torch.equal(torch.cat(parts(times), 2), whole(times))
            assert torch.isnan(parts(3.0).q).all()
    assert "x1 (3, 2), (3, 2)" in repr(parts)


FORMS = {
    "tuple": (lambda q, p: (q, p), lambda s: (s[0], s[1])),
    "list": (lambda q, p: [q, p], lambda s: (s[0], s[1])),
    "dict": (lambda q, p: {"q": q, "p": p}, lambda s: (s["q"], s["p"])),
    "nest": (lambda q, p: {"all": (q, [p])}, lambda s: (s["all"][0], s["all"][1][0])),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_states(form):
    build, parts = FORMS[form]
    q, p = torch.ones(2, 3, 2, dtype=D), torch.zeros(2, dtype=D)

    def f(t, s):
        q, _ = parts(s)
        return build(-q, q.sum((1, 2)))

    sol = ob.integrate(f, build(q, p), (0.0, 1.0), atol=build(1e-9, 1e-10), rtol=1e-8)
    q1, p1 = parts(sol.x1)
    assert q1.shape == (2, 3, 2)
    assert p1.shape == (2,)
    assert torch.allclose(q1, q * math.exp(-1), rtol=1e-7)
    assert torch.allclose(p1, 6 * (1 - math.exp(-1)) + p, rtol=1e-7)


def test_everything_that_sees_a_state_sees_its_parts():
    seen = []

    def after(s):
        seen.append(type(s))
        return Phase(s.q.clamp_min(-0.5), s.p)

    event = ob.Event(lambda t, s: s.p[:, 0] + 0.1, terminal=False)
    options = {"events": event, "after": after, "save": ob.Every(of=lambda t, s: s.q[:, 0]), "nonnegative": Phase(False, False)}
    sol = ob.integrate(swing, phase(), (0.0, 3.0), **options)
    assert set(seen) == {Phase}
    assert sol.xs.dim() == 2
    assert isinstance(sol.events[0].xs, Phase)
    assert torch.allclose(sol.events[0].xs.p[:, 0, 0], torch.full((3,), -0.1, dtype=D), atol=1e-12)
    alone = ob.integrate(swing, Phase(*(v[1:2] for v in phase())), (0.0, 3.0), **options)
    assert torch.equal(alone.x1.q[0], sol.x1.q[1])
    held = ob.integrate(lambda t, s: Phase(-1e3 * s.q, -s.p), phase(), (0.0, 3.0), nonnegative=Phase(True, torch.tensor(False)))
    assert bool((held.x1.q >= 0).all())


def test_gradients_of_parts_and_their_args():
    s0 = Phase(*(v.requires_grad_() for v in phase(2)))
    w = torch.tensor([[1.0], [2.0]], dtype=D, requires_grad=True)
    sol = ob.integrate(lambda t, s, w: Phase(w * s.p, -w * s.q), s0, (0.0, 1.0), args=w, rtol=1e-10, atol=1e-12)
    q, _, g = torch.autograd.grad(sol.x1.q.sum(), (*s0, w))
    with torch.no_grad():
        assert torch.allclose(q, torch.cos(w).expand(2, 2), rtol=1e-6)
        assert torch.allclose(g[:, 0], sol.x1.p.sum(1), rtol=1e-6)


def test_a_failed_trajectory_of_parts():
    s0 = Phase(torch.tensor([[3.0], [0.1]], dtype=D), torch.zeros(2, 1, dtype=D))
    sol = ob.integrate(lambda t, s: Phase(s.q**2, s.q), s0, (0.0, 1.0), throw=False)
    assert torch.isnan(sol.x1.p[0]).all()
    assert torch.isfinite(sol.x1.p[1]).all()
    with pytest.raises(ob.SolveError, match="trajectory 0") as caught:
        ob.integrate(lambda t, s: Phase(s.q**2, s.q), s0, (0.0, 1.0))
    assert isinstance(caught.value.solution.x1, Phase)


def test_split_fields_of_parts_and_grids():
    part = lambda c: lambda t, s: Phase(c * s.p, -c * s.q)  # noqa: E731
    sol = ob.integrate(swing, phase(), ob.Grid((0.0, 0.5, 1.0)), method="rk4")
    assert isinstance(sol.x1, Phase)
    assert sol.result.tolist() == [0, 0, 0]
    halves = ob.integrate(Split(part(0.25), part(0.75)), phase(), (0.0, 1.0), **TIGHT)
    assert torch.allclose(halves.x1.q, ob.integrate(swing, phase(), (0.0, 1.0), **TIGHT).x1.q, rtol=1e-12)
    with pytest.raises(TypeError, match="one tensor"):
        ob.integrate(Separable(lambda t, p: p, lambda t, q: -q), phase(), (0.0, 1.0))


PARTS = {
    "a number among tensors": ({"x0": (torch.ones(2, 1), 3.0)}, TypeError, r"x0\[1\]"),
    "another batch": ({"x0": {"a": torch.ones(2, 1), "b": torch.ones(3, 1)}}, ValueError, r"x0\['b'\]"),
    "another dtype": ({"x0": (torch.ones(2, 1), torch.ones(2, 1, dtype=D))}, TypeError, r"x0\[1\]"),
    "field gives a tensor": ({"field": lambda t, s: s.q}, TypeError, "field: must be a nest like the state"),
    "field gives too many": ({"field": lambda t, s: (s.q, s.p, s.p)}, TypeError, "3 parts"),
    "field gives another shape": ({"field": lambda t, s: (s.q, s.p[:, :1])}, ValueError, r"field\[1\]"),
    "field gives another dtype": ({"field": lambda t, s: (s.q, s.p.float())}, TypeError, r"field\[1\]"),
    "a jacobian": ({"method": "rodas5p", "jacobian": lambda t, x: x}, ValueError, "several parts"),
    "atol of too few parts": ({"atol": (1e-3,)}, TypeError, "atol"),
    "atol of another shape": ({"atol": (1e-3, torch.ones(7))}, ValueError, r"atol\[1\]"),
    "marks of no bools": ({"nonnegative": (1, 2)}, TypeError, "nonnegative"),
    "negative atol": ({"atol": (1e-3, -1.0)}, ValueError, "atol"),
}


@pytest.mark.parametrize("case", PARTS)
def test_bad_parts_get_a_sentence(case):
    options, kind, words = PARTS[case]
    options = {"field": swing, "x0": phase(), **options}
    with pytest.raises(kind, match=words):
        ob.integrate(options.pop("field"), options.pop("x0"), (0.0, 1.0), **options)


# ---- going on


def test_going_on_is_as_good_as_never_having_stopped():
    x0 = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=D)
    first = ob.integrate(rotate, x0, (0.0, torch.tensor([1.0, 3.0], dtype=D)), **TIGHT)
    assert first.t1.tolist() == [1.0, 3.0]
    assert first.h.shape == (2,)
    second = ob.integrate(rotate, first, (first.t1, 6.0), **TIGHT)
    once = ob.integrate(rotate, x0, (0.0, 6.0), **TIGHT)
    assert torch.allclose(second.x1, once.x1, atol=1e-6)
    total = first.stats.accepted + second.stats.accepted
    assert bool((total <= once.stats.accepted + 3).all())
    assert int((first.stats.rejected + second.stats.rejected).max()) <= 2
    started = ob.integrate(rotate, first, (first.t1, 6.0), first_step=1e-3, save=ob.Every(), **TIGHT)
    assert started.hs[:, 0].tolist() == pytest.approx([1e-3, 1e-3])
    solo = ob.integrate(rotate, first.x1[1:], (3.0, 6.0), first_step=float(first.h[1]), **TIGHT)
    assert torch.equal(solo.x1[0], second.x1[1])


def test_going_on_after_an_event_of_parts_and_of_one_system():
    event = ob.Event(lambda t, s: s.q[:, 0])
    first = ob.integrate(swing, phase(), (0.0, 9.0), events=event, **TIGHT)
    assert (first.result == ob.Result.EVENT).all()
    second = ob.integrate(swing, first, (first.t1, 9.0), **TIGHT)
    assert torch.allclose(second.x1.q, ob.integrate(swing, phase(), (0.0, 9.0), **TIGHT).x1.q, atol=1e-6)
    one = ob.solve(ob.Problem(rotate, [1.0, 0.0], (0.0, 1.0)), **TIGHT)
    more = ob.integrate(rotate, one, (one.t1, 2.0), **TIGHT)
    assert more.x1.shape == (2,)
    assert float(more.x1[0]) == pytest.approx(math.cos(2.0), abs=1e-7)


def test_gradients_flow_through_both_solves():
    x0 = torch.tensor([[1.0], [2.0]], dtype=D, requires_grad=True)
    first = ob.integrate(decay, x0, (0.0, 5.0), events=ob.Event(lambda t, x: x[:, 0] - 0.5), **TIGHT)
    second = ob.integrate(decay, first, (first.t1, 5.0), **TIGHT)
    assert torch.allclose(torch.autograd.grad(second.x1.sum(), x0)[0], torch.full((2, 1), math.exp(-5), dtype=D), rtol=1e-6)


def test_a_failed_trajectory_cannot_go_on():
    sol = ob.integrate(lambda t, x: x * x, torch.tensor([[0.1], [3.0]]), (0.0, 1.0), throw=False)
    with pytest.raises(ValueError, match="x0: trajectory 1 of this solution has failed"):
        ob.integrate(decay, sol, (sol.t1, 2.0))


# ---- complex


OMEGA = torch.tensor([[1.0], [3.0], [-2.0]], dtype=D)


def turn(t, x, w):
    return 1j * w * x


@pytest.mark.parametrize("method", ["bosh3", "tsit5", "dopri5", "dopri8"])
def test_complex_states_turn(method):
    x0 = torch.tensor([[1.0 + 1j], [2.0], [0.5j]], dtype=torch.complex128)
    options = {"method": method, "rtol": 1e-7, "atol": 1e-9, "save": ob.Every(), "max_steps": 50_000}
    sol = ob.integrate(turn, x0, (0.0, 2.0), args=OMEGA, **options)
    assert torch.allclose(sol.x1, x0 * torch.exp(2j * OMEGA), rtol=1e-5)
    for i in range(3):
        solo = ob.integrate(turn, x0[i : i + 1], (0.0, 2.0), args=OMEGA[i : i + 1], **options)
        k = solo.ts.shape[1]
        assert torch.equal(torch.view_as_real(solo.xs[0]), torch.view_as_real(sol.xs[i, :k]))
        assert bool(torch.isnan(sol.xs[i, k:]).all())


@pytest.mark.parametrize(("method", "order"), [("heun", 2), ("rk4", 4), ("tsit5", 5)])
def test_complex_states_have_the_order_on_a_span_and_on_a_grid(method, order):
    def f(t, x):
        return 1j * torch.cos(t)[:, None] * x

    x0, exact = torch.ones(1, 1, dtype=torch.complex128), complex(math.cos(math.sin(1.0)), math.sin(math.sin(1.0)))

    def errors(n):
        fixed = ob.integrate(f, x0, (0.0, 1.0), method=method, controller="fixed", first_step=1.0 / n)
        grid = ob.integrate(f, x0, ob.Grid([k / n for k in range(n + 1)]), method=method)
        assert torch.allclose(fixed.x1, grid.x1, rtol=1e-12)
        return abs(fixed.x1.item() - exact)

    assert math.log2(errors(12) / errors(24)) > order - 0.4


def test_a_real_state_and_the_same_one_made_complex_take_the_same_steps():
    x0 = torch.tensor([[1.0, 2.0]], dtype=D)
    plain = ob.integrate(rotate, x0, (0.0, 3.0), save=ob.At([1.0]))
    imaginary = ob.integrate(rotate, x0.to(torch.complex128), (0.0, 3.0), save=ob.At([1.0]))
    assert torch.allclose(imaginary.x1.real, plain.x1, rtol=1e-13)
    assert torch.allclose(imaginary.xs.real, plain.xs, rtol=1e-13)
    assert float(imaginary.x1.imag.abs().max()) == 0.0
    assert torch.equal(imaginary.stats.accepted, plain.stats.accepted)


def test_complex_states_have_gradients_events_and_plots():
    w = OMEGA.clone().requires_grad_()
    x0 = torch.ones(3, 1, dtype=torch.complex64)
    sol = ob.integrate(turn, x0.to(torch.complex128), (0.0, 2.0), args=w, rtol=1e-9, atol=1e-11)
    assert torch.allclose(torch.autograd.grad(sol.x1.real.sum(), w)[0], -2 * torch.sin(2 * OMEGA), rtol=1e-5)
    sol = ob.integrate(
        lambda t, x: 1j * x, x0, (0.0, 2.0), rtol=1e-5, events=ob.Event(lambda t, x: x.real[:, 0]), save=ob.Every()
    )
    assert sol.x1.dtype == torch.complex64
    assert torch.allclose(sol.t1, torch.full((3,), 0.5 * math.pi, dtype=D), rtol=1e-4)
    assert len(sol.plot().axes) == 3


@pytest.mark.parametrize("method", ["rodas5p", "auto", "kvaerno5"])
def test_complex_states_need_an_explicit_method(method):
    with pytest.raises(TypeError, match="explicit Runge-Kutta"):
        ob.integrate(decay, torch.ones(1, 1, dtype=torch.complex128), (0.0, 1.0), method=method)


# ---- steady states


def basin(t, x, p):
    return p[:, :1] * x - x**3


@pytest.mark.parametrize("method", ["rosenbrock23", "rodas5p"])
def test_trajectories_settle_where_the_field_vanishes(method):
    x0 = torch.tensor([[0.1], [-3.0], [2.0], [0.5]], dtype=D)
    p = torch.tensor([[1.0], [4.0], [4.0], [9.0]], dtype=D)
    sol = ob.steady_state(basin, x0, args=p, method=method)
    assert torch.allclose(sol.x1, torch.sign(x0) * p.sqrt(), rtol=1e-6)
    assert sol.result.tolist() == [ob.Result.EVENT, ob.Result.EVENT, ob.Result.OK, ob.Result.EVENT]
    assert float(sol.t1[2]) == 0.0
    residual = basin(sol.t1, sol.x1, p).abs() / (1e-9 + 1e-6 * sol.x1.abs())
    assert float(residual.max()) <= 1.0 + 1e-6
    for i in range(4):
        solo = ob.steady_state(basin, x0[i : i + 1], args=p[i : i + 1], method=method)
        assert torch.equal(solo.x1[0], sol.x1[i])


def test_a_stiff_chain_settles_with_its_jacobian():
    rates = torch.tensor([[1e4, 1.0], [1e2, 3.0]], dtype=D)

    def chain(t, x, k):
        return torch.stack([1.0 - k[:, 0] * x[:, 0], k[:, 0] * x[:, 0] - k[:, 1] * x[:, 1]], 1)

    def jacobian(t, x, k):
        zero = torch.zeros_like(k[:, 0])
        return torch.stack([torch.stack([-k[:, 0], zero], 1), torch.stack([k[:, 0], -k[:, 1]], 1)], 1)

    sol = ob.steady_state(chain, torch.zeros(2, 2, dtype=D), args=rates, jacobian=jacobian)
    assert torch.allclose(sol.x1, 1.0 / rates, rtol=1e-5)


def test_a_steady_state_has_the_gradient_of_the_implicit_function():
    p = torch.tensor([[4.0], [9.0]], dtype=D, requires_grad=True)
    sol = ob.steady_state(basin, torch.ones(2, 1, dtype=D), args=p, rtol=1e-9, atol=1e-11, method="rodas5p")
    gradient = torch.autograd.grad(sol.x1.sum(), p)[0]
    assert torch.allclose(gradient, 0.5 / p.detach().sqrt(), rtol=1e-5)


def test_what_does_not_settle_is_a_failure_in_a_sentence():
    x0 = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=D)
    sol = ob.steady_state(rotate, x0, t_max=5.0, rtol=1e-4, throw=False)
    assert sol.result.tolist() == [ob.Result.MAX_STEPS, ob.Result.OK]
    assert torch.isnan(sol.x1[0]).all()
    assert "has not settled by t_max=5" in sol.message
    with pytest.raises(ob.SolveError, match="has not settled"):
        ob.steady_state(rotate, x0, t_max=5.0, rtol=1e-4)
    with pytest.raises(ValueError, match="t_max"):
        ob.steady_state(rotate, x0, t_max=-1.0)
    with pytest.raises(TypeError, match="field"):
        ob.steady_state(None, x0)


def test_a_steady_state_of_parts():
    sol = ob.steady_state(lambda t, s: {"a": 1.0 - s["a"], "b": s["a"] - s["b"]}, {k: torch.zeros(2, 1, dtype=D) for k in "ab"})
    assert torch.allclose(sol.x1["b"], torch.ones(2, 1, dtype=D), rtol=1e-5)

"""Faults found by hunting for them; each stood as a silent wrong answer, a nan or a bare traceback before."""

import math

import pytest
import torch

import odebridge as ob

D = torch.float64
ONE = torch.ones(1, 1, dtype=D)


def decay(t, x):
    return -x


def test_auto_in_a_mixed_batch_has_the_gradients_of_each_alone():
    def f(t, x, a):
        return -a * (x**3 - torch.cos(t)[:, None])

    def gradient(rates, ends):
        a = torch.tensor(rates, dtype=D)[:, None].requires_grad_()
        x0 = torch.full((len(rates), 1), 2.0, dtype=D)
        sol = ob.integrate(f, x0, (0.0, torch.tensor(ends, dtype=D)), args=a, method="auto", rtol=1e-6, atol=1e-8)
        return torch.autograd.grad(sol.x1.sum(), a)[0][:, 0]

    both = gradient([1.0, 1e6], [20.0, 3.0])
    assert torch.isfinite(both).all()
    assert torch.allclose(both, torch.cat([gradient([1.0], [20.0]), gradient([1e6], [3.0])]), rtol=1e-9)


def test_a_broadcast_of_t_that_fits_is_noticed():
    x0 = torch.tensor([[1.0, 2.0, 3.0], [1e-3, 5.0, 2.0], [7.0, 1.0, 1.0]], dtype=D)
    with pytest.raises(ValueError, match=r"t\[:, None\]"):
        ob.integrate(lambda t, x: torch.cos(t) * x, x0, (0.0, 3.0))


def test_coupling_is_noticed_when_all_rows_are_equal():
    with pytest.raises(ValueError, match="coupled"):
        ob.integrate(lambda t, x, a: -a * x + 5 * (x.mean(0) - x), torch.ones(2, 1), (0.0, 1.0), args=torch.ones(2, 1))


def test_at_large_times_the_state_moves_as_far_as_the_clock():
    start = 1.7e9
    sol = ob.integrate(
        lambda t, x: torch.ones_like(x), 0 * ONE, (start, start + 0.1), method="euler", controller="fixed", first_step=1e-5,
        max_steps=30_000,
    )  # fmt: skip
    assert float(sol.x1) == pytest.approx((start + 0.1) - start, rel=1e-7)

    def rotate(t, x):
        return torch.stack([x[:, 1], -x[:, 0]], 1)

    x0 = torch.tensor([[1.0, 0.0]], dtype=D)
    far = ob.integrate(rotate, x0, (start, start + 50), rtol=1e-10, atol=1e-12)
    assert float(far.x1[0, 0]) == pytest.approx(math.cos(50), abs=1e-9)


def test_trivial_problems_at_large_times_start():
    for start, f in ((1e11, lambda t, x: 0 * x), (1.7e12, lambda t, x: 1e-3 * (1 - x))):
        assert int(ob.integrate(f, 0 * ONE, (start, start + 1000)).result) == ob.Result.OK


def test_a_field_that_reuses_its_output_or_edits_t_is_refused():
    buffer = torch.zeros(1, 2, dtype=D)

    def reuses(t, x):
        return buffer.copy_(torch.stack([x[:, 1], -x[:, 0]], 1))

    with pytest.raises(ValueError, match="same tensor"):
        ob.integrate(reuses, torch.tensor([[1.0, 0.0]], dtype=D), (0.0, 1.0))

    def edits(t, x):
        t -= 0.5
        return -x * t[:, None]

    with pytest.raises(ValueError, match="in place"):
        ob.integrate(edits, ONE, (0.0, 1.0))


def test_dense_output_of_a_trajectory_without_a_step():
    ends = torch.tensor([0.0, 1.0], dtype=D)
    sol = ob.integrate(decay, torch.ones(2, 1, dtype=D), (0.0, ends), save=ob.Dense())
    assert sol(0.0).tolist() == [[1.0], [1.0]]
    assert torch.isnan(sol(0.5)[0]).all()
    t = torch.tensor([0.25, 0.5], dtype=D, requires_grad=True)
    sol = ob.integrate(decay, torch.ones(2, 1, dtype=D, requires_grad=True), (0.0, ends), save=ob.Dense(), rtol=1e-8)
    slope = torch.autograd.grad(sol(t)[1].sum(), t)[0]
    assert torch.allclose(slope, -torch.exp(-t.detach()), rtol=1e-4)


def test_gradient_to_save_times_alone_and_on_the_nodes():
    times = torch.tensor([0.0, 0.25, 1.0], dtype=D, requires_grad=True)
    sol = ob.integrate(decay, ONE, (0.0, 1.0), save=ob.At(times), rtol=1e-9, atol=1e-12)
    assert float(sol.xs[0, 0]) == 1.0
    assert float(sol.xs[0, 2]) == float(sol.x1)
    assert torch.allclose(torch.autograd.grad(sol.xs.sum(), times)[0], -torch.exp(-times.detach()), rtol=1e-5)


def test_gradient_to_what_only_the_limiter_uses():
    p = torch.tensor(0.5, dtype=D, requires_grad=True)
    sol = ob.integrate(lambda t, x: 0 * x, ONE, (0.0, 1.0), after=lambda x: x * p, controller="fixed", first_step=0.5)
    assert float(torch.autograd.grad(sol.x1.sum(), p)[0]) == pytest.approx(1.0)


def test_gradient_of_a_span_of_zero_length():
    t0 = torch.tensor([0.0, 0.0], dtype=D, requires_grad=True)
    t1 = torch.tensor([0.0, 1.0], dtype=D, requires_grad=True)
    sol = ob.integrate(lambda t, x: -3.0 * x, torch.ones(2, 1, dtype=D), (t0, t1), rtol=1e-9, atol=1e-12)
    g0, g1 = torch.autograd.grad(sol.x1.sum(), (t0, t1))
    end = 3.0 * math.exp(-3.0)
    assert torch.allclose(g0, torch.tensor([3.0, end], dtype=D), rtol=1e-5)
    assert torch.allclose(g1, torch.tensor([-3.0, -end], dtype=D), rtol=1e-5)


def test_ends_given_as_lists_of_tensors_keep_their_graph():
    t1 = torch.tensor(1.0, dtype=D, requires_grad=True)
    sol = ob.integrate(decay, ONE, (0.0, [t1]), save=ob.At([t1 * 0.5, t1]), rtol=1e-9, atol=1e-12)
    assert float(torch.autograd.grad(sol.x1.sum(), t1)[0]) == pytest.approx(-math.exp(-1), rel=1e-5)


@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_saved_values_meet_what_the_limiter_kept(method):
    sol = ob.integrate(
        lambda t, x: -3 * torch.ones_like(x), ONE, (0.0, 1.0), after=lambda x: x.clamp_min(0.0), method=method,
        save=ob.At([0.5, 0.8, 0.9, 1.0]), first_step=0.5, rtol=1e-2,
    )  # fmt: skip
    assert torch.allclose(sol.xs, torch.zeros_like(sol.xs), atol=1e-12)


def test_a_transposed_layout_gives_the_same_bits():
    n = 6

    def f(t, x):
        c = x.unbind(1)
        return torch.stack([-(c[i] ** 3) + 0.3 * c[(i + 1) % n] * c[i - 1] + torch.sin((i + 1) * t) for i in range(n)]).T

    x0 = torch.rand(5, n, generator=torch.Generator().manual_seed(0))
    together = ob.integrate(f, x0, (0.0, 8.0), rtol=2e-5).x1
    assert all(torch.equal(together[i], ob.integrate(f, x0[i : i + 1], (0.0, 8.0), rtol=2e-5).x1[0]) for i in range(5))


@pytest.mark.parametrize("save", [[0.5, 1.0], torch.tensor([0.5]), "dense", None, ob.Dense, ob.Last])
def test_what_is_no_save_policy_is_refused(save):
    with pytest.raises(TypeError, match="save"):
        ob.integrate(decay, ONE, (0.0, 1.0), save=save)


@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_a_first_step_is_found_where_squares_overflow(method):
    x0 = torch.zeros(1, 1)
    sol = ob.integrate(lambda t, x: 1e14 * torch.ones_like(x), x0, (0.0, 1.0), method=method)
    assert float(sol.x1) == pytest.approx(1e14, rel=1e-4)


def test_inference_mode():
    with torch.inference_mode():
        sol = ob.integrate(decay, torch.ones(2, 1), (0.0, 1.0), save=ob.At([0.5]))
        assert torch.isfinite(sol.xs).all()
        assert int(ob.solve("lotka_volterra").result) == ob.Result.OK


def test_a_limiter_of_another_shape_is_refused():
    for over in ((0.0, 1.0), ob.Steps(1)):
        with pytest.raises(ValueError, match="after"):
            ob.integrate(decay, torch.tensor([[1.0, 2.0]]), over, method="heun", after=lambda x: x.sum(1, keepdim=True))


def test_an_infinite_slope_at_the_end_spoils_no_saved_value():
    x0 = ONE.clone().requires_grad_()

    def f(t, x):
        return x / torch.sqrt(1 - t)[:, None]

    options = {"method": "euler", "controller": "fixed", "first_step": 0.25}
    sol = ob.integrate(f, x0, (0.0, 1.0), save=ob.At([0.1, 0.9, 1.0]), **options)
    assert torch.isfinite(sol.xs).all()
    assert torch.isfinite(torch.autograd.grad(sol.xs.sum(), x0)[0]).all()


def test_save_times_are_checked_before_the_field_is_called():
    calls = []

    def f(t, x):
        calls.append(0)
        return -x

    with pytest.raises(ValueError, match="outside"):
        ob.integrate(f, ONE.clone().requires_grad_(), (0.0, 1.0), save=ob.At([0.5, 7.0]))
    for times in ("abc", None, [[0.1, 0.2], [0.3]]):
        with pytest.raises(TypeError, match="times of At"):
            ob.integrate(f, ONE, (0.0, 1.0), save=ob.At(times))
    assert calls == []


@pytest.mark.parametrize("end", [0.1, 0.3, 1.1, 2.2])
def test_single_precision_times_may_name_the_end(end):
    times = torch.linspace(0, end, 4, dtype=torch.float32)
    sol = ob.integrate(decay, ONE, (0.0, end), save=ob.At(times))
    assert float(sol.xs[0, -1]) == float(sol.x1)


def test_a_trainable_law_inside_a_wrapper_is_refused_and_a_fixed_one_found():
    class Law(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.p = torch.nn.Parameter(torch.tensor(1.0))

        def start(self, x, tol):
            return None

        def forward(self, seen, memory):
            return 0 * seen.h + 0.1 * self.p, None

        def accepts(self, error, memory):
            return error <= 1

    for law in (ob.control.Bounded(Law()), ob.control.Smaller(ob.control.I, Law())):
        with pytest.raises(ValueError, match="trainable"):
            ob.integrate(decay, ONE, (0.0, 1.0), controller=law)
    fixed = ob.control.AtTimes(ob.control.Fixed(), (0.55,))
    sol = ob.integrate(decay, ONE, (0.0, 1.0), method="rk4", controller=fixed, first_step=0.1, save=ob.Every())
    assert float((sol.ts - 0.55).abs().min()) < 1e-12


BARE = {
    "first_step": torch.ones(3),
    "max_step": torch.ones(2, 1),
    "time_limit": torch.ones(2),
    "method": None,
    "controller": 0.1,
    "after": 3,
    "callback": 3,
    "jacobian": 3,
}


@pytest.mark.parametrize("name", BARE)
def test_bare_tracebacks_became_sentences(name):
    with pytest.raises((TypeError, ValueError), match=name):
        ob.integrate(decay, torch.ones(2, 1), (0.0, 1.0), **{name: BARE[name]})


def test_more_of_the_kind():
    with pytest.raises(TypeError, match="field"):
        ob.integrate(None, torch.ones(2, 1), (0.0, 1.0))
    with pytest.raises(TypeError, match="instance"):
        ob.integrate(decay, torch.ones(2, 1), (0.0, 1.0), controller=ob.control.Fixed)
    with pytest.raises(ValueError, match="at least one time"):
        ob.control.AtTimes(ob.control.I, ())
    with pytest.raises(ValueError, match="x0"):
        ob.integrate(decay, 1.0, ob.Steps(2))
    with pytest.raises(ValueError, match="one step"):
        ob.integrate(decay, torch.ones(2, 3), ob.Steps(2), method="rodas5p", controller=ob.control.SE(3))


def test_floats_and_gates_in_one_network_stack():
    gates = ob.control.PerStep([ob.control.Fixed(), ob.control.SE(4)])
    sol = ob.integrate(decay, torch.ones(2, 4, 3, 3), ob.Steps(2), method="euler", controller=gates, save=ob.Every())
    assert sol.hs.shape == (2, 2, 4, 1, 1)
    assert bool((sol.hs[:, 0] == 1.0).all())


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5"])
def test_forward_mode_over_the_start_is_not_dropped(method):
    def end(x):
        return ob.integrate(decay, x, (0.0, 1.0), method=method).x1

    forward, tangent = torch.func.jacfwd(end)(ONE), torch.func.jvp(end, (ONE,), (torch.ones_like(ONE),))[1]
    assert float(forward) == pytest.approx(math.exp(-1), rel=1e-3)
    assert float(tangent) == pytest.approx(math.exp(-1), rel=1e-3)
    if method == "tsit5":
        assert float(torch.func.jacrev(end)(ONE)) == pytest.approx(math.exp(-1), rel=1e-3)


def test_atol_of_one_system_has_its_shape():
    atol = torch.tensor([1e-8, 1e-14, 1e-6], dtype=D)
    assert int(ob.solve("robertson", method="rodas5p", rtol=1e-4, atol=atol).result) == ob.Result.OK


def test_fixed_steps_leave_no_sliver_for_the_end():
    sol = ob.integrate(decay, ONE, (0.0, 1.0), method="rk4", controller="fixed", first_step=2e-4)
    assert int(sol.stats.accepted) == 5000


def test_errors_of_the_kept_steps_survive_a_graph():
    plain = ob.integrate(decay, ONE, (0.0, 1.0), save=ob.Every())
    graph = ob.integrate(decay, ONE.clone().requires_grad_(), (0.0, 1.0), save=ob.Every())
    assert torch.equal(plain.errors, graph.errors)


def test_at_times_resolves_tiny_spans():
    sol = ob.integrate(decay, ONE, (0.0, 2e-14), controller=ob.control.AtTimes(ob.control.I, (3e-15, 9e-15)), save=ob.Every())
    for t in (3e-15, 9e-15):
        assert float((sol.ts - t).abs().min()) < 1e-18


def test_more_steps_than_layers_or_controllers_are_refused():
    layers = ob.nets.Layers([torch.nn.Linear(2, 2) for _ in range(3)])
    with pytest.raises(ValueError, match=r"ob\.Steps\(3\)"):
        ob.integrate(layers, torch.ones(1, 2), ob.Steps(5), method="euler")
    gates = ob.control.PerStep([ob.control.Fixed()] * 2)
    with pytest.raises(ValueError, match="one for every step"):
        ob.integrate(layers, torch.ones(1, 2), ob.Steps(3), method="euler", controller=gates)


def test_own_controllers_hear_what_is_wrong_with_their_answer():
    class Law(ob.control.Controller):
        def __init__(self, answer):
            self.answer = answer

        def __call__(self, seen, memory):
            return self.answer(seen)

    cases = {
        "full_like": lambda seen: (0.1, None),
        "return h, memory": lambda seen: seen.h,
        "positive": lambda seen: (seen.h * math.nan, None),
    }
    for words, answer in cases.items():
        with pytest.raises((TypeError, ValueError), match=words):
            ob.integrate(decay, ONE, (0.0, 1.0), controller=Law(answer))


def test_times_given_as_the_span_are_told_where_they_belong():
    with pytest.raises(TypeError, match=r"ob\.At"):
        ob.integrate(decay, ONE, torch.linspace(0, 1, 5))


def test_a_solution_shows_what_matters():
    text = repr(ob.integrate(decay, torch.ones(3, 2), (0.0, 1.0), save=ob.Every()))
    assert "3 OK" in text
    assert "x1 (3, 2)" in text
    assert "tensor" not in text


def test_plot_names_the_trajectory_that_is_not_there():
    with pytest.raises(ValueError, match="there are 1"):
        ob.integrate(decay, ONE, (0.0, 1.0), save=ob.Every()).plot(5)

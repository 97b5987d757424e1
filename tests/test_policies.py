"""Gradient policies: checkpoints, Direct, Adjoint, Forward, constant Jacobians, second derivatives, on stiff problems too."""

import math
import warnings

import pytest
import torch

import odebridge as ob
from odebridge.control.base import Controller
from odebridge.methods import METHODS
from odebridge.methods.rosenbrock import Rosenbrock
from odebridge.tableaus.conditions import w_order

D = torch.float64
ADAPTIVE = [m for m in METHODS if METHODS[m].error_order is not None]
FEW = [m if m in ("tsit5", "rodas5p", "bdf") else pytest.param(m, marks=pytest.mark.slow) for m in ADAPTIVE]


def van_der_pol(t, x, mu):
    a, b = x.unbind(-1)
    return torch.stack([b, mu[:, 0] * (1 - a * a) * b - a + 0.1 * torch.sin(t)], -1)


def inputs(n=2):
    x0 = torch.tensor([[2.0, 0.0], [1.0, -0.5], [0.3, 0.4]], dtype=D)[:n].requires_grad_()
    p = torch.tensor([[1.0], [2.0], [4.0]], dtype=D)[:n].requires_grad_()
    return x0, p


def gradients(gradient, method="tsit5", save=None, t0=0.0, t1=1.0, **options):
    """Gradients to x0, args, t0, t1 and save times."""
    x0, p = inputs()
    t0, t1 = (torch.tensor(t, dtype=D, requires_grad=True) for t in (t0, t1))
    times = torch.tensor([0.25, 0.7], dtype=D, requires_grad=True)
    options = {"rtol": 1e-9, "atol": 1e-11} | options
    sol = ob.integrate(van_der_pol, x0, (t0, t1), args=p, method=method, gradient=gradient, save=ob.At(times), **options)
    weight = torch.tensor([1.0, 0.7], dtype=D)
    ((sol.x1 * weight).sum() + (sol.xs * weight).square().sum()).backward()
    return [v.grad for v in (x0, p, t0, t1, times)]


@pytest.mark.parametrize("method", FEW)
def test_checkpoints_change_no_gradient(method):
    options = {"rtol": 1e-5, "atol": 1e-7}
    whole = gradients(ob.Replay(), method, **options)
    for checkpoints in ("sqrt", 3, "steps"):
        for a, b in zip(whole, gradients(ob.Replay(checkpoints), method, **options), strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


def kept_bytes(gradient, t1):
    """Bytes that the forward pass keeps for the backward pass, and how many steps there were."""
    seen = {}

    def pack(v):
        seen[v.untyped_storage().data_ptr()] = (v.untyped_storage().nbytes(), v)
        return v

    x0 = torch.randn(8, 64, dtype=D, generator=torch.Generator().manual_seed(0)).requires_grad_()
    w = torch.randn(64, 64, dtype=D, generator=torch.Generator().manual_seed(1)) / 8
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda v: v):
        sol = ob.integrate(
            lambda t, x: torch.tanh(x @ w) - x, x0, (0.0, t1), controller="fixed", first_step=0.1, gradient=gradient
        )
    return sum(n for n, _ in seen.values()), int(sol.stats.accepted[0])


def test_checkpoints_keep_memory_that_grows_with_the_root_of_the_steps():
    plain, _ = kept_bytes(ob.Replay(), 10.0)
    twice, _ = kept_bytes(ob.Replay(), 40.0)
    assert twice > 3.5 * plain
    # A checkpointed segment saves nothing that an outer hook sees, so count what it holds: its states between segments.
    for t1 in (10.0, 40.0):
        policy = ob.Replay("sqrt")
        steps = round(t1 / 0.1)
        assert policy.segment(steps) <= math.isqrt(steps) + 1
        assert -(-steps // policy.segment(steps)) <= math.isqrt(steps) + 1
        assert kept_bytes(policy, t1)[0] < 0.1 * kept_bytes(ob.Replay(), t1)[0]


@pytest.mark.parametrize("checkpoints", [0, -1, 2.0, True, "log"])
def test_checkpoints_that_mean_nothing_are_refused(checkpoints):
    with pytest.raises(ValueError, match="checkpoints"):
        ob.Replay(checkpoints)


# --- Steps at once ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "radau5"])
def test_steps_made_at_once_have_the_gradient_of_the_walk(method):
    options = {"rtol": 1e-5, "atol": 1e-7, "t0": 0.1}
    for a, b in zip(
        gradients(ob.Replay(), method, **options), gradients(ob.Replay(at_once=True), method, **options), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_steps_made_at_once_with_lanes_that_fail_or_do_not_move():
    def run(policy):
        x0 = torch.tensor([[0.4], [3.0], [0.5]], dtype=D, requires_grad=True)
        t1 = torch.tensor([1.0, 1.0, 0.0], dtype=D)
        sol = ob.integrate(lambda t, x: x * x, x0, (0.0, t1), throw=False, gradient=policy)
        torch.nansum(sol.x1).backward()
        return x0.grad

    assert torch.allclose(run(ob.Replay()), run(ob.Replay(at_once=True)), rtol=1e-12)


def test_steps_at_once_are_refused_where_they_do_not_stand_alone():
    x0 = torch.ones(1, 2, dtype=D, requires_grad=True)
    for options in (
        {"method": "kvaerno5"}, {"method": "bdf"}, {"method": "auto"}, {"save": ob.Every()}, {"discontinuities": (0.5,)},
        {"events": ob.Event(lambda t, x: x[:, 0] - 0.5)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="at_once"):
            ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), gradient=ob.Replay(at_once=True), **options)
    x1 = ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), gradient=ob.Replay(at_once=True)).x1
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(x1.sum(), x0, create_graph=True)


# --- Forward ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", FEW)
def test_forward_sensitivities_are_the_reverse_ones(method):
    options = {"rtol": 1e-5, "atol": 1e-7}
    for a, b in zip(gradients(ob.Replay(), method, **options), gradients(ob.Forward(), method, **options), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5", "bdf"])
def test_tangents_go_through_a_span(method):
    x0, p = (v.detach() for v in inputs())
    ones = torch.ones_like(p)

    def end(p):
        return ob.integrate(van_der_pol, x0, (0.0, 1.0), args=p, method=method, gradient=ob.Forward()).x1

    _, tangent = torch.func.jvp(end, (p,), (ones,))
    q = p.clone().requires_grad_()
    x1 = ob.integrate(van_der_pol, x0, (0.0, 1.0), args=q, method=method).x1
    for i in range(2):
        column = torch.autograd.grad(x1[:, i].sum(), q, retain_graph=True)[0]
        assert torch.allclose(tangent[:, i : i + 1], column, rtol=1e-10)


def test_forward_takes_module_parameters_and_refuses_what_a_closure_hides():
    net = torch.nn.Linear(1, 1).double()

    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, t, x):
            return torch.tanh(self.net(x))

    x0 = torch.tensor([[0.3], [-0.4]], dtype=D)
    found = []
    for policy in (ob.Replay(), ob.Forward()):
        net.zero_grad()
        ob.integrate(Field(), x0, (0.0, 1.0), gradient=policy).x1.square().sum().backward()
        found.append([q.grad.clone() for q in net.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(*found, strict=True))
    with pytest.raises(ValueError, match="neither in args nor a parameter"):
        ob.integrate(lambda t, x: net(x), x0, (0.0, 1.0), gradient=ob.Forward())


# --- Adjoint ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["backsolve", "interpolated"])
@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5"])
def test_adjoint_agrees_with_replay_on_a_problem_that_is_not_stiff(state, method):
    found = gradients(ob.Adjoint(state, on_drift="ignore"), method, t0=0.1)
    for a, b in zip(gradients(ob.Replay(), method, t0=0.1), found, strict=True):
        # To the save times it is the slope of the interpolant, Kvaerno5's a cubic across long steps.
        assert torch.allclose(a, b, rtol=2e-5, atol=1e-7)


def test_adjoint_finds_parameters_in_modules_closures_and_attributes():
    rate = torch.tensor(0.7, dtype=D, requires_grad=True)
    log_rate = torch.tensor(math.log(0.7), dtype=D, requires_grad=True)

    class Plain:
        def __init__(self):
            self.rate = rate

        def __call__(self, t, x):
            return -self.rate * x

    def run(field, leaf):
        leaf.grad = None
        x1 = ob.integrate(field, torch.ones(2, 1).double(), (0.0, 2.0), rtol=1e-9, atol=1e-12, gradient=ob.Adjoint()).x1
        x1.sum().backward()
        return float(leaf.grad)

    exact = -4.0 * math.exp(-1.4)
    assert run(lambda t, x: -rate * x, rate) == pytest.approx(exact, rel=1e-6)
    assert run(Plain(), rate) == pytest.approx(exact, rel=1e-6)
    outside = log_rate.exp()  # not a leaf
    assert run(lambda t, x: -outside * x, log_rate) == pytest.approx(0.7 * exact, rel=1e-6)


def test_a_parameter_that_enters_later_is_right_or_an_error():
    late = torch.tensor(0.5, dtype=D, requires_grad=True)

    def field(t, x):
        return -x * (late if float(t[0]) > 0.6 else 1.0)

    span = {"rtol": 1e-9, "atol": 1e-12, "discontinuities": (0.6,)}
    x1 = ob.integrate(field, torch.ones(1, 1).double(), (0.0, 1.0), **span).x1
    x1.sum().backward()
    assert float(late.grad) == pytest.approx(-0.4 * math.exp(-0.6 - 0.2), rel=1e-6)
    x0 = torch.ones(1, 1, dtype=D, requires_grad=True)
    x1 = ob.integrate(field, x0, (0.0, 1.0), gradient=ob.Adjoint()).x1
    with pytest.raises(RuntimeError, match="not used at the start"):
        x1.sum().backward()


def test_adjoint_takes_a_batch_of_own_spans_and_a_failed_trajectory():
    def field(t, x, p):
        return p * x * x

    x0 = torch.tensor([[0.4], [3.0], [0.5]], dtype=D, requires_grad=True)
    p = torch.ones(3, 1, dtype=D, requires_grad=True)
    t1 = torch.tensor([1.0, 1.0, 0.5], dtype=D)
    sol = ob.integrate(field, x0, (0.0, t1), args=p, throw=False, rtol=1e-9, atol=1e-12, gradient=ob.Adjoint())
    assert int(sol.result[1]) != ob.Result.OK
    torch.nansum(sol.x1).backward()
    assert x0.grad[:, 0].tolist() == pytest.approx([1 / 0.36, 0.0, 1 / 0.75**2], rel=1e-6)
    assert p.grad[:, 0].tolist() == pytest.approx([0.16 / 0.36, 0.0, 0.5 * 0.25 / 0.75**2], rel=1e-6)


def test_adjoint_does_not_depend_on_the_scale_of_the_loss():
    def run(scale):
        x0 = torch.tensor([[2.0, 0.0]], dtype=D, requires_grad=True)
        p = torch.tensor([[1.0]], dtype=D, requires_grad=True)
        x1 = ob.integrate(van_der_pol, x0, (0.0, 1.0), args=p, gradient=ob.Adjoint()).x1
        (scale * x1.sum()).backward()
        return p.grad / scale

    assert torch.allclose(run(1.0), run(1e-9), rtol=1e-12)


@pytest.mark.parametrize("mu", [20.0, 100.0])
def test_a_backsolve_that_loses_the_state_says_so(mu):
    """The same problem gives 1.8e13 for 0.0054 without a word in torchdiffeq's odeint_adjoint."""

    def run(**options):
        x0 = torch.tensor([[2.0, 0.0]], dtype=D)
        p = torch.tensor([[mu]], dtype=D, requires_grad=True)
        gradient = ob.Adjoint(**options)
        x1 = ob.integrate(van_der_pol, x0, (0.0, 3.0), args=p, rtol=1e-4, atol=1e-4, gradient=gradient).x1
        x1[:, 0].sum().backward()

    with pytest.warns(ob.DriftWarning, match="times the tolerance away"):
        run()
    with pytest.raises(RuntimeError, match="this gradient is wrong"):
        run(on_drift="raise")


def test_adjoint_refuses_what_it_would_get_wrong():
    x0 = torch.ones(1, 20, dtype=D, requires_grad=True)
    for options in (
        {"after": torch.relu}, {"nonnegative": True}, {"events": ob.Event(lambda t, x: x[:, 0] - 0.5)},
        {"discontinuities": (0.5,)}, {"save": ob.Every()}, {"save": ob.Dense()},
        {"mass": torch.full((20,), 2.0, dtype=D), "method": "rodas5p"}, {"sparsity": (1, 1), "method": "rodas5p"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="gradient: Adjoint does not cover"):
            ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), gradient=ob.Adjoint(), **options)
    with pytest.raises(ValueError, match="state"):
        ob.Adjoint("quadrature")
    with pytest.raises(TypeError, match=r"ob\.Adjoint\(\)"):
        ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), gradient="adjoint")


# --- Direct ----------------------------------------------------------------------------------------------------------


class Learned(torch.nn.Module):
    """A law with trainable weights that is looked at through its sizes."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([0.02, -0.03, 0.05], dtype=D))

    def start(self, x, tol):
        return ob.control.PI34.start(x, tol)

    def forward(self, seen, memory):
        h, memory = ob.control.PI34(seen, memory)
        return h * torch.exp(
            self.w[0] + self.w[1] * torch.tanh(seen.x[:, 0]) + self.w[2] * torch.tanh(seen.slope[:, 1])
        ), memory

    def accepts(self, error, memory):
        return error <= 1.0


@pytest.mark.parametrize("method", ["tsit5", "bosh3", "rodas5p", "rosenbrock23"])
def test_direct_differentiates_a_controller_for_the_frozen_pattern_of_tries(method):
    law = Learned()
    x0, p = (v.detach() for v in inputs(3))

    def value(w):
        with torch.no_grad():
            law.w.copy_(w)
        sol = ob.integrate(
            van_der_pol, x0, (0.0, 2.0), args=p, method=method, controller=law, rtol=1e-4, atol=1e-6, first_step=0.9,
            gradient=ob.Direct(), save=ob.Every(),
        )  # fmt: skip
        errors, sizes = sol.errors, sol.hs
        return torch.nansum(errors) + torch.nansum(sizes.square()) + sol.x1.sum(), sol.stats

    w = law.w.detach().clone()
    total, stats = value(w)
    assert int(stats.rejected.sum()) > 0
    total.backward()
    assert bool(torch.isfinite(law.w.grad).all())
    numeric = torch.zeros(3, dtype=D)
    for i in range(3):
        step = torch.zeros(3, dtype=D)
        step[i] = 1e-6
        (up, s1), (down, s2) = value(w + step), value(w - step)
        assert torch.equal(s1.rejected, stats.rejected)
        assert torch.equal(s2.accepted, stats.accepted)
        numeric[i] = ((up - down) / 2e-6).detach()
    assert torch.allclose(law.w.grad, numeric, rtol=1e-5, atol=1e-6)


def test_direct_is_not_poisoned_by_a_try_that_overflows():
    law = Learned()
    a = torch.tensor([[3.0], [1.0]], dtype=D)
    x0 = torch.tensor([[1.5, 0.0], [0.2, 0.0]], dtype=D)
    sol = ob.integrate(
        lambda t, x, a: -a * torch.sinh(5 * x), x0, (0.0, 1.0), args=a, controller=law, first_step=0.9, rtol=1e-8, atol=1e-10,
        gradient=ob.Direct(), save=ob.Every(),
    )  # fmt: skip
    assert int(sol.stats.rejected[0]) > 0
    torch.nansum(sol.hs.square()).backward()
    assert bool(torch.isfinite(law.w.grad).all())
    assert float(law.w.grad.abs().max()) > 0


def test_direct_and_trained_controllers_ask_for_each_other():
    x0 = torch.ones(1, 2, dtype=D, requires_grad=True)
    for gradient in (ob.Replay(), ob.Adjoint(), ob.Forward()):
        with pytest.raises(ValueError, match=r"ob\.Direct\(\)"):
            ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), controller=Learned(), gradient=gradient)
    with pytest.raises(ValueError, match="come out of a search"):
        ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), method="kvaerno5", gradient=ob.Direct())
    with pytest.raises(ValueError, match="events"):
        ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), gradient=ob.Direct(), events=ob.Event(lambda t, x: x[:, 0] - 0.5))


# --- Constant Jacobians, second derivatives -----------------------------------------------------------------------------


def test_the_w_order_of_every_tableau_is_the_one_written_down():
    for name, method in METHODS.items():
        if isinstance(method, Rosenbrock):
            assert method.tableau.w_order == w_order(method.tableau), name


@pytest.mark.parametrize("name", ["rodas5p", "rodas4", "rodas3p"])
def test_a_constant_jacobian_is_refused_where_the_gradient_would_lose_its_order(name):
    with pytest.raises(ValueError, match="has order"):
        Rosenbrock(METHODS[name].tableau, jacobian_gradient="detach")
    with pytest.raises(ValueError, match="exact"):
        Rosenbrock(METHODS[name].tableau, jacobian_gradient="none")


@pytest.mark.parametrize("name", ["rodas4pw", "ros34pw2", "rosenbrock23"])
def test_with_a_constant_jacobian_the_gradient_has_the_order_of_the_method(name):
    method = Rosenbrock(METHODS[name].tableau, jacobian_gradient="detach")

    def slope(method, **law):
        x0 = torch.tensor([[1.5, 0.3]], dtype=D, requires_grad=True)
        p = torch.tensor([[2.0]], dtype=D)
        ob.integrate(van_der_pol, x0, (0.0, 0.8), args=p, method=method, **law).x1[:, 0].sum().backward()
        return x0.grad

    exact = slope("dopri8", rtol=1e-12, atol=1e-13)
    errors = [float((slope(method, controller="fixed", first_step=h) - exact).norm()) for h in (0.04, 0.02)]
    assert math.log2(errors[0] / errors[1]) > method.order - 0.35


def test_second_derivatives_are_right_or_an_error():
    def second(method, **policy):
        p = torch.tensor([[1.0]], dtype=D, requires_grad=True)
        x0 = torch.tensor([[2.0, 0.0]], dtype=D)
        options = {"rtol": 1e-9, "atol": 1e-11, "method": method, "gradient": ob.Replay(**policy)}
        x1 = ob.integrate(van_der_pol, x0, (0.0, 1.0), args=p, **options).x1[:, 0].sum()
        first = torch.autograd.grad(x1, p, create_graph=True)[0]
        return float(torch.autograd.grad(first.sum(), p)[0])

    exact = second("tsit5")

    def first(v):
        p = torch.tensor([[v]], dtype=D, requires_grad=True)
        x1 = ob.integrate(van_der_pol, torch.tensor([[2.0, 0.0]], dtype=D), (0.0, 1.0), args=p, rtol=1e-11, atol=1e-12).x1
        return float(torch.autograd.grad(x1[:, 0].sum(), p)[0])

    assert exact == pytest.approx((first(1 + 1e-4) - first(1 - 1e-4)) / 2e-4, rel=1e-5)
    assert second("tsit5", checkpoints="sqrt") == pytest.approx(exact, rel=1e-9)
    assert second("rodas5p") == pytest.approx(exact, rel=1e-5)
    for method in ("kvaerno5", "radau5", "bdf"):
        with pytest.raises(RuntimeError, match=r"Replay\(derivatives=2\)"):
            second(method)
        assert second(method, derivatives=2) == pytest.approx(exact, rel=1e-3 if method == "bdf" else 1e-5)
    x0 = torch.tensor([[2.0, 0.0]], dtype=D, requires_grad=True)
    for policy in (ob.Adjoint(), ob.Forward()):
        x1 = ob.integrate(van_der_pol, x0, (0.0, 1.0), args=torch.ones(1, 1, dtype=D), gradient=policy).x1
        with pytest.raises(RuntimeError, match="first derivatives only"):
            torch.autograd.grad(x1.sum(), x0, create_graph=True)


# --- The frozen-step map, every method ----------------------------------------------------------------------------------


class Scripted(Controller):
    """Step sizes that are known, (b, k)."""

    def __init__(self, hs):
        self.hs = torch.nan_to_num(hs, nan=1.0)

    def start(self, x, tol):
        rows = torch.arange(len(x))
        return torch.zeros_like(rows), rows

    def __call__(self, seen, memory):
        k, rows = memory
        k = k if seen.accepted is None else k + 1
        return self.hs[rows, k.clamp_max(self.hs.shape[1] - 1)], (k, rows)

    def accepts(self, error, memory):
        return torch.ones_like(error, dtype=torch.bool)


def lanes(t, x, p):
    """Van der Pol, or for p_1 = 1 a blow-up at t = 1/3."""
    a, b = x.unbind(-1)
    usual = torch.stack([b, p[:, 0] * (1 - a * a) * b - a + 0.1 * torch.sin(3 * t)], -1)
    return torch.where(p[:, 1:] > 0.5, 1.0 * x * x, usual)


@pytest.mark.parametrize(
    "method", [m if m in ("tsit5", "kvaerno5") else pytest.param(m, marks=pytest.mark.slow) for m in ADAPTIVE]
)
def test_gradient_is_that_of_the_frozen_steps(method):
    """One trajectory finishes early, one fails, one has rejected tries."""
    x0 = torch.tensor([[2.0, 0.0], [1.0, -0.5], [3.0, 3.0]], dtype=D)
    p = torch.tensor([[3.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=D)
    t1 = torch.tensor([0.2, 0.5, 0.5], dtype=D)
    low = METHODS[method].order <= 3
    options = {"method": method, "rtol": 1e-6 if low else 1e-8, "atol": 1e-7 if low else 1e-9, "throw": False}
    tries = {"first_step": torch.tensor([0.2, 0.4, 0.1], dtype=D), "max_steps": 2000}
    found = ob.integrate(lanes, x0, (0.0, t1), args=p, save=ob.Every(), **options, **tries)
    assert found.result.tolist()[:2] == [0, 0]
    assert int(found.result[2]) != 0
    searching = method in ("bdf", "auto", "rkc2", "rkl2")  # what they choose depends on rejected tries as well
    tight = {} if searching else {"rtol": 1e-11, "atol": 1e-13}
    last = torch.isfinite(found.hs).sum(1).max()
    script = {"controller": Scripted(found.hs), "first_step": 1.0, "max_steps": int(last) + 1}

    def frozen(x0, p, rows=slice(0, 2)):
        law = script | {"controller": Scripted(found.hs[rows])}
        return ob.integrate(lanes, x0[rows], (0.0, t1[rows]), args=p[rows], **{**options, **tight, **law}).x1

    x, q = x0.clone().requires_grad_(), p.clone().requires_grad_()
    if searching:
        x1 = frozen(x, q)
    else:
        x1 = ob.integrate(lanes, x, (0.0, t1), args=q, **options, **tries).x1[:2]
        assert int(found.stats.rejected.sum()) > 0
    weight = torch.tensor([[1.0, 0.7], [0.4, -1.0]], dtype=D)
    (x1 * weight).sum().backward()
    assert bool(torch.isfinite(x.grad).all())
    assert bool((x.grad[2] == 0).all())
    eps = 1e-5
    for value, grad in ((x0, x.grad), (p, q.grad)):
        for i in (0, 1) if value is x0 else (0,):
            step = torch.zeros_like(value)
            step[:2, i] = eps
            pair = [frozen(*((v + s * step) if v is value else v for v in (x0, p))) for s in (1, -1)]
            numeric = ((pair[0] - pair[1]) / (2 * eps) * weight).sum(1).detach()
            scale = float(numeric.abs().max())
            # Newton's iteration leaves a thousandth of the tolerance or so in what is differentiated
            assert torch.allclose(grad[:2, i], numeric, rtol=0, atol=1e-6 * scale + (2e-6 if low else 0.0))


# --- Stiff problems -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mu", [1.0, 5.0, 20.0, 100.0])
@pytest.mark.parametrize("method", ["tsit5", "rodas5p", pytest.param("kvaerno5", marks=pytest.mark.slow)])
def test_default_gradient_of_van_der_pol(mu, method):
    def run(method, tol):
        p = torch.tensor([[mu]], dtype=D, requires_grad=True)
        x0 = torch.tensor([[2.0, 0.0]], dtype=D)
        ob.integrate(van_der_pol, x0, (0.0, 3.0), args=p, method=method, rtol=tol, atol=tol).x1[:, 0].sum().backward()
        return float(p.grad)

    assert run(method, 1e-4) == pytest.approx(run("rodas5p", 1e-10), rel=1e-2)


def robertson(t, x, k):
    k1, k2, k3 = k.exp().unbind(-1)
    a, b, c = x.unbind(-1)
    return torch.stack([-k1 * a + k3 * b * c, k1 * a - k3 * b * c - k2 * b * b, k2 * b * b], -1)


def rates(method, gradient, rtol=1e-8, atol=1e-12):
    k = torch.tensor([[0.04, 3e7, 1e4]], dtype=D).log().requires_grad_()
    times = torch.logspace(-5, 5, 50, dtype=D)
    x0 = torch.tensor([[1.0, 0.0, 0.0]], dtype=D)
    sol = ob.integrate(
        robertson, x0, (0.0, 1e5), args=k, method=method, save=ob.At(times), rtol=rtol, atol=atol, gradient=gradient
    )
    (sol.xs * torch.tensor([1.0, 1e4, 1.0], dtype=D)).square().sum().backward()
    return k.grad


ROBERTSON = torch.tensor([[2.7725510565, -1.4910390027, -1.3418325020]], dtype=D)  # rodas5p at rtol 1e-11, atol 1e-15


def test_gradient_of_robertsons_rate_constants():
    assert torch.allclose(rates("rodas5p", ob.Replay()), ROBERTSON, rtol=1e-5)
    assert torch.allclose(rates("rodas5p", ob.Replay("sqrt"), 1e-7, 1e-11), ROBERTSON, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kvaerno5", "radau5"])
def test_gradient_of_robertsons_rate_constants_by_implicit_methods(method):
    assert torch.allclose(rates("rodas5p", ob.Replay(), 1e-10, 1e-14), ROBERTSON, rtol=1e-8)
    assert torch.allclose(rates(method, ob.Replay()), ROBERTSON, rtol=1e-5)
    assert torch.allclose(rates("rodas5p", ob.Forward()), ROBERTSON, rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ob.DriftWarning)
        assert torch.allclose(rates("rodas5p", ob.Adjoint("interpolated")), ROBERTSON, rtol=1e-3)

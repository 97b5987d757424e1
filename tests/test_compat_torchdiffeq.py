"""The drop-in for torchdiffeq: its problems, options, callbacks and events against known results; `peers`: beside it."""

import math

import pytest
import torch
from selection import dear

import odebridge as ob
from odebridge.compat.torchdiffeq import odeint, odeint_adjoint, odeint_dense, odeint_event
from odebridge.compat.torchdiffeq.methods import ADAPTIVE, FIXED
from odebridge.tableaus import classic, classic_implicit
from odebridge.tableaus.conditions import check_butcher, check_dirk

D = torch.float64
STIFF = ["rosenbrock23", "rodas5p", "kvaerno5", "radau5", "bdf"]


class Constant(torch.nn.Module):
    """x' = a + (x - (a t + b))^5, whose solution is a t + b."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (torch.nn.Parameter(torch.tensor(v, dtype=D)) for v in (0.2, 3.0))

    def forward(self, t, y):
        return self.a + (y - (self.a * t + self.b)) ** 5

    def exact(self, t):
        return (self.a * t + self.b).detach()


class Linear(torch.nn.Module):
    """Rotations of ten components that decay or grow a little."""

    def __init__(self):
        super().__init__()
        u = torch.randn(10, 10, generator=torch.Generator().manual_seed(0), dtype=D) * 0.1
        self.A = torch.nn.Parameter(u - u.T)

    def forward(self, t, y):
        return self.A @ y

    def exact(self, t):
        return torch.stack([torch.linalg.matrix_exp(self.A * s) @ torch.ones(10, dtype=D) for s in t]).detach()


class Sine(torch.nn.Module):
    def forward(self, t, y):
        return 2 * y / t + t**4 * torch.sin(2 * t) - t**2 + 4 * t**3

    def exact(self, t):
        s, c = torch.sin(2 * t), torch.cos(2 * t)
        return -0.5 * t**4 * c + 0.5 * t**3 * s + 0.25 * t**2 * c - t**3 + 2 * t**4 + (math.pi - 0.25) * t**2


class Exp(torch.nn.Module):
    def forward(self, t, y):
        return -0.1 * y

    def exact(self, t):
        return torch.exp(-0.1 * t)


PROBLEMS = [Constant, Linear, Sine, Exp]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method", dear([*ADAPTIVE, *STIFF]))
def test_adaptive_methods_solve_its_problems(method, problem, reverse):
    f, t = problem(), torch.linspace(1, 4, 4, dtype=D)
    exact = f.exact(t)
    if reverse:
        t, exact = t.flip(0), exact.flip(0)
    loose = method in ("adaptive_heun", "fehlberg2", "rosenbrock23")
    with torch.no_grad():
        y = odeint(f, exact[0], t, method=method, **({"rtol": 1e-5, "atol": 1e-7} if loose else {"rtol": 1e-8, "atol": 1e-9}))
    assert y.shape == exact.shape
    assert torch.allclose(y, exact, rtol=1e-2 if loose else 1e-4, atol=2e-3 if loose else 1e-4)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method", FIXED)
def test_fixed_methods_solve_its_problems(method, problem):
    f, t = problem(), torch.linspace(1, 2, 3, dtype=D)
    exact = f.exact(t)
    with torch.no_grad():
        y = odeint(f, exact[0], t, method=method, options={"step_size": 0.01})
    assert torch.allclose(y, exact, rtol=2e-2 if method in ("euler", "implicit_euler") else 1e-3)


@pytest.mark.parametrize("name", sorted({*FIXED} - {"explicit_adams", "implicit_adams", "fixed_adams"}))
def test_fixed_methods_have_their_order_on_a_problem_that_is_not_autonomous(name):
    """torchdiffeq's gl4 has order 1 here, its tsit5 order 4."""

    def f(t, y):
        return -y * y + torch.cos(t) * y + torch.sin(3 * t)

    y0, t = torch.tensor([0.7], dtype=D), torch.tensor([0.0, 1.0], dtype=D)
    exact = odeint(f, y0, t, method="dopri8", rtol=1e-13, atol=1e-14)[-1]
    order, h = FIXED[name].order, 0.1 if FIXED[name].order > 3 else 0.025
    errors = [float((odeint(f, y0, t, method=name, options={"step_size": s})[-1] - exact).abs()) for s in (h, h / 2)]
    assert math.log2(errors[0] / errors[1]) > order - 0.4


@pytest.mark.parametrize("tableau", [classic.MIDPOINT, classic.HEUN3, classic.RK4_38, classic.FEHLBERG2], ids=lambda t: t.name)
def test_tableaus_that_only_the_drop_in_names_fulfil_the_order_conditions(tableau):
    report = check_butcher(tableau)
    assert max(report.main, report.embedded) < 1e-14 < report.beyond


@pytest.mark.parametrize(
    "tableau", [classic_implicit.IMPLICIT_EULER, classic_implicit.TRAPEZOID, classic_implicit.SDIRK2], ids=lambda t: t.name
)
def test_implicit_ones_too(tableau):
    report = check_dirk(tableau)
    assert max(report.main, report.embedded) < 1e-14 < report.beyond


def test_rk4_is_the_rule_of_three_eighths():
    y0, t = torch.tensor(1.0, dtype=D), torch.tensor([0.0, 0.5], dtype=D)
    y = odeint(lambda t, y: t * y * y, y0, t, method="rk4", options={"step_size": 0.5})[-1]

    def f(t, y):
        return t * y * y

    h, k1 = 0.5, 0.0
    k2 = f(h / 3, 1 + h * k1 / 3)
    k3 = f(2 * h / 3, 1 + h * (k2 - k1 / 3))
    k4 = f(h, 1 + h * (k1 - k2 + k3))
    assert float(y) == pytest.approx(1 + h * (k1 + 3 * (k2 + k3) + k4) / 8, rel=1e-14)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 4)])
def test_states_of_any_shape_are_one_trajectory(shape):
    y0 = torch.ones(shape, dtype=D, requires_grad=True)
    t = torch.tensor([0.0, 0.5, 1.0], dtype=D)
    for method in ("dopri5", "rodas5p", "kvaerno5"):
        y = odeint(lambda t, y: -y * y.mean(), y0, t, method=method, rtol=1e-9, atol=1e-10)  # coupled, as one trajectory may be
        assert y.shape == (3, *shape)
        assert torch.allclose(y[-1], torch.full(shape, 0.5, dtype=D), rtol=1e-6)
    y[-1].sum().backward()
    assert y0.grad.shape == shape


def test_tuples_and_their_tolerances():
    y0 = (torch.ones(2, dtype=D), torch.tensor(2.0, dtype=D))
    t = torch.linspace(0, 1, 4, dtype=D)
    y = odeint(lambda t, y: (-y[0], y[1] * 0 + 1), y0, t, rtol=(1e-6, 1e-3), atol=(1e-8, 1e-3))
    assert isinstance(y, tuple)
    assert y[0].shape == (4, 2)
    assert y[1].shape == (4,)
    assert torch.allclose(y[0][-1], torch.exp(torch.tensor([-1.0, -1.0], dtype=D)), rtol=1e-5)
    assert float(y[1][-1]) == pytest.approx(3.0, rel=1e-6)
    with pytest.raises(ValueError, match="rtol"):
        odeint(lambda t, y: y, y0, t, rtol=(1e-3,))


def test_complex_states():
    y = odeint(lambda t, y: 1j * y, torch.tensor([1.0 + 0j], dtype=torch.complex128), torch.tensor([0.0, math.pi], dtype=D))
    assert torch.allclose(y[-1], torch.tensor([-1.0 + 0j], dtype=torch.complex128), atol=1e-5)
    with pytest.raises(TypeError, match="complex"):
        odeint(lambda t, y: y, torch.tensor([1j]), torch.tensor([0.0, 1.0]), method="rodas5p")


def test_single_precision_states_with_double_times():
    y = odeint(lambda t, y: -y, torch.ones(3), torch.linspace(0, 1, 3, dtype=D), rtol=1e-5, atol=1e-6)
    assert y.dtype == torch.float32
    assert torch.allclose(y[-1], torch.full((3,), math.exp(-1)), rtol=1e-4)


def test_norm_of_the_user_decides_about_steps():
    seen = []

    def norm(v):
        seen.append(v.shape)
        return v.abs().max()

    def count(**options):
        calls = [0]

        def f(t, y):
            calls[0] += 1
            return torch.stack([-y[0], 1000 * torch.cos(20 * t)])

        odeint(f, torch.ones(2, dtype=D), torch.tensor([0.0, 1.0], dtype=D), method="dopri5", options=options)
        return calls[0]

    assert count(norm=norm) != count(norm=lambda v: v[0].abs())
    assert set(seen) == {torch.Size([2])}


def test_jumps_and_steps_at_given_times():
    def f(t, y):
        return torch.where(t < 0.5, 1.0, -3.0).to(y) * torch.ones_like(y)

    y0, t = torch.zeros(1, dtype=D), torch.tensor([0.0, 1.0], dtype=D)
    y = odeint(f, y0, t, method="dopri5", options={"jump_t": torch.tensor([0.5])})
    assert float(y[-1]) == pytest.approx(-1.0, abs=1e-12)
    y = odeint(f, y0, t, method="dopri5", options={"step_t": torch.tensor([0.5])})
    assert float(y[-1]) == pytest.approx(-1.0, abs=1e-6)
    with pytest.raises(ValueError, match="step_t, jump_t"):
        odeint(f, y0, t, options={"jump_t": [0.5], "step_t": [0.5]})
    y = odeint(f, y0, torch.tensor([0.0, 0.5, 1.0], dtype=D), method="heun2", options={"perturb": True})
    assert float(y[-1]) == pytest.approx(-1.0, abs=1e-12)


def test_grids():
    y0, t = torch.ones(1, dtype=D), torch.tensor([0.0, 0.3, 1.0], dtype=D)

    class Counted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.steps = []

        def forward(self, t, y):
            return -y

        def callback_step(self, t0, y0, dt):
            self.steps.append((round(float(t0), 10), round(float(dt), 10)))

    f = Counted()
    odeint(f, y0, t, method="euler")
    assert f.steps == [(0.0, 0.3), (0.3, 0.7)]
    f = Counted()
    odeint(f, y0, t, method="euler", options={"step_size": 0.4})
    assert f.steps == [(0.0, 0.4), (0.4, 0.4), (0.8, 0.2)]
    f = Counted()
    odeint(f, y0, t, method="euler", options={"grid_constructor": lambda f, y, t: torch.tensor([0.0, 0.1, 1.0], dtype=D)})
    assert f.steps == [(0.0, 0.1), (0.1, 0.9)]
    f = Counted()
    odeint(f, y0, t.flip(0), method="euler")
    assert f.steps == [(1.0, -0.7), (0.3, -0.3)]
    with pytest.raises(ValueError, match="give one of them"):
        odeint(f, y0, t, method="euler", options={"step_size": 0.1, "grid_constructor": lambda f, y, t: t})
    with pytest.warns(UserWarning, match="one step over the whole span"):
        odeint(f, y0, torch.tensor([0.0, 10.0], dtype=D), method="rk4")


def test_callbacks_forward_and_in_the_adjoint():
    class F(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(3.0, dtype=D))
            self.seen = {}

        def forward(self, t, y):
            return -self.w * torch.sinh(3 * y)

    f = F()
    for name in ("step", "accept_step", "reject_step"):
        for suffix in ("", "_adjoint"):
            key = f"callback_{name}{suffix}"
            setattr(f, key, lambda t0, y0, dt, key=key: f.seen.setdefault(key, []).append(y0.shape))
    y0 = torch.ones(2, 2, dtype=D)
    y = odeint_adjoint(f, y0, torch.tensor([0.0, 1.0], dtype=D), method="dopri5", options={"first_step": 0.5})
    assert len(f.seen["callback_step"]) == len(f.seen["callback_accept_step"]) + len(f.seen["callback_reject_step"])
    assert set(f.seen["callback_step"]) == {torch.Size([2, 2])}
    assert "callback_step_adjoint" not in f.seen
    y[-1].sum().backward()
    assert f.seen["callback_accept_step_adjoint"]


def test_limits():
    y0, t = torch.ones(1, dtype=D), torch.tensor([0.0, 1.0], dtype=D)
    with pytest.raises(ob.SolveError, match="max_steps"):
        odeint(lambda t, y: -50 * y, y0, t, method="dopri5", options={"max_num_steps": 3})
    steps = []

    class F(torch.nn.Module):
        def forward(self, t, y):
            return -y

        def callback_step(self, t0, y0, dt):
            steps.append(float(dt))

    odeint(F(), y0, t, method="dopri5", options={"max_step": 0.05})
    assert max(steps) <= 0.05 + 1e-12
    # torchdiffeq keeps any step of min_step, whatever its error
    with pytest.raises(ob.SolveError, match="STEP_TOO_SMALL"):
        odeint(lambda t, y: -500 * y, y0, t, method="dopri5", options={"min_step": 0.2})
    for options in ({"min_step": -1.0}, {"max_step": 0.0}, {"first_step": -0.1}, {"safety": 0.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            odeint(lambda t, y: -y, y0, t, method="dopri5", options=options)
    with pytest.warns(UserWarning, match="unexpected options steps"):
        odeint(lambda t, y: -y, y0, t, method="dopri5", options={"steps": 3})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rtol": -1e-3}, "rtol"), ({"atol": -1.0}, "atol"), ({"t": torch.tensor([0.0, 0.0])}, "strictly"),
        ({"t": torch.tensor([0.0, 1.0, 0.5])}, "strictly"), ({"t": torch.tensor([0, 1])}, "floating"),
        ({"t": torch.zeros(1, 2)}, "one-dimensional"), ({"y0": torch.tensor([1])}, "floating"), ({"y0": 1.0}, "y0"),
        ({"method": "dopri55"}, "dopri5"), ({"y0": torch.tensor([math.nan])}, "finite"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_a_sentence(change, word):
    given = {"y0": torch.ones(1), "t": torch.tensor([0.0, 1.0])} | change
    with pytest.raises((ValueError, TypeError), match=word):
        odeint(lambda t, y: -y, **given)


def test_scipy_has_no_gradient_and_says_so():
    t = torch.linspace(0, 1, 3, dtype=D)
    y = odeint(lambda t, y: -y, torch.ones(2, dtype=D), t, method="scipy_solver", options={"solver": "BDF"})
    assert torch.allclose(y[-1], torch.full((2,), math.exp(-1), dtype=D), rtol=1e-4)
    with pytest.raises(ValueError, match="SciPy computes none"):
        odeint(lambda t, y: -y, torch.ones(2, dtype=D, requires_grad=True), t, method="scipy_solver")


def test_dense():
    y = odeint_dense(lambda t, y: -y, torch.ones(2, dtype=D), 0.0, 1.0)
    assert torch.allclose(y(0.3), torch.full((2,), math.exp(-0.3), dtype=D), rtol=1e-6)
    assert y(torch.tensor([0.1, 0.9])).shape == (2, 2)


# --- Gradients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dopri5", "rk4", pytest.param("bosh3", marks=pytest.mark.slow), "rodas5p"])
def test_gradcheck(method):
    f = Linear()
    y0 = torch.ones(10, dtype=D, requires_grad=True)
    t = torch.tensor([0.0, 0.3, 0.8], dtype=D, requires_grad=True)

    def solve(y0, t):
        return odeint(f, y0, t, method=method, rtol=1e-9, atol=1e-10)

    if method == "rk4":  # steps from time to time: the grid is differentiated with t in torchdiffeq only
        assert torch.autograd.gradcheck(lambda y0: solve(y0, t.detach()), (y0,))
    else:
        assert torch.autograd.gradcheck(solve, (y0, t), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_adjoint_against_odeint(problem):
    f, t = problem(), torch.linspace(1, 3, 4, dtype=D)
    found = []
    for solver in (odeint, odeint_adjoint):
        f.zero_grad()
        y0, when = f.exact(t)[0].clone().requires_grad_(), t.clone().requires_grad_()
        y = solver(f, y0, when, rtol=1e-9, atol=1e-12)
        y.backward(torch.rand(y.shape, dtype=D, generator=torch.Generator().manual_seed(0)))
        found.append([y0.grad, when.grad, *(p.grad for p in f.parameters())])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::odebridge.integrate.adjoint.DriftWarning")  # a loose backsolve says how far it is off
def test_adjoint_takes_what_torchdiffeq_takes():
    class Cubic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.A = torch.nn.Parameter(torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=D))
            self.unused = torch.nn.Linear(2, 5)

        def forward(self, t, y):
            return (y**3) @ self.A

    y0, t = torch.tensor([[2.0, 0.0]], dtype=D), torch.linspace(0, 2, 4, dtype=D)
    grads = []
    for options in (
        {}, {"adjoint_options": {"norm": "seminorm"}}, {"adjoint_method": "tsit5"}, {"adjoint_rtol": 1e-8},
        {"method": "rk4", "options": {"step_size": 0.01}},
    ):  # fmt: skip
        f = Cubic()
        odeint_adjoint(f, y0, t, **options).square().sum().backward()
        assert float(f.unused.weight.grad.abs().max()) == 0.0
        grads.append(f.A.grad)
    for g in grads[1:]:
        assert torch.allclose(g, grads[0], rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="adjoint_options"):
        odeint_adjoint(Cubic(), y0, t, method="dopri5", options={"first_step": 0.1}, adjoint_method="bosh3")
    rate = torch.tensor(0.5, dtype=D, requires_grad=True)  # in a closure: None in torchdiffeq
    odeint_adjoint(lambda t, y: -rate * y, torch.ones(1, dtype=D), torch.tensor([0.0, 2.0], dtype=D))[-1].sum().backward()
    assert float(rate.grad) == pytest.approx(-2.0 * math.exp(-1.0), rel=1e-5)


# --- Events --------------------------------------------------------------------------------------------------------------


class Ball(torch.nn.Module):
    """A ball that falls from a height, a state of three parts."""

    def __init__(self):
        super().__init__()
        self.gravity = torch.nn.Parameter(torch.tensor([9.8], dtype=D))
        self.log_radius = torch.nn.Parameter(torch.log(torch.tensor([0.2], dtype=D)))
        self.start = torch.nn.Parameter(torch.tensor([0.0], dtype=D))
        self.height = torch.nn.Parameter(torch.tensor([10.0], dtype=D))
        self.speed = torch.nn.Parameter(torch.tensor([0.0], dtype=D))
        self.loss = torch.nn.Parameter(torch.tensor([0.2], dtype=D))

    def forward(self, t, state):
        return state[1], -self.gravity, torch.zeros_like(state[2])

    def bounces(self, interface, number):
        state, t, times = (self.height, self.speed, self.log_radius), self.start, []
        for _ in range(number):
            t, y = odeint_event(
                self, state, t, event_fn=lambda t, s: s[0] - s[2].exp(), atol=1e-8, rtol=1e-8, odeint_interface=interface
            )
            times.append(t)
            state = (y[0][-1] + 1e-7, -y[1][-1] * (1 - self.loss), y[2][-1])
        return times


@pytest.mark.parametrize("interface", [odeint, odeint_adjoint])
def test_a_bouncing_ball_and_the_gradients_of_its_bounces(interface):
    ball = Ball()
    first = math.sqrt(2 * 9.8 / 9.8)
    times = ball.bounces(interface, 3)
    assert float(times[0].detach()) == pytest.approx(first, rel=1e-6)
    assert float(times[1].detach()) == pytest.approx(first * (1 + 2 * 0.8), rel=1e-5)
    times[-1].sum().backward()

    def last(name, eps):
        with torch.no_grad():
            getattr(ball, name).add_(eps)
            out = float(ball.bounces(odeint, 3)[-1])
            getattr(ball, name).sub_(eps)
        return out

    for name in ("gravity", "log_radius", "start", "height", "speed", "loss"):
        numeric = (last(name, 1e-4) - last(name, -1e-4)) / 2e-4
        assert float(getattr(ball, name).grad) == pytest.approx(numeric, rel=1e-4, abs=1e-5), name


def test_events_backward_in_time_of_several_components_and_at_the_start():
    t0, y0 = torch.tensor(1.0, dtype=D), torch.tensor([1.0, 2.0], dtype=D)

    def f(t, y):
        return torch.ones_like(y)

    t, y = odeint_event(f, y0, t0, event_fn=lambda t, y: y - 0.5, reverse_time=True)
    assert float(t) == pytest.approx(0.5)
    assert torch.allclose(y[1], torch.tensor([0.5, 1.5], dtype=D))
    t, y = odeint_event(f, y0, t0, event_fn=lambda t, y: y[0] - 1.0)
    assert float(t) == 1.0
    assert torch.equal(y[1], y0)
    with pytest.raises(ValueError, match="two entries"):
        odeint(f, y0, torch.linspace(0, 1, 3), event_fn=lambda t, y: y[0])


# --- Beside the real one ---------------------------------------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3", "adaptive_heun", "fehlberg2"])
def test_no_less_accurate_than_torchdiffeq_with_as_many_steps(method, problem):
    peer = pytest.importorskip("torchdiffeq")
    f, t = problem(), torch.linspace(1, 3, 5, dtype=D)
    exact, taken, errors = f.exact(t), [], []
    for solver in (peer.odeint, odeint):
        steps = []
        f.callback_accept_step = lambda t0, y0, dt, steps=steps: steps.append(float(dt))
        with torch.no_grad():
            y = solver(f, exact[0], t, rtol=1e-5, atol=1e-6, method=method, options={"first_step": 0.01})
        taken.append(steps)
        errors.append(float((y - exact).abs().max()))
    assert errors[1] <= 1.5 * errors[0] + 1e-5
    assert len(taken[1]) <= 1.35 * len(taken[0]) + 1
    if method == "bosh3":  # the same pair and law: the same steps, but for the last, which here ends at the end
        assert torch.allclose(torch.tensor(taken[0][:-1]), torch.tensor(taken[1][:-1]), rtol=1e-6)


@pytest.mark.peers
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method", ["euler", "midpoint", "heun2", "heun3", "rk4"])
def test_the_same_numbers_as_torchdiffeq_on_a_grid(method, problem):
    peer = pytest.importorskip("torchdiffeq")
    f, t = problem(), torch.linspace(1, 2, 11, dtype=D)
    with torch.no_grad():
        a, b = (s(f, f.exact(t)[0], t, method=method) for s in (peer.odeint, odeint))
    assert torch.allclose(a, b, rtol=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_same_gradients_as_torchdiffeq(problem):
    peer = pytest.importorskip("torchdiffeq")
    f, t, found = problem(), torch.linspace(1, 3, 4, dtype=D), []
    for solver in (peer.odeint, odeint, peer.odeint_adjoint, odeint_adjoint):
        f.zero_grad()
        y0, when = f.exact(t)[0].clone().requires_grad_(), t.clone().requires_grad_()
        y = solver(f, y0, when, rtol=1e-9, atol=1e-11)
        y.backward(torch.rand(y.shape, dtype=D, generator=torch.Generator().manual_seed(0)))
        found.append([y0.grad, when.grad, *(p.grad for p in f.parameters())])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.peers
def test_the_same_bounces_as_torchdiffeq():
    peer = pytest.importorskip("torchdiffeq")
    ball, found = Ball(), []
    for interface in (peer.odeint, odeint):
        ball.zero_grad()
        state, t = (ball.height, ball.speed, ball.log_radius), ball.start
        event = peer.odeint_event if interface is peer.odeint else odeint_event
        t, y = event(ball, state, t, event_fn=lambda t, s: s[0] - s[2].exp(), atol=1e-8, rtol=1e-8, odeint_interface=interface)
        (t.sum() + y[1][-1].sum()).backward()
        found.append([t.detach().reshape(()), ball.gravity.grad, ball.height.grad, ball.log_radius.grad, ball.start.grad])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-5)


def test_a_flow_that_differentiates_itself_under_both_gradients():
    """A continuous normalising flow calls requires_grad_ on its state and takes the trace of its own Jacobian."""

    class Flow(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()

        def forward(self, t, states):
            z = states[0]
            with torch.set_grad_enabled(True):
                z.requires_grad_(True)
                dz = self.net(z)
                trace = sum(torch.autograd.grad(dz[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(2))
            return dz, -trace[:, None]

    flow = Flow()
    z0, t = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=D), torch.tensor([1.0, 0.0], dtype=D)
    found = []
    for solver in (odeint, odeint_adjoint):
        flow.zero_grad()
        z, logp = solver(flow, (z0, torch.zeros(2, 1, dtype=D)), t, rtol=1e-8, atol=1e-10)
        (z[-1].square().sum() + logp[-1].sum()).backward()
        found.append([p.grad.clone() for p in flow.parameters()])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-8)

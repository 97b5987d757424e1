"""The contract under bad input and faults, rule by rule and entry by entry; each case has a limit of processor time.

A case ends in the right answer, in an exception that names the cause, or in a result code that is not OK. `entry` runs the
case through `integrate`, `solve` or the torchdiffeq drop-in `odeint`.
"""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import odebridge as ob
from odebridge.compat.torchdiffeq import odeint, odeint_adjoint
from tests.limits import processor_seconds

D = torch.float64
LIMIT = 20.0


@pytest.fixture(autouse=True)
def _in_time():
    with processor_seconds(LIMIT):
        yield


def one(*values: float, dtype=D) -> torch.Tensor:
    return torch.tensor([values], dtype=dtype)


def decay(t, x):
    return -x


def integrate(f=decay, x0=None, over=(0.0, 1.0), **options):
    return ob.integrate(f, one(1.0, 2.0, 3.0) if x0 is None else x0, over, **options)


def through_integrate(f, x0, t1, **options):
    return ob.integrate(f, x0[None], (0.0, t1), **options).x1[0]


def through_solve(f, x0, t1, **options):
    return ob.solve(ob.Problem(f, x0, (0.0, t1)), **options).x1


def through_odeint(f, x0, t1, **options):
    t = torch.tensor([0.0, t1], dtype=x0.dtype)
    return odeint(lambda s, y: f(s.reshape(1), y[None])[0], x0, t, **options)[-1]


ENTRIES = {"integrate": through_integrate, "solve": through_solve, "odeint": through_odeint}
entry = pytest.mark.parametrize("entry", ENTRIES)


# --- a field that is wrong ------------------------------------------------------------------------------------------------


def late(change):
    """A fault that begins at t = 0.5, behind every probe of the start."""

    def field(t, x):
        return change(t, x) if float(t[0]) > 0.5 else -x

    return field


def noise(t, x):
    return -x + torch.randn_like(x)


class Own(Exception):
    pass


def raises(t, x):
    raise Own


WRONG = {  # field -> what it raises, and the words that name the cause
    "one number for three": (lambda t, x: -x[:, :1], (ValueError, "broadcast")),
    "one number for three, late": (late(lambda t, x: -x[:, :1]), (ValueError, "broadcast")),
    "another rank": (lambda t, x: -x[..., None], (ValueError, "broadcast|shape")),
    "nothing": (lambda t, x: [None] * len(x), (TypeError, "field|func")),
    "a float": (lambda t, x: [1.0] * len(x), (TypeError, "field|func")),
    "an array": (lambda t, x: -x.numpy(), (TypeError, "field|func")),
    "edits its input": (lambda t, x: x.mul_(2), (ValueError, "in place")),
    "edits its input and puts it back": (lambda t, x: -x.mul_(2) / 2, (ValueError, "in place")),
    "edits its input, late": (late(lambda t, x: -x.mul_(1.0001)), (ValueError, "in place")),
    "random": (noise, (ValueError, "random")),
    "dropout": (lambda t, x: -torch.nn.functional.dropout(x, 0.5), (ValueError, "random")),
    "raises": (raises, (Own, None)),
    "raises, late": (late(raises), (Own, None)),
}


@entry
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_told(entry, case):
    f, (kind, words) = WRONG[case]
    torch.manual_seed(0)
    with pytest.raises(kind, match=words):
        ENTRIES[entry](f, torch.tensor([1.0, 2.0, 3.0], dtype=D), 1.0)


NUMBERS = {  # field, start, end -> the result code that a failure must have, wherever it is solved
    "nan at the start": (lambda t, x: x * math.nan, 1.0, 1.0, "NOT_FINITE"),
    "inf at the start": (lambda t, x: x * math.inf, 1.0, 1.0, "NOT_FINITE"),
    "nan from t=0.5": (lambda t, x: torch.where(t[:, None] > 0.5, math.nan, -x), 1.0, 1.0, "NOT_FINITE"),
    "the root of less than nothing": (lambda t, x: -x.sqrt(), 1.0, 5.0, "NOT_FINITE"),
    "blows up at t=1": (lambda t, x: x * x, 1.0, 2.0, "STEP_TOO_SMALL"),
}


@entry
@pytest.mark.parametrize("case", NUMBERS)
def test_no_failure_is_ok(entry, case):
    f, start, end, code = NUMBERS[case]
    with pytest.raises(ob.SolveError, match=code) as caught:
        ENTRIES[entry](f, torch.tensor([start], dtype=D), end)
    (failure,) = caught.value.solution.failures
    assert failure.result.name == code
    assert "t=" in str(failure)
    assert torch.isnan(caught.value.solution.x1).all()


@entry
@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_chatter_ends_right_or_with_a_code(entry, method):
    """x' = -sign(x) from 1: 0 from t = 1 on."""
    try:
        end = ENTRIES[entry](lambda t, x: -torch.sign(x), torch.ones(1, dtype=D), 2.0, method=method)
    except ob.SolveError:
        return
    assert abs(float(end)) < 1e-2


@entry
def test_noise_that_begins_late_ends_in_a_code(entry):
    chance = torch.Generator().manual_seed(0)

    def f(t, x):
        return -x + (torch.randn(x.shape, generator=chance, dtype=D) if float(t[0]) > 0.5 else 0.0)

    limits = {"options": {"max_num_steps": 500}} if entry == "odeint" else {"max_steps": 500, "method": "tsit5"}
    with pytest.raises(ob.SolveError):
        ENTRIES[entry](f, torch.ones(1, dtype=D), 1.0, rtol=1e-8, **limits)


@pytest.mark.parametrize("method", ["scipy:RK45", "scipy:LSODA", "scipy:BDF", "scipy:Radau"])
def test_borrowed_methods_keep_the_contract(method):
    bad = integrate(lambda t, x: x * math.nan, method=method, throw=False)
    assert int(bad.result) == ob.Result.NOT_FINITE
    assert int(integrate(lambda t, x: x * x, one(1.0), (0.0, 2.0), method=method, throw=False).result) != ob.Result.OK
    with pytest.raises(ValueError, match="random"):
        integrate(noise, method=method)


# --- trajectories that depend on each other -------------------------------------------------------------------------------

PAIR = torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.5, 1.0], [0.3, 1.0, 4.0]], dtype=D)
COUPLED = {
    "mean over the batch": lambda t, x: -x + x.mean(0),
    "largest of the batch": lambda t, x: -x / x.abs().max(),
    "batch norm": torch.nn.BatchNorm1d(3, dtype=D),
    "coupled from the middle on": lambda t, x: -x + torch.where(t[:, None] > 0.5, x.mean(0), 0.0),
    "t along the wrong axis": lambda t, x: -t * x,
    "cos t along the wrong axis": lambda t, x: torch.cos(t) * x,
    "the first clock for all": lambda t, x: -t[0] * x,
    "the mean clock for all": lambda t, x: -t.mean() * x,
    "captured rates": lambda t, x: -PAIR[:, :1] * x,
}


@pytest.mark.parametrize("case", COUPLED)
@pytest.mark.parametrize("b", [2, 3, 40])
def test_coupling_is_told(case, b):
    f = COUPLED[case]
    field = (lambda t, x: f(x)) if case == "batch norm" else f
    x0 = PAIR.repeat(14, 1)[:b] if case != "captured rates" or b == 3 else None
    if x0 is None:
        return
    with pytest.raises(ValueError, match=r"trajector|batch|broadcast|t\[:, None\]"):
        ob.integrate(field, x0, (0.0, 1.0))


# --- times, tolerances, states --------------------------------------------------------------------------------------------

ODEINT = {
    "unsorted": ({"t": torch.tensor([0.0, 2.0, 1.0])}, ValueError, "index 2"),
    "twice": ({"t": torch.tensor([0.0, 0.0])}, ValueError, "index 1"),
    "nan in t": ({"t": torch.tensor([0.0, math.nan])}, ValueError, "t: .*index 1"),
    "inf in t": ({"t": torch.tensor([0.0, math.inf])}, ValueError, "t: .*index 1"),
    "whole numbers in t": ({"t": torch.tensor([0, 1])}, TypeError, "t:"),
    "list as t": ({"t": [0.0, 1.0]}, TypeError, "t:"),
    "two dimensions of t": ({"t": torch.zeros(1, 2)}, ValueError, "t:"),
    "both tolerances 0": ({"rtol": 0.0, "atol": 0.0}, ValueError, "both 0"),
    "atol below 0": ({"atol": -1e-3}, ValueError, "atol"),
    "rtol nan": ({"rtol": math.nan}, ValueError, "rtol"),
    "rtol as text": ({"rtol": "1e-3"}, TypeError, "rtol"),
    "rtol of another shape": ({"rtol": torch.ones(5)}, ValueError, "rtol"),
    "nan in y0": ({"y0": torch.tensor([math.nan])}, ValueError, "y0"),
    "inf in y0": ({"y0": torch.tensor([math.inf])}, ValueError, "y0"),
    "empty y0": ({"y0": torch.zeros(0)}, ValueError, "y0"),
    "whole numbers in y0": ({"y0": torch.ones(2, dtype=torch.int64)}, TypeError, "y0"),
    "list as y0": ({"y0": [1.0]}, TypeError, "y0"),
    "no function": ({"func": None}, TypeError, "func"),
    "unknown method": ({"method": "dopri54"}, ValueError, "dopri5"),
    "a number as method": ({"method": 3}, TypeError, "method"),
    "text as options": ({"options": "abc"}, TypeError, "options"),
    "first_step 0": ({"options": {"first_step": 0.0}}, ValueError, "first_step"),
    "first_step as text": ({"options": {"first_step": "a"}}, TypeError, "first_step"),
    "max_num_steps 0": ({"options": {"max_num_steps": 0}}, ValueError, "max_num_steps"),
    "max_num_steps as text": ({"options": {"max_num_steps": "a"}}, TypeError, "max_num_steps"),
    "step_size nan": ({"method": "rk4", "options": {"step_size": math.nan}}, ValueError, "step_size"),
    "step_size below the last place": ({"method": "rk4", "options": {"step_size": 1e-12}}, ValueError, "step_size"),
    "step_t nan": ({"options": {"step_t": [math.nan]}}, ValueError, "step_t"),
    "jump_t as text": ({"options": {"jump_t": "x"}}, TypeError, "jump_t"),
    "norm no function": ({"options": {"norm": 3}}, TypeError, "norm"),
    "event_fn no function": ({"event_fn": 3}, TypeError, "event_fn"),
    "event_fn nan": ({"event_fn": lambda t, y: y[0] * math.nan}, ValueError, "event.*nan"),
    "event_fn never": (
        {"event_fn": lambda t, y: y[0] + 1.0, "options": {"max_num_steps": 300}},
        (ValueError, ob.SolveError),
        "event_fn|MAX_STEPS",
    ),
    "unknown solver of SciPy": ({"method": "scipy_solver", "options": {"solver": "RK54"}}, ValueError, "RK45"),
    "one part of two": ({"func": lambda t, y: (y[0],), "y0": (torch.ones(1), torch.ones(1))}, ValueError, "parts"),
    "a broadcast part": ({"func": lambda t, y: (y[0], y[0]), "y0": (torch.ones(1), torch.ones(3))}, ValueError, "broadcast"),
    "a tensor for a tuple": ({"func": lambda t, y: y[0], "y0": (torch.ones(1), torch.ones(1))}, TypeError, "tuple"),
}


@pytest.mark.parametrize("solver", [odeint, odeint_adjoint])
@pytest.mark.parametrize("case", ODEINT)
def test_the_drop_in_refuses_with_the_cause(case, solver):
    given, kind, words = ODEINT[case]
    if solver is odeint_adjoint and ("event_fn n" in case or "SciPy" in case):
        return
    given = {"func": lambda t, y: -y, "y0": torch.ones(2), "t": torch.linspace(0, 1, 2), **given}
    with pytest.raises(kind, match=words):
        solver(given.pop("func"), given.pop("y0"), given.pop("t"), **given)


def test_the_drop_in_runs_backward_and_over_one_time():
    t = torch.tensor([1.0, 0.5, 0.0], dtype=D)
    y = odeint(lambda s, v: -v, torch.ones(1, dtype=D), t)
    assert torch.allclose(y[:, 0], torch.exp(1.0 - t), rtol=1e-6)
    assert odeint(lambda s, v: -v, torch.ones(1), torch.zeros(1)).tolist() == [[1.0]]


INTEGRATE = {
    "sparse x0": ({"x0": torch.eye(2).to_sparse()}, TypeError, "x0.*to_dense"),
    "x0 on the meta device": ({"x0": torch.ones(1, 1, device="meta")}, TypeError, "meta"),
    "bool x0": ({"x0": torch.ones(1, 1, dtype=torch.bool)}, TypeError, "x0"),
    "text in x0": ({"x0": [[1.0, "a"]]}, TypeError, "x0"),
    "array as args": ({"f": lambda t, x, a: -x, "args": torch.ones(1, 1).numpy()}, TypeError, "args.*as_tensor"),
    "infinite end": ({"over": (0.0, math.inf)}, ValueError, "t1"),
    "text as end": ({"over": (0.0, "1")}, TypeError, "t1"),
    "nothing as end": ({"over": (0.0, None)}, TypeError, "t1"),
    "complex end": ({"over": (0.0, 1j)}, TypeError, "t1"),
    "first_step nan": ({"first_step": math.nan}, ValueError, "first_step"),
    "max_steps True": ({"max_steps": True}, TypeError, "max_steps"),
    "max_steps 1e30": ({"max_steps": 10**30}, ValueError, "max_steps"),
    "time_limit 0": ({"time_limit": 0}, ValueError, "time_limit"),
    "throw as text": ({"throw": "no"}, TypeError, "throw"),
    "nan event": ({"events": ob.Event(lambda t, x: x[:, 0] * math.nan)}, ValueError, "event 0.*nan"),
    "text as events": ({"events": "x"}, TypeError, "events"),
    "nan jump": ({"discontinuities": [math.nan]}, ValueError, "discontinuities"),
    "nan mass": ({"method": "rodas5p", "mass": torch.full((3,), math.nan)}, ValueError, "mass"),
    "unknown sparsity": ({"method": "rodas5p", "sparsity": "foo"}, ValueError, "sparsity"),
    "jacobian of nothing": ({"method": "rodas5p", "jacobian": lambda t, x: None}, ValueError, "jacobian"),
    "unknown keyword": ({"rtoll": 1e-3}, TypeError, "'rtol'"),
    "torchode's word": ({"t_eval": [0.5]}, TypeError, r"ob\.At"),
    "diffrax's word": ({"dt0": 0.1}, TypeError, "first_step"),
    "torchdiffeq's word": ({"max_num_steps": 5}, TypeError, "max_steps"),
    "grid with rtol below 0": ({"over": ob.Steps(2), "rtol": -1.0}, ValueError, "rtol"),
    "grid with max_steps 0": ({"over": ob.Steps(2), "max_steps": 0}, ValueError, "max_steps"),
    "grid edits its input": ({"over": ob.Steps(2), "f": lambda t, x: x.mul_(2)}, ValueError, "in place"),
    "grid broadcasts": ({"over": ob.Steps(2), "f": lambda t, x: x[:, :1]}, ValueError, "broadcast"),
}


@pytest.mark.parametrize("case", INTEGRATE)
def test_bad_input_is_refused_before_the_first_step(case):
    given, kind, words = INTEGRATE[case]
    given = {"method": "euler"} | given if isinstance(given.get("over"), ob.Grid) else given
    with pytest.raises(kind, match=words):
        integrate(**given)


@pytest.mark.parametrize("ts", ["abc", None, torch.ones(2, 2)])
def test_a_grid_of_no_numbers(ts):
    with pytest.raises(TypeError, match="Grid: ts"):
        ob.Grid(ts)
    with pytest.raises(ValueError, match="Steps: n"):
        ob.Steps(True)


def test_nan_args_belong_to_their_trajectory():
    rates = torch.tensor([[1.0], [math.nan], [2.0]], dtype=D)
    sol = ob.integrate(lambda t, x, a: -a * x, torch.ones(3, 1, dtype=D), (0.0, 1.0), args=rates, throw=False, rtol=1e-6)
    assert sol.result.tolist() == [ob.Result.OK, ob.Result.NOT_FINITE, ob.Result.OK]
    assert sol.x1[::2, 0].tolist() == pytest.approx([math.exp(-1), math.exp(-2)], rel=1e-5)
    assert "args" in sol.message


def test_a_nan_event_later_ends_its_trajectory_alone():
    event = ob.Event(lambda t, x: torch.where(t * x[:, 0] > 0.5, math.nan, x[:, 0] - 5.0))
    x0, ends = torch.zeros(2, 1, dtype=D), torch.tensor([0.5, 2.0], dtype=D)
    sol = ob.integrate(lambda t, x: torch.ones_like(x), x0, (0.0, ends), events=event, throw=False, max_step=0.1)
    assert sol.result.tolist() == [ob.Result.OK, ob.Result.NOT_FINITE]
    assert "event 0" in sol.message


# --- limits of numbers ----------------------------------------------------------------------------------------------------


def told(run) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        run()
    return [str(w.message) for w in said if issubclass(w.category, RuntimeWarning)]


@pytest.mark.parametrize(
    ("dtype", "rtol", "count"), [(torch.float32, 1e-7, 1), (D, 1e-20, 1), (torch.float32, 1e-4, 0), (D, 1e-12, 0)]
)
def test_a_tolerance_below_the_rounding_is_told_once(dtype, rtol, count):
    def run():
        for _ in range(3):
            integrate(x0=one(1.0, dtype=dtype), rtol=rtol)

    said = told(run)
    assert len(said) == count
    assert all("rtol" in words for words in said)


@entry
def test_a_clock_that_cannot_tell_the_times_of_the_span_is_told(entry):
    begin, kind = 1e8, torch.float32

    def f(t, x):
        return torch.cos(t)[:, None] * torch.ones_like(x)

    run = {
        "integrate": lambda: ob.integrate(f, torch.zeros(1, 1), (begin, begin + 1.0)),
        "solve": lambda: ob.solve(ob.Problem(f, torch.zeros(1), (begin, begin + 1.0)), method="tsit5"),
        "odeint": lambda: odeint(lambda t, y: torch.cos(t) * torch.ones_like(y), torch.zeros(1, dtype=kind),
                                 torch.tensor([begin, begin + 8.0], dtype=kind)),
    }[entry]  # fmt: skip
    with pytest.raises(ValueError, match="over: the field gets the time as float32"):
        run()
    assert told(lambda: ob.integrate(decay, torch.ones(1, 1), (begin, begin + 1.0))) == []  # looks at no time
    middling = told(lambda: ob.integrate(f, torch.zeros(1, 1), (4e4, 4e4 + 1.0), rtol=1e-3))
    assert len(middling) == 1
    assert "float32" in middling[0]


def test_an_unresolvable_span_is_no_success():
    assert int(integrate(over=(1e17, 1e17 + 32.0), throw=False).result) == ob.Result.STEP_TOO_SMALL


def rotation(t, x):
    return torch.stack([x[:, 1], -x[:, 0]], 1)


def test_the_budget_is_of_the_whole_solve():
    sol = integrate(rotation, one(1.0, 0.0), (0.0, 100.0), max_steps=10, save=ob.At([0.5, 50.0, 100.0]), throw=False)
    assert int(sol.result) == ob.Result.MAX_STEPS
    assert int(sol.stats.accepted + sol.stats.rejected) == 10
    assert torch.isfinite(sol.xs[0, 0]).all()  # what was reached
    assert torch.isnan(sol.xs[0, 1:]).all()
    t = torch.linspace(0.0, 100.0, 50, dtype=D)
    with pytest.raises(ob.SolveError, match="max_num_steps"):
        odeint(lambda s, y: torch.stack([y[1], -y[0]]), torch.tensor([1.0, 0.0], dtype=D), t, options={"max_num_steps": 60})


def test_the_time_limit_ends_a_solve():
    sol = integrate(rotation, one(1.0, 0.0), (0.0, 1e6), max_steps=10**9, time_limit=0.2, throw=False)
    assert int(sol.result) == ob.Result.TIME_LIMIT


@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3", "dopri8"])
def test_stiffness_is_told_where_the_steps_run_out(method):
    options = {"method": method, "max_steps": 300, "throw": False}
    sol = integrate(lambda t, x: -1e5 * (x - torch.cos(t)[:, None]), one(1.0), (0.0, 10.0), **options)
    assert "looks stiff" in sol.message
    assert "rodas5p" in sol.message
    wave = integrate(rotation, one(1.0, 0.0), (0.0, 1e4), **options)
    assert "looks stiff" not in wave.message


def test_a_long_stiff_solve_that_arrives_warns_once():
    def run():
        for _ in range(2):
            integrate(lambda t, x: -1e4 * (x - torch.cos(t)[:, None]), one(1.0), (0.0, 0.8), rtol=1e-2, method="tsit5")

    said = told(run)
    assert len(said) == 1
    assert "looks stiff" in said[0]


def test_a_failure_on_a_grid_is_told():
    sol = integrate(lambda t, x: x * x * 1e200, over=ob.Steps(5), method="euler")
    assert int(sol.result) == ob.Result.NOT_FINITE
    assert "NOT_FINITE" in sol.message


# --- documented limits ----------------------------------------------------------------------------------------------------


def test_a_narrow_pulse_is_found_where_its_edges_are_given():
    def pulse(t, x):
        return torch.where((t[:, None] > 0.5) & (t[:, None] < 0.501), 1000.0, 0.0) * torch.ones_like(x)

    found = integrate(pulse, one(0.0), discontinuities=[0.5, 0.501])
    assert float(found.x1) == pytest.approx(1.0, rel=1e-6)


def test_two_crossings_in_one_step_are_found_with_max_step():
    event = ob.Event(lambda t, x: (t - 0.5) ** 2 - 1e-4)
    sol = integrate(events=event, max_step=0.005)
    assert float(sol.t1) == pytest.approx(0.49, abs=1e-6)


def test_interrupts_and_errors_of_callbacks_reach_the_caller():
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        integrate(callback=stop)
    with pytest.raises(ZeroDivisionError):
        integrate(callback=lambda _: 1 / 0)


# --- torch.compile --------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default::UserWarning")  # torch's own, while it traces
@pytest.mark.parametrize("which", ["node", "deq"])
def test_layers_with_adaptive_solves_compile_around_them(which):
    from odebridge.nets.node import DEQ, MLPField, NeuralODE, TanhCell

    torch.manual_seed(0)
    head = torch.nn.Linear(2 if which == "node" else 4, 2)
    net = NeuralODE(MLPField(2), head=head) if which == "node" else DEQ(TanhCell(2, 4), 4, head=head)
    x = torch.randn(5, 2)
    y = torch.compile(net, backend="eager")(x)
    g = torch.autograd.grad(y.sum(), list(net.parameters()))
    z = net(x)
    assert torch.equal(y, z)
    assert all(torch.allclose(a, b) for a, b in zip(g, torch.autograd.grad(z.sum(), list(net.parameters())), strict=True))

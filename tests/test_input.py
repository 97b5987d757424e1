"""Bad input is refused before the first step, in a sentence that names the argument and says what to write instead."""

import pytest
import torch

import odebridge as ob

X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.3, 0.1]], dtype=torch.float64)
SPAN = (0.0, 1.0)


def decay(t, x):
    return -x


WEIGHTS = torch.ones(3, 2, dtype=torch.float64)


def captured(t, x):
    return -x * WEIGHTS


NORM = torch.nn.BatchNorm1d(2).double()

CASES = {
    "unknown method": ({"method": "dopri54"}, ValueError, "dopri5"),
    "unknown controller": ({"controller": "p1"}, ValueError, "pi"),
    "attention by name": ({"controller": "stepnet"}, ValueError, "StepNet"),
    "no error estimate": ({"method": "rk4", "controller": "pi"}, ValueError, "no error estimate"),
    "fixed without a step": ({"controller": "fixed"}, ValueError, "first_step"),
    "negative rtol": ({"rtol": -1e-3}, ValueError, "rtol"),
    "rtol as text": ({"rtol": "1e-3"}, TypeError, "rtol"),
    "nan atol": ({"atol": float("nan")}, ValueError, "atol"),
    "both tolerances 0": ({"rtol": 0.0, "atol": 0.0}, ValueError, "both 0"),
    "atol of another shape": ({"atol": torch.ones(3)}, ValueError, "as many dimensions"),
    "atol 0 where x0 is 0": ({"x0": torch.zeros(1, 2), "atol": 0.0}, ValueError, r"index \(0, 0\)"),
    "first step 0": ({"first_step": 0.0}, ValueError, "first_step"),
    "negative max_step": ({"max_step": -1.0}, ValueError, "max_step"),
    "fractional max_steps": ({"max_steps": 1.5}, TypeError, "max_steps"),
    "max_steps 0": ({"max_steps": 0}, ValueError, "max_steps"),
    "no batch axis": ({"x0": torch.ones(3)}, ValueError, r"x0\[None\]"),
    "scalar": ({"x0": 1.0}, ValueError, "reshape"),
    "integers": ({"x0": torch.ones(3, 2, dtype=torch.int64)}, TypeError, "x0"),
    "complex": ({"x0": torch.ones(3, 2, dtype=torch.complex64), "method": "rodas5p"}, TypeError, "view_as_real"),
    "half": ({"x0": torch.ones(3, 2, dtype=torch.float16)}, TypeError, "float16"),
    "empty": ({"x0": torch.ones(0, 2)}, ValueError, "empty"),
    "nan in x0": ({"x0": torch.tensor([[1.0, float("nan")]])}, ValueError, r"\(0, 1\)"),
    "text as x0": ({"x0": "abc"}, TypeError, "x0"),
    "nan in the span": ({"over": (0.0, float("nan"))}, ValueError, "t1"),
    "three times": ({"over": (0.0, 1.0, 2.0)}, TypeError, "over"),
    "span of another batch": ({"over": (0.0, torch.ones(2))}, ValueError, "t1"),
    "times backward": ({"save": ob.At([0.5, 0.1])}, ValueError, "sorted"),
    "times outside": ({"save": ob.At([0.5, 1.1])}, ValueError, "outside"),
    "nan time": ({"save": ob.At([0.5, float("nan")])}, ValueError, "index 1"),
    "field returns None": ({"field": lambda t, x: None}, TypeError, "NoneType"),
    "field returns one number": ({"field": lambda t, x: x[:, :1]}, ValueError, "broadcast"),
    "field broadcasts t": ({"field": lambda t, x: -t * x}, ValueError, r"t\[:, None\]"),
    "field of another dtype": ({"field": lambda t, x: -x.float()}, TypeError, "float32"),
    "field edits its input": ({"field": lambda t, x: x.mul_(2)}, ValueError, "in place"),
    "field couples trajectories": ({"field": lambda t, x: x - x.mean(0)}, ValueError, "coupled"),
    "field is random": ({"field": lambda t, x: torch.randn_like(x)}, ValueError, "random"),
    "field captured the batch": ({"field": captured}, ValueError, "args"),
    "batch norm": ({"field": lambda t, x: NORM(x)}, ValueError, "trajectory 0 alone"),
    "args of another batch": ({"field": lambda t, x, a: a * x, "args": torch.ones(2, 2)}, ValueError, "args"),
    "jacobian of the wrong shape": ({"method": "rodas5p", "jacobian": lambda t, x: torch.eye(2)}, ValueError, "jacobian"),
    "gradient by name": ({"gradient": "adjoint"}, TypeError, "Replay"),
    "unknown keyword": ({"tolerance": 1e-3}, TypeError, "tolerance"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_a_sentence(case):
    options, kind, words = CASES[case]
    options = {"field": decay, "x0": X, "over": SPAN, **options}
    with pytest.raises(kind, match=words):
        ob.integrate(options.pop("field"), options.pop("x0"), options.pop("over"), **options)


def test_wrong_broadcast_of_t_cannot_pass_even_for_square_batches():
    """With b = n the product t * x has the right shape and the wrong values."""
    t0 = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"t\[:, None\]"):
        ob.integrate(lambda t, x: -t * x, torch.ones(2, 2).double(), (t0, 2.0))


def test_exceptions_of_the_field_reach_the_caller_as_they_are():
    class MyError(Exception):
        pass

    def f(t, x):
        if bool((t > 0.5).any()):
            raise MyError
        return -x

    with pytest.raises(MyError):
        ob.integrate(f, X, SPAN)


def test_lists_are_promoted():
    assert ob.integrate(decay, [[1, 2]], SPAN).x1.dtype == torch.get_default_dtype()
    sol = ob.solve(ob.Problem(decay, [1.0, 2.0], SPAN), rtol=1e-8, atol=1e-10)
    assert sol.x1.shape == (2,)
    assert torch.allclose(sol.x1, torch.tensor([1.0, 2.0]).double() * torch.exp(torch.tensor(-1.0)).double(), rtol=1e-6)


def test_solve_by_name_and_its_refusals():
    with pytest.raises(ValueError, match="robertson"):
        ob.solve("robertsen")
    with pytest.raises(TypeError, match="Problem"):
        ob.solve(3)
    with pytest.raises(TypeError, match="belongs to the problem"):
        ob.solve("robertson", jacobian=lambda t, x: x)
    sol = ob.solve("robertson", method="rodas5p", rtol=1e-6, atol=1e-10, save=ob.Every())
    assert sol.x1.shape == (3,)
    assert sol.xs.shape == (len(sol.ts), 3)
    assert int(sol.result) == ob.Result.OK


def test_failure_message_names_trajectory_time_step_component_and_advice():
    with pytest.raises(ob.SolveError) as caught:
        ob.solve("robertson", method="dopri5", rtol=1e-4, atol=1e-8, max_steps=200)
    text = str(caught.value)
    for words in ("trajectory 0", "MAX_STEPS", "t=", "step", "component", "rodas5p", "throw=False"):
        assert words in text


def test_plot_needs_kept_steps():
    with pytest.raises(ValueError, match="Every"):
        ob.integrate(decay, X, SPAN).plot()
    figure = ob.integrate(decay, X, SPAN, save=ob.Every()).plot(trajectory=1)
    assert len(figure.axes) == 3
    assert all(axis.get_ylabel() for axis in figure.axes)


def test_grids_are_checked():
    with pytest.raises(ValueError, match="rising"):
        ob.Grid((0.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="finite"):
        ob.Grid((0.0, float("inf")))
    with pytest.raises(ValueError, match="whole number"):
        ob.Steps(0)
    with pytest.raises(ValueError, match="put the times you want into the grid"):
        ob.integrate(decay, X, ob.Grid((0.0, 1.0)), save=ob.At([0.5]))

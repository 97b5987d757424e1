"""What is refused anywhere in the package, in a sentence that names the argument, the value and the way out."""

import math

import pytest
import torch

import odebridge as ob
from odebridge import control, data, nets
from odebridge.compat.torchdiffeq import odeint, odeint_event
from odebridge.control.attention import CBAM, DIA
from odebridge.integrate.probe import LOOK
from odebridge.linalg.colouring import colour, entries, pattern_of
from odebridge.methods.bdf import Bdf
from odebridge.nets.node import Solver
from odebridge.tableaus.predictor import stage_predictor
from odebridge.train.plan import Plan
from odebridge.train.recipes import RECIPES
from odebridge.train.recipes.corrected import finer

D = torch.float64
X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.3, 0.1]], dtype=D)
STIFF = {"method": "rodas5p"}


def decay(t, x):
    return -x


def solved(field=decay, x0=X, over=(0.0, 1.0), **options):
    return lambda: ob.integrate(field, x0, over, **options)


def dae(x0, field=lambda t, x: torch.stack([-x[:, 0], x[:, 1] - x[:, 0] ** 2], 1)):
    return solved(field, torch.tensor([x0], dtype=D), mass=[1.0, 0.0], **STIFF)


WIDE = torch.ones(3 * LOOK, 3 * LOOK, dtype=D)  # as many trajectories as components
NEST = (X, X[:, :1])
MASS = {
    "explicit method": (solved(mass=[1.0, 1.0], method="tsit5"), ValueError, r"mass: method 'tsit5' solves x' = f.*'rodas5p'"),
    "mass of words": (solved(mass="one", **STIFF), TypeError, r"mass: must be a tensor \(n,\) or \(n, n\), got 'one'"),
    "mass of three": (solved(mass=[1.0] * 3, **STIFF), ValueError, r"mass: must have shape \(2,\).*got \(3,\)"),
    "no mass at all": (solved(mass=[0.0, 0.0], **STIFF), ValueError, "mass: is all zero.*root finder"),
    "infinite mass": (solved(mass=[1.0, math.inf], **STIFF), ValueError, "mass: holds values that are not finite"),
    "off the manifold": (dae([2.0, 3.0]), ValueError, r"x0: trajectory 0 does not fulfil.*leads to \[2.0, 4.0\]; start there"),
    "index 2": (
        dae([0.0, 1.0], lambda t, x: torch.stack([x[:, 1], x[:, 0]], 1)), ValueError, "mass: .*trajectory 0.*index is above 1"
    ),
}  # fmt: skip
NUMBERS = {
    "rtol of words": (solved(rtol=["a"]), TypeError, r"rtol: must be a number or a tensor, got \['a'\]"),
    "atol of objects": (solved(atol=object()), TypeError, "atol: must be a number or a tensor"),
    "rtol of another batch": (solved(rtol=torch.full((2,), 1e-3)), ValueError, r"rtol: .*shape \(3,\), got \(2,\)"),
    "first step of objects": (solved(first_step=object()), TypeError, "first_step: must be a positive number"),
    "rtol of words on a grid": (solved(over=ob.Steps(2), method="rk4", rtol="1"), TypeError, "rtol: must be a number"),
    "times in three dimensions": (
        solved(save=ob.At(torch.zeros(1, 1, 1))), ValueError, r"save: the times of At must have shape \(k,\) or \(b, k\).*b=3"
    ),
    "times of another batch": (solved(save=ob.At(torch.zeros(2, 1))), ValueError, r"save: .*b=3, got \(2, 1\)"),
    "dense output of another batch": (
        lambda: solved(save=ob.Dense())()(torch.zeros(2, 1)), ValueError, r"t: give a float.*b=3, got shape \(2, 1\)"
    ),
    "third derivatives": (lambda: ob.Replay(derivatives=3), ValueError, "Replay: derivatives must be 1 or 2, got 3"),
    "order 6": (lambda: Bdf(max_order=6), ValueError, "Bdf: max_order is 6; write 1 to 5"),
    "stage 9": (lambda: stage_predictor((0.0, 1.0), 9), ValueError, "there is no stage 9 among 2"),
    "auto on a grid": (solved(over=ob.Steps(2), method="auto"), ValueError, "'auto' chooses.*on a grid name the method"),
    "pattern of another state": (
        lambda: entries(decay, torch.zeros(3), X, colour(pattern_of((1, 1), 5))), ValueError, r"sparsity: .*\(5, 5\).*2 compon"
    ),
    "sparse stages": (
        solved(x0=X.clone().requires_grad_(), method="radau5", sparsity="krylov"), NotImplementedError, "leave sparsity out"
    ),
    "forward of every step": (
        solved(x0=X.clone().requires_grad_(), gradient=ob.Forward(), save=ob.Every()), ValueError, "Forward keeps ob.Last"
    ),
    "forward of events": (
        solved(x0=X.clone().requires_grad_(), gradient=ob.Forward(), events=ob.Event(lambda t, x: x[:, 0] - 0.4)),
        ValueError, "Forward does not differentiate events; use ob.Replay",
    ),
    "t spread over the components": (
        solved(lambda t, x, a: t * x * a, WIDE, args=WIDE[:, :1]), ValueError,
        r"field: fails for the first \d+ trajectories alone.*t\[:, None\]",
    ),
}  # fmt: skip
NESTS = {
    "a part that is no tensor": (solved(lambda t, x: (x[0], 1.0), NEST), TypeError, r"field\[1\]: must be a tensor, got float"),
    "another key": (
        solved(lambda t, x: {"b": x["a"]}, {"a": X}), TypeError, r"field: must be a dict with the keys.*\['a'\], got \['b'\]"
    ),
    "no dict": (solved(lambda t, x: x["a"], {"a": X}), TypeError, r"field: must be a dict.*got Tensor"),
    "no function": (solved(3, NEST), TypeError, "field: "),
    "marks of another shape": (
        solved(lambda t, x: x, NEST, nonnegative=(torch.ones(5).bool(), True)), ValueError, r"nonnegative: .*\(2,\).*got \(5,\)"
    ),
    "atol of words": (
        solved(lambda t, x: x, NEST, atol=(1e-6, "b")), TypeError,
        r"atol\[1\]: must be a number or a tensor, got 'b' of type str",
    ),
}  # fmt: skip
T = torch.tensor([0.0, 1.0], dtype=D)
Y = torch.ones(2, dtype=D)
DROP_IN = {
    "events of SciPy": (
        lambda: odeint(decay, Y, T, method="scipy_solver", event_fn=lambda t, y: y[0] - 0.5), ValueError,
        "'scipy_solver' has no"
    ),
    "SciPy that fails": (
        lambda: odeint(lambda t, y: y * y * 10, Y, T, method="scipy_solver", options={"solver": "RK45"}), RuntimeError,
        "scipy_solver: ",
    ),
    "SciPy without an end": (
        lambda: odeint(lambda t, y: torch.sin(1e5 * t) * y, Y, T, method="scipy_solver", options={"max_num_steps": 3}),
        RuntimeError, "max_num_steps: the field was called 60 times",
    ),
    "a grid that ends elsewhere": (
        lambda: odeint(decay, Y, T, method="rk4", options={"grid_constructor": lambda f, y, t: t[:1]}),
        ValueError, r"grid_constructor: must return a grid from t\[0\] to t\[-1\]",
    ),
    "an event that never comes": (
        lambda: odeint_event(lambda t, y: 0 * y, Y, torch.tensor(0.0, dtype=D), event_fn=lambda t, y: y[0] + 1),
        ValueError, "event_fn: has not changed its sign up to t=",
    ),
    "an event beyond the largest float": (
        lambda: odeint(lambda t, y: 0 * y, Y, 1e308 * T, event_fn=lambda t, y: y[0] + 1),
        ValueError, "event_fn: has not changed its sign up to t=1e.308",
    ),
    "a method that is a class": (lambda: odeint(decay, Y, T, method=Bdf), TypeError, "method: must be a name or a Method"),
}  # fmt: skip


def task(name, **options):
    recipe = RECIPES[name]
    return lambda: recipe.task(None, **options)


LEARNING = {
    "one point": (lambda: data.moons(train=1), ValueError, "moons: train and test must be at least 2, got 1"),
    "no mass on the chain": (lambda: data.spring_chain(masses=0), ValueError, "spring_chain: masses must be at least 1, got 0"),
    "no block to interpolate": (lambda: nets.Interpolated([]), ValueError, "Interpolated: give at least one block"),
    "no controller": (lambda: control.PerStep([]), ValueError, "PerStep: give at least one controller"),
    "cbam of no width": (lambda: CBAM(8, 0), ValueError, "reduction must be at least 1, got 0"),
    "dia of no width": (lambda: DIA(8, 0), ValueError, "reduction must be at least 1, got 0"),
    "times of each with steps": (
        lambda: Solver("rk4", steps=2).path(decay, X, torch.zeros(3, 2)), ValueError,
        r"times: with steps=2 they are shared.*\(3, 2\)"
    ),
    "weight decay": (
        lambda: Plan(8, 1, 4, 1e-3, "adamw", -1.0, "cosine", None), ValueError, "weight_decay must be a finite number.*got -1.0"
    ),
    "no finer cut": (lambda: finer(None, decay, 0), ValueError, "cut: must be at least 1, got 0"),
    "a seed that is none": (task("node", seed=-1), ValueError, r"seed: must be a whole number from 0 to 2\^63 - 1, got -1"),
}  # fmt: skip
CASES = {**MASS, **NUMBERS, **NESTS, **DROP_IN, **LEARNING}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_a_sentence(case):
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        call()

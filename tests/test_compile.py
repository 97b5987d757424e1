"""One try is a pure function of tensors: it traces to one graph, for every method and law, and gives the same numbers."""

import pytest
import torch

from odebridge.control import CONTROLLERS
from odebridge.core.protocols import Counts
from odebridge.core.result import RUNNING
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.loops import Lanes, attempt
from odebridge.integrate.system import BoundField
from odebridge.methods import METHODS

# Methods that search (Newton's iteration, stage numbers) leave their loops when all trajectories are done: eager only so far.
ADAPTIVE = [m for m in METHODS if METHODS[m].error_order is not None and not hasattr(METHODS[m], "replay")]


def field(t, x):
    a, b = x.unbind(-1)
    return torch.stack([b, 5.0 * (1 - a * a) * b - a + 0.1 * t], -1)


def lanes(method, law, b=4):
    f = BoundField(field)
    x = torch.stack([torch.linspace(0.5, 2, b), torch.zeros(b)], -1).double()
    t, one = torch.zeros(b, dtype=torch.float64), torch.ones(b, dtype=torch.float64)
    zero = torch.zeros(b, dtype=torch.int64)
    tol = Tolerance(1e-4 * one, (1e-6 * one)[:, None])
    return f, Lanes(
        zero + torch.arange(b), t, x, f(t, x), 0.05 * one, zero, zero, torch.full_like(zero, RUNNING), law.start(x, tol),
        method.start(f, t, x), Counts(*(zero for _ in Counts())), one, one, tol, None,
    )  # fmt: skip


def flat(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [v for item in tree for v in flat(item)] if isinstance(tree, (tuple, list)) else []


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_try_is_one_graph_for_every_method(method):
    assert_one_graph(METHODS[method], CONTROLLERS["pi"])


@pytest.mark.parametrize("law", CONTROLLERS)
def test_a_try_is_one_graph_for_every_law(law):
    assert_one_graph(METHODS["tsit5"], CONTROLLERS[law])


def assert_one_graph(method, law):
    torch._dynamo.reset()
    f, state = lanes(method, law)

    def body(state):
        return attempt(state, f, method, law, None, 100)[0]

    compiled = torch.compile(body, fullgraph=True, backend="eager")
    plain, traced = state, state
    for _ in range(3):
        plain, traced = body(plain), compiled(traced)
    # `auto` computes both methods when compiled, and then remembers a Jacobian that eager mode never made: left out.
    plain, traced = (s._replace(memory=()) if method.name == "auto" else s for s in (plain, traced))
    for a, b in zip(flat(plain), flat(traced), strict=True):
        assert torch.allclose(torch.nan_to_num(a.double()), torch.nan_to_num(b.double()), rtol=1e-12, atol=1e-14)

"""The generator of benchmarks/reliability.py: solves that say OK are right, or a warning says what to expect."""

import importlib.util
import math
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from manufactured import exact, field, slope

import odebridge as ob
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.engine import build
from odebridge.integrate.system import BoundField
from odebridge.methods import METHODS


@pytest.fixture(scope="module")
def script():
    """The benchmark as a module."""
    path = Path(__file__).parent.parent / "benchmarks" / "reliability.py"
    spec = importlib.util.spec_from_file_location("reliability", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reliability"] = module  # named tuples look their module up
    spec.loader.exec_module(module)
    return module


def errors(one, sol, rtol):
    """Errors at the end in units of the tolerance."""
    path = one.exact(torch.stack([0.0 * one.t1, one.t1], 1))[:, -1]
    return ((sol.x1 - path) / (1e-3 * rtol + rtol * path.abs())).square().mean(1).sqrt()


def followers(script, method, rtol, **options):
    one = script.follower(200, torch.Generator().manual_seed(1), 1e8)
    options = {"args": one.args, "rtol": rtol, "atol": 1e-3 * rtol, "throw": False, **options}
    return one, ob.integrate(one.field, one.x0, (0.0, one.t1), method=method, **options)


def test_rodas3p_sees_that_a_stiff_nonlinear_component_is_off(script):
    """The difference of the last two stages, which share one f, does not: a third of these systems ended up to 1e9 off."""
    one, sol = followers(script, "rodas3p", 1e-3)
    assert bool((sol.result == ob.Result.OK).all())
    assert float(errors(one, sol, 1e-3).max()) < 20.0
    blind = replace(METHODS["rodas3p"], tableau=replace(METHODS["rodas3p"].tableau, checks_end=False))  # type: ignore[type-var]
    one, sol = followers(script, blind, 1e-3)
    assert int((errors(one, sol, 1e-3) > 100.0).sum()) > 20


def test_what_the_end_slope_adds_falls_faster_than_the_estimate_without_stiffness():
    """h^4 against h^3: at tight tolerances the published pair sizes the steps, as before."""
    tableau = METHODS["rodas3p"].tableau  # type: ignore[attr-defined]
    only = replace(METHODS["rodas3p"], tableau=replace(tableau, e=(1e-200,) * 5))  # type: ignore[type-var]
    t = torch.full((1,), 0.3).double()
    f = BoundField(field, tol=Tolerance(torch.full((1,), 1e-9).double(), torch.full((1, 1), 1e-11).double()))

    def miss(h):
        dt, x = torch.full((1,), h).double(), exact(t)
        return float(only.step(f, t, x, dt, dt[:, None], f(t, x), only.start(f, t, x)).error.norm())

    sizes = [0.02 / 1.4**k for k in range(4)]
    assert abs(slope(sizes, [miss(h) for h in sizes]) - 4.0) < 0.3


@pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")
def test_the_compiled_loop_rejects_the_same_steps(script):
    _, eager = followers(script, "rodas3p", 1e-3)
    _, compiled = followers(script, "rodas3p", 1e-3, compile=True)
    for name in ("accepted", "rejected", "f_evals", "solves"):
        assert torch.equal(getattr(compiled.stats, name), getattr(eager.stats, name)), name
    assert torch.allclose(compiled.x1, eager.x1, rtol=1e-9)


def turning(method, rtol, **options):
    """One turn and a half of x'' = -9 x: the end, its error in units of rtol, and what was said."""
    field = lambda t, x: torch.stack([x[:, 1], -9.0 * x[:, 0]], -1)  # noqa: E731
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        x0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        sol = ob.integrate(field, x0, (0.0, 3.0), method=method, rtol=rtol, atol=1e-3 * rtol, **options)
    right = torch.tensor([[math.cos(9.0), -3.0 * math.sin(9.0)]]).double()
    off = float(((sol.x1 - right) / torch.tensor([1.0, 3.0])).square().mean().sqrt()) / rtol
    return sol, off, [str(w.message) for w in said if w.category is RuntimeWarning]


@pytest.mark.parametrize(("method", "share"), [("rosenbrock23", 0.24), ("tr_bdf2", 0.115)])
def test_errors_of_order_two_add_up_step_by_step_at_every_tolerance(method, share):
    """So it is no fault of the estimate, and the end is off by rtol^(2/3), not by rtol."""
    for rtol in (1e-4, 1e-6):
        sol, off, _ = turning(method, rtol)
        assert off / int(sol.stats.accepted) == pytest.approx(share, rel=0.15)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_method_of_order_two_says_that_many_steps_at_a_tight_tolerance_add_up(compiled):
    sol, off, said = turning("rosenbrock23", 1e-6, compile=compiled)
    steps = int(sol.stats.accepted)
    assert any(f"took {steps} steps (trajectory 0)" in s and "add up" in s and "method='rodas5p'" in s for s in said)
    assert 100.0 < off < 0.25 * steps


@pytest.mark.parametrize(("method", "rtol"), [("rosenbrock23", 1e-4), ("rodas5p", 1e-8), ("kvaerno3", 1e-6), ("bdf", 1e-8)])
def test_nothing_is_said_where_little_adds_up(method, rtol):
    _, off, said = turning(method, rtol)
    assert said == []
    assert off < 100.0

"""The generator of benchmarks/reliability.py: solves that say OK are right, or a warning says what to expect."""

import json
import math
import os
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from manufactured import exact, field, slope
from selection import dear

import odebridge as ob
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.system import BoundField
from odebridge.methods import METHODS
from tests.kernels import needs_kernels

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import reliability
import reliability_families as families
import reliability_page

EXAMPLES = int(os.environ.get("ODEBRIDGE_EXAMPLES", "3"))


def followers(method, rtol, few=200, **options):
    """Stiff, strongly non-linear systems, their solve, and the errors in units of the tolerance."""
    one = families.follower(few, torch.Generator().manual_seed(1), 1e8)
    options = {"args": one.args, "rtol": rtol, "atol": 1e-3 * rtol, "throw": False, **options}
    sol = ob.integrate(one.field, one.x0, (0.0, one.t1), method=method, **options)
    return sol, torch.tensor(reliability.errors(one, sol.x1, rtol, 1e-3 * rtol))


def test_rodas3p_sees_that_a_stiff_nonlinear_component_is_off():
    """The difference of the last two stages, which share one f, does not: a third of these systems ended up to 1e9 off."""
    sol, errors = followers("rodas3p", 1e-3)
    assert bool((sol.result == ob.Result.OK).all())
    assert float(errors.max()) < 20.0
    blind = replace(METHODS["rodas3p"], tableau=replace(METHODS["rodas3p"].tableau, checks_end=False))  # type: ignore[type-var]
    _, errors = followers(blind, 1e-3)
    assert int((errors > 100.0).sum()) > 20


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


@needs_kernels
def test_the_compiled_loop_rejects_the_same_steps():
    eager, _ = followers("rodas3p", 1e-3)
    compiled, _ = followers("rodas3p", 1e-3, compile=True)
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
    assert any(f"took {steps} steps (trajectory 0)" in s and "add up" in s and "'rodas5p'" in s for s in said)
    assert 100.0 < off < 0.4 * steps


@pytest.mark.parametrize(("method", "rtol"), [("rosenbrock23", 1e-4), ("rodas5p", 1e-8), ("kvaerno3", 1e-6), ("bdf", 1e-8)])
def test_nothing_is_said_where_little_adds_up(method, rtol):
    _, off, said = turning(method, rtol)
    assert said == []
    assert off < 100.0


KINDS = [name for name in families.FAMILIES if name != "over the pole"]


def right(row):
    """No OK is off by more than allowed without a word; the batch has a code for each."""
    assert sum(row["codes"].values()) == row["n"]
    assert reliability.wrong([row], told=False) == 0, row


@pytest.mark.parametrize("method", dear([*reliability.STIFF, *reliability.OTHERS]))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 3)
@given(st.data())
def test_what_says_ok_is_right_on_random_problems(method, data):
    """The generator of the benchmark on drawn seeds: linear, non-normal and non-linear, stiffness ratios to 1e8."""
    reach = 8.0 if method in reliability.STIFF else 3.0
    right(reliability.solved({
        "family": data.draw(st.sampled_from(KINDS)), "method": method, "rtol": data.draw(st.sampled_from([1e-3, 1e-5])),
        "stiff": 10.0 ** data.draw(st.floats(1.0, reach)), "n": 4, "seed": data.draw(st.integers(0, 2**31)),
    }))  # fmt: skip


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_random_problems_for_long():
    """Seeds that nobody has seen, for ODEBRIDGE_SOAK_MINUTES (10): every method and family in turn."""
    end, seed = time.monotonic() + 60.0 * float(os.environ.get("ODEBRIDGE_SOAK_MINUTES", "10")), time.time_ns() % 2**31
    while time.monotonic() < end:
        for case in reliability.cases(16):
            if time.monotonic() < end:
                right(reliability.solved({**case, "seed": (seed := seed + 1)}))


def test_rows_are_made_once_and_summed(tmp_path, monkeypatch, capsys):
    words = ["reliability.py", "--per", "2", "--only", "radau9", "--out", str(tmp_path)]
    monkeypatch.setattr(reliability, "RTOLS", (1e-3,))
    monkeypatch.setattr(sys, "argv", words)
    for _ in range(2):
        reliability.main()
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len({row["seed"] for row in rows}) == len(rows) == 11
    made = json.loads((tmp_path / "summary.json").read_text())
    assert made["all"]["problems"] == made["methods"]["radau9"]["problems"] == 22
    assert made["all"]["above_100_and_silent"] == 0
    assert "batches left" in capsys.readouterr().out


def test_an_ok_where_there_is_no_solution_counts_as_wrong():
    one = families.over_the_pole(3, torch.Generator().manual_seed(0), 1.0)
    assert reliability.errors(one, one.x0, 1e-3, 1e-6) == [reliability.NEVER] * 3
    row = {"codes": {"OK": 3}, "ratios": [reliability.NEVER, 5.0, 101.0], "steps": [1, 1, 500], "told": [False, False, True]}
    assert (reliability.wrong([row], told=False), reliability.wrong([row], told=True)) == (1, 1)


@pytest.mark.parametrize("name", KINDS)
def test_the_exact_solutions_solve_their_fields(name):
    one = families.FAMILIES[name](5, torch.Generator().manual_seed(3), 10.0)
    t = one.t1 * torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    rise = (one.exact((t + 1e-5)[:, None]) - one.exact((t - 1e-5)[:, None]))[:, 0] / 2e-5
    assert torch.allclose(rise, one.field(t, one.exact(t[:, None])[:, 0], one.args), rtol=1e-5, atol=1e-6)
    assert torch.allclose(one.exact(0.0 * t[:, None])[:, 0], one.x0)


def test_the_page_is_that_of_the_committed_results():
    assert reliability_page.PAGE.read_text(encoding="utf-8") == reliability_page.page()


def test_gauss6_sees_that_a_stiff_nonlinear_component_is_off():
    """It damps nothing; an end that was 627 tolerances off passed the estimate from inside the step, with OK."""
    _, errors = followers("gauss6", 1e-5, few=24)
    assert float(errors.max()) < 5.0


SEES = ["rosenbrock23", "rodas4", "rodas3p", "rodas4pw", "rodas5p", "tr_bdf2", "kvaerno3", "kvaerno4", "kvaerno5"]


@pytest.mark.parametrize("method", SEES)
def test_the_error_of_a_stiff_component_is_not_taken_for_less_than_it_is(method):
    """One step on y' = lam (y - sin t) + cos t from y = sin t, h lam = -10 to -1e6: the estimate is at least half the error.

    A filter that the embedded solution does not need divided Kvaerno's by 1 + gamma h |lam|, and their ends at rtol 1e-8 were
    up to 192 tolerances off.
    """
    lam = -100.0 * 10.0 ** torch.arange(6, dtype=torch.float64)[:, None]
    rows = torch.ones(len(lam), dtype=torch.float64)
    tol = Tolerance(1e-13 * rows, 1e-13 * rows[:, None])
    f = BoundField(lambda t, x, a: a * (x - torch.sin(t)[:, None]) + torch.cos(t)[:, None], lam, tol=tol)
    scheme = METHODS[method]
    scheme = replace(scheme, iterations=50) if hasattr(scheme, "iterations") else scheme  # type: ignore[type-var]
    t, x, dt = 0.4 * rows, torch.sin(0.4 * rows)[:, None], 0.1 * rows
    step = scheme.step(f, t, x, dt, dt[:, None], f(t, x), scheme.start(f, t, x))
    assert step.error is not None
    assert bool((step.error.abs() > 0.5 * (step.x - torch.sin(t + dt)[:, None]).abs()).all())

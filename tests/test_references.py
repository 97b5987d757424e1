"""Published end states are reached: rtol 1e-8, six digits or better, in every component that matters."""

import runpy
from pathlib import Path

import pytest
import torch

import odebridge as ob

# scale: below this size a component is judged against it (mescd of the stiff test set uses atol / rtol)
STIFF = {
    "robertson": {"atol": 1e-16, "scale": 0.0},
    "hires": {"atol": 1e-12, "scale": 0.0},
    "orego": {"atol": 1e-10, "scale": 0.0},
    "pollu": {"atol": 1e-14, "scale": 1e-12},
    "van_der_pol": {"atol": 1e-12, "scale": 0.0},
}
SLOW = {"orego", "van_der_pol"}


def digits(x1, reference, scale=0.0):
    """Smallest number of correct digits over the components."""
    return float(-((x1 - reference).abs() / (reference.abs() + scale)).max().log10())


@pytest.mark.parametrize("name", STIFF)
def test_stiff_problems_by_rodas5p(name):
    task = ob.problems.problem(name)
    sol = ob.solve(task, method="rodas5p", rtol=1e-8, atol=STIFF[name]["atol"])
    assert int(sol.result) == ob.Result.OK
    assert digits(sol.x1, task.reference, STIFF[name]["scale"]) >= 6.0


@pytest.mark.parametrize("name", ["robertson", "hires", "pollu"])
def test_the_same_without_a_given_jacobian(name):
    task = ob.problems.problem(name)
    own = ob.Problem(task.field, task.x0, task.span, args=task.args)
    sol = ob.solve(own, method="rodas5p", rtol=1e-6, atol=STIFF[name]["atol"])
    assert digits(sol.x1, task.reference, STIFF[name]["scale"]) >= 4.0


@pytest.mark.parametrize("method", ["tsit5", "dopri5", "dopri8", "auto", "rodas5p"])
@pytest.mark.parametrize("name", ["lotka_volterra", "lorenz"])
def test_nonstiff_problems(name, method):
    task = ob.problems.problem(name)
    sol = ob.solve(task, method=method, rtol=1e-9, atol=1e-11)
    assert digits(sol.x1, task.reference) >= 6.0


@pytest.mark.parametrize("method", ["dopri8", "tsit5"])
def test_orbits_amplify_errors_and_still_close(method):
    """Arenstorf's orbit magnifies perturbations about 2e6 times over one period, Pleiades 1e4 times."""
    arenstorf = ob.solve("arenstorf", method=method, rtol=1e-12, atol=1e-13)
    start = ob.problems.problem("arenstorf").x0
    assert float((arenstorf.x1 - start).abs().max()) < 1e-4
    task = ob.problems.problem("pleiades")
    assert digits(ob.solve(task, method=method, rtol=1e-11, atol=1e-12).x1, task.reference, 1e-3) >= 6.0


def test_an_explicit_method_on_robertson_says_why_it_failed():
    sol = ob.solve("robertson", method="dopri5", rtol=1e-4, atol=1e-8, max_steps=500, throw=False)
    assert int(sol.result) == ob.Result.MAX_STEPS
    assert "stiff" in sol.message


def test_auto_turns_stiff_where_the_problem_does_and_stays_explicit_where_not():
    stiff = ob.solve("hires", rtol=1e-4, atol=1e-7)
    easy = ob.solve("lotka_volterra", rtol=1e-6, atol=1e-8)
    assert int(stiff.stats.jacobians) > 10
    assert int(easy.stats.jacobians) == 0


@pytest.mark.parametrize(("rtol", "stiff_steps"), [(1e-8, 651), (1e-9, 1150)])
def test_auto_finds_stiffness_that_only_the_error_shows(rtol, stiff_steps):
    """At tight tolerances h |lambda| of the explicit steps is 0.1 on Robertson, far below any bound of stability."""
    sol = ob.solve("robertson", method="auto", rtol=rtol, atol=1e-6 * rtol)
    assert int(sol.stats.accepted) < stiff_steps + 150  # what Rodas5P alone takes, and the explicit steps before the probe
    easy = ob.solve("lorenz", method="auto", rtol=rtol, atol=1e-3 * rtol)
    assert int(easy.stats.jacobians) <= 3  # the probes, after 128, 256 and 512 steps


def test_auto_solves_a_large_stiff_system_without_a_full_jacobian():
    """600 components, neither jacobian nor sparsity given: GMRES, and the end state of the banded solve."""
    heat = ob.problems.problem("heat", cells=600)
    sol = ob.integrate(
        heat.field, heat.x0[None], (0.0, 0.01), args=heat.args[None], method="auto", rtol=1e-4, atol=1e-6, max_steps=3000
    )
    band = ob.integrate(
        heat.field, heat.x0[None], (0.0, 0.01), args=heat.args[None], method="rodas5p", sparsity=heat.sparsity, rtol=1e-6
    )
    assert int(sol.stats.accepted) < 300
    assert int(sol.stats.jacobians) > 0
    assert torch.allclose(sol.x1, band.x1, atol=1e-3)


def test_a_batch_of_tolerances_is_a_work_precision_curve():
    """Tolerances as lanes of one batch: errors fall with rtol, each lane on its own steps."""
    task = ob.problems.problem("robertson")
    rtol = torch.tensor([1e-3, 1e-4, 1e-5, 1e-6], dtype=torch.float64)
    x0 = task.x0.expand(4, 3).contiguous()
    args = task.args.expand(4, *task.args.shape).contiguous()
    sol = ob.integrate(
        task.field, x0, task.span, args=args, jacobian=task.jacobian, method="rodas5p", rtol=rtol, atol=1e-6 * rtol[:, None]
    )
    errors = [digits(sol.x1[i], task.reference, 1e-6) for i in range(4)]
    assert errors[3] > errors[0] + 1.0
    assert sol.stats.accepted.tolist() == sorted(sol.stats.accepted.tolist())


def test_the_unpublished_references_come_from_a_committed_script():
    script = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "references.py"), run_name="script")
    assert script["agreement"]("lotka_volterra") > 14.5

"""Learned step laws: classical where the gate says nothing, the same in every engine, safe outside what they know."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
import torch
from sklearn.isotonic import isotonic_regression

import odebridge as ob
from odebridge.bench.controller_families import families
from odebridge.control import Calibrated, Filter, LearnedStep, load
from odebridge.control.features import FEATURES
from odebridge.control.learned import PATIENCE, Place, Swarm
from odebridge.control.linear import Coefficients
from odebridge.core.protocols import Observation
from odebridge.train.calibration.equal import Curves, falling, interval, log_ratios
from odebridge.train.calibration.workload import rows, solved

METHODS = ("tsit5", "rodas5p", "kvaerno5", "bosh3", "rosenbrock23", "auto")
LINEAR = Filter((0.7, -0.3), (0.1,), safety=0.85, threshold=1.2, retry=0.9, retry_safety=0.8)
N = 2


def gate(seed=0, size=0.3, places=0):
    return size * torch.randn(2, len(FEATURES) + places, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def place(n=N):
    one = torch.ones(n, dtype=torch.float64)
    return Place(one, 0.5 * one, 0.5 * one)


def oscillators(b=6):
    task = ob.problems.problem("van_der_pol", mu=8.0).sample(b, 0)
    return dataclasses.replace(task, span=(0.0, 12.0))


def solve(task, law, method="tsit5", **how):
    how = {"rtol": 1e-4, "atol": 1e-6, "throw": False} | how
    return ob.integrate(task.field, task.x0, task.span, args=task.args, method=method, controller=law, **how)


def counts(sol):
    return torch.stack([sol.stats.accepted, sol.stats.rejected, sol.stats.f_evals])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "auto"])
def test_without_weights_it_is_the_classical_law_to_the_bit(method, compiled):
    task = oscillators(3)
    plain = solve(task, LINEAR, method, compile=compiled)
    silent = solve(task, LearnedStep(LINEAR, torch.zeros(2, len(FEATURES), dtype=torch.float64)), method, compile=compiled)
    assert torch.equal(counts(plain), counts(silent))
    if not compiled:  # other code around the same arithmetic may be contracted differently
        assert torch.equal(plain.x1, silent.x1)
    else:
        assert torch.allclose(plain.x1, silent.x1, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_trajectory_in_a_batch_is_the_one_alone(method):
    task, law = oscillators(4), LearnedStep(LINEAR, gate(places=N), place())
    together = solve(task, law, method)
    assert int(together.stats.accepted.min()) > 10
    for i in range(4):
        alone = solve(task.trajectory(i).batched(), law, method)
        assert torch.equal(alone.x1[0], together.x1[i])


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5"])
def test_compiled_tries_are_the_eager_ones(method):
    task, law = oscillators(), LearnedStep(dataclasses.replace(LINEAR, scale=2.0), gate(1, places=N), place(), 1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast = solve(task, law, method, compile=True)
    slow = solve(task, law, method)
    if method == "kvaerno5":  # whether Newton takes one more correction is a matter of rounding, and the gate hears of it
        assert int((counts(fast) - counts(slow))[:2].abs().max()) <= 2
        assert torch.allclose(fast.x1, slow.x1, rtol=1e-2)
    else:
        assert torch.equal(counts(fast), counts(slow))
        assert torch.allclose(fast.x1, slow.x1, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_swarm_is_many_laws_side_by_side(compiled):
    task, laws = (
        oscillators(3),
        [LearnedStep(dataclasses.replace(LINEAR, safety=s), gate(i)) for i, s in enumerate((0.8, 0.85, 0.9))],
    )
    coefficients = torch.tensor([list(law.linear.coefficients) for law in laws], dtype=torch.float64)
    many = solve(task, Swarm(coefficients, torch.stack([law.weights for law in laws])), compile=compiled)
    for i, law in enumerate(laws):
        one = solve(task.trajectory(i).batched(), law, compile=compiled)
        assert torch.equal(counts(one)[:, 0], counts(many)[:, i])


def test_swarms_share_one_kernel():
    from odebridge.integrate.engine import kernels

    task = oscillators(3)

    def run(seed):
        rows = torch.tensor([list(LINEAR.coefficients)] * 3, dtype=torch.float64)
        solve(task, Swarm(rows, torch.stack([gate(seed)] * 3)), compile=True)
        return len(kernels._tries)

    assert run(1) == run(2) == run(3)


@pytest.mark.parametrize("factor", [2.0**20, 2.0**-20])
@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_features_have_no_scale(method, factor):
    """The same system in other units of state and of time makes the same decisions: factors of 2 leave every bit."""
    law, x0 = LearnedStep(LINEAR, gate(3)), torch.tensor([[2.0, 0.0]], dtype=torch.float64)

    def f(t, x):
        u = x / factor
        a, b = u.unbind(-1)
        return factor * 4.0 * torch.stack([b, 5.0 * (1 - a * a) * b - a], -1)

    def plain(t, x):
        a, b = x.unbind(-1)
        return torch.stack([b, 5.0 * (1 - a * a) * b - a], -1)

    how = {"method": method, "controller": law, "rtol": 1e-5}
    one = ob.integrate(plain, x0, (0.0, 8.0), atol=1e-7, first_step=1e-3, **how)
    other = ob.integrate(f, factor * x0, (0.0, 2.0), atol=1e-7 * factor, first_step=0.25e-3, **how)
    assert int(one.stats.accepted[0]) > 20
    assert torch.equal(one.stats.accepted, other.stats.accepted)
    assert torch.equal(one.stats.rejected, other.stats.rejected)
    assert torch.allclose(other.x1 / factor, one.x1, rtol=1e-12)


def test_a_scale_is_a_tolerance_divided_by_it():
    task = oscillators()
    law, weights = dataclasses.replace(LINEAR, floor=1e-300), gate(4)
    scaled = solve(task, LearnedStep(dataclasses.replace(law, scale=4.0), weights), rtol=4e-4, atol=4e-6, first_step=1e-3)
    plain = solve(task, LearnedStep(law, weights), first_step=1e-3)
    assert torch.equal(scaled.stats.accepted, plain.stats.accepted)
    assert torch.allclose(scaled.x1, plain.x1, rtol=1e-6)  # error estimates cancel to ten digits
    filters = [solve(task, f, first_step=1e-3, **how) for f, how in (
        (law, {}), (dataclasses.replace(law, scale=4.0), {"rtol": 4e-4, "atol": 4e-6}),
    )]  # fmt: skip
    assert torch.equal(filters[0].stats.accepted, filters[1].stats.accepted)


def observed(error, accepted):
    x = torch.ones(1, N, dtype=torch.float64)
    from odebridge.core.protocols import Tried

    last = Tried(x, 1.1 * x, x, 0.9 * x, 1e-3 * x, 1e-2 * x)
    one = torch.ones(1, dtype=torch.float64)
    error, accepted = error * one, torch.tensor([accepted])
    return Observation(torch.ones(1, dtype=torch.int64), one, x, x, 0.1 * one, error, accepted, 4, None, 2 * one, last)


def test_after_two_rejections_the_classical_law_is_alone():
    law = LearnedStep(LINEAR, gate(5, 2.0))
    memory = law.start(torch.ones(1, N, dtype=torch.float64), None)
    _, memory = law(observed(0.5, True), memory)
    assert float(memory.allowed[0]) != 1.0
    for k in range(1, 4):
        h, after = law(observed(3.0, False), memory)
        classical, _ = LINEAR(observed(3.0, False), memory.history)
        assert float(h[0]) < 0.1
        assert (float(after.allowed[0]) == 1.0) == (k >= PATIENCE)
        assert (float(h[0]) == float(classical[0])) == (k >= PATIENCE)
        memory = after
    _, memory = law(observed(0.5, True), memory)  # and speaks again after a kept try
    assert float(memory.allowed[0]) != 1.0


def test_a_try_that_went_wrong_says_nothing():
    law = LearnedStep(LINEAR, gate(5, 2.0))
    memory = law.start(torch.ones(1, N, dtype=torch.float64), None)
    seen = observed(torch.inf, False)
    bad = seen.last._replace(x1=torch.full((1, N), torch.nan, dtype=torch.float64), weights=torch.full((1, N), torch.nan))
    h, after = law(seen._replace(last=bad), memory)
    classical, _ = LINEAR(seen, memory.history)
    assert float(h[0]) == float(classical[0])
    assert float(after.allowed[0]) == 1.0
    assert bool(torch.isfinite(after.past.curvature).all())


def test_what_it_may_do_is_bounded():
    """Both heads end at 1: a step within e of the filter's, an error within e^k of the tolerance."""
    law = LearnedStep(LINEAR, 1e6 * torch.ones(2, len(FEATURES), dtype=torch.float64))
    memory = law.start(torch.ones(1, N, dtype=torch.float64), None)
    h, after = law(observed(0.9, True), memory)
    assert float(after.allowed[0]) <= float(np.exp(5.0)) * (1 + 1e-12)
    assert 0.1 * LINEAR.lowest <= float(h[0]) <= 0.1 * LINEAR.highest


def calibrated(law=None, **more):
    settings = {"method": "tsit5", "order": 4, "rtols": (1e-3, 1e-6), "report": {"text": "a law"}} | more
    return Calibrated(law or LearnedStep(LINEAR, gate(6, places=N), place(), 1.3), **settings)


def test_outside_its_tolerances_it_is_classical_and_says_so():
    task, law = oscillators(3), calibrated()
    rtol = torch.tensor([1e-4, 1e-8, 1e-5], dtype=torch.float64)
    with pytest.warns(RuntimeWarning, match=r"calibrated for rtol 1e-06 to 0.001, and rtol is 1e-08"):
        sol = solve(task, law, rtol=rtol)
    classical = solve(task, dataclasses.replace(LINEAR, scale=1.3), rtol=rtol)
    same = (sol.x1 == classical.x1).all(1)
    assert same.tolist() == [False, True, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(task, law, rtol=1e-4)


def test_another_method_or_size_is_refused():
    task, law = oscillators(2), calibrated()
    with pytest.raises(ValueError, match=r"calibrated with 'tsit5', whose error estimate has order 4, and this method's has 2"):
        solve(task, law, "bosh3")
    with pytest.raises(ValueError, match="states of 2 numbers, and x0 has 1"):
        ob.integrate(lambda t, x: -x, torch.ones(2, 1, dtype=torch.float64), (0.0, 1.0), controller=law)


@pytest.mark.parametrize("law", [calibrated(), calibrated(LINEAR), calibrated(ob.control.CONTROLLERS["predictive"])])
def test_saved_and_loaded_to_the_bit(law, tmp_path):
    again = load(law.save(tmp_path / "deep" / "law.json"))
    task = oscillators(2)
    assert torch.equal(solve(task, law).x1, solve(task, again).x1)
    assert (again.method, again.order, again.rtols, again.report) == (law.method, law.order, law.rtols, law.report)


def test_a_flipped_byte_is_refused(tmp_path):
    path = calibrated().save(tmp_path / "law.json")
    whole = path.read_bytes()
    for place_ in np.linspace(0, len(whole) - 1, 40).astype(int):
        broken = bytearray(whole)
        broken[place_] ^= 1
        path.write_bytes(bytes(broken))
        try:
            same = json.loads(bytes(broken)) == json.loads(whole)
        except ValueError:
            same = False
        if not same:  # a space for another blank changes nothing
            with pytest.raises(ValueError, match="damaged"):
                load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "none.json")


def test_a_law_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(TypeError, match="Bounded"):
        calibrated(ob.control.Bounded(LINEAR, 1e-3)).save(tmp_path / "law.json")


@pytest.mark.parametrize("seed", range(5))
def test_falling_is_isotonic_regression(seed):
    values = np.random.default_rng(seed).normal(size=9)
    assert np.allclose(falling(values), isotonic_regression(values, increasing=False))


def test_work_is_compared_at_equal_error_on_the_overlap_only():
    error = np.linspace(-2.0, -12.0, 6)[None]
    base = Curves(5.0 - 0.2 * error, error)
    assert log_ratios(Curves(base.work - 0.3, error), base)[0] == pytest.approx(-0.3)
    shifted = Curves(5.0 - 0.2 * (error - 1.5) + 0.1, error - 1.5)  # more accurate for its work: the same line, 0.1 above
    assert log_ratios(shifted, base)[0] == pytest.approx(0.1)
    assert np.isnan(log_ratios(Curves(base.work, error - 20.0), base)[0])
    holes = np.where(np.arange(6) == 2, np.nan, error)
    assert log_ratios(Curves(base.work - 0.3, holes), base)[0] == pytest.approx(-0.3, abs=1e-6)


def test_intervals_hold_the_mean():
    values = np.random.default_rng(0).normal(size=40)
    middle, low, high = interval(values)
    assert low < middle < high
    assert middle == pytest.approx(values.mean())
    assert high - low == pytest.approx(4 * values.std() / 40**0.5, rel=0.2)


def test_coefficients_go_through_a_filter_and_back():
    assert Coefficients(*torch.tensor(list(LINEAR.coefficients), dtype=torch.float64)) == LINEAR.coefficients


@pytest.mark.slow
def test_a_kernel_for_two_systems_gives_its_stack_back():
    """GCC put off its pops of arguments past the end of the loop: 20,000 tries of this law filled eight megabytes."""
    stars = families("tsit5")["pleiades"]().sample(207, 5)
    task = rows(stars, torch.tensor([206, 206]))  # two stars meet, so that all tries are used
    one = torch.ones(28, dtype=torch.float64)
    law = LearnedStep(ob.control.PI42, torch.zeros(2, len(FEATURES) + 28, dtype=torch.float64), Place(one, 0 * one, one))
    sol = solved(task, "tsit5", controller=law, rtol=1e-4, atol=4e-7, max_steps=20_000)
    assert (sol.stats.accepted + sol.stats.rejected).tolist() == [20_000, 20_000]

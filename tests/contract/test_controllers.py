"""Every classical law of the catalogue, and wrappers of them, through one contract."""

import copy
import pickle

import pytest
import torch

from odebridge.control import CONTROLLERS, PI34, AtTimes, Bounded, Filter, PerStep
from odebridge.core.protocols import Observation
from odebridge.core.shapes import merge, take
from odebridge.integrate import At, Every, integrate

LAWS = {**CONTROLLERS, "bounded": Bounded(PI34, 1e-3, 1e3), "at_times": AtTimes(PI34, (0.5, 1.0))}


def observed(error, accepted=None, h=0.1, t=0.0):
    error = torch.as_tensor(error, dtype=torch.float64).reshape(-1)
    b = len(error)
    x = torch.ones(b, 2, dtype=torch.float64)
    kept = error <= 1.0 if accepted is None else torch.as_tensor(accepted).expand(b)
    clock, size = torch.full((b,), t, dtype=torch.float64), torch.full((b,), h, dtype=torch.float64)
    return Observation(torch.ones(b, dtype=torch.int64), clock, x, x, size, error, kept, 4, None, torch.full_like(clock, 2.0))


def begun(law, b):
    seen = observed(torch.ones(b))._replace(error=None, accepted=None)
    return law(seen, law.start(seen.x, None))


@pytest.fixture(params=LAWS)
def law(request):
    return LAWS[request.param]


def test_answers_are_positive_finite_and_one_per_trajectory(law):
    errors = [0.0, 1e-300, 1e-6, 0.5, 1.0, 2.0, 1e300, torch.inf]
    h, memory = begun(law, len(errors))
    for _ in range(4):
        h, memory = law(observed(errors), memory)
        assert h.shape == (len(errors),)
        assert h.dtype == torch.float64
        assert bool(torch.isfinite(h).all())
        assert bool((h > 0).all())


def test_never_grows_after_a_rejection(law):
    _, memory = begun(law, 5)
    _, memory = law(observed([1e-6] * 5), memory)
    h, _ = law(observed([1.5, 2.0, 10.0, 1e300, torch.inf], accepted=False), memory)
    assert bool((h <= 0.1).all())


def test_a_larger_error_never_gives_a_longer_step(law):
    errors = torch.logspace(-8, 0, 30, dtype=torch.float64)
    _, memory = begun(law, 30)
    h, _ = law(observed(errors), memory)
    assert bool((h[1:] <= h[:-1] + 1e-15).all())


def test_permutation_of_the_batch_commutes(law):
    errors = torch.tensor([1e-3, 0.2, 5.0, 1.0], dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    _, memory = begun(law, 4)
    h, after = law(observed(errors), memory)
    h2, after2 = law(observed(errors[order]), take(memory, order))
    assert torch.equal(h[order], h2)
    again, _ = law(observed([0.3] * 4), after2)
    straight, _ = law(observed([0.3] * 4), take(after, order))
    assert torch.equal(again, straight)


def test_memory_is_a_nest_of_tensors_that_can_be_merged(law):
    _, memory = begun(law, 3)
    _, after = law(observed([0.1, 0.2, 3.0]), memory)
    mask = torch.tensor([True, False, True])
    merged = merge(mask, after, memory)
    assert type(merged) is type(memory)


def test_survives_copy_and_pickle(law):
    _, memory = begun(law, 2)
    for twin in (copy.deepcopy(law), pickle.loads(pickle.dumps(law))):
        a, _ = law(observed([0.1, 4.0]), memory)
        b, _ = twin(observed([0.1, 4.0]), memory)
        assert torch.equal(a, b)


def test_integral_law_is_its_formula():
    law = Filter(b=(1.0,))
    _, memory = begun(law, 3)
    h, _ = law(observed([0.5, 0.01, 8.0], h=0.2), memory)
    expected = 0.2 * 0.9 * torch.tensor([0.5, 0.01, 8.0], dtype=torch.float64) ** (-1 / 5)
    assert torch.allclose(h, expected, rtol=1e-14)


def test_two_term_law_reads_the_last_kept_error():
    _, memory = begun(PI34, 1)
    _, memory = law_step(PI34, 0.3, memory)
    _, memory = law_step(PI34, 7.0, memory)  # rejected: not in the history
    h, _ = law_step(PI34, 0.5, memory)
    assert float(h) == pytest.approx(0.1 * 0.9 * 0.5 ** (-0.7 / 5) * 0.3 ** (0.4 / 5), rel=1e-13)


def law_step(law, error, memory):
    return law(observed([error]), memory)


def test_digital_filter_reads_the_step_ratio():
    law = Filter(b=(0.25, 0.25), a=(0.25,))
    _, memory = begun(law, 1)
    _, memory = law(observed([0.4], h=0.1), memory)
    h, _ = law(observed([0.6], h=0.2), memory)
    assert float(h) == pytest.approx(0.2 * 0.9 * (0.6 * 0.4) ** (-0.25 / 5) * 2.0**-0.25, rel=1e-13)


def decay(t, x):
    return -x * (1 + 0.5 * torch.sin(3 * t))[:, None]


ONE = torch.ones(2, 1, dtype=torch.float64)


def test_at_times_lands_and_recovers():
    times = (0.31, 0.310001, 1.7)
    sol = integrate(decay, ONE, (0.0, 3.0), controller=AtTimes(PI34, times), rtol=1e-6, save=Every())
    plain = integrate(decay, ONE, (0.0, 3.0), controller=PI34, rtol=1e-6)
    for t in times:
        assert float((sol.ts - t).abs().amin(1).max()) < 1e-13
    # Each forced landing costs at most two steps more, not a restart from a tiny step.
    assert int(sol.stats.accepted[0]) <= int(plain.stats.accepted[0]) + 2 * len(times)


def test_at_times_works_backward():
    sol = integrate(decay, ONE, (3.0, 0.0), controller=AtTimes(PI34, (0.5, 2.5)), rtol=1e-6, save=Every())
    for t in (0.5, 2.5):
        assert float((sol.ts - t).abs().amin(1).max()) < 1e-13


def test_bounded_keeps_its_bounds_per_trajectory():
    sol = integrate(decay, ONE, (0.0, 2.0), max_step=torch.tensor([0.05, 0.2], dtype=torch.float64), save=Every(), rtol=1e-2)
    assert float(sol.hs[0][torch.isfinite(sol.hs[0])].max()) <= 0.05 * (1 + 1e-7)
    assert float(sol.hs[1][torch.isfinite(sol.hs[1])].max()) <= 0.2 * (1 + 1e-7)
    assert int(sol.stats.accepted[0]) >= 40 > int(sol.stats.accepted[1])


def test_per_step_refuses_a_span_with_a_sentence():
    with pytest.raises(ValueError, match="PerStep works on a grid"):
        integrate(decay, ONE, (0.0, 1.0), controller=PerStep([PI34]))


def test_smooth_filters_reject_less_but_all_reach_the_same_answer():
    end = None
    for name in CONTROLLERS:
        if name == "fixed":
            continue
        sol = integrate(decay, ONE, (0.0, 5.0), controller=name, rtol=1e-8, atol=1e-10, save=At([1.0, 5.0]))
        end = sol.x1 if end is None else end
        assert torch.allclose(sol.x1, end, rtol=1e-6)
        assert torch.allclose(sol.xs[:, 1], sol.x1)

"""The loop's logic with scripted parts: what is shown, kept, retried, counted, and when it ends."""

from itertools import pairwise

import pytest
import torch
from stubs import ScriptedLaw, ScriptedMethod

from odebridge.core.result import Result, SolveError
from odebridge.integrate import At, Dense, Every, integrate

# weights are atol + rtol max(|x0|, |x1|) = 1, so that a scripted error is its own scaled error
UNIT = {"rtol": 0.0, "atol": 1.0}


def zero(t, x):
    return torch.zeros_like(x)


def start(b=1):
    return torch.zeros(b, 1, dtype=torch.float64)


def test_a_rejected_try_is_retried_from_the_same_point_with_the_retry_memory():
    method, law = ScriptedMethod([[0.5], [2.0], [0.5]]), ScriptedLaw([0.25])
    sol = integrate(zero, start(), (0.0, 1.0), method=method, controller=law, first_step=0.25, **UNIT)
    times = [float(t) for t, _, _ in method.seen]
    assert times == [0.0, 0.25, 0.25, 0.5, 0.75]
    assert [int(m) for _, _, m in method.seen] == [0, 1, 101, 102, 103]
    assert (int(sol.stats.accepted), int(sol.stats.rejected)) == (4, 1)
    assert float(sol.x1) == 1.0
    # one slope at the start, three evaluations per try
    assert int(sol.stats.f_evals) == 1 + 3 * 5


def test_the_controller_is_shown_the_outcome_of_the_last_try():
    method, law = ScriptedMethod([[0.5], [2.0], [0.25]]), ScriptedLaw([0.5])
    integrate(zero, start(), (0.0, 1.0), method=method, controller=law, first_step=0.5, **UNIT)
    first, second, third = law.seen[:3]
    assert first.error is None
    assert first.accepted is None
    assert (float(second.error), bool(second.accepted), float(second.t)) == (0.5, True, 0.5)
    assert (float(third.error), bool(third.accepted), float(third.t)) == (2.0, False, 0.5)
    assert float(third.last.x1 - third.last.x0) == 0.5
    assert second.order == 1


def test_the_last_step_lands_on_the_end_exactly():
    method = ScriptedMethod([[0.5]])
    sol = integrate(
        zero, start(), (0.1, 0.7), method=method, controller=ScriptedLaw([0.25]), first_step=0.25, save=Every(), **UNIT
    )
    assert float(sol.ts[0, -1]) == 0.7
    assert float(method.seen[-1][1]) == 0.7 - float(method.seen[-1][0])


def test_lanes_have_their_own_clock_and_leave_when_done():
    method = ScriptedMethod([[0.5]])
    ends = torch.tensor([0.25, 1.0, 2.0, 4.0])
    sol = integrate(zero, start(4), (0.0, ends), method=method, controller=ScriptedLaw([0.25]), first_step=0.25, **UNIT)
    assert sol.stats.accepted.tolist() == [1, 4, 8, 16]
    assert sol.x1[:, 0].tolist() == ends.tolist()
    # gathered out at 4, 8, ... rounds: idle lanes are stepped only until half of the batch is idle
    assert [len(t) for t, _, _ in method.seen] == [4] * 4 + [2] * 4 + [1] * 8


def test_idle_lanes_step_a_harmless_size():
    method = ScriptedMethod([[0.5]])
    ends = torch.tensor([0.25, 1.0, 1.0])
    integrate(zero, start(3), (0.0, ends), method=method, controller=ScriptedLaw([0.25]), first_step=0.25, **UNIT)
    assert all(bool((dt > 0).all()) for _, dt, _ in method.seen)


def test_a_span_of_zero_length_returns_the_start():
    sol = integrate(zero, start(2) + 3.0, (1.0, 1.0))
    assert sol.result.tolist() == [Result.OK] * 2
    assert sol.x1.tolist() == [[3.0]] * 2
    assert sol.stats.accepted.tolist() == [0, 0]


def test_max_steps_counts_tries():
    with pytest.raises(SolveError, match="MAX_STEPS") as caught:
        integrate(
            zero,
            start(),
            (0.0, 9.0),
            method=ScriptedMethod([[2.0], [0.5]]),
            controller=ScriptedLaw([0.5]),
            max_steps=7,
            first_step=0.5,
            **UNIT,
        )
    sol = caught.value.solution
    assert int(sol.stats.accepted + sol.stats.rejected) == 7
    assert bool(torch.isnan(sol.x1).all())


def test_a_step_below_the_clocks_resolution_ends_the_trajectory():
    sol = integrate(
        zero,
        start(),
        (1.0, 2.0),
        method=ScriptedMethod([[0.5]]),
        controller=ScriptedLaw([0.1, 1e-17]),
        first_step=0.1,
        throw=False,
        **UNIT,
    )
    assert int(sol.result) == Result.STEP_TOO_SMALL
    assert "resolution of the clock" in sol.message


def test_blow_up_in_finite_time_is_a_result_near_its_time():
    sol = integrate(lambda t, x: x * x, torch.ones(1, 1).double(), (0.0, 2.0), throw=False, rtol=1e-8, save=Every())
    assert int(sol.result) in {Result.STEP_TOO_SMALL, Result.NOT_FINITE}
    assert abs(sol.failures[0].t - 1.0) < 1e-3


def test_a_field_that_turns_nan_gives_not_finite_and_its_time():
    def f(t, x):
        return torch.where(t[:, None] > 0.5, torch.nan, -x)

    sol = integrate(f, torch.ones(1, 1).double(), (0.0, 2.0), throw=False, save=Every())
    assert int(sol.result) == Result.NOT_FINITE
    assert sol.failures[0].t <= 0.5
    assert bool(torch.isfinite(sol.xs).all())


def test_nan_at_the_start_fails_at_once():
    sol = integrate(lambda t, x: x / 0 * 0, torch.ones(1, 2).double(), (0.0, 2.0), throw=False)
    assert (int(sol.result), int(sol.stats.accepted + sol.stats.rejected)) == (Result.NOT_FINITE, 0)


def test_singular_matrix_costs_a_rejected_step_and_is_named_if_it_stays():
    healed = []

    def jacobian(t, x):
        healed.append(0)
        bad = torch.full((len(x), 1, 1), torch.nan, dtype=x.dtype)
        return bad if len(healed) == 3 else torch.zeros_like(bad)

    sol = integrate(lambda t, x: -x, torch.ones(1, 1).double(), (0.0, 1.0), method="rodas5p", jacobian=jacobian)
    assert int(sol.result) == Result.OK
    assert int(sol.stats.rejected) >= 1

    def always(t, x):
        return torch.full((len(x), 1, 1), torch.nan, dtype=x.dtype)

    sol = integrate(lambda t, x: -x, torch.ones(1, 1).double(), (0.0, 1.0), method="rodas5p", jacobian=always, throw=False)
    assert int(sol.result) == Result.SINGULAR


def test_time_limit_is_a_result():
    sol = integrate(
        lambda t, x: torch.cos(1e5 * t)[:, None] * x,
        torch.ones(1, 1).double(),
        (0.0, 1e4),
        max_steps=10**8,
        time_limit=0.2,
        throw=False,
    )
    assert int(sol.result) == Result.TIME_LIMIT


def test_callback_sees_progress():
    seen = []
    integrate(lambda t, x: -x, torch.ones(3, 1), (0.0, 5.0), callback=seen.append)
    assert seen[-1].running == 0
    assert [p.round for p in seen] == list(range(1, len(seen) + 1))
    assert all(a.reached <= b.reached + 1e-12 for a, b in pairwise(seen))


def test_save_at_times_inside_one_step_at_the_ends_and_per_trajectory():
    times = torch.tensor([[0.0, 0.0, 0.3, 1.0], [0.2, 0.2000001, 0.21, 0.9]], dtype=torch.float64)
    sol = integrate(lambda t, x: 0 * x + 2.0, torch.ones(2, 1).double(), (0.0, 1.0), save=At(times))
    assert torch.allclose(sol.xs[..., 0], 1 + 2 * times, atol=1e-12)
    assert torch.equal(sol.ts, times)


def test_save_at_backward():
    times = [2.0, 1.5, 0.5]
    sol = integrate(lambda t, x: -x, torch.ones(1, 1).double(), (2.0, 0.5), save=At(times), rtol=1e-9, atol=1e-12)
    assert torch.allclose(sol.xs[0, :, 0], torch.exp(2.0 - torch.tensor(times, dtype=torch.float64)), rtol=1e-7)


def test_dense_output_backward_and_beyond():
    sol = integrate(lambda t, x: -x, torch.ones(1, 1).double(), (1.0, 0.0), save=Dense(), rtol=1e-9, atol=1e-12)
    t = torch.linspace(1, 0, 11, dtype=torch.float64)
    assert torch.allclose(sol(t)[0, :, 0], torch.exp(1 - t), rtol=1e-7)
    assert bool(torch.isnan(sol([1.1, -0.1])).all())
    assert sol(0.5).shape == (1, 1)


def test_unreached_saves_are_nan():
    f = lambda t, x: torch.where(t[:, None] > 0.5, torch.nan, -x)  # noqa: E731
    sol = integrate(f, torch.ones(1, 1).double(), (0.0, 1.0), save=At([0.1, 0.4, 0.9]), throw=False)
    assert torch.isfinite(sol.xs[0, :2]).all()
    assert torch.isnan(sol.xs[0, 2]).all()
    assert torch.isnan(sol.ts[0, 2])
    assert torch.isnan(sol.x1).all()


def test_limiter_acts_after_each_kept_step():
    sol = integrate(lambda t, x: 0 * x - 1.0, torch.ones(1, 1).double(), (0.0, 3.0), after=torch.relu, save=Every())
    assert float(sol.xs.min()) == 0.0
    assert float(sol.x1) == 0.0

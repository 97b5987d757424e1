"""What a solve returns: codes, counts, words, the batch axis taken off."""

import pytest
import torch

from odebridge.core.protocols import Counts
from odebridge.core.result import ADVICE, RUNNING, Failure, Made, Occurrences, Result, Solution, SolveError, Stats

D = torch.float64
NAN = float("nan")


def of(codes=(0, 0, 0), **more):
    """A batch of three, two components, five kept times."""
    b = len(codes)
    x1 = torch.arange(2.0 * b, dtype=D).reshape(b, 2)
    given = {
        "x1": x1,
        "counts": Counts(*(torch.arange(b) + 10 * i for i in range(7))),
        "ts": torch.linspace(0.0, 1.0, 5, dtype=D).expand(b, 5),
        "xs": x1[:, None] + torch.arange(5.0)[:, None],
        "hs": torch.full((b, 4), 0.25, dtype=D),
        "codes": torch.tensor(codes),
        "errors": torch.rand(b, 4, generator=torch.Generator().manual_seed(0), dtype=D),
        "work": 99,
        "end": torch.linspace(1.0, 2.0, b, dtype=D),
        "h": torch.linspace(0.1, 0.2, b, dtype=D),
        "events": (Occurrences(torch.zeros(b, 1), (torch.ones(b, 1, 2), torch.ones(b, 1))),),
        "made": Made("tsit5", ("pi34",)),
    }
    return Solution(**{**given, **more})


def on_a_grid(x1, **more):
    return Solution(x1, Counts(accepted=4, f_evals=16), end=3.0, **more)


def test_codes_are_those_that_are_written_in_files():
    names = ["OK", "MAX_STEPS", "STEP_TOO_SMALL", "NOT_FINITE", "NEWTON_FAILED", "SINGULAR", "TIME_LIMIT", "EVENT"]
    assert {r.name: int(r) for r in Result} == {name: i for i, name in enumerate(names)}
    assert set(ADVICE) == set(Result)
    assert RUNNING not in set(map(int, Result))
    assert RUNNING < 0


def test_defaults():
    sol = Solution(torch.ones(2, 1), Counts())
    assert (sol.failures, sol.work, sol.single, sol.events) == ((), 0, False, ())
    assert Made("euler") == ("euler", (), "")


def test_codes_of_a_span_are_kept_and_those_of_a_grid_come_from_the_state():
    assert of((0, 1, 7)).result.tolist() == [0, 1, 7]
    x = torch.tensor([[1.0, 2.0], [NAN, 1.0], [1.0, float("inf")]])
    assert on_a_grid(x).result.tolist() == [0, 3, 3]
    assert on_a_grid(x).result.dtype == torch.int64
    other = torch.tensor([[NAN], [1.0], [1.0]])
    assert on_a_grid({"a": x, "b": other}).result.tolist() == [3, 3, 3]
    assert on_a_grid((torch.ones(3, 2), torch.ones(3, 1))).result.tolist() == [0, 0, 0]
    assert on_a_grid((torch.ones(3, 2), other)).result.tolist() == [3, 0, 0]
    for i, code in enumerate((0, 3, 3)):
        alone = on_a_grid(x[i], single=True)
        assert alone.result.shape == ()
        assert int(alone.result) == code
    assert int(on_a_grid((x[0], other[0]), single=True).result) == 3
    assert int(on_a_grid((x[0], other[1]), single=True).result) == 0


def test_where_each_trajectory_ended():
    assert of().t1.tolist() == [1.0, 1.5, 2.0]
    assert on_a_grid(torch.ones(2, 5)).t1.tolist() == [3.0, 3.0]
    assert on_a_grid((torch.ones(2, 5), torch.ones(2))).t1.tolist() == [3.0, 3.0]
    alone = on_a_grid(torch.ones(5), single=True).t1
    assert alone.shape == ()
    assert float(alone) == 3.0
    assert alone.dtype == on_a_grid(torch.ones(2, 5)).t1.dtype == D


def test_counts_of_each_trajectory():
    stats = of().stats
    assert isinstance(stats, Stats)
    for i, name in enumerate(Counts._fields):
        assert getattr(stats, name).tolist() == [10 * i, 10 * i + 1, 10 * i + 2]
    assert stats.work == 99
    grid = on_a_grid({"a": torch.ones(2, 5)}, work=32).stats
    assert grid.accepted.tolist() == [4, 4]
    assert grid.rejected.tolist() == [0, 0]
    assert grid.f_evals.dtype == torch.int64
    assert grid.work == 32
    alone = on_a_grid(torch.ones(5), single=True).stats
    assert alone.f_evals.shape == ()
    assert int(alone.f_evals) == 16


def test_what_is_made_for_a_grid_is_where_the_state_is():
    grid = on_a_grid(torch.ones(2, 5, device="meta"))
    assert grid.t1.device.type == grid.stats.f_evals.device.type == "meta"


def test_a_solution_in_a_line():
    assert repr(of((0, 1, 0))) == ("Solution(3 trajectories: 2 OK, 1 MAX_STEPS; x1 (3, 2), 0 to 2 steps, kept xs (3, 5, 2))")
    assert repr(of((7,), xs=None)) == "Solution(1 trajectory: EVENT; x1 (1, 2), 0 steps)"
    assert repr(of((0,)).unbatched()) == "Solution(1 trajectory: OK; x1 (2,), 0 steps, kept xs (5, 2))"
    parts = on_a_grid({"a": torch.ones(2, 5), "b": torch.ones(2)})
    assert repr(parts) == "Solution(2 trajectories: 2 OK; x1 (2, 5), (2,), 4 steps)"


def failures(n):
    return tuple(Failure(i, Result.MAX_STEPS, 0.5, 0.25, i) for i in range(n))


def test_a_failure_in_a_sentence():
    whole = Failure(4, Result.NOT_FINITE, 0.123456789, 1e-5, 2)
    assert str(whole) == f"trajectory 4 {ADVICE[Result.NOT_FINITE]} (NOT_FINITE at t=0.123457, step 1e-05, worst component 2)."
    assert str(Failure(0, Result.SINGULAR, 1.0, 2.0, None, "stood still")) == (
        "trajectory 0 stood still (SINGULAR at t=1, step 2)."
    )
    assert ", worst component 0)" in str(Failure(0, Result.SINGULAR, 1.0, 2.0, 0))


def test_what_is_said_of_all():
    assert of().message == "all trajectories reached the end"
    assert of((0, 7, 0)).message == "all trajectories reached the end or a terminal event"
    assert on_a_grid(torch.ones(2, 1)).message == "all trajectories reached the end"
    said = of((1, 1, 7), failures=failures(2)).message
    assert said == "\n".join(map(str, failures(2)))
    bad = on_a_grid(torch.tensor([[1.0], [NAN], [NAN]])).message.splitlines()
    assert [line.split(" ended")[0] for line in bad] == ["trajectory 1", "trajectory 2"]
    assert on_a_grid(torch.tensor([NAN]), single=True).message.startswith("trajectory 0 ended")


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_an_error_names_three_failures_and_counts_the_rest(n):
    sol = of((1,) * n, failures=failures(n))
    error = SolveError(sol)
    lines = str(error).splitlines()
    assert lines[: min(n, 3)] == [str(f) for f in sol.failures[:3]]
    assert error.solution is sol
    assert "throw=False" in lines[-1]
    assert len(lines) == min(n, 3) + 1 + (n > 3)
    if n > 3:
        assert f"{n - 3} more" in lines[3]
    assert str(SolveError(sol, "Do this.")).endswith("\nDo this.")


def test_dense_output_is_asked_or_missed():
    with pytest.raises(ValueError, match="Dense"):
        of()(0.5)
    batch = of((0,), dense=lambda t: {"x": torch.tensor([[t, 2 * t]])})
    assert batch(3.0)["x"].tolist() == [[3.0, 6.0]]
    assert batch.unbatched()(3.0)["x"].tolist() == [3.0, 6.0]


def test_the_batch_axis_is_taken_off_everything():
    sol = of((0,), failures=failures(1))
    alone = sol.unbatched()
    assert alone.single
    assert alone.unbatched() is alone
    for name in ("x1", "ts", "xs", "hs", "errors", "h", "result", "t1"):
        assert torch.equal(getattr(alone, name), getattr(sol, name)[0]), name
    for name in Counts._fields:
        assert torch.equal(getattr(alone.stats, name), getattr(sol.stats, name)[0])
    assert alone.events[0].ts.shape == (1,)
    assert [v.shape for v in alone.events[0].xs] == [(1, 2), (1,)]
    assert (alone.work, alone.failures, alone.made) == (sol.work, sol.failures, sol.made)
    bare = on_a_grid(torch.ones(1, 5)).unbatched()
    assert (bare.ts, bare.codes, bare.end) == (None, None, 3.0)


def test_the_table_of_a_plot_is_real_and_flat():
    plain = of()
    assert plain._as_real_table() is plain
    assert of(xs=None)._as_real_table().xs is None
    real, turned = torch.rand(3, 5, 2), torch.rand(3, 5, 4, dtype=torch.complex64)
    mixed = of(xs=(real, turned))
    table = mixed._as_real_table().xs
    assert table.shape == (3, 5, 10)
    assert torch.equal(table[..., :2], real)
    assert torch.equal(table[..., 2::2], turned.real)
    assert torch.equal(table[..., 3::2], turned.imag)
    assert of(xs=turned)._as_real_table().xs.shape == (3, 5, 8)
    alone = of((0,), xs=(real[:1], turned[:1])).unbatched()._as_real_table().xs
    assert torch.equal(alone, table[0])


def test_a_plot_is_of_the_trajectory_that_is_asked_for():
    sol = of(xs=torch.rand(3, 5, 2, dtype=torch.complex64))
    for trajectory in (0, 2):
        figure = sol.plot(trajectory, "a title")
        lines = figure.axes[0].get_lines()
        assert len(lines) == 4
        assert torch.allclose(torch.tensor(lines[1].get_ydata()).float(), sol.xs[trajectory, :, 0].imag)
        assert figure.get_suptitle() == "a title"
        assert len(figure.axes) == 3
    assert sol.plot().get_suptitle() == ""
    first = sol.plot().axes[0].get_lines()[0].get_ydata()
    assert torch.allclose(torch.tensor(first).float(), sol.xs[0, :, 0].real)

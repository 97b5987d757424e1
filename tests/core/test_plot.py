"""What a picture shows: which numbers, on which scale, in how many panels; not its looks."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from odebridge.core.plot import COLOURS, plot_fit, plot_solution
from odebridge.core.protocols import Counts
from odebridge.core.result import Solution

D = torch.float64


@pytest.fixture(autouse=True)
def _closed():
    plt.close("all")
    yield
    plt.close("all")


def kept(ts, xs, errors=0.5, hs=None, **more):
    """A solution of b trajectories with these kept times (k,) and states (b, k, *s)."""
    xs, ts = torch.as_tensor(xs, dtype=D), torch.as_tensor(ts, dtype=D)
    ts = ts.expand(len(xs), len(ts))
    hs = ts.diff() if hs is None else hs
    scaled = None if errors is None else torch.full_like(ts[:, 1:], errors)
    return Solution(xs[:, -1], Counts(), ts, xs, hs, errors=scaled, **more)


T = torch.linspace(0.0, 2.0, 11, dtype=D)
WAVES = torch.stack([torch.stack([torch.sin(T + i), torch.cos(T + i)], 1) for i in range(3)])


def shown(axis):
    return [np.asarray(line.get_xydata()) for line in axis.get_lines()]


@pytest.mark.parametrize("trajectory", [0, 2, -1, -3])
def test_states_steps_and_errors_of_one_trajectory(trajectory):
    sol = kept(T, WAVES, errors=None)
    errors = torch.rand(3, 10, generator=torch.Generator().manual_seed(0), dtype=D)
    sol = Solution(**{**vars(sol), "errors": errors})
    figure = plot_solution(sol, trajectory)
    state, step, error = figure.axes
    for i, line in enumerate(shown(state)):
        np.testing.assert_allclose(line, np.stack([T, WAVES[trajectory, :, i]], 1))
    assert len(state.get_lines()) == 2
    np.testing.assert_allclose(shown(step)[0], np.stack([T[1:], T.diff()], 1))
    np.testing.assert_allclose(shown(error)[0], np.stack([T[1:], errors[trajectory]], 1))
    assert shown(error)[1][:, 1].tolist() == [1.0, 1.0]
    assert [axis.get_xscale() for axis in figure.axes] == ["linear"] * 3
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "log", "log"]
    assert all(axis.get_ylabel() for axis in figure.axes)
    assert [bool(axis.get_xlabel()) for axis in figure.axes] == [False, False, True]
    assert [v.get_text() for v in state.get_legend().get_texts()] == ["x[0]", "x[1]"]
    assert state.get_title() == figure.get_suptitle() == ""
    assert all(line.get_visible() for axis in figure.axes for line in axis.get_xgridlines())
    assert state.get_lines()[0].get_color() != state.get_lines()[1].get_color()


def test_the_first_trajectory_without_a_title_unless_asked():
    figure = plot_solution(kept(T, WAVES))
    np.testing.assert_allclose(shown(figure.axes[0])[0][:, 1], WAVES[0, :, 0])
    assert plot_solution(kept(T, WAVES), title="a word").get_suptitle() == "a word"


def test_without_errors_there_are_two_panels():
    figure = plot_solution(kept(T, WAVES, errors=None))
    assert len(figure.axes) == 2
    assert figure.axes[1].get_xlabel()
    assert plot_solution(kept(T, WAVES)).get_size_inches()[1] > figure.get_size_inches()[1]


def test_one_system_without_its_batch_axis_and_with_a_graph():
    sol = kept(T, WAVES[:1].clone().requires_grad_())
    a, b = plot_solution(sol), plot_solution(sol.unbatched())
    for one, other in zip(a.axes, b.axes, strict=True):
        for v, w in zip(shown(one), shown(other), strict=True):
            np.testing.assert_array_equal(v, w)
    with pytest.raises(ValueError, match="from 0 to 0"):
        plot_solution(sol.unbatched(), 1)


@pytest.mark.parametrize("trajectory", [3, -4, True, 1.0, "0", None])
def test_a_trajectory_that_is_not_there(trajectory):
    with pytest.raises(ValueError, match="there are 3; give a number from 0 to 2"):
        plot_solution(kept(T, WAVES), trajectory)


@pytest.mark.parametrize("missing", ["ts", "xs", "hs"])
def test_kept_steps_are_needed(missing):
    with pytest.raises(ValueError, match="Every"):
        plot_solution(Solution(**{**vars(kept(T, WAVES)), missing: None}))


def test_what_was_not_reached_is_not_shown():
    ts, xs, hs = T.expand(3, 11).clone(), WAVES.clone(), T.diff().expand(3, 10).clone()
    ts[1, 5:], xs[1, 5:], hs[1, 4:] = torch.nan, torch.nan, torch.nan
    sol = Solution(xs[:, -1], Counts(), ts, xs, hs, errors=torch.ones(3, 10))
    state, step, error = plot_solution(sol, 1).axes
    assert len(shown(state)[0]) == 5
    assert len(shown(step)[0]) == len(shown(error)[0]) == 4
    np.testing.assert_array_equal(shown(step)[0][:, 0], T[1:5])
    ts[1, 1:] = torch.nan
    with pytest.raises(ValueError, match="no step"):
        plot_solution(Solution(xs[:, -1], Counts(), ts, xs, hs), 1)
    ts[1, 1] = 0.2
    assert len(shown(plot_solution(Solution(xs[:, -1], Counts(), ts, xs, hs), 1).axes[0])[0]) == 2


def test_steps_backward_and_per_channel_are_shown_as_lengths():
    hs = torch.tensor([1.0, -3.0, 8.0]).expand(3, 10, 3) * -1
    figure = plot_solution(kept(T, WAVES, hs=hs))
    assert shown(figure.axes[1])[0][:, 1].tolist() == [3.0] * 10
    images = kept(T, WAVES.reshape(3, 11, 2, 1, 1), hs=hs.reshape(3, 10, 3, 1, 1))
    assert len(shown(plot_solution(images).axes[0])) == 2


@pytest.mark.parametrize("n", [1, len(COLOURS), len(COLOURS) + 1])
def test_as_many_components_as_there_are_colours(n):
    state = plot_solution(kept(T, torch.rand(1, 11, n))).axes[0]
    assert len(state.get_lines()) == min(n, 8)
    assert state.get_title() == ("" if n <= 8 else f"first 8 of {n} components")


@pytest.mark.parametrize(("k", "marker"), [(79, "."), (80, "None")])
def test_few_steps_have_points(k, marker):
    line = plot_solution(kept(torch.linspace(0, 1, k), torch.rand(1, k, 1))).axes[0].get_lines()[0]
    assert str(line.get_marker()) == marker


@pytest.mark.parametrize(
    ("small", "lowest", "scale"),
    [(1e-3, 0.0, "log"), (1e-3, -1e-3, "symlog"), (0.04, 0.0, "linear"), (0.0, 0.0, "linear")],
)
def test_components_far_apart_share_a_logarithm(small, lowest, scale):
    xs = torch.stack([torch.linspace(0.5, 2.0, 11), torch.linspace(lowest, small, 11)], 1)[None]
    state = plot_solution(kept(T, xs)).axes[0]
    assert state.get_yscale() == scale
    if scale == "log":
        assert state.get_ylim() == pytest.approx((small / 1e4, 6.0))
    if scale == "symlog":
        assert state.yaxis.get_transform().linthresh == pytest.approx(small / 10)


@pytest.mark.parametrize(("ratio", "scale"), [(100.0, "linear"), (100.5, "log")])
def test_a_factor_of_more_than_a_hundred_is_far(ratio, scale):
    xs = torch.tensor([1.0, ratio], dtype=D).expand(1, 11, 2)
    assert plot_solution(kept(T, xs)).axes[0].get_yscale() == scale


def test_a_component_that_stays_zero_sets_no_scale():
    xs = torch.stack([torch.linspace(0.5, 1.0, 11), torch.linspace(0.0, 1e-3, 11), torch.zeros(11)], 1)[None]
    state = plot_solution(kept(T, xs)).axes[0]
    assert state.get_yscale() == "log"
    assert state.get_ylim() == pytest.approx((1e-7, 3.0))
    xs[:, :, 1] -= 5e-4
    state = plot_solution(kept(T, xs)).axes[0]
    assert state.get_yscale() == "symlog"
    assert state.yaxis.get_transform().linthresh == pytest.approx(5e-5)
    assert plot_solution(kept(T, torch.zeros(1, 11, 2))).axes[0].get_yscale() == "linear"


def test_a_state_that_is_infinite_or_nan_somewhere_can_be_shown():
    for bad in (torch.inf, torch.nan):
        xs = WAVES.clone()
        xs[0, 4, 1] = bad
        assert plot_solution(kept(T, xs)).axes[0].get_yscale() == "linear"
    xs = torch.stack([torch.linspace(0.5, 1.0, 11), torch.linspace(0.0, 1e-3, 11)], 1)[None]
    xs[0, 4, 1] = torch.inf
    assert plot_solution(kept(T, xs)).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(("error", "top"), [(0.5, 3.0), (50.0, 50.0)])
def test_the_line_at_one_is_not_the_frame(error, top):
    axis = plot_solution(kept(T, WAVES, errors=error)).axes[2]
    assert axis.get_ylim()[1] == 3.0 if top == 3.0 else axis.get_ylim()[1] > top


LAYER = torch.cat([torch.zeros(1), torch.logspace(-6, 0, 13)]).double()


@pytest.mark.parametrize(
    ("ts", "scale"),
    [
        (LAYER, "log"),
        (LAYER - 1e-9, "linear"),  # starts below 0
        ([0.0, 1e-5, 1.0], "log"),
        ([1e-8, 1e-6, 1e-5, 1.0], "log"),
        ([0.0, 1.0], "linear"),
        ([0.0, 1e-3, 1.0], "linear"),
        ([0.0, 2e-3, 2.0], "linear"),
        ([0.0, 4e-3, 5.0], "log"),
        ([0.0, 9.99e-4, 1.0], "log"),
    ],
)
def test_a_solve_that_begins_with_short_steps_has_a_logarithmic_clock(ts, scale):
    figure = plot_solution(kept(ts, torch.rand(1, len(ts), 1)))
    assert {axis.get_xscale() for axis in figure.axes} == {scale}
    if scale == "log":
        assert figure.axes[0].get_xlim() == pytest.approx((0.5 * float(ts[1]), 2.0 * float(ts[-1])))


# A fit


TIMES, FINE = np.linspace(0.0, 1.0, 6), np.linspace(0.0, 1.0, 50)


@pytest.mark.parametrize("d", [1, 3, len(COLOURS) + 1])
def test_a_fit_has_a_panel_for_each_component(d):
    measured = np.arange(6.0)[:, None] + np.arange(d)
    curve = np.arange(50.0)[:, None] * np.arange(1, d + 1)
    figure = plot_fit(TIMES, measured, FINE, curve)
    assert len(figure.axes) == min(d, 8)
    for i, axis in enumerate(figure.axes):
        fitted, points = shown(axis)
        np.testing.assert_array_equal(fitted, np.stack([FINE, curve[:, i]], 1))
        np.testing.assert_array_equal(points, np.stack([TIMES, measured[:, i]], 1))
        assert axis.get_ylabel() == f"y[{i}]"
        assert axis.get_xscale() == "linear"
        assert bool(axis.get_xlabel()) == (i == len(figure.axes) - 1)
        assert (axis.get_legend() is not None) == (i == 0)
        assert all(line.get_visible() for line in axis.get_xgridlines())
    assert [v.get_text() for v in figure.axes[0].get_legend().get_texts()] == ["fitted", "measured"]
    assert figure.get_suptitle() == ""
    assert plot_fit(TIMES, measured, FINE, curve, "a word").get_suptitle() == "a word"


@pytest.mark.parametrize(
    ("times", "scale"),
    [
        ([0.0, 1e-5, 1e-4, 1.0], "log"),
        ([1e-5, 1e-4, 1.0], "log"),
        ([0.0, 1e-5, 1.0], "linear"),  # two positive times
        ([-1.0, 1e-5, 1e-4, 1e-3, 1.0], "linear"),
        ([0.0, 0.02, 0.01, 1.0], "linear"),
        ([0.0, 1.0, 2.0, 3.0], "linear"),
        ([0.0, 1e-5, 0.01, 1.0], "linear"),
        ([0.0, 1e-5, 0.0099, 1.0], "log"),
        ([0.0, 1e-5, 0.04, 5.0], "log"),
    ],
)
def test_a_fit_of_many_scales_has_a_logarithmic_clock(times, scale):
    times = np.array(times)
    for d in (1, 2):
        figure = plot_fit(times, np.ones((len(times), d)), times, np.ones((len(times), d)))
        assert [axis.get_xscale() for axis in figure.axes] == [scale] * d

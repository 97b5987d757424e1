"""ob.fit: parameters from measured trajectories, their standard errors, and what happens where a trial fails."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import pytest
import torch

import odebridge as ob

D = torch.float64
RATES = torch.tensor([0.04, 3e7, 1e4], dtype=D)
SCALE = torch.tensor([1.0, 4e-5, 1.0], dtype=D)
PREY = torch.tensor([1.1, 0.4, 0.1, 0.4], dtype=D)


def robertson(t, x, k):
    k1, k2, k3 = k.unbind(-1)
    a, b, c = x.unbind(-1)
    return torch.stack([-k1 * a + k3 * b * c, k1 * a - k3 * b * c - k2 * b * b, k2 * b * b], -1)


def lotka_volterra(t, x, p):
    a, b, c, d = p.unbind(-1)
    u, v = x.unbind(-1)
    return torch.stack([a * u - b * u * v, c * u * v - d * v], -1)


def decay(t, x, args):
    return -args["rate"][:, None] * x + args["feed"]


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def stiff_data(sigma=0.01, seed=0, k=25):
    times = torch.logspace(-5, 3, k, dtype=D)
    x0 = torch.tensor([1.0, 0.0, 0.0], dtype=D)
    sol = ob.integrate(
        robertson, x0[None], (0.0, 1e3), args=RATES[None], method="rodas5p", rtol=1e-8, atol=1e-12, save=ob.At(times)
    )
    return x0, ob.Measured(times, sol.xs[0] + sigma * SCALE * noise((k, 3), seed), weights=1 / (sigma * SCALE))


def hares(k=21, sigma=0.1, seed=1, b=1):
    times = torch.linspace(0.0, 10.0, k, dtype=D)
    x0 = torch.tensor([[10.0, 5.0], [6.0, 9.0], [3.0, 2.0]], dtype=D)[:b]
    sol = ob.integrate(lotka_volterra, x0, (0.0, 10.0), args=PREY.repeat(b, 1), rtol=1e-9, atol=1e-11, save=ob.At(times))
    return x0, times, sol.xs + sigma * noise((b, k, 2), seed)


def test_robertsons_rates_from_noisy_data():
    x0, data = stiff_data()
    seen = []
    guess = RATES * torch.tensor([2.0, 0.5, 2.0], dtype=D)
    found = ob.fit(ob.Problem(robertson, x0, (0.0, 1e3), args=guess), data, rtol=1e-4, atol=1e-9, progress=seen.append)
    assert found.ok
    assert found.method == "rodas5p"
    assert bool(((found.parameters - RATES).abs() < 4 * found.std).all())
    assert bool((found.std < 0.1 * RATES).all())
    assert 0.5 < 2 * found.cost / (75 - 3) < 1.6  # weights are 1 / sigma
    assert seen[-1].best == pytest.approx(found.cost, rel=1e-6)
    assert found.f_evals > 0
    assert "args[1] = " in repr(found)


@pytest.mark.parametrize("by", ["least_squares", "lbfgs"])
def test_the_four_rates_of_lotka_and_volterra(by):
    x0, times, y = hares(b=2)
    guess = PREY * torch.tensor([1.1, 0.9, 1.1, 0.95], dtype=D)
    problem = ob.Problem(lotka_volterra, x0, (0.0, 10.0), args=guess.repeat(2, 1))
    found = ob.fit(problem, (times, y), by=by)
    assert found.method == "tsit5"
    assert bool(((found.parameters - PREY).abs() < 4 * found.std).all())
    assert found.residuals.shape == (2, 21, 2)
    assert 2 * found.cost == pytest.approx(float(found.residuals.square().sum()), rel=1e-9)
    again = ob.integrate(lotka_volterra, x0, (0.0, 10.0), args=found.problem.args, rtol=1e-6, atol=1e-9, save=ob.At(times))
    assert torch.allclose(y - again.xs, found.residuals, atol=1e-8)


def test_adam_gets_there_too_and_says_when_it_has_not():
    x0, times, y = hares(k=8)
    problem = ob.Problem(lotka_volterra, x0[0], (0.0, 10.0), args=PREY * 1.05)
    few = ob.fit(problem, (times, y[0]), by="adam", trials=15, rtol=1e-4)
    assert not few.ok
    assert "15 trials" in few.message
    start = ob.fit(problem, (times, y[0]), by="adam", trials=1, rtol=1e-4)
    assert few.cost < 0.5 * start.cost


def test_names_masks_weights_and_what_is_observed():
    times = torch.linspace(0.0, 2.0, 9, dtype=D)
    args = {"rate": torch.tensor(0.5, dtype=D), "feed": torch.tensor([0.1, -0.2], dtype=D)}
    problem = ob.Problem(decay, [1.0, 2.0], (0.0, 2.0), args=args)
    sol = ob.solve(problem, save=ob.At(times), rtol=1e-9, atol=1e-12)
    total = sol.xs.sum(-1, keepdim=True)
    start = ob.Problem(decay, [1.0, 2.0], (0.0, 2.0), args={**args, "rate": torch.tensor(0.9, dtype=D)})
    spoilt = total.clone()
    spoilt[3] = torch.nan
    spoilt[5] = 99.0
    mask = torch.ones(9, 1, dtype=torch.bool)
    mask[5] = False
    data = ob.Measured(times, spoilt, mask=mask, weights=3.0)
    found = ob.fit(start, data, only="rate", observe=lambda t, x: x.sum(-1, keepdim=True), rtol=1e-9, atol=1e-12)
    assert found.names == ("rate", "feed[0]", "feed[1]")
    assert found.parameters.tolist() == pytest.approx([0.5, 0.1, -0.2], rel=1e-6)
    assert found.std[1:].tolist() == [0.0, 0.0]
    assert int(torch.isnan(found.residuals).sum()) == 2
    plain = ob.fit(start, data, only=[0], log=False, observe=lambda t, x: x.sum(-1, keepdim=True))
    assert [bool(v > 0) for v in plain.std] == [True, False, False]


def test_a_trial_that_fails_is_a_refused_step():
    """x' = a x^2 from 1 is infinite at t = 1 / a: a guess from below jumps over the pole."""

    def field(t, x, a):
        return a * x * x

    times = torch.linspace(0.0, 1.0, 6, dtype=D)
    y = 1.0 / (1.0 - 0.98 * times)[:, None]
    for by in ("least_squares", "lbfgs", "adam"):
        problem = ob.Problem(field, [1.0], (0.0, 1.0), args=torch.tensor([0.6], dtype=D))
        found = ob.fit(problem, (times, y), by=by, log=False, lr=0.2, trials=60, max_steps=300)
        assert found.failed_trials > 0, by
        assert float(found.parameters) == pytest.approx(0.98, rel=1e-3 if by != "adam" else 5e-2)
    lost = ob.fit(ob.Problem(field, [1.0], (0.0, 1.0), args=torch.tensor([2.0], dtype=D)), (times, y), max_steps=300)
    assert not lost.ok
    assert "first guess" in lost.message


def test_a_module_is_fitted_through_its_parameters():
    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.tensor([[-0.2, 0.9], [-0.9, -0.3]], dtype=D))

        def forward(self, t, x):
            return x @ self.a.T

    true = torch.tensor([[-0.1, 1.0], [-1.0, -0.1]], dtype=D)
    times = torch.linspace(0.0, 3.0, 12, dtype=D)
    x0 = torch.tensor([1.0, 0.5], dtype=D)
    y = torch.stack([torch.linalg.matrix_exp(true * t) @ x0 for t in times])
    field = Field()
    for by in ("least_squares", "lbfgs"):
        found = ob.fit(ob.Problem(field, x0, (0.0, 3.0)), (times, y), by=by)
        assert found.parameters.tolist() == pytest.approx(true.reshape(-1).tolist(), abs=1e-4)
        assert found.names[1] == "a[1]"
    assert float(field.a[0, 0].detach()) == pytest.approx(-0.2)  # the user's module is left as it was


def test_bounds_hold():
    x0, times, y = hares(k=8)
    guess = PREY * 1.02
    found = ob.fit(ob.Problem(lotka_volterra, x0[0], (0.0, 10.0), args=guess), (times, y[0]), only=[0], bounds=(1.11, 2.0))
    assert float(found.parameters[0]) == pytest.approx(1.11, rel=1e-4)


def test_the_picture_draws():
    x0, times, y = hares(k=8)
    found = ob.fit(ob.Problem(lotka_volterra, x0[0], (0.0, 10.0), args=PREY), (times, y[0]), only=[0])
    fig = found.plot(title="hares")
    assert len(fig.axes) == 2
    assert len(fig.axes[0].lines[0].get_xdata()) == 300
    plt.close(fig)


BAD = [
    ({"data": torch.zeros(3, 2)}, "data: give"),
    ({"data": (torch.zeros(3), torch.zeros(4, 2))}, "do not go together"),
    ({"data": (torch.tensor([0.0, 2.0, 1.0]), torch.zeros(3, 2))}, "rising"),
    ({"data": (torch.tensor([-1.0, 2.0, 3.0]), torch.zeros(3, 2))}, "before the start"),
    ({"data": (torch.zeros(3), torch.full((3, 2), torch.nan))}, "no value counts"),
    ({"data": (torch.linspace(0, 1, 3), torch.zeros(3, 5))}, "what is observed"),
    ({"data": ob.Measured(torch.linspace(0, 1, 3), torch.zeros(3, 2), weights=torch.ones(7))}, "weights has shape"),
    ({"only": "rates"}, "there is no parameter"),
    ({"only": []}, "only: is empty"),
    ({"by": "newton"}, "by: must be"),
    ({"gradient": ob.Replay(), "by": "least_squares"}, "needs sensitivities"),
    ({"bounds": (5.0, 6.0)}, "inside"),
    ({"problem": ob.Problem(lambda t, x: -x, [1.0, 1.0], (0.0, 1.0))}, "no parameters"),
]


@pytest.mark.parametrize(("given", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_input_gets_a_sentence(given, words):
    x0, times, y = hares(k=3)
    problem = ob.Problem(lotka_volterra, x0[0], (0.0, 10.0), args=PREY)
    with pytest.raises((ValueError, TypeError), match=words):
        ob.fit(**{"problem": problem, "data": (times, y[0]), **given})


@pytest.mark.slow
def test_the_covariance_is_that_of_repeated_measurements():
    guess = PREY * 1.02
    found = []
    for seed in range(60):
        x0, times, y = hares(k=15, sigma=0.15, seed=seed)
        found.append(
            ob.fit(ob.Problem(lotka_volterra, x0[0], (0.0, 10.0), args=guess), (times, y[0]), method="tsit5", rtol=1e-5)
        )
    assert all(f.ok for f in found)
    spread = torch.stack([f.parameters for f in found]).T.cov()
    said = torch.stack([f.covariance for f in found]).mean(0)
    sizes = spread.diagonal().sqrt() / said.diagonal().sqrt()
    assert bool(((sizes > 0.75) & (sizes < 1.35)).all()), sizes
    flat = [c / c.diagonal().sqrt()[:, None] / c.diagonal().sqrt() for c in (spread, said)]
    assert float((flat[0] - flat[1]).abs().max()) < 0.25


@pytest.mark.slow
def test_the_errors_of_robertsons_rates_are_those_of_repeated_measurements():
    off = []
    for seed in range(16):
        x0, data = stiff_data(seed=seed)
        found = ob.fit(ob.Problem(robertson, x0, (0.0, 1e3), args=RATES * 1.1), data, method="rodas5p", rtol=1e-5, atol=1e-10)
        off.append((found.parameters - RATES) / found.std)
    sizes = torch.stack(off).square().mean(0).sqrt()
    assert bool(((sizes > 0.6) & (sizes < 1.5)).all()), sizes


# Shapes of parameters, data and ends


class Pair(NamedTuple):
    rate: torch.Tensor
    feed: torch.Tensor


def flow(t, x, args):
    rate, feed = args
    return -rate[:, None] * x + feed


TIMES = torch.linspace(0.0, 2.0, 5, dtype=D)
TRUE = (torch.tensor(0.5, dtype=D), torch.tensor([0.1, 0.3], dtype=D))
FIRST = (torch.tensor(0.8, dtype=D), torch.tensor([0.2, 0.25], dtype=D))
MEASURED = ob.solve(ob.Problem(flow, [1.0, 2.0], (0.0, 2.0), args=TRUE), save=ob.At(TIMES), rtol=1e-9, atol=1e-12).xs


@pytest.mark.parametrize(
    ("kind", "names"), [(tuple, ("args[0]", "args[1][0]", "args[1][1]")), (Pair._make, ("rate", "feed[0]", "feed[1]"))]
)
def test_parameters_in_tuples_have_names(kind, names):
    problem = ob.Problem(flow, [1.0, 2.0], (0.0, 2.0), args=kind(FIRST))
    found = ob.fit(problem, (TIMES, MEASURED), rtol=1e-3, method="tsit5", trials=1)
    assert found.names == names
    assert found.parameters.tolist() == [0.8, 0.2, 0.25]
    assert type(found.problem.args) is type(kind(FIRST))


def test_nested_names():
    nested = {"a": {"rate": FIRST[0]}, "b": [FIRST[1]]}
    field = lambda t, x, args: flow(t, x, (args["a"]["rate"], args["b"][0]))  # noqa: E731
    found = ob.fit(
        ob.Problem(field, [1.0, 2.0], (0.0, 2.0), args=nested),
        (TIMES, MEASURED),
        only="a.rate",
        trials=1,
        rtol=1e-3,
        method="tsit5",
    )
    assert found.names == ("a.rate", "b[0][0]", "b[0][1]")


def test_numbers_in_the_args_are_passed_on():
    args = {"rate": FIRST[0], "power": 1.0}
    field = lambda t, x, args: -args["rate"][:, None] * x ** args["power"]  # noqa: E731
    found = ob.fit(ob.Problem(field, [1.0], (0.0, 2.0), args=args), (TIMES, torch.exp(-0.6 * TIMES)[:, None]), rtol=1e-5)
    assert found.names == ("rate",)
    assert float(found.parameters) == pytest.approx(0.6, rel=1e-3)


def test_one_start_serves_several_measured_trajectories():
    twice = torch.stack([MEASURED, MEASURED])
    one, both = (
        ob.fit(ob.Problem(flow, [1.0, 2.0], (0.0, 2.0), args=FIRST), (TIMES, y), rtol=1e-4, trials=2, method="tsit5")
        for y in (MEASURED, twice)
    )
    assert both.residuals.shape == (2, 5, 2)
    assert torch.allclose(both.parameters, one.parameters, rtol=1e-5)


def test_adam_ends_where_the_cost_falls_no_more():
    problem = ob.Problem(lambda t, x, a: -a * x, [1.0], (0.0, 1.0), args=torch.tensor([2.0], dtype=D))
    times = torch.linspace(0.1, 1.0, 4, dtype=D)
    found = ob.fit(
        problem,
        (times, torch.exp(-2.0 * times)[:, None] + 0.1),
        by="adam",
        lr=1e-12,
        trials=200,
        rtol=1e-2,
        atol=1e-3,
        method="tsit5",
    )
    assert found.ok
    assert "has not fallen" in found.message


NO_SPREAD = {
    "as many values as parameters": (lambda t, x, a: -a[:, :1] * x, torch.tensor([0.7], dtype=D), 1),
    "a parameter that does nothing": (lambda t, x, a: -a[:, :1] * x, torch.tensor([0.7, 1.0], dtype=D), 6),
    "two that say the same": (lambda t, x, a: -(a[:, :1] + a[:, 1:]) * x, torch.tensor([0.3, 0.4], dtype=D), 6),
}


@pytest.mark.parametrize("case", NO_SPREAD)
def test_there_is_no_covariance_where_the_data_do_not_say_it(case):
    field, guess, k = NO_SPREAD[case]
    times = torch.linspace(0.2, 1.0, k, dtype=D)
    found = ob.fit(
        ob.Problem(field, [1.0], (0.0, 1.0), args=guess),
        (times, torch.exp(-0.7 * times)[:, None]),
        log=False,
        trials=1,
        rtol=1e-4,
        atol=1e-6,
    )
    assert found.covariance is None
    assert found.std is None
    assert found.cost < 1e-6


WRONG = [
    (lambda: ob.fit("hires", (TIMES, MEASURED)), "problem: must be an ob.Problem with args to start from, got str"),
    (
        lambda: ob.fit(ob.Problem(flow, torch.ones(3, 2), (0.0, 2.0), args=tree(3)), (TIMES, MEASURED)),
        "data: holds 1 trajectories and the problem 3; give one x0 for each",
    ),
    (
        lambda: ob.fit(ob.Problem(flow, torch.ones(2, 2), (0.0, 2.0), args=tree(2, 0.1)), (TIMES, MEASURED.repeat(2, 1, 1))),
        "its trajectories have different args, and one set is fitted for all",
    ),
    (
        lambda: ob.fit(ob.Problem(flow, [1.0, 2.0], (0.0, 2.0), args=(-TRUE[0], TRUE[1])), (TIMES, MEASURED), log=True),
        "log: only parameters that start above 0",
    ),
    (
        lambda: ob.fit(ob.Problem(flow, [1.0, 2.0], (0.0, 2.0), args=FIRST), (TIMES.repeat(2, 1), MEASURED[None])),
        "data: there are times of 2 trajectories and values of 1",
    ),
    (
        lambda: ob.fit(
            ob.Problem(flow, [1.0, 2.0], (0.0, 2.0), args=FIRST), ob.Measured(TIMES, MEASURED, weights=-torch.ones(5, 2))
        ),
        "data: weights must be finite and at least 0 wherever",
    ),
]


def tree(b, by=0.0):
    return (torch.full((b,), 0.5, dtype=D) + by * torch.arange(b), torch.zeros(b, 2, dtype=D))


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_data_that_do_not_fit_the_problem_get_a_sentence(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()

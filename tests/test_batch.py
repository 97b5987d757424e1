"""A trajectory in a batch is itself alone: to the bit, on the CPU, for fields whose own values do not depend on the batch."""

import pytest
import torch
from selection import dear

import odebridge as ob
from odebridge.core.tolerance import rms
from odebridge.methods import METHODS

ADAPTIVE = [m for m in METHODS if METHODS[m].error_order is not None]
LAWS = ["i", "pi", "pid", "h211b", "predictive", "h312"]


def lotka_volterra(t, x, p):
    a, b = x.unbind(-1)
    k, m = p.unbind(-1)
    return torch.stack([k * a - a * b, a * b - m * b], -1)


def family(b, seed=0):
    g = torch.Generator().manual_seed(seed)
    return 0.5 + torch.rand(b, 2, generator=g, dtype=torch.float64), 0.5 + torch.rand(b, 2, generator=g, dtype=torch.float64)


def same(a, b):
    return torch.equal(torch.nan_to_num(a, nan=-7.0), torch.nan_to_num(b, nan=-7.0))


def assert_equal_to_solo(batch, solo, i):
    assert same(batch.x1[i], solo.x1[0])
    assert int(batch.result[i]) == int(solo.result[0])
    k = solo.ts.shape[1]
    assert same(batch.ts[i, :k], solo.ts[0])
    assert same(batch.xs[i, :k], solo.xs[0])
    assert bool(torch.isnan(batch.ts[i, k:]).all())
    for name in ("accepted", "rejected", "f_evals", "jacobians", "factorisations", "solves"):
        assert int(getattr(batch.stats, name)[i]) == int(getattr(solo.stats, name)[0]), name


@pytest.mark.parametrize("method", dear(ADAPTIVE))
def test_together_equals_alone_for_every_method(method):
    x0, p = family(7)
    ends = torch.linspace(0.5, 4.0, 7, dtype=torch.float64)
    options = {"method": method, "rtol": 1e-4, "atol": 1e-6, "save": ob.Every(), "max_steps": 2000}
    batch = ob.integrate(lotka_volterra, x0, (0.0, ends), args=p, **options)
    for i in (0, 3, 6):
        solo = ob.integrate(lotka_volterra, x0[i : i + 1], (0.0, ends[i : i + 1]), args=p[i : i + 1], **options)
        assert_equal_to_solo(batch, solo, i)


@pytest.mark.parametrize("law", LAWS)
def test_together_equals_alone_for_every_law(law):
    x0, p = family(5, seed=1)
    options = {"method": "tsit5", "controller": law, "rtol": 1e-6, "atol": 1e-8, "save": ob.Every()}
    batch = ob.integrate(lotka_volterra, x0, (0.0, 5.0), args=p, **options)
    for i in range(5):
        assert_equal_to_solo(batch, ob.integrate(lotka_volterra, x0[i : i + 1], (0.0, 5.0), args=p[i : i + 1], **options), i)


@pytest.mark.parametrize("name", ["robertson", "van_der_pol", "hires", "orego"])
def test_stiff_problems_with_parameters_together_and_alone(name):
    task = ob.problems.problem(name).sample(3, seed=3)
    options = {"method": "rodas5p", "rtol": 1e-3, "atol": 1e-8, "save": ob.Every()}
    span = (0.0, 5.0)
    batch = ob.integrate(task.field, task.x0, span, args=task.args, jacobian=task.jacobian, **options)
    for i in range(3):
        solo = ob.integrate(task.field, task.x0[i : i + 1], span, args=task.args[i : i + 1], jacobian=task.jacobian, **options)
        assert_equal_to_solo(batch, solo, i)


def test_batch_permuted_is_result_permuted():
    x0, p = family(9, seed=2)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    a = ob.integrate(lotka_volterra, x0, (0.0, 3.0), args=p, save=ob.At([1.0, 2.0]))
    b = ob.integrate(lotka_volterra, x0[order], (0.0, 3.0), args=p[order], save=ob.At([1.0, 2.0]))
    assert torch.equal(a.xs[order], b.xs)
    assert torch.equal(a.x1[order], b.x1)


def blows_up(t, x, p):
    """x' = p x^2: infinite at t = 1 / (p x0)."""
    return p * x * x


@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_one_failing_trajectory_of_64_costs_the_others_nothing(method):
    x0 = torch.linspace(0.05, 0.4, 64, dtype=torch.float64)[:, None]
    rate = torch.ones(64, 1, dtype=torch.float64)
    rate[17] = 10.0  # x0 = 0.144: infinite at t = 0.69
    options = {"method": method, "rtol": 1e-5, "atol": 1e-8, "save": ob.Every(), "throw": False}
    batch = ob.integrate(blows_up, x0, (0.0, 2.0), args=rate, **options)
    pole = 1.0 / float(rate[17] * x0[17])
    assert [int(i) for i in batch.result.nonzero()[:, 0]] == [17]
    assert int(batch.result[17]) in {ob.Result.STEP_TOO_SMALL, ob.Result.NOT_FINITE}
    assert bool(torch.isnan(batch.x1[17]).all())
    kept = torch.isfinite(batch.ts[17])
    assert bool(torch.isfinite(batch.xs[17][kept]).all())
    assert bool(torch.isnan(batch.xs[17][~kept]).all())
    assert float(batch.ts[17][kept].max()) == pytest.approx(pole, rel=1e-3)
    assert batch.failures[0].trajectory == 17
    for i in range(64):
        if i != 17:
            solo = ob.integrate(blows_up, x0[i : i + 1], (0.0, 2.0), args=rate[i : i + 1], **options)
            assert_equal_to_solo(batch, solo, i)
    with pytest.raises(ob.SolveError, match="trajectory 17"):
        ob.integrate(blows_up, x0, (0.0, 2.0), args=rate, **{**options, "throw": True})


def test_matmul_fields_agree_within_the_tolerance():
    """Matrix products round differently in another batch; decisions and values still agree."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double().requires_grad_(False)
    x0 = torch.randn(33, 3, dtype=torch.float64)
    batch = ob.integrate(lambda t, x: net(x), x0, (0.0, 4.0), rtol=1e-6, atol=1e-8)
    for i in (0, 16, 32):
        solo = ob.integrate(lambda t, x: net(x), x0[i : i + 1], (0.0, 4.0), rtol=1e-6, atol=1e-8)
        assert torch.allclose(batch.x1[i], solo.x1[0], rtol=1e-9, atol=1e-11)
        assert int(batch.stats.accepted[i]) == int(solo.stats.accepted[0])


@pytest.mark.parametrize("n", [3, 5000, 40_001])
def test_the_error_norm_has_the_same_bits_in_any_batch(n):
    """With two threads PyTorch's own mean of a long row alone differs in the last bit from the same row among others."""
    v = torch.randn(3, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = torch.cat([rms(v[i : i + 1].clone()) for i in range(3)])
        assert torch.equal(rms(v), alone)
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(alone, v.square().mean(1).sqrt(), rtol=1e-14)


def test_any_state_shape():
    x0 = torch.rand(4, 2, 3, 2, dtype=torch.float64)
    flat = ob.integrate(lambda t, x: -x * x, x0.reshape(4, 12), (0.0, 1.0), method="rodas5p", rtol=1e-6)
    deep = ob.integrate(lambda t, x: -x * x, x0, (0.0, 1.0), method="rodas5p", rtol=1e-6, save=ob.At([0.5, 1.0]))
    assert torch.equal(flat.x1, deep.x1.reshape(4, 12))
    assert deep.xs.shape == (4, 2, 2, 3, 2)


def test_tolerances_per_trajectory():
    x0 = torch.ones(3, 1, dtype=torch.float64)
    rtol = torch.tensor([1e-3, 1e-6, 1e-9], dtype=torch.float64)
    sol = ob.integrate(lambda t, x: torch.cos(t)[:, None] * x, x0, (0.0, 6.0), rtol=rtol, atol=1e-12)
    assert sol.stats.accepted.tolist() == sorted(sol.stats.accepted.tolist())
    alone = ob.integrate(lambda t, x: torch.cos(t)[:, None] * x, x0[:1], (0.0, 6.0), rtol=1e-6, atol=1e-12)
    assert torch.equal(alone.x1[0], sol.x1[1])


def test_float32_keeps_its_dtype_and_a_float64_clock():
    def f(t, x):
        assert t.dtype == x.dtype == torch.float32
        return -x

    for method in ("tsit5", "rodas5p", "auto"):
        sol = ob.integrate(f, torch.ones(2, 2), (0.0, 3.0), method=method, save=ob.Every())
        assert sol.x1.dtype == torch.float32
        assert sol.ts.dtype == torch.float64
        assert torch.allclose(sol.x1, torch.full((2, 2), -3.0).exp(), rtol=5e-3)

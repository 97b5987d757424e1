"""Learned sizes of Euler steps along a known field: where they start, what they keep, that they are trained and paired."""

import runpy
from pathlib import Path

import pytest
import torch

import odebridge as ob
from odebridge.bench.residual import KINDS, Data, base_of, built, data, formulas
from odebridge.bench.residual_training import BOUND, CAP, Budget, judged, off, sizes, trained
from odebridge.control.attention import SE, StepNet

ROOT = Path(__file__).parent.parent
K = 5
SMALL = Budget(iterations=3, batch=8, rates=(1e-2, 5e-2))
UNEVEN = [3.0, 0.5, 1.0, 2.0, 0.25]


@pytest.fixture(scope="module")
def found() -> Data:
    return data("brusselator", 32, 64)


def shaken(walk, size=1.0, seed=0):
    """Every weight drawn anew, those of the last layers too, which start at 0."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in walk.parameters():
            p.copy_(size * torch.randn(p.shape, generator=chance, dtype=p.dtype))
    return walk


def by_hand(found, hs):
    """Euler on the raw field."""
    task, x = found.family.problem, found.test.start * found.scale + found.centre
    t0, t1 = task.span
    t = torch.full_like(x[:, 0], t0)
    for h in hs:
        x = x + (t1 - t0) * h * task.field(t, x, found.test.args)
        t = t + (t1 - t0) * h
    return (x - found.centre) / found.scale


@pytest.mark.parametrize("clock", [True, False])
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("given", [[1.0] * K, UNEVEN], ids=["equal", "uneven"])
def test_last_layers_of_zero_are_eulers_steps_of_the_sizes_given(found, kind, clock, given):
    walk = built(kind, found, given, clock, 0)
    want = by_hand(found, [h / sum(given) for h in given])
    got = walk(found.test.start, found.test.args)
    near = torch.isfinite(want).all(1) & (want.abs().amax(1) < BOUND)
    assert near.double().mean() > 0.3
    torch.testing.assert_close(got[near], want[near], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["constant", "blind", "se", "stepnet"])
def test_steps_on_the_clock_are_positive_and_end_at_t(found, kind):
    walk = shaken(built(kind, found, UNEVEN, True, 0))
    sol = walk.solve(found.test.start, found.test.args, save=ob.Every(), throw=False)
    good = torch.isfinite(sol.x1).all(1)
    assert good.any()
    assert (sol.hs[good] > 0).all()
    torch.testing.assert_close(sol.x1[good, -1], torch.ones(int(good.sum())).double(), rtol=0, atol=1e-14)
    torch.testing.assert_close(sol.hs[good].sum((1, 2)), torch.ones(int(good.sum())).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["constant", "blind", "se", "stepnet"])
def test_only_gates_with_eyes_differ_between_states(found, kind):
    walk = shaken(built(kind, found, [1.0] * K, True, 0))
    spread = sizes(walk, found.test, found)["h_spread"]
    assert (spread > 1e-3) == (kind in ("se", "stepnet"))


@pytest.mark.parametrize("clock", [True, False])
@pytest.mark.parametrize("kind", ["constant", "se", "stepnet"])
def test_gradients_go_through_all_steps(found, kind, clock):
    walk = shaken(built(kind, found, [1.0] * K, clock, 0), 0.2)
    some = found.test.start[:8], found.test.args[:8]

    def loss():
        return off(walk(*some, BOUND), found.test.end[:8], found).square().log1p().mean()

    loss().backward()
    for name, p in walk.named_parameters():
        if clock and name.startswith(f"law.gates.{K - 1}."):
            continue  # the last step takes what is left
        at, eps = int(p.grad.abs().argmax()), 1e-6
        flat = p.data.reshape(-1)
        ends = []
        for sign in (1.0, -1.0):
            flat[at] += sign * eps
            ends.append(loss().item())
            flat[at] -= sign * eps
        assert float(p.grad.reshape(-1)[at]) == pytest.approx((ends[0] - ends[1]) / (2 * eps), rel=1e-4, abs=1e-8), name


@pytest.mark.parametrize("steps", [1, 7, 8])
@pytest.mark.parametrize("clock", [True, False])
def test_formulas_are_steps(steps, clock):
    for name, hs in formulas(steps).items():
        assert len(hs) == steps, name
        assert min(hs) > 0, name
        assert torch.isfinite(base_of(hs, clock)).all(), name
    orders = [sorted(hs) for name, hs in formulas(steps).items() if name.startswith("Chebyshev 0.01 ")]
    assert orders[0] == orders[1] == orders[2]


def test_super_time_stepping_is_stable_where_equal_steps_are_not():
    """The product of 1 - h z over the steps, for decay rates z up to four times what equal steps can take."""
    hs = torch.tensor(formulas(8)["Chebyshev 0.01 rising"]).double()
    z = torch.linspace(0.0, 4 * 16.0, 400).double()
    grown = (1 - z[:, None] * (hs / hs.sum())).prod(1).abs()
    assert grown.max() <= 1.0
    assert (1 - z / 8).abs().pow(8).max() > 1e6


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="positive"):
        base_of([1.0, 0.0], True)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_se_and_stepnet_have_equally_many_weights(n):
    counts = [sum(p.numel() for p in KINDS[kind](n, 1).parameters()) for kind in ("blind", "se", "stepnet")]
    assert len(set(counts)) == 1
    assert isinstance(KINDS["se"](n, 1), SE)
    assert isinstance(KINDS["stepnet"](n, 1), StepNet)


def test_a_seed_has_its_data_whoever_is_trained_beside_it(found):
    assert all(torch.equal(a, b) for a, b in zip(found.train(3, 16), found.train(3, 16), strict=True))
    assert not torch.equal(found.train(3, 16).start, found.train(4, 16).start)
    alone = trained("stepnet", found, K, True, [1], SMALL)[0]
    beside = trained("stepnet", found, K, True, [0, 1], SMALL)[1]
    for name in ("chosen_by", "rms", "median"):
        assert alone[name] == pytest.approx(beside[name], rel=1e-9), name


def test_blow_ups_are_counted_at_the_cap(found):
    walk = built("equal", found, [1.0], False, 0)
    walk.law.base.fill_(12.0)
    seen = judged(walk, found.test, found)
    assert seen["blown"] == 1.0
    assert seen["rms"] == seen["median"] == CAP


def test_the_page_says_what_the_rows_say() -> None:
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "residual_page.py"), run_name="script")
    text = (ROOT / "docs" / "learned.md").read_text()
    assert namespace["updated"](text) == text, "run: python benchmarks/residual_page.py"

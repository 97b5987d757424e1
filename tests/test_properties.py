"""Properties that every solve has, over drawn problems, tolerances and mixes of a batch.

A long run: pytest -m soak tests/test_properties.py
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import odebridge as ob
from tests.limits import processor_seconds
from tests.soak import LONG
from tests.soak import drawn as drawn_as

D = torch.float64
METHODS = ("tsit5", "dopri5", "rodas5p", "kvaerno5", "bdf", "auto")
drawn = drawn_as(3, 300)
pytestmark = pytest.mark.soak


@pytest.fixture(autouse=True)
def _in_time():
    with processor_seconds(3600.0 if LONG else 60.0):
        yield


def field(t, x, a):
    """A pendulum of its own damping and pace: smooth, non-linear, driven."""
    rate, damp = a[:, :1], a[:, 1:]
    u, v = x[:, :1], x[:, 1:]
    return torch.cat([v, -rate * torch.sin(u) - damp * v + 0.3 * torch.cos(t)[:, None]], 1)


@st.composite
def batches(draw):
    """Args (b, 2), starts (b, 2), ends (b,) of b pendulums."""
    b, seed = draw(st.integers(2, 5)), draw(st.integers(0, 10_000))
    chance = torch.Generator().manual_seed(seed)
    args = 0.2 + 3.0 * torch.rand(b, 2, dtype=D, generator=chance) * torch.tensor([1.0, 0.3], dtype=D)
    return args, torch.randn(b, 2, dtype=D, generator=chance), 0.5 + torch.rand(b, dtype=D, generator=chance)


def solve(batch, method, rtol=1e-6, **options):
    args, x0, t1 = batch
    options = {"atol": 1e-3 * rtol, "method": method, **options}
    return ob.integrate(field, x0, (0.0, t1), args=args, rtol=rtol, **options)


@pytest.mark.parametrize("method", METHODS)
@drawn
@given(batch=batches(), rtol=st.sampled_from([1e-3, 1e-5, 1e-8]))
def test_alone_and_together_and_in_another_order(method, batch, rtol):
    together = solve(batch, method, rtol)
    order = torch.arange(len(batch[0])).flip(0)
    turned = solve(tuple(v[order] for v in batch), method, rtol)
    assert torch.equal(turned.x1, together.x1[order])
    assert torch.equal(turned.stats.f_evals, together.stats.f_evals[order])
    alone = solve(tuple(v[:1] for v in batch), method, rtol)
    assert torch.equal(alone.x1[0], together.x1[0])


@pytest.mark.parametrize("method", METHODS)
@drawn
@given(batch=batches(), share=st.floats(0.1, 0.9))
def test_a_span_in_two_pieces(method, batch, share):
    args, x0, t1 = batch
    whole = solve(batch, method)
    half = ob.integrate(field, x0, (0.0, share * t1), args=args, method=method, rtol=1e-6, atol=1e-9)
    rest = ob.integrate(field, half.x1, (share * t1, t1), args=args, method=method, rtol=1e-6, atol=1e-9)
    assert torch.allclose(rest.x1, whole.x1, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
@drawn
@given(batch=batches())
def test_there_and_back(method, batch):
    args, x0, t1 = batch
    end = solve(batch, method, 1e-8).x1
    back = ob.integrate(field, end, (t1, 0.0), args=args, method=method, rtol=1e-8, atol=1e-11).x1
    assert torch.allclose(back, x0, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@drawn
@given(batch=batches(), power=st.integers(-8, 8), shift=st.sampled_from([-4.0, 2.0]))
def test_units_of_state_and_time(method, batch, power, shift):
    """A state in other units (a power of 2, atol with it) and a clock that starts elsewhere change the numbers and no more."""
    args, x0, t1 = batch
    unit = 2.0**power
    plain = solve(batch, method)

    def other(t, y, a):
        return unit * field(t - shift, y / unit, a)

    options = {"args": args, "method": method, "rtol": 1e-6, "atol": 1e-9 * unit}
    scaled = ob.integrate(other, unit * x0, (shift, shift + t1), **options)
    assert torch.allclose(scaled.x1 / unit, plain.x1, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_twice_and_with_two_threads(method):
    chance = torch.Generator().manual_seed(0)
    batch = (0.2 + torch.rand(4, 2, dtype=D, generator=chance), torch.randn(4, 2, dtype=D, generator=chance), 1.0)
    first, again = solve(batch, method), solve(batch, method)
    assert torch.equal(first.x1, again.x1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = solve(batch, method)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(vars(first.stats).values(), vars(two.stats).values(), strict=True)
               if isinstance(a, torch.Tensor))  # fmt: skip

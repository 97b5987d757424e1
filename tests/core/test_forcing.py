"""Tables as functions of time: their formulas, their ends, their columns, and what does not fit."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from odebridge.core.forcing import KINDS, Forcing

D = torch.float64
TS = torch.tensor([-0.5, 0.4, 1.0, 1.1, 2.0, 3.5], dtype=D)
VALUES = torch.tensor([1.0, -0.5, 2.0, 0.3, 0.0, 1.5], dtype=D)
T = torch.tensor([-2.0, -0.5, -0.1, 0.39, 0.4, 0.7, 1.05, 1.9, 2.0, 2.9, 3.4999, 3.5, 9.0], dtype=D)


def expected(kind, ts, values, t):
    """By NumPy and SciPy: (b,) or (b, m)."""
    ts, values = np.asarray(ts, dtype=float), np.asarray(values, dtype=float)
    held = np.clip(np.asarray(t, dtype=float), ts[0], ts[-1])
    if kind == "previous":
        return values[np.searchsorted(ts, held, side="right") - 1]
    if kind == "linear":
        columns = values.reshape(len(ts), -1).T
        return np.stack([np.interp(held, ts, column) for column in columns], -1).reshape(len(held), *values.shape[1:])
    return CubicSpline(ts, values, bc_type="natural")(held)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [2, 3, 4, 6])
@pytest.mark.parametrize("m", [None, 1, 3])
@pytest.mark.parametrize("turned", [1.0, -1.0])
def test_a_table_is_the_function_it_states(kind, k, m, turned):
    values = VALUES[:k] * turned if m is None else torch.stack([turned * VALUES[:k].roll(i) + i for i in range(m)], 1)
    u = Forcing(TS[:k], values, kind)
    found = u(T)
    assert found.shape == (len(T),) + (() if m is None else (m,))
    np.testing.assert_allclose(found, expected(kind, TS[:k], values, T), atol=1e-14)
    # tables of the trajectories, through the call and held
    own = values.expand(len(T), *values.shape) * torch.arange(1.0, len(T) + 1, dtype=D).reshape(-1, *(1,) * values.dim())
    scaled = torch.stack([u(T[i : i + 1])[0] * (i + 1) for i in range(len(T))])
    assert torch.allclose(Forcing(TS[:k], kind=kind)(T, own), scaled, atol=1e-13)
    assert torch.allclose(u(T, own), scaled, atol=1e-13)  # those of the call go before those of the table
    if m is not None:
        assert torch.allclose(Forcing(TS[:k], own, kind)(T), scaled, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_trajectories_as_times_or_columns_are_told_apart(kind):
    values = torch.stack([VALUES, VALUES.flip(0)], 1)
    for b in (1, 2, 6):
        t = torch.linspace(0.0, 3.0, b, dtype=D)
        np.testing.assert_allclose(Forcing(TS, values, kind)(t), expected(kind, TS, values, t), atol=1e-14)
        np.testing.assert_allclose(Forcing(TS, kind=kind)(t, VALUES.expand(b, 6)), expected(kind, TS, VALUES, t), atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_answer_has_the_dtype_of_the_values(kind, dtype):
    u = Forcing(TS, VALUES.to(dtype), kind)
    assert u(T).dtype == u(T.float()).dtype == dtype
    np.testing.assert_allclose(u(T), expected(kind, TS, VALUES, T), atol=1e-5 if dtype == torch.float32 else 1e-14)
    whole = Forcing([0, 1, 3], [2, 5, 1], kind)
    assert whole.ts.dtype == D
    assert whole(T[:2]).dtype == torch.get_default_dtype()
    assert Forcing([0, 1, 3], torch.tensor([2, 5, 1]), kind).values.dtype == torch.get_default_dtype()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_to_values_and_to_time(kind):
    values, t = VALUES.clone().requires_grad_(), T[2:4].clone().requires_grad_()
    u = Forcing(TS, values, kind)
    assert torch.autograd.gradcheck(lambda v: Forcing(TS, v, kind)(T), values)
    assert torch.autograd.gradcheck(lambda v: Forcing(TS, kind=kind)(T[:3], v), VALUES.expand(3, 6).clone().requires_grad_())
    if kind == "previous":
        return
    assert torch.autograd.gradcheck(u, t)
    outside = torch.tensor([-9.0, 9.0], dtype=D, requires_grad=True)
    assert torch.autograd.grad(u(outside).sum(), outside)[0].tolist() == [0.0, 0.0]


def test_a_table_keeps_no_graph_of_its_times():
    ts = TS.clone().requires_grad_()
    u = Forcing(ts, VALUES)
    assert not u.ts.requires_grad
    assert u.knots == tuple(TS.tolist())


def test_the_spline_is_made_once():
    u = Forcing(TS, VALUES, "cubic")
    assert u._second is u._second
    assert u._second[[0, -1]].abs().max() == 0.0  # natural: straight at both ends
    assert Forcing(TS[:2], VALUES[:2], "cubic")._second.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_long_tables_of_splines_do_not_mix_trajectories():
    ts = torch.linspace(0.0, 1.0, 40, dtype=D)
    values = torch.sin(9 * ts)
    t = torch.linspace(0.0, 1.0, 17, dtype=D)
    u = Forcing(ts, values, "cubic")
    assert torch.equal(torch.cat([u(v[None]) for v in t]), u(t))  # to the bit
    assert float((u(t) - torch.sin(9 * t)).abs().max()) < 3e-3


def test_tables_are_told_apart_by_identity():
    a, b = Forcing(TS, VALUES), Forcing(TS, VALUES)
    assert a != b
    assert hash(a) != hash(b)


OTHERS = {
    "an unknown kind": ((TS, VALUES, "akima"), ValueError, "kind"),
    "falling times": ((TS.flip(0), VALUES), ValueError, "above the last"),
    "equal times": (([0.0, 1.0, 1.0], [0.0] * 3), ValueError, "above the last"),
    "one time": (([0.0], [1.0]), ValueError, "at least two"),
    "no time": (([], []), ValueError, "at least two"),
    "a matrix of times": ((TS[None], VALUES), ValueError, "at least two"),
    "an endless time": (([0.0, float("inf")], [1.0, 2.0]), ValueError, "finite"),
    "a time that is no number": (([0.0, float("nan"), 2.0], [1.0] * 3), ValueError, "finite"),
    "too few values": ((TS, VALUES[:5]), ValueError, "k=6"),
    "one number": ((TS, torch.tensor(1.0)), ValueError, "k=6"),
    "too many values": ((TS, torch.ones(6, 7, 2)), ValueError, "k=6"),
    "trajectories first": ((TS, torch.ones(7, 6)), ValueError, "k=6"),
    "four dimensions": ((TS, torch.ones(6, 6, 6, 6)), ValueError, "k=6"),
    "words for times": ((["a", "b"], VALUES), TypeError, "numbers"),
    "words for values": ((TS, ["a"] * 6), TypeError, "numbers"),
    "ragged": ((TS, [[1.0], [1.0, 2.0]]), TypeError, "numbers"),
    "nothing for times": ((None, VALUES), TypeError, "numbers"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_tables_that_do_not_fit_get_a_sentence(case):
    given, kind, words = OTHERS[case]
    with pytest.raises(kind, match=words):
        Forcing(*given)


@pytest.mark.parametrize(
    "values", [torch.ones(2, 6), torch.ones(3, 5), torch.ones(3, 5, 1), torch.ones(6), torch.ones(3, 6, 1, 1), torch.ones(6, 3)]
)
def test_values_of_other_trajectories_are_refused(values):
    for call in (lambda: Forcing(TS)(T[:3], values), lambda: Forcing(TS, VALUES)(T[:3], values)):
        with pytest.raises(ValueError, match="must have shape"):
            call()


def test_values_must_come_from_somewhere():
    with pytest.raises(ValueError, match="has no values"):
        Forcing(TS)(T)
    with pytest.raises(ValueError, match="args"):
        Forcing(TS, torch.ones(4, 6, 1))(T[:3])

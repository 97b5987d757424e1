"""Shapes, nests of tensors, and what "small enough" means."""

from typing import NamedTuple

import pytest
import torch
from torch.autograd import forward_ad

from odebridge.core import tolerance
from odebridge.core.shapes import dual, every, leaves, merge, per_sample, real_dtype, repeat, take, tree_map
from odebridge.core.tolerance import CHUNK, Tolerance, rms, row_sum

D = torch.float64
KINDS = [torch.float32, torch.float64, torch.complex64, torch.complex128]


class Pair(NamedTuple):
    a: object
    b: object


def drawn(*shape, kind=D):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4, 5)])
def test_one_number_for_each_trajectory_multiplies_its_state(kind, shape):
    x, h = drawn(*shape, kind=kind), torch.tensor([1.0, -2.0, 0.5], dtype=D)
    factor = per_sample(h, x)
    assert factor.shape == (3,) + (1,) * (len(shape) - 1)
    assert factor.dtype == real_dtype(x) == x.abs().dtype
    assert torch.equal(factor * x, torch.stack([h[i].item() * x[i] for i in range(3)]))


def test_all_entries_of_a_trajectory():
    mask = torch.ones(3, 2, 4, dtype=torch.bool)
    mask[1, 0, 3] = False
    mask[2] = False
    assert every(mask).tolist() == [True, False, False]
    assert every(mask[:, 0]).tolist() == [True, False, False]
    assert every(mask[:, 1]).tolist() == [True, True, False]
    assert every(mask[:, 0, 3]).tolist() == [True, False, False]


NEST = {
    "pair": Pair(drawn(3, 2), (drawn(3), None)),
    "list": [1, 2.5, "word", {"deep": drawn(3, 1, 2)}],
    "tensor": drawn(3, 2, 2),
}  # fmt: skip


def test_a_nest_is_mapped_and_keeps_its_form():
    out = tree_map(lambda v: 2 * v, NEST)
    assert type(out["pair"]) is Pair
    assert type(out["pair"].b) is tuple
    assert out["pair"].b[1] is None
    assert out["list"][:3] == [1, 2.5, "word"]
    assert [v.shape for v in leaves(out)] == [v.shape for v in leaves(NEST)]
    assert all(torch.equal(a, 2 * b) for a, b in zip(leaves(out), leaves(NEST), strict=True))
    both = tree_map(lambda a, b: a - b, out, NEST)
    assert all(torch.equal(a, b) for a, b in zip(leaves(both), leaves(NEST), strict=True))


def test_nests_of_other_lengths_do_not_fit():
    with pytest.raises(ValueError, match="zip"):
        tree_map(torch.add, [drawn(2), drawn(2)], [drawn(2)])


def test_leaves_come_in_order():
    order = []
    tree_map(order.append, NEST)
    assert len(order) == 4
    assert all(a is b for a, b in zip(leaves(NEST), order, strict=True))
    assert leaves(None) == leaves({"a": 1, "b": []}) == []


def test_trajectories_are_taken_repeated_and_merged():
    index = torch.tensor([2, 0])
    for v, w in zip(leaves(take(NEST, index)), leaves(NEST), strict=True):
        assert torch.equal(v, w[index])
    for v, w in zip(leaves(repeat(NEST, 3)), leaves(NEST), strict=True):
        assert torch.equal(v, torch.cat([w, w, w]))
    mask = torch.tensor([True, False, True])
    other = tree_map(lambda v: v + 1, NEST)
    for v, a, b in zip(leaves(merge(mask, other, NEST)), leaves(other), leaves(NEST), strict=True):
        assert torch.equal(v, torch.stack([a[0], b[1], a[2]]))
    same = drawn(3, 2)
    assert merge(mask, [same], [same])[0] is same  # nothing is written where nothing has changed


def test_a_tangent_anywhere_in_a_nest_is_seen():
    assert not dual(NEST)
    with forward_ad.dual_level():
        tree = [drawn(2), {"a": forward_ad.make_dual(drawn(2), torch.ones(2, dtype=D))}]
        assert dual(tree)
        assert not dual(tree[0])


# Norms


@pytest.mark.parametrize("n", [1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 17])
def test_a_row_is_summed_whatever_its_length(n):
    v = drawn(2, n)
    assert torch.allclose(row_sum(v), v.sum(1), rtol=1e-12)


def test_long_rows_are_summed_in_chunks_of_chunks(monkeypatch):
    monkeypatch.setattr(tolerance, "CHUNK", 4)
    seen = []
    real = torch.Tensor.sum

    def watched(v, dim):
        seen.append(v.shape[dim])
        return real(v, dim)

    monkeypatch.setattr(torch.Tensor, "sum", watched)
    v = torch.arange(2.0 * 71).reshape(2, 71)
    assert torch.equal(row_sum(v), real(v, 1))
    assert max(seen) <= 4
    seen.clear()
    row_sum(v[:, :4])
    assert seen == [4]
    seen.clear()
    row_sum(v[:, :8])
    assert seen == [4, 2]  # no remainder of length 0


def test_the_length_of_a_chunk_is_stated():
    assert CHUNK == 4096  # another one changes the last bits of every large system


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 1), (3, 7), (3, 2, 4)])
def test_rms_is_its_formula(kind, shape):
    v = drawn(*shape, kind=kind)
    found = rms(v)
    assert found.dtype == real_dtype(v)
    assert torch.allclose(found, v.abs().flatten(1).square().mean(1).sqrt(), rtol=1e-5 if kind in KINDS[::2] else 1e-14)


def test_rms_has_a_derivative_everywhere():
    v = drawn(3, 4)
    v[1] = 0.0
    v.requires_grad_()
    norm = rms(v)
    assert torch.allclose(norm, rms(v.detach()), rtol=1e-15)
    assert float(norm[1]) == 0.0
    (gradient,) = torch.autograd.grad(norm.sum(), v)
    expected = v.detach() / (4 * rms(v.detach())[:, None])
    expected[1] = 0.0
    assert torch.allclose(gradient, expected, rtol=1e-13)


def test_rms_of_a_transposed_state_has_the_same_bits():
    v = drawn(2, 50, 40)
    assert torch.equal(rms(v.mT.contiguous().mT), rms(v))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_ratio_are_their_formulas(kind):
    x0, x1, error = drawn(3, 2, kind=kind), 2 * drawn(3, 2, kind=kind).flip(0), 1e-4 * drawn(3, 2, kind=kind)
    real = real_dtype(x0)
    tol = Tolerance(torch.tensor([1e-3, 1e-4, 0.5], dtype=D), torch.tensor([[1e-6], [0.1], [0.0]], dtype=real))
    weights = tol.weights(x0, x1)
    for i in range(3):
        for j in range(2):
            expected = float(tol.atol[i, 0]) + float(tol.rtol[i]) * max(abs(x0[i, j].item()), abs(x1[i, j].item()))
            assert float(weights[i, j]) == pytest.approx(expected, rel=1e-6)
    ratio = tol.ratio(error, x0, x1)
    assert ratio.dtype == D
    assert torch.equal(ratio, rms(error / weights).double())

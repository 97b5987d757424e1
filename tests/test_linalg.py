"""Structures of large systems: coloured and banded Jacobians, structured elimination, GMRES, unrolled small LU."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from odebridge.core.shapes import merge, take
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.system import BoundField
from odebridge.linalg import banded as banded_module
from odebridge.linalg import elimination, lu
from odebridge.linalg.banded import Banded, banded_from_pattern, structure_of
from odebridge.linalg.colouring import Coloured, colour, detect, entries, pattern_of
from odebridge.linalg.jacobian import jacobian
from odebridge.linalg.krylov import Krylov, gmres
from odebridge.linalg.small import factor_small, solve_small
from odebridge.linalg.structure import Dense, shifted

F64 = torch.float64
BANDS = [(n, lower, upper) for n in (1, 2, 3, 7, 24, 60) for lower in (0, 1, 2, 5, 59) for upper in (0, 1, 3, 59)]
BANDS = [(n, lower, upper) for n, lower, upper in BANDS if max(lower, upper) < max(n, 2)]


def rand(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mask_of(n, lower, upper):
    i = torch.arange(n)
    reach = i[:, None] - i
    return (reach <= lower) & (reach >= -upper)


def stencil(mask, args=False):
    """x' = A sin(x) + t x^2 with A where the mask says, the rows scaled by args."""
    a = rand(*mask.shape, seed=5) * mask

    def field(t, x, p=None):
        flat = x.flatten(1)
        out = (a * flat.sin()[:, None, :]).sum(2) + t[:, None] * flat * flat
        return (out if p is None else out * p).reshape(x.shape)

    return field


def point(b, n, seed=1):
    return 0.5 + rand(b, seed=seed).abs(), rand(b, n, seed=seed + 1)


@pytest.fixture
def always_eliminate(monkeypatch):
    """No fallback to full LU for matrices that are not worth elimination."""
    monkeypatch.setattr(banded_module, "fits_full", lambda n, width: False)


def shift_of(kind, b):
    real = 1.0 + rand(b, seed=9).abs()
    return torch.complex(real, rand(b, seed=10)) if kind == "complex" else real


# Patterns and colours


def test_a_band_takes_as_many_colours_as_diagonals():
    for n, lower, upper in BANDS:
        assert colour(pattern_of((lower, upper), n)).colours == min(n, lower + upper + 1)


def test_columns_of_one_colour_share_no_row():
    mask = torch.rand(80, 80, generator=torch.Generator().manual_seed(0)) < 0.05
    found = colour(pattern_of(mask))
    assert found.colours < 25
    for c in range(found.colours):
        assert int(mask[:, found.colour == c].sum(1).max()) <= 1


def test_patterns_in_all_their_forms_say_the_same():
    from scipy.sparse import csr_matrix

    mask = mask_of(9, 2, 1)
    forms = [pattern_of(mask), pattern_of(csr_matrix(mask.numpy())), pattern_of((2, 1), 9), pattern_of(mask.numpy())]
    for form in forms:
        full = torch.zeros(9, 9, dtype=torch.bool)
        full[form.rows, form.columns] = True
        assert torch.equal(full, mask)


def test_patterns_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(n, n\)"):
        pattern_of(torch.ones(3, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="give n too"):
        pattern_of((1, 1))
    with pytest.raises(ValueError, match="5 components"):
        pattern_of(torch.ones(3, 3, dtype=torch.bool), 5)
    with pytest.raises(TypeError, match="sparsity"):
        pattern_of(object())


@pytest.mark.parametrize("given", [None, "user"])
@pytest.mark.parametrize("args", [None, "args"])
def test_coloured_jacobian_equals_the_dense_one(given, args):
    n, b = 12, 3
    mask = (torch.rand(n, n, generator=torch.Generator().manual_seed(3)) < 0.15) | torch.eye(n, dtype=torch.bool)
    t, x = point(b, n)
    p = None if args is None else rand(b, n, seed=7)
    plain = BoundField(stencil(mask), p)
    expected, dfdt = jacobian(plain, t, x)
    user = None if given is None else lambda t, x, p=None: expected
    field = BoundField(stencil(mask), p, user)
    form = Coloured(colour(pattern_of(mask)))
    got, got_t = form.differentiate(field, t, x.reshape(b, 3, 4))
    torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(got_t, dfdt.reshape(b, 3, 4), rtol=1e-14, atol=1e-14)
    assert form.colouring.colours < n
    values, _ = entries(field, t, x, form.colouring)
    assert values.shape == (b, int(mask.sum()))
    rhs = rand(b, n, seed=8)
    shift = shift_of("real", b)
    ours, theirs = (s.solve(field, s.factor(field, got, shift), rhs) for s in (form, Dense()))
    assert torch.equal(ours, theirs)


def test_one_call_of_the_field_for_all_colours():
    calls = []

    def field(t, x):
        calls.append(len(x))
        return x.roll(1, 1) + x

    t, x = point(2, 40)
    Banded(1, 1).differentiate(BoundField(field), t, x)
    assert calls == [2 * 4]


def test_detected_pattern_is_the_true_one():
    n = 50
    mask = (torch.rand(n, n, generator=torch.Generator().manual_seed(4)) < 0.05) | torch.eye(n, dtype=torch.bool)
    t, x = point(4, n)
    found = detect(BoundField(stencil(mask), rand(4, n)), t, x, chunk=7)
    full = torch.zeros(n, n, dtype=torch.bool)
    full[found.rows, found.columns] = True
    assert torch.equal(full, mask)


def test_detection_leaves_the_zeros_of_the_start_and_keeps_what_is_not_finite():
    def field(t, x):
        a, b, c = x.unbind(1)
        return torch.stack([a * b, b, (c - 2.0).log() + a], 1)

    found = detect(BoundField(field), torch.zeros(1, dtype=F64), torch.zeros(1, 3, dtype=F64))
    places = set(zip(found.rows.tolist(), found.columns.tolist(), strict=True))
    assert places >= {(0, 0), (0, 1), (1, 1), (2, 0), (2, 2)}  # a b has no derivative at 0; log(c - 2) is nan
    assert not places & {(0, 2), (1, 0), (1, 2)}


# Bands


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("given", [None, "user"])
def test_banded_jacobian_equals_the_dense_one(given, moved):
    for n, lower, upper in [*BANDS, (5, 4, 4), (150, 2, 1)]:
        t, x = point(2, n)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(n)) if moved else torch.arange(n)
        place = order.argsort()
        mask = mask_of(n, lower, upper)[place[:, None], place]
        plain = BoundField(stencil(mask), rand(2, n, seed=7))
        expected, dfdt = jacobian(plain, t, x)
        user = None if given is None else lambda t, x, p, j=expected: j
        field = BoundField(stencil(mask), rand(2, n, seed=7), user)
        form = Banded(lower, upper, tuple(order.tolist()) if moved else None)
        band, got_t = form.differentiate(field, t, x)
        full = elimination.full(band, form.widths(n)[0])[:, place[:, None], place]
        torch.testing.assert_close(full, expected, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(got_t, dfdt, rtol=1e-14, atol=1e-14)
        assert band.shape == form.empty(x).shape
        torch.testing.assert_close(form.norm(band), Dense().norm(expected))


def check_against_dense(form, field, mass, kind, n, b=3, loose=0.0):
    t, x = point(b, n)
    f = BoundField(field, mass=mass)
    shift, rhs = shift_of(kind, b), rand(b, n, seed=11)
    jac, _ = form.differentiate(f, t, x)
    factors = form.factor(f, jac, shift)
    dense = Dense().factor(f, jacobian(f, t, x)[0], shift)
    assert not bool(factors.singular.any())
    got, expected = form.solve(f, factors, rhs), Dense().solve(f, dense, rhs.to(shift.dtype))
    assert got.dtype == expected.dtype
    condition = torch.linalg.cond(shifted(mass, shift, jacobian(f, t, x)[0]))
    assert bool(((got - expected).abs().amax(1) <= (1e-13 * condition + loose) * expected.abs().amax(1)).all())
    return condition


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("mass", [None, "diagonal", "full"])
@pytest.mark.usefixtures("always_eliminate")
def test_elimination_equals_dense_lu(kind, mass):
    conditions = []
    for n, lower, upper in [*BANDS, (150, 2, 3)]:
        mask = mask_of(n, lower, upper)
        m = None if mass is None else rand(n, seed=3) if mass == "diagonal" else rand(n, n, seed=3) * mask
        conditions.append(check_against_dense(Banded(lower, upper), stencil(mask), m, kind, n))
    assert float(torch.cat(conditions).median()) < 1e3


@pytest.mark.parametrize("mass", [None, "diagonal", "full"])
@pytest.mark.parametrize("n", [30, 130])
def test_reordered_bands_equal_dense_lu(mass, n):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    place = order.argsort()
    mask = mask_of(n, 2, 1)[place[:, None], place]
    m = None if mass is None else rand(n, seed=3) if mass == "diagonal" else rand(n, n, seed=3) * mask
    check_against_dense(Banded(2, 1, tuple(order.tolist())), stencil(mask), m, "complex", n)


@pytest.mark.parametrize("kind", ["random", "no diagonal", "tiny diagonal", "scaled rows"])
def test_elimination_is_as_stable_as_lu_without_a_dominant_diagonal(kind):
    for lower, upper in ((1, 1), (2, 2), (3, 1), (7, 6)):
        b, n = 5, 300
        band = rand(b, n, lower + upper + 1)
        if kind == "scaled rows":
            band = band * (9.0 * torch.rand(b, n, 1, generator=torch.Generator().manual_seed(0), dtype=F64) - 4.5).exp2()
        elif kind != "random":
            band[:, :, lower] *= 0.0 if kind == "no diagonal" else 1e-9
        rhs = rand(b, n, seed=1)
        factors = elimination.factor_band(band, lower)
        y = elimination.substitute(factors, rhs, lower)
        residual = rhs - elimination.times(band, y, lower)
        assert float(elimination._backward_error(factors, rhs, y, residual).max()) < 1e-13


def brusselator(t, x):
    u, v = x[:, ::2], x[:, 1::2]
    n = u.shape[1]
    spread = 0.02 * (n + 1) ** 2

    def diffusion(w, end):
        ends = torch.full_like(w[:, :1], end)
        return spread * (torch.cat([ends, w[:, :-1]], 1) - 2 * w + torch.cat([w[:, 1:], ends], 1))

    du = 1 + u * u * v - 4 * u + diffusion(u, 1.0)
    dv = 3 * u - u * u * v + diffusion(v, 3.0)
    return torch.stack([du, dv], 2).flatten(1)


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("h", [1e-8, 1e-3, 10.0])
def test_the_system_of_a_step_of_the_brusselator(h, dtype):
    b, n = 2, 400
    f, x = BoundField(brusselator), (1.5 + rand(b, n)).to(dtype)
    t, shift, rhs = torch.zeros(b, dtype=F64), torch.full((b,), 1 / (0.21 * h), dtype=dtype), rand(b, n, seed=4).to(dtype)
    form = Banded(2, 2)
    y = form.solve(f, form.factor(f, form.differentiate(f, t, x)[0], shift), rhs)
    jac = jacobian(f, t, x)[0]
    matrix = shift[:, None, None] * torch.eye(n, dtype=dtype) - jac
    residual = rhs - (matrix @ y[:, :, None])[:, :, 0]
    scale = matrix.abs().sum(2).amax(1) * y.abs().amax(1) + rhs.abs().amax(1)
    assert float((residual.abs().amax(1) / scale).max()) < 20 * torch.finfo(dtype).eps


def test_poor_solutions_are_refined_and_hopeless_ones_are_nan():
    b, n, lower = 4, 120, 1
    band = rand(b, n, 3)
    band[:, :, 1] += 4.0
    rhs = rand(b, n, seed=1)
    factors = elimination.factor_band(band, lower)
    clean = elimination.solve_band(factors, rhs, lower)
    last = factors.last.lu.clone()
    last[1] *= 1 + 1e-5
    last[2] = 0.3 * last[2] + 1.0
    spoilt = factors._replace(last=factors.last._replace(lu=last))
    raw = elimination.substitute(spoilt, rhs, lower)
    y = elimination.solve_band(spoilt, rhs, lower)
    error = (y - clean).abs().amax(1) / clean.abs().amax(1)
    before = (raw - clean).abs().amax(1) / clean.abs().amax(1)
    assert float(before[1]) > 1e-7
    assert float(error[1]) < 1e-2 * float(before[1])
    assert bool(torch.isnan(y[2]).all())
    assert torch.equal(y[0], clean[0])
    assert torch.equal(y[3], clean[3])


@pytest.mark.parametrize("kind", ["zero column", "equal rows", "nan", "inf"])
def test_singular_lanes_are_flagged_and_leave_the_others_alone(kind):
    for lower, upper, n in ((1, 1, 200), (2, 1, 130), (3, 0, 101), (0, 0, 120)):
        if kind == "equal rows" and lower + upper == 0:
            continue
        b, width = 4, lower + upper + 1
        band = rand(b, n, width)
        band[:, :, lower] += 5.0 * width
        whole = band.clone()
        if kind == "zero column":
            for k in range(width):
                band[2, 60 + lower - k, k] = 0.0
        elif kind == "equal rows":
            band[2, 60:62] = 0.0
            band[2, 60, lower], band[2, 61, lower - 1] = 1.0, 1.0
        else:
            band[2, 77, 0] = float(kind)
        form, f, shift = Banded(lower, upper), BoundField(lambda t, x: x), torch.zeros(b, dtype=F64)
        factors, clean = form.factor(f, -band, shift), form.factor(f, -whole, shift)
        assert factors.singular.tolist() == [False, False, True, False]
        rhs = rand(b, n, seed=2)
        y, expected = form.solve(f, factors, rhs), form.solve(f, clean, rhs)
        for i in (0, 1, 3):
            assert torch.equal(y[i], expected[i])


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("n", [19, 38, 230])
@pytest.mark.parametrize("form", [Banded(1, 1), Banded(2, 3), Banded(7, 5), Banded(0, 2)])
def test_a_banded_trajectory_in_a_batch_equals_itself_alone(form, n, kind):
    b = 5
    mask = mask_of(n, form.lower, form.upper)
    f = BoundField(stencil(mask), 1.0 + rand(b, n, seed=7).abs())
    t, x = point(b, n)
    shift, rhs = shift_of(kind, b), rand(n, b, seed=12).T
    jac, dfdt = form.differentiate(f, t, x)
    factors = form.factor(f, jac, shift)
    y = form.solve(f, factors, rhs)
    for i in range(b):
        index = torch.tensor([i])
        one = f.take(index)
        own, own_t = form.differentiate(one, t[index], x[index])
        assert torch.equal(own, jac[index])
        assert torch.equal(own_t, dfdt[index])
        solo = form.factor(one, own, shift[index])
        assert torch.equal(form.solve(one, solo, rhs[index]), y[index])
        assert torch.equal(form.solve(one, take(factors, index), rhs[index]), y[index])


def test_factors_are_gathered_and_merged_like_any_memory():
    form, f, b, n = Banded(1, 1), BoundField(lambda t, x: x), 3, 150
    shift, rhs = torch.ones(b, dtype=F64), rand(b, n, seed=3)
    old, new = (form.factor(f, rand(b, n, 3, seed=s), shift) for s in (1, 2))
    mask = torch.tensor([True, False, True])
    mixed = form.solve(f, merge(mask, new, old), rhs)
    assert torch.equal(mixed, torch.where(mask[:, None], form.solve(f, new, rhs), form.solve(f, old, rhs)))


class Largest(TorchDispatchMode):
    """The number of entries of the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(part, torch.Tensor):
                self.numel = max(self.numel, part.numel())
        return out


def test_no_matrix_is_ever_held():
    n, b = 1200, 2

    def heat(t, x):
        left, right = torch.nn.functional.pad(x, (1, -1)), torch.nn.functional.pad(x, (-1, 1))
        return left - 2 * x + right - x**3

    f = BoundField(heat)
    t, x = point(b, n)
    with Largest() as seen:
        pattern = detect(f, t, x)
        form = structure_of(pattern)
        jac, _ = form.differentiate(f, t, x)
        y = form.solve(f, form.factor(f, jac, torch.ones(b, dtype=F64)), x)
        krylov = Krylov()
        z = krylov.solve(f, krylov.factor(f, krylov.differentiate(f, t, x)[0], torch.ones(b, dtype=F64)), x)
    assert form == Banded(1, 1)
    assert seen.numel <= n * 256 + n < n * n
    torch.testing.assert_close(y, z, rtol=1e-5, atol=1e-6)
    with Largest() as seen:
        form.solve(f, form.factor(f, form.differentiate(f, t, x)[0], torch.ones(b, dtype=F64)), x)
    assert seen.numel <= b * n * 20


@pytest.mark.usefixtures("always_eliminate")
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_gradients_through_a_banded_solve_equal_the_dense_ones(kind):
    b, n = 2, 31
    f = BoundField(stencil(mask_of(n, 2, 1)), mass=rand(n, n, seed=3) * mask_of(n, 1, 1))
    t, x = point(b, n)
    leaves = [v.clone().requires_grad_() for v in (t, x, shift_of(kind, b), rand(b, n, seed=11))]

    def loss(form):
        t, x, shift, rhs = leaves
        jac, _ = form.differentiate(f, t, x)
        y = form.solve(f, form.factor(f, jac, shift), rhs.to(shift.dtype))
        return (y * rand(b, n, seed=13)).sum().abs()

    ours, theirs = (torch.autograd.grad(loss(form), leaves) for form in (Banded(2, 1), Dense()))
    for a, e in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-8, atol=1e-8 * float(e.abs().max()))


def test_forward_mode_and_second_derivatives_pass_through_elimination():
    n, rhs = 8, rand(1, 8, seed=2)
    form, f = Banded(1, 1), BoundField(lambda t, x: x)

    def solved(band, rhs):
        return elimination.solve_band(elimination.factor_band(band, 1), rhs, 1)

    band = rand(1, n, 3)
    band[..., 1] += 4.0
    inputs = (band.requires_grad_(), rhs.requires_grad_())
    assert torch.autograd.gradcheck(solved, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(solved, inputs)
    assert form.factor(f, -band.detach(), torch.zeros(1, dtype=F64)).singular.tolist() == [False]


def test_reordering_finds_the_band_of_a_shuffled_one():
    n = 200
    place = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    shuffled = mask_of(n, 1, 1)[place[:, None], place]
    form = banded_from_pattern(shuffled)
    assert (form.lower, form.upper) == (1, 1)
    assert form.order is not None
    check_against_dense(form, stencil(shuffled), None, "real", n, b=2)
    assert banded_from_pattern((2, 1), n=50) == Banded(2, 1)


def test_the_structure_suits_the_pattern():
    n = 64
    assert structure_of(mask_of(n, 1, 2)) == Banded(1, 2)
    arrow = torch.eye(n, dtype=torch.bool)
    arrow[:, 0] = True
    assert isinstance(structure_of(arrow), Coloured)
    assert structure_of(torch.ones(n, n, dtype=torch.bool)) == Dense()


def test_bad_bands_are_refused():
    with pytest.raises(ValueError, match="lower"):
        Banded(-1, 0)
    with pytest.raises(ValueError, match="order"):
        Banded(1, 1, (0, 0, 1))
    t, x = point(1, 4)
    with pytest.raises(ValueError, match="4 components"):
        Banded(1, 1, (0, 1, 2)).differentiate(BoundField(lambda t, x: x), t, x)
    f = BoundField(lambda t, x: x, mass=torch.ones(4, 4, dtype=F64))
    with pytest.raises(ValueError, match="mass"):
        Banded(1, 1).factor(f, rand(1, 4, 3), torch.ones(1, dtype=F64))


# GMRES


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("mass", [None, "diagonal", "full"])
def test_gmres_equals_dense_lu(kind, mass):
    for n in (1, 2, 7, 40):
        m = None if mass is None else 2.0 + rand(n, seed=3).abs() if mass == "diagonal" else torch.eye(n, dtype=F64) * 3.0
        check_against_dense(Krylov(restart=60, rtol=1e-12), stencil(mask_of(n, 2, 2)), m, kind, n, loose=1e-9)


def test_gmres_restarts():
    n = 60
    matrix = torch.eye(n, dtype=F64) + 0.05 * rand(2, n, n)
    rhs = rand(2, n, seed=1)
    none = torch.zeros(2, dtype=torch.bool)
    y, done = gmres(lambda v: (matrix * v[:, None]).sum(2), rhs, 8, 50, 1e-12, torch.zeros(2, dtype=F64), none)
    assert bool(done.all())
    torch.testing.assert_close(y, torch.linalg.solve(matrix, rhs[:, :, None])[:, :, 0], rtol=1e-9, atol=1e-9)


def test_lanes_that_do_not_converge_are_nan_and_leave_the_others_alone():
    b, n = 4, 300
    form = Krylov(restart=10, max_restarts=2)
    f = BoundField(lambda t, x, p: p * brusselator(t, x), torch.tensor([1e-7, 1.0, 1e-6, 1e-7], dtype=F64)[:, None])
    t, x, rhs = torch.zeros(b, dtype=F64), 1.5 + rand(b, n), rand(b, n, seed=2)
    x[3, 5] = torch.nan
    factors = form.factor(f, form.differentiate(f, t, x)[0], torch.ones(b, dtype=F64))
    y = form.solve(f, factors, rhs)
    assert factors.singular.tolist() == [False, False, False, True]
    assert torch.isnan(y).all(1).tolist() == [False, True, False, True]
    for i in range(b):
        index = torch.tensor([i])
        alone = form.solve(f.take(index), take(factors, index), rhs[index])
        assert torch.equal(torch.nan_to_num(alone), torch.nan_to_num(y[index]))


def test_singular_operators_do_not_pass_for_solved():
    form, f = Krylov(), BoundField(lambda t, x: x.roll(1, 1))
    x = rand(1, 6)
    factors = form.factor(f, form.differentiate(f, torch.zeros(1, dtype=F64), x)[0], torch.ones(1, dtype=F64))
    assert bool(torch.isnan(form.solve(f, factors, x)).all())  # I - roll has the constants in its null space


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_a_krylov_trajectory_in_a_batch_equals_itself_alone(kind):
    b, n = 5, 120
    form = Krylov(restart=12, max_restarts=40)
    tol = Tolerance(torch.full((b,), 1e-4, dtype=F64), torch.full((b, 1), 1e-6, dtype=F64))
    scale = torch.tensor([1e-6, 1e-4, 1e-3, 1e-5, 3e-3], dtype=F64)[:, None]
    f = BoundField(lambda t, x, p: p * brusselator(t, x), scale, tol=tol)
    t, x = torch.zeros(b, dtype=F64), 1.5 + rand(b, n)
    shift, rhs = shift_of(kind, b), rand(n, b, seed=2).T
    y = form.solve(f, form.factor(f, form.differentiate(f, t, x)[0], shift), rhs)
    assert bool(torch.isfinite(torch.view_as_real(y) if y.is_complex() else y).all())
    for i in range(b):
        index = torch.tensor([i])
        one = f.take(index)
        factors = form.factor(one, form.differentiate(one, t[index], x[index])[0], shift[index])
        assert torch.equal(form.solve(one, factors, rhs[index]), y[index])


def test_the_tolerance_of_the_step_ends_the_iteration():
    b, n = 2, 200
    counts = []

    def field(t, x):
        counts.append(len(x))
        return brusselator(t, x)

    tol = Tolerance(torch.full((b,), 1e-3, dtype=F64), torch.full((b, 1), 1e-6, dtype=F64))
    x, rhs, t = 1.5 + rand(b, n), 1e3 * rand(b, n, seed=2), torch.zeros(b, dtype=F64)
    shift = torch.full((b,), 1e4, dtype=F64)
    form, work, found = Krylov(), [], []
    for given in (None, tol):
        f = BoundField(field, tol=given)
        factors = form.factor(f, form.differentiate(f, t, x)[0], shift)
        counts.clear()
        found.append(form.solve(f, factors, rhs))
        work.append(len(counts))
    assert work[1] < work[0]
    assert float(tol.ratio(found[1] - found[0], x, x).max()) < 1e-2


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_a_preconditioner_spares_products_and_changes_no_gradient(kind):
    b, n = 2, 100
    band = Banded(2, 2)
    counts = []

    def field(t, x):
        counts.append(len(x))
        return brusselator(t, x)

    plain = BoundField(brusselator)

    def approximate(t, x, shift, v):
        jac, _ = band.differentiate(plain, t, x.detach() + 0.1)
        return band.solve(plain, band.factor(plain, jac, shift.detach()), v)

    x, rhs, t = 1.5 + rand(b, n), rand(b, n, seed=2).requires_grad_(), torch.zeros(b, dtype=F64)
    f, work, out, grads = BoundField(field), [], [], []
    for given in (None, approximate):
        form = Krylov(restart=100, rtol=1e-11, preconditioner=given)
        factors = form.factor(f, form.differentiate(f, t, x)[0], shift_of(kind, b))
        counts.clear()
        y = form.solve(f, factors, rhs)
        work.append(len(counts))
        grads.append(torch.autograd.grad((y * rand(b, n, seed=5)).sum().abs(), rhs)[0])
        out.append(y.detach())
    assert 3 * work[1] < work[0]
    torch.testing.assert_close(out[0], out[1], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("weighed", [False, True])
def test_gradients_through_gmres_equal_the_dense_ones(kind, weighed):
    b, n = 2, 15
    tol = Tolerance(torch.full((b,), 1e-6, dtype=F64), torch.full((b, 1), 1e-9, dtype=F64)) if weighed else None
    weight = rand(n, seed=21).requires_grad_()
    inner = stencil(mask_of(n, 2, 1))
    f = BoundField(lambda t, x, p: weight * inner(t, x, p), rand(b, n, seed=22), mass=rand(n, seed=3), tol=tol)
    t, x = point(b, n)
    leaves = [v.clone().requires_grad_() for v in (t, x, shift_of(kind, b), rand(b, n, seed=11))]

    def loss(form):
        t, x, shift, rhs = leaves
        jac, _ = form.differentiate(f, t, x)
        y = form.solve(f, form.factor(f, jac, shift), rhs.to(shift.dtype))
        return (y * rand(b, n, seed=13)).sum().abs()

    ours, theirs = (torch.autograd.grad(loss(form), [*leaves, weight]) for form in (Krylov(rtol=1e-12), Dense()))
    for a, e in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-6, atol=1e-6 * float(e.abs().max()))


def test_forward_mode_through_gmres_equals_the_dense_one():
    b, n = 2, 15
    f = BoundField(stencil(mask_of(n, 2, 1)))
    t, x = point(b, n)
    rhs, shift = rand(b, n, seed=11), shift_of("real", b)

    def solved(form):
        return lambda x, rhs: form.solve(f, form.factor(f, form.differentiate(f, t, x)[0], shift), rhs)

    tangents = (rand(b, n, seed=14), rand(b, n, seed=15))
    ours, theirs = (torch.func.jvp(solved(form), (x, rhs), tangents)[1] for form in (Krylov(rtol=1e-12), Dense()))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_second_derivatives_through_gmres_are_refused():
    f, (t, x) = BoundField(stencil(mask_of(4, 1, 1))), point(1, 4)
    form, rhs = Krylov(), rand(1, 4, seed=11).requires_grad_()
    y = form.solve(f, form.factor(f, form.differentiate(f, t, x)[0], torch.ones(1, dtype=F64)), rhs)
    (first,) = torch.autograd.grad((y * y).sum(), rhs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("options", [{"restart": 0}, {"max_restarts": 0}, {"rtol": 0.0}, {"share": -1.0}])
def test_bad_settings_of_gmres_are_refused(options):
    with pytest.raises(ValueError, match="Krylov"):
        Krylov(**options)


# Small LU


@pytest.mark.parametrize("dtype", [F64, torch.complex128, torch.float32])
@pytest.mark.parametrize("n", range(1, 9))
def test_unrolled_lu_equals_lapack(n, dtype):
    a = rand(50, n, n, dtype=dtype)
    a[::2].diagonal(dim1=1, dim2=2).zero_()  # these need pivoting; of order 1 they are singular
    if n == 1:
        a = a[1::2]
    rhs = rand(len(a), n, seed=1, dtype=dtype)
    factors = factor_small(a.permute(1, 2, 0))
    reference = lu.factor(a)
    assert torch.equal(factors.singular, reference.singular)
    permutation = torch.lu_unpack(reference.lu, reference.pivots, unpack_data=False)[0].abs().argmax(1)
    assert torch.equal(factors.rows.T, permutation)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(factors.lu.permute(2, 0, 1), reference.lu, rtol=1e4 * eps, atol=1e3 * eps)
    got = solve_small(factors, rhs.T).T
    residual = (rhs - (a @ got[:, :, None])[:, :, 0]).abs().amax(1)
    assert float((residual / (a.abs().sum(2).amax(1) * got.abs().amax(1))).max()) < 20 * eps


def test_unrolled_lu_flags_singular_lanes_and_leaves_the_others_alone():
    a = rand(6, 4, 4)
    clean = solve_small(factor_small(a.permute(1, 2, 0)), torch.ones(4, 6, dtype=F64))
    a[1, :, 2] = 0.0
    a[2] = 0.0
    a[3, 0, 0] = torch.nan
    a[4, 2] = a[4, 1] * 2.0
    factors = factor_small(a.permute(1, 2, 0))
    assert factors.singular[:4].tolist() == [False, True, True, True]
    y = solve_small(factors, torch.ones(4, 6, dtype=F64))
    assert bool(torch.isfinite(y).all())
    assert torch.equal(y[:, [0, 5]], clean[:, [0, 5]])
    solo = solve_small(factor_small(a[5:].permute(1, 2, 0)), torch.ones(4, 1, dtype=F64))
    assert torch.equal(solo, y[:, 5:])
    with pytest.raises(ValueError, match="1 to 8"):
        factor_small(rand(9, 9, 2))


def test_unrolled_lu_has_gradients():
    a, rhs = rand(3, 3, 2).requires_grad_(), rand(3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, r: solve_small(factor_small(a), r), (a, rhs))


@pytest.mark.slow
def test_unrolled_lu_compiles_to_one_graph():
    a, rhs = rand(4, 4, 10), rand(4, 10, seed=1)
    compiled = torch.compile(lambda a, r: solve_small(factor_small(a), r), fullgraph=True)
    torch.testing.assert_close(compiled(a, rhs), solve_small(factor_small(a), rhs), rtol=1e-10, atol=1e-10)

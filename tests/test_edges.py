"""Fields, events, saves, gradients and methods at the edge of their promises: nothing moves, or is needed, or is reached."""

import functools
import math

import pytest
import torch

import odebridge as ob
from odebridge.compat.torchdiffeq import odeint, odeint_adjoint
from odebridge.integrate.events import _takes_three
from odebridge.integrate.fused import Fused
from odebridge.integrate.leaves import hides_leaves
from odebridge.linalg.structure import Dense as FullMatrix
from odebridge.methods import METHODS
from odebridge.methods.adams import AdamsMoulton
from odebridge.methods.corrected import Corrected
from odebridge.methods.stabilised import RKC2, RKL2
from odebridge.methods.weighted import advanced, weighted
from odebridge.tableaus import explicit

D = torch.float64
POLICIES = [ob.Replay(), ob.Replay("steps"), ob.Replay("sqrt"), ob.Adjoint(), ob.Forward()]


def ones(*shape, grad=False):
    return torch.ones(shape, dtype=D, requires_grad=grad)


# Gradients


@pytest.mark.parametrize("gradient", [*POLICIES, ob.Adjoint(state="interpolated")], ids=repr)
def test_a_field_that_needs_nobody_has_the_gradient_of_the_identity(gradient):
    """x' = 1: the end depends on x0 alone, and args have a gradient of 0."""
    x0, a = ones(2, 2, grad=True), ones(2, 1, grad=True)
    sol = ob.integrate(lambda t, x, a: torch.ones_like(x), x0, (0.0, 1.0), args=a, gradient=gradient)
    dx, da = torch.autograd.grad((sol.x1 * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum(), [x0, a], allow_unused=True)
    assert torch.allclose(dx, torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=D))
    assert da is None or float(da.abs().max()) == 0.0


@pytest.mark.parametrize("gradient", POLICIES[:4], ids=repr)
def test_a_slope_that_is_a_leaf_itself_is_found(gradient):
    w = torch.tensor([[0.5, -2.0]], dtype=D, requires_grad=True)
    sol = ob.integrate(lambda t, x: w, torch.zeros(1, 2, dtype=D), (0.0, 3.0), gradient=gradient)
    (g,) = torch.autograd.grad(sol.x1.sum(), w)
    assert torch.allclose(g, torch.full_like(w, 3.0))


def test_steps_made_again_without_what_they_do_not_use():
    """A rate that acts in the first half only: the later steps have no gradient for it."""
    rate = torch.tensor(0.7, dtype=D, requires_grad=True)
    f = lambda t, x: torch.where(t[:, None] < 0.5, -rate * x, -x) if float(t[0]) < 0.5 else -x  # noqa: E731
    options = dict(discontinuities=[0.5], rtol=1e-9, atol=1e-11)
    one, other = (
        torch.autograd.grad(ob.integrate(f, ones(1, 1), (0.0, 1.0), gradient=g, **options).x1.sum(), rate)[0]
        for g in (ob.Replay("steps"), ob.Replay())
    )
    assert torch.allclose(one, other, rtol=1e-8)
    assert float(one) == pytest.approx(-0.5 * math.exp(-0.35 - 0.5), rel=1e-6)

    def early(t, x):
        return -rate * x if float(t[0]) < 0.5 else -x

    sol = ob.integrate(early, ones(1, 1), (0.0, 1.0), gradient=ob.Replay("steps"), controller="fixed", first_step=0.25)
    (g,) = torch.autograd.grad(sol.x1.sum(), rate)
    (same,) = torch.autograd.grad(
        ob.integrate(early, ones(1, 1), (0.0, 1.0), controller="fixed", first_step=0.25).x1.sum(), rate
    )
    assert torch.allclose(g, same, rtol=1e-12)


def test_what_is_saved_at_the_start_alone_has_the_gradient_of_the_start():
    x0 = ones(2, 2, grad=True)
    sol = ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), save=ob.At([0.0]), gradient=ob.Replay("steps"))
    (g,) = torch.autograd.grad(sol.xs.sum(), x0)
    assert torch.equal(g, torch.ones_like(g))


def test_a_way_back_that_fails_names_the_remedy():
    """x' = -300 x cannot be solved backward in time: it grows by e^300 a unit."""
    x0 = ones(1, 1, grad=True)
    sol = ob.integrate(lambda t, x: -300.0 * (x - torch.cos(t)[:, None]), x0, (0.0, 4.0), gradient=ob.Adjoint(max_steps=60))
    with pytest.raises(ob.SolveError, match=r"solve backward in time. Use ob.Replay\(\), or a stiff method"):
        sol.x1.sum().backward()


def test_an_event_whose_condition_has_no_slope_is_at_a_constant_time():
    """A condition made of a comparison: its sign changes, and no derivative says where it would go."""
    x0 = torch.tensor([[1.0]], dtype=D, requires_grad=True)
    event = ob.Event(lambda t, x: (x[:, 0].detach() < 0.5).double() - 0.5)
    sol = ob.integrate(lambda t, x: -x, x0, (0.0, 2.0), events=event, rtol=1e-8, atol=1e-10)
    assert int(sol.result[0]) == ob.Result.EVENT
    assert float(sol.x1.detach()) == pytest.approx(0.5, abs=1e-6)
    (g,) = torch.autograd.grad(sol.x1.sum(), x0)
    assert float(g) == pytest.approx(0.5, rel=1e-5)  # exp(-t) at that time; a time that moved with x0 would make it 0


def test_what_a_field_hides_is_found_behind_partials_and_not_behind_names_that_are_not_bound():
    w = torch.ones(1, requires_grad=True)

    def plain(w, t, x):
        return w * x

    def outer():
        def field(t, x):
            return late * x

        before = hides_leaves(field)
        late = w
        return before, hides_leaves(field)

    assert hides_leaves(functools.partial(plain, w))
    assert not hides_leaves(functools.partial(plain, w.detach()))
    assert outer() == (False, True)


def test_a_condition_without_a_signature_gets_all_there_is():
    assert _takes_three(max)  # inspect.signature(max) raises ValueError
    assert not _takes_three(lambda t, x: x)
    assert _takes_three(lambda t, x, args: x)


@pytest.mark.parametrize("name", ["tsit5", "bosh3"])
def test_a_fused_method_says_what_its_method_is(name):
    fused = Fused(METHODS[name])
    for what in ("name", "order", "error_order", "dense_order", "law", "tableau"):
        assert getattr(fused, what) == getattr(METHODS[name], what), what


# Saves


@pytest.mark.parametrize("save", [ob.Every(), ob.Dense()], ids=repr)
def test_where_no_step_is_kept_the_start_is_all_there_is(save):
    sol = ob.integrate(lambda t, x: torch.nan * x, ones(2, 3), (0.0, 1.0), save=save, throw=False)
    assert sol.result.tolist() == [ob.Result.NOT_FINITE] * 2
    assert torch.equal(sol.xs, ones(2, 1, 3))
    assert sol.ts.tolist() == [[0.0], [0.0]]
    assert sol.hs.shape == (2, 0)
    if isinstance(save, ob.Dense):
        assert torch.equal(sol(0.0), ones(2, 3))
        at = sol([0.0, 0.5])
        assert torch.equal(at[:, 0], ones(2, 3))
        assert bool(torch.isnan(at[:, 1]).all())


def test_a_grid_does_not_look_at_tensors_that_a_span_would():
    x0 = ones(2, 2)
    plain = ob.integrate(lambda t, x: -x, x0, ob.Steps(3), method="rk4")
    given = ob.integrate(lambda t, x: -x, x0, ob.Steps(3), method="rk4", first_step=torch.tensor(0.1), rtol=torch.tensor(1e-4))
    assert torch.equal(plain.x1, given.x1)


# Methods between their nodes, and where their iteration does not end


PLAIN = Corrected(explicit.RK4, lambda t, x, slope: 0.0 * x)


@pytest.mark.parametrize(
    "method", [PLAIN, "verlet", "leapfrog", "yoshida4"], ids=lambda m: m if isinstance(m, str) else "corrected rk4"
)
def test_dense_output_of_methods_without_an_error_estimate(method):
    """The cubic through both ends: exact there, third order between."""
    f = (lambda t, x: torch.stack([x[:, 1], -x[:, 0]], 1)) if isinstance(method, Corrected) else ob.Separable(
        lambda t, p: p, lambda t, q: -q
    )  # fmt: skip
    x0 = torch.tensor([[1.0, 0.0]], dtype=D)
    options = dict(method=method, controller="fixed", first_step=0.05)
    sol = ob.integrate(f, x0, (0.0, 1.0), save=ob.At([0.05, 0.33, 1.0]), **options)
    assert torch.equal(sol.xs[:, 2], sol.x1)
    assert torch.equal(sol.xs[:, 0], ob.integrate(f, x0, (0.0, 0.05), **options).x1)
    assert float(sol.xs[0, 1, 0]) == pytest.approx(math.cos(0.33), abs=1e-3)
    assert PLAIN.dense_order == 3


@pytest.mark.parametrize("kind", [RKC2, RKL2])
def test_a_given_radius_needs_no_memory_at_a_jump(kind):
    """x' = -50 x, then -100 x: the same solution as with the radius estimated."""
    f = lambda t, x: torch.where(t[:, None] > 0.5, -100.0, -50.0) * x  # noqa: E731
    given = kind(radius=lambda t, x: torch.where(t > 0.5, 100.0, 50.0).double())
    options = dict(discontinuities=[0.5], rtol=1e-4, atol=1e-9)
    one, other = (ob.integrate(f, ones(2, 2), (0.0, 0.6), method=m, **options) for m in (given, kind()))
    exact = math.exp(-25.0 - 10.0)
    assert torch.allclose(one.x1, torch.full_like(one.x1, exact), atol=1e-8)
    assert torch.allclose(one.x1, other.x1, atol=1e-8)
    assert int(one.stats.f_evals[0]) < int(other.stats.f_evals[0])


@pytest.mark.parametrize("rate", [4.0, 12.0], ids=["slowly", "diverges"])
def test_a_corrector_that_does_not_settle_is_a_failure_and_no_answer(rate):
    """The iteration of Adams and Moulton shrinks by 0.35 h L a round, and has twelve of them."""
    options = dict(method=AdamsMoulton(), controller="fixed", first_step=0.5, throw=False, rtol=1e-10, atol=1e-10)
    sol = ob.integrate(lambda t, x: -rate * x, ones(1, 1), (0.0, 20.0), **options)
    assert sol.result.tolist() == [ob.Result.NEWTON_FAILED]
    assert bool(torch.isnan(sol.x1).all())
    fine = ob.integrate(lambda t, x: -0.1 * x, ones(1, 1), (0.0, 20.0), **options)
    assert float(fine.x1) == pytest.approx(math.exp(-2.0), rel=1e-5)


def test_before_the_first_step_a_collocation_method_has_nothing_to_forget():
    method, x = METHODS["radau5"], ones(2, 3)
    memory = method.restart(method.start(None, 0.0, x), torch.tensor([True, False]))
    assert memory.held is None
    assert bool(memory.careful.all())


def test_nothing_added_is_the_state_itself():
    x = ones(2, 2)
    assert advanced(x, 0.5, weighted([0.0, 0.0], [x, x])) is x
    assert torch.equal(advanced(x, 0.5, weighted([0.0, 2.0], [x, x])), 2 * x)


@pytest.mark.parametrize("given", ["detect", FullMatrix(), (1, 1)], ids=str)
def test_ways_to_say_the_structure_of_a_jacobian(given):
    """Found by forward mode, an object of one's own, bandwidths: the same steps."""
    band = torch.diag(torch.full((6,), -2.0)) + torch.diag(torch.ones(5), 1) + torch.diag(torch.ones(5), -1)
    f, x0 = (lambda t, x: 30 * x @ band.to(x)), torch.linspace(0, 1, 6, dtype=D)[None]
    plain = ob.integrate(f, x0, (0.0, 1.0), method="kvaerno5")
    other = ob.integrate(f, x0, (0.0, 1.0), method="kvaerno5", sparsity=given)
    assert torch.allclose(plain.x1, other.x1, rtol=1e-9, atol=1e-12)
    assert torch.equal(plain.stats.accepted, other.stats.accepted)


def test_a_full_mass_matrix_that_fits_its_band():
    """M x' = f with a tridiagonal M and a band for df/dx: checked once, and the solution of the full matrices."""
    n = 12
    mass = torch.diag(torch.full((n,), 4.0)) + torch.diag(torch.ones(n - 1), 1) + torch.diag(torch.ones(n - 1), -1)
    f, x0 = (lambda t, x: -x * x), torch.linspace(0.5, 1, n, dtype=D)[None]
    options = dict(mass=mass.double(), method="rodas5p", rtol=1e-8, atol=1e-10)
    full = ob.integrate(f, x0, (0.0, 1.0), **options)
    band = ob.integrate(f, x0, (0.0, 1.0), sparsity=(1, 1), **options)
    assert torch.allclose(full.x1, band.x1, rtol=1e-9)
    with pytest.raises(ValueError, match=r"mass: has entries up to 1 below and 1 above .*outside the band \(0, 0\)"):
        ob.integrate(f, x0, (0.0, 1.0), sparsity=(0, 0), **options)


def test_compiled_tries_whose_sizes_keep_their_graph_are_eager_and_say_so():
    x0 = ones(1, 2, grad=True)
    plain = ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), gradient=ob.Direct())
    with pytest.warns(RuntimeWarning, match="compile=True: tries whose sizes keep their graph are made by the eager loop"):
        compiled = ob.integrate(lambda t, x: -x, x0, (0.0, 1.0), compile=True, gradient=ob.Direct())
    assert torch.equal(plain.x1, compiled.x1)


def test_the_drop_in_for_one_time_a_method_of_ones_own_and_an_event_at_the_start():
    y0, now = torch.tensor([1.0, 2.0], dtype=D), torch.tensor([0.5], dtype=D)
    assert torch.equal(odeint(lambda t, y: -y, y0, now, method="scipy_solver"), y0[None])
    two = torch.tensor([0.0, 1.0], dtype=D)
    by_name, by_object = (odeint(lambda t, y: -y, y0, two, method=m) for m in ("rodas5p", METHODS["rodas5p"]))
    assert torch.equal(by_name, by_object)
    t, y = odeint_adjoint(lambda t, y: -y, y0, two, event_fn=lambda t, y: y[0] - 1.0)
    assert float(t) == 0.0
    assert torch.equal(y, torch.stack([y0, y0]))

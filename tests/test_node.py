"""The variants of the neural ODE as classes: formulas, inverses, gradients, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from small import KIND, agrees_with_differences, drawn, gradients_of, made
from torch import nn

import odebridge as ob
from odebridge.nets.node import (
    DEQ,
    Augment,
    Energy,
    First,
    HamiltonianODE,
    HamiltonianStep,
    LeapfrogStep,
    MLPField,
    MomentumStep,
    NeuralODE,
    Reversible,
    SecondOrderField,
    SeparableEnergy,
    Solver,
    TanhCell,
    VaryingField,
    mlp,
    with_time,
)
from odebridge.nets.node.varying import BASES, chebyshev, hats

TIGHT = Solver("dopri8", 1e-10, 1e-12)


FIELDS = {
    "plain": lambda: MLPField(2, (8,)),
    "time": lambda: MLPField(2, (8,), time=True),
    "linear": lambda: VaryingField(2, (8,), basis="linear", terms=3),
    "galerkin": lambda: VaryingField(2, (8,), basis="galerkin", terms=3),
    "sonode": lambda: SecondOrderField(lambda t, s: s[..., :1] * s[..., 1:] - s[..., :1]),
    "heavy ball": lambda: SecondOrderField(MLPField(1, (8,)), damping="learned"),
    "general heavy ball": lambda: SecondOrderField(MLPField(1, (8,)), damping="learned", general=True),
}


@pytest.mark.parametrize(
    "gradient", [ob.Replay(), ob.Replay(checkpoints="sqrt"), ob.Adjoint()], ids=["replay", "sqrt", "adjoint"]
)
@pytest.mark.parametrize("name", FIELDS)
def test_gradients_of_every_field(name, gradient):
    net = made(lambda: NeuralODE(FIELDS[name](), solver=Solver("dopri8", 1e-9, 1e-11, gradient)))
    x = drawn(3, 2)
    if weights := list(net.parameters()):
        # hat functions have kinks, where the end of the span is met by an adaptive solver only to its tolerance
        agrees_with_differences(lambda: net(x).square().sum(), weights, 1e-4, 1e-4 if name == "linear" else 2e-6)


@pytest.mark.parametrize("method", ["euler", "rk4", "bosh3", "rodas5p", "kvaerno5"])
def test_any_method_solves_a_neural_ode(method):
    net = made(lambda: NeuralODE(MLPField(2, (8,), time=True)))
    x = drawn(4, 2)
    exact = NeuralODE(net.field, solver=TIGHT)(x)
    steps = 400 if method in ("euler", "rk4") else None
    net.solver = Solver(method, 1e-6, 1e-8, steps=steps)
    y = net(x)
    assert torch.allclose(y, exact, atol=2e-3 if method == "euler" else 1e-5)
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert (net.solve(x).stats.f_evals > 0).all()


@pytest.mark.parametrize("steps", [None, 40])
def test_a_path_passes_through_the_ends_of_its_parts(steps):
    net = made(lambda: NeuralODE(MLPField(2, (8,)), solver=Solver("rk4" if steps else "dopri8", 1e-9, 1e-11, steps=steps)))
    x, times = drawn(3, 2), torch.tensor([0.0, 0.3, 1.0])
    path = net.path(x, times)
    assert path.shape == (3, 3, 2)
    assert torch.equal(path[:, 0], x)
    for i in (1, 2):
        end = net.solver.solve(net.field, x, (0.0, float(times[i]))).x1
        assert torch.allclose(path[:, i], end, atol=1e-7)


def test_bases_are_what_they_are_called():
    s = torch.linspace(0, 1, 11, dtype=KIND)
    assert torch.allclose(hats(s, 4).sum(1), torch.ones(11, dtype=KIND))
    assert torch.allclose(hats(torch.linspace(0, 1, 4, dtype=KIND), 4), torch.eye(4, dtype=KIND))
    u = torch.acos(2 * s - 1)
    assert torch.allclose(chebyshev(s, 4), torch.stack([torch.cos(k * u) for k in range(4)], 1))


@pytest.mark.parametrize("basis", BASES)
def test_equal_coefficients_are_a_field_that_does_not_vary(basis):
    field = made(lambda: VaryingField(2, (8,), basis=basis, terms=3))
    constant = basis == "linear"
    for layer in field.maps:
        for p in (layer.weight, layer.bias):
            terms = p.data.view(3, -1)
            terms[1:] = terms[:1] if constant else 0.0
    x = drawn(4, 2)
    there = [field(torch.full((4,), t, dtype=KIND), x) for t in (0.0, 0.4, 1.0)]
    assert torch.allclose(there[0], there[1])
    assert torch.allclose(there[0], there[2])
    with pytest.raises(ValueError, match="at least 2"):
        VaryingField(2, terms=1)
    with pytest.raises(ValueError, match="'galerkin'"):
        VaryingField(2, basis="galerkn")


def test_varying_weights_differ_with_each_samples_own_time():
    field = made(lambda: VaryingField(2, (8,), basis="galerkin"))
    x, t = drawn(3, 2), torch.tensor([0.1, 0.5, 0.9], dtype=KIND)
    alone = torch.cat([field(t[i : i + 1], x[i : i + 1]) for i in range(3)])
    assert torch.allclose(field(t, x), alone)


def test_augmentation():
    x = drawn(4, 2)
    assert torch.equal(Augment(3)(x), torch.cat([x, torch.zeros(4, 3, dtype=KIND)], 1))
    net = nn.Linear(2, 1, dtype=KIND)
    assert torch.equal(Augment(net=net)(x)[:, 2:], net(x))
    assert Augment(2)(torch.ones(1, 3, 4, 4)).shape == (1, 5, 4, 4)
    assert First(2)(drawn(3, 5, 4)).shape == (3, 5, 2)
    with pytest.raises(ValueError, match="either extra"):
        Augment()
    with pytest.raises(ValueError, match="at least 1"):
        Augment(0)


@pytest.mark.parametrize("damping", ["none", 0.2])
def test_second_order_is_the_oscillator_it_should_be(damping):
    """x'' = -x - d x' from (1, 0) has a formula."""
    d = 0.0 if damping == "none" else damping
    field = SecondOrderField(lambda t, s: -s[..., :1], damping=damping)
    end = NeuralODE(field, span=(0.0, 3.0), solver=TIGHT)(torch.tensor([[1.0, 0.0]], dtype=KIND))
    w = math.sqrt(1 - d * d / 4)
    x = math.exp(-1.5 * d) * (math.cos(3 * w) + d / (2 * w) * math.sin(3 * w))
    assert float(end[0, 0]) == pytest.approx(x, abs=1e-8)


def test_the_general_heavy_ball_is_bounded_and_starts_without_skip():
    field = SecondOrderField(lambda t, x: torch.zeros_like(x), damping="learned", general=True, bound=2.0).to(KIND)
    slope = field(torch.zeros(1), torch.tensor([[3.0, 9.0]], dtype=KIND))
    assert slope[0, 0].item() == 2.0
    assert slope[0, 1].item() == pytest.approx(-9.0 / (1 + math.exp(3.0)))
    field.skip.data.fill_(0.5)
    shifted = field(torch.zeros(1), torch.tensor([[3.0, 9.0]], dtype=KIND))
    assert (shifted - slope)[0, 1].item() == pytest.approx(1.5)
    with pytest.raises(ValueError, match="'learned'"):
        SecondOrderField(lambda t, x: x, damping="lerned")
    with pytest.raises(ValueError, match="positive"):
        SecondOrderField(lambda t, x: x, damping=-1.0)


@pytest.mark.parametrize("kind", [Energy, SeparableEnergy])
def test_a_hamiltonian_field_is_the_turned_gradient(kind):
    energy = made(lambda: kind(2, (8,)))
    x = drawn(3, 4).requires_grad_()
    g = torch.autograd.grad(energy(x).sum(), x)[0]
    expected = torch.cat([g[:, 2:], -g[:, :2]], 1)
    for switch in (torch.no_grad, torch.enable_grad):
        with switch():
            assert torch.allclose(energy.field()(torch.zeros(3), x), expected)


@pytest.mark.parametrize(
    ("kind", "solver"),
    [
        (Energy, TIGHT),
        (SeparableEnergy, TIGHT),
        (SeparableEnergy, Solver("verlet", steps=4)),
        (Energy, Solver("kvaerno5", 1e-8, 1e-10)),
    ],
)
def test_gradients_of_hamiltonian_nets(kind, solver):
    net = made(lambda: HamiltonianODE(kind(1, (8,)), solver))
    x, times = drawn(2, 2), torch.tensor([0.0, 0.5, 1.0])
    agrees_with_differences(lambda: net.path(x, times).square().sum(), list(net.parameters()), 1e-4, 1e-5)


@pytest.mark.parametrize(
    "gradient", [ob.Replay(checkpoints="sqrt"), ob.Direct(), ob.Adjoint("interpolated")], ids=["sqrt", "direct", "adjoint"]
)
def test_policies_of_hamiltonian_nets(gradient):
    """A field that differentiates, inside a checkpoint and inside a backward solve."""
    net = made(lambda: HamiltonianODE(SeparableEnergy(1, (8,))))
    x, times, found = drawn(2, 2), torch.tensor([0.0, 0.5]), []
    for policy in (ob.Replay(), gradient):
        net.solver = Solver("tsit5", 1e-5, 1e-7, policy)
        found.append(gradients_of(net.path(x, times).square().sum(), list(net.parameters())))
    close = 1e-12 if isinstance(gradient, ob.Replay) else 1e-3  # the others differ by the tolerance
    assert all(torch.allclose(a, b, rtol=close, atol=close) for a, b in zip(*found, strict=True))


def test_symplectic_methods_keep_the_learned_energy():
    """Over 400 steps of 0.25: Verlet's energy swings, that of RK4 at the same number of forces falls away."""
    net = made(lambda: HamiltonianODE(SeparableEnergy(1, (16,)), Solver("verlet", steps=1)))
    with torch.no_grad():  # a well, so that the motion comes back: T = p^2 / 2 + ..., V = q^2 / 2 + ...
        kept = net.energy.field()
    bowl = ob.Separable(lambda t, p: kept.dq(t, p) + p, lambda t, q: kept.dp(t, q) - q)

    def drift(method: str, steps: int) -> torch.Tensor:
        times = torch.linspace(0.0, 100.0, 401 if method == "verlet" else 101)
        states, _ = Solver(method, steps=steps).path(bowl, drawn(3, 2), times)
        energy = (net.energy(states) + 0.5 * states.square().sum(-1)).detach()
        return (energy - energy[:, :1]).abs()

    verlet, rk4 = drift("verlet", 1), drift("rk4", 1)  # RK4: steps of 1, four evaluations each
    half = verlet.shape[1] // 2
    assert verlet[:, half:].max() < 1.3 * verlet[:, :half].max()
    assert rk4[:, -1].min() > 3 * verlet.max()
    with pytest.raises(ValueError, match="Separable"):
        HamiltonianODE(Energy(1), Solver("verlet", steps=1)).path(torch.ones(1, 2), torch.tensor([0.0, 1.0]))


STEPS = {
    "momentum": lambda: MomentumStep(mlp([4, 8, 4]), 0.9),
    "leapfrog": lambda: LeapfrogStep(mlp([4, 8, 4]), 0.3),
    "hamiltonian": lambda: HamiltonianStep(4, 8, 0.3),
}


@pytest.mark.parametrize("start", ["zeros", "same"])
@pytest.mark.parametrize("name", STEPS)
def test_reversible_nets_are_undone_and_have_the_gradients_of_autograd(name, start):
    net = made(lambda: Reversible([STEPS[name]() for _ in range(20)], start=start))
    x = drawn(5, 4).requires_grad_()
    with torch.no_grad():
        a, b = first = net.pair(x)
        for step in net.steps:
            a, b = step(a, b)
        for back, there in zip(net.undo(a, b), first, strict=True):
            assert torch.allclose(back, there, atol=1e-12)
    gradients = []
    for net.store in (True, False):
        y = net(x)
        gradients.append(gradients_of(y.square().sum(), [x, *net.parameters()]))
    assert torch.equal(y, a)
    for plain, undone in zip(*gradients, strict=True):
        assert torch.allclose(plain, undone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", STEPS)
def test_the_memory_of_reversible_nets_is_flat_in_depth(name):
    """Bytes that autograd keeps for the backward pass."""

    def kept(depth: int, store: bool) -> int:
        net = made(lambda: Reversible([STEPS[name]() for _ in range(depth)], store=store))
        own, seen = {p.data_ptr() for p in net.parameters()}, []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t) or t, lambda t: t):
            net(drawn(50, 4).requires_grad_())
        return sum(t.numel() * t.element_size() for t in seen if t.data_ptr() not in own)

    assert kept(4, False) == kept(40, False)
    assert kept(40, True) > 9 * kept(4, True) > 9 * kept(4, False)


def test_shared_and_frozen_blocks_of_reversible_nets():
    block = mlp([4, 8, 4]).to(KIND)
    block[0].bias.requires_grad_(False)
    net = Reversible([MomentumStep(block, 0.8) for _ in range(5)])
    x = drawn(3, 4)
    gradients = []
    for net.store in (True, False):
        net.zero_grad()
        net(x).square().sum().backward()
        gradients.append([p.grad for p in block.parameters() if p.requires_grad])
    assert block[0].bias.grad is None
    assert all(torch.allclose(a, b) for a, b in zip(*gradients, strict=True))


def test_refusals_of_reversible_nets():
    net = made(lambda: Reversible([STEPS["momentum"]() for _ in range(3)]))
    y = net(drawn(2, 4)).sum()
    with torch.no_grad():
        next(net.parameters()).add_(1.0)
    with pytest.raises(RuntimeError, match="changed between"):
        y.backward()
    x = drawn(2, 4).requires_grad_()
    (g,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        g.sum().backward()
    with pytest.raises(ValueError, match="at least one"):
        Reversible([])
    with pytest.raises(ValueError, match="'same'"):
        Reversible([nn.Identity()], start="zero")
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        MomentumStep(nn.Identity(), 1.0)


def test_a_way_back_that_misses_the_start_is_refused():
    """(1 / 0.5)^80 times the rounding of float64 is far above 1e-3."""
    net = made(lambda: Reversible([MomentumStep(mlp([4, 8, 4]), 0.5) for _ in range(80)]))
    with pytest.raises(RuntimeError, match="undoing 80 steps missed"):
        net(drawn(2, 4)).sum().backward()
    net.store = True
    net(drawn(2, 4)).sum().backward()


def test_the_leapfrog_net_is_the_method_of_the_catalogue():
    """With shared weights, Stormer's positions are those of velocity Verlet for y'' = f(y)."""
    force = made(lambda: mlp([3, 8, 3]))
    y, h = drawn(2, 3), 0.1
    field = ob.Separable(lambda t, p: p, lambda t, q: force(q))
    grid = ob.Grid(tuple(h * i for i in range(9)))
    sol = ob.integrate(field, torch.cat([y, torch.zeros_like(y)], 1), grid, method="verlet", save=ob.Every())
    a, b = sol.xs[:, 1, :3], y  # the first step of Stormer needs two positions
    for _ in range(7):
        a, b = LeapfrogStep(force, h)(a, b)
    assert torch.allclose(a, sol.x1[:, :3], atol=1e-12)


def test_a_deq_rests_and_has_the_implicit_gradient():
    net = made(lambda: DEQ(TanhCell(2, 5), 5, rtol=1e-12, atol=1e-13))
    x = drawn(4, 2).requires_grad_()
    z = net(x)
    assert (net.cell(z, x) - z).abs().max() < 1e-9
    agrees_with_differences(lambda: net(x).square().sum(), [x, *net.parameters()], 1e-5, 1e-6)
    long = x.new_zeros(4, 5)
    for _ in range(200):
        long = net.cell(long, x)
    unrolled = torch.autograd.grad(long.square().sum(), [x, *net.parameters()])
    implicit = torch.autograd.grad(net(x).square().sum(), [x, *net.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(unrolled, implicit, strict=True))


def test_a_deq_refuses_what_does_not_settle():
    """z = z + 1 + (z + x)^2 has no solution."""
    net = DEQ(lambda z, x: z + 1.0 + (z + x).square(), 2)
    with pytest.raises(ob.SolveError, match="settled"):
        net(torch.ones(1, 2, dtype=KIND))
    good = made(lambda: DEQ(TanhCell(2, 3), 3))
    x = drawn(2, 2).requires_grad_()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(torch.autograd.grad(good(x).square().sum(), x, create_graph=True)[0].sum(), x)


def test_refusals_of_the_solver():
    with pytest.raises(ValueError, match="steps must"):
        Solver(steps=0)
    with pytest.raises(ValueError, match="first_step"):
        NeuralODE(MLPField(2), solver=Solver("rk4"))(torch.ones(1, 2))
    with pytest.raises(ValueError, match="'tanh'"):
        mlp([2, 3, 2], "tnah")


def test_with_time_appends_each_samples_clock():
    x, t = drawn(2, 3, 2), torch.tensor([1.0, 2.0])
    assert with_time(t, x)[..., -1].tolist() == [[1.0] * 3, [2.0] * 3]

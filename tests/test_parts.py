"""Parts of networks, recipes, data and metrics: formulas where an option is left out, and what they refuse."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small import KIND, agrees_with_differences, drawn, made
from torch import nn

import odebridge as ob
from odebridge.control import CONTROLLERS, SE, PerStep, StepNet
from odebridge.control.compose import Resumed
from odebridge.control.features import features
from odebridge.control.learned import LearnedStep
from odebridge.core.protocols import Observation
from odebridge.data import DATA
from odebridge.data import folder as folders
from odebridge.metrics import refine
from odebridge.nets import Stage
from odebridge.nets.node import (
    DEQ,
    ODERNN,
    HamiltonianODE,
    LatentODE,
    MLPField,
    MomentumStep,
    Reversible,
    SeparableEnergy,
    Solver,
    TanhCell,
    mlp,
)  # fmt: skip
from odebridge.nets.node.pullback import pullback
from odebridge.train import RECIPES
from odebridge.train.calibration import calibrate as calibration
from odebridge.train.calibration import workload as loads
from odebridge.train.calibration.equal import interval
from odebridge.train.calibration.workload import pooled_of, workload
from odebridge.train.loop import _device
from odebridge.train.optimisers import Muon
from odebridge.train.recipes.catalogue import list_variants
from odebridge.train.recipes.cde import build as build_cde
from odebridge.train.recipes.corrected import correction_task
from odebridge.train.recipes.stiff import clipped
from odebridge.train.recipes.tasks import following
from odebridge.train.state import NoGradient, differentiate

# Networks


def test_a_learned_energy_drifts_by_the_integrator_alone():
    """H(x(t)) - H(x(0)): 0 at the start, and falling with the square of Verlet's step."""
    net = made(lambda: HamiltonianODE(SeparableEnergy(1, (8,)), Solver("verlet", steps=2)))
    x, times = drawn(3, 2), torch.linspace(0.0, 4.0, 9, dtype=KIND)
    coarse = net.drift(x, times)
    assert torch.equal(coarse[:, 0], torch.zeros(3, dtype=KIND))
    net.solver = Solver("verlet", steps=8)
    fine = net.drift(x, times)
    assert not fine.requires_grad
    assert float(fine.abs().max()) < 0.15 * float(coarse.abs().max())


def test_a_cell_without_a_bound_uses_its_weights_as_they_are():
    free, bound = (made(lambda b=b: TanhCell(2, 3, bound=b)) for b in (None, 1e-3))
    z, x = drawn(4, 3), drawn(4, 2, seed=1)
    assert torch.allclose(free(z, x), torch.tanh(z @ free.inner.weight.T + free.outer(x)))
    assert not torch.allclose(free(z, x), bound(z, x))
    net = made(lambda: DEQ(TanhCell(2, 3, bound=None), 3, rtol=1e-12, atol=1e-13))
    with torch.no_grad():
        net.cell.inner.weight.mul_(0.3)
    agrees_with_differences(lambda: net(x).square().sum(), list(net.parameters()), 1e-5, 1e-6)


def test_a_latent_loss_without_a_mask_is_that_of_a_mask_that_hides_nothing():
    torch.manual_seed(0)
    solver = Solver("rk4", steps=1)
    net = LatentODE(
        ODERNN(2, 4, solver=solver, dtype=KIND), MLPField(3, (4,), dtype=KIND), nn.Linear(3, 2, dtype=KIND), 3, solver
    )
    times, values = torch.tensor([0.0, 0.5, 1.0], dtype=KIND), drawn(2, 3, 2)
    losses = []
    for mask in (None, torch.ones(2, 3, 2, dtype=torch.bool)):
        torch.manual_seed(1)
        losses.append(net.bound(times, values, mask))
    assert torch.equal(*losses)


def test_weights_that_a_step_does_not_use_have_a_gradient_of_zero_without_store():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.spare = mlp([2, 4, 2]), nn.Parameter(torch.ones(3))

        def forward(self, x):
            return self.net(x)

    net = made(lambda: Reversible([MomentumStep(Spare(), 0.9) for _ in range(3)]))
    net(drawn(4, 2)).square().sum().backward()
    assert all(float(step.spare.grad.abs().max()) == 0.0 for step in (s.f if hasattr(s, "f") else s.block for s in net.steps))


def test_an_error_of_a_function_is_not_taken_for_a_missing_rule():
    with pytest.raises(RuntimeError, match="mine"):
        pullback(lambda x: (_ for _ in ()).throw(RuntimeError("mine")), torch.ones(2), lambda v: v)


def test_a_gate_of_vectors_takes_their_sizes():
    """Root mean square over no space is the absolute value."""
    torch.manual_seed(0)
    gate = StepNet(4, 2, statistic="l2")
    x, slope = torch.randn(3, 4), torch.randn(3, 4)
    assert torch.allclose(gate.gate(x, slope).reshape(3, 4), gate.gate(-x, -slope).reshape(3, 4))
    assert "statistic='l2'" in repr(gate)
    with pytest.raises(ValueError, match="'std' needs at least one spatial dimension"):
        StepNet(4, 2, statistic="std").gate(x, slope)


def test_a_bare_stage_is_refined_as_a_part_of_a_network_is():
    torch.manual_seed(0)
    stage, x = Stage([nn.Conv2d(2, 2, 3, padding=1) for _ in range(2)], PerStep([SE(2), SE(2)])), torch.randn(2, 2, 4, 4)
    whole = nn.Sequential(stage)
    for substeps in (1, 3):
        assert torch.equal(refine(stage, substeps)(x), refine(whole, substeps)(x))
    torch.testing.assert_close(refine(stage, 1)(x), stage.eval()(x))


# Laws


def test_a_learned_law_needs_a_span():
    law = LearnedStep(CONTROLLERS["pi42"], torch.zeros(2, 16, dtype=KIND))
    seen = Observation(0, 0.0, torch.ones(2, 3), torch.ones(2, 3), 0.25, None, None, None, None, 1.0, None)
    assert law(seen, None) == (0.25, None)  # a grid owns the clock
    with pytest.raises(ValueError, match="reads the last try, which only a span"):
        features(seen, 2.0, torch.ones(2), torch.ones(2), 1.0, (), None)


def test_a_resumed_law_accepts_as_the_one_inside():
    class Strict(ob.control.Controller):
        def __call__(self, seen, memory):
            return seen.h, memory

        def accepts(self, error, memory):
            return error <= 0.1

    error = torch.tensor([0.05, 0.5, 2.0])
    assert Resumed(Strict(), None).accepts(error, None).tolist() == [True, False, False]


# Training


def test_variants_are_found_by_a_pattern():
    assert list_variants() == list(RECIPES)
    assert set(list_variants("*node")) == {n for n in RECIPES if n.endswith("node")}


SERIES = DATA["lotka-volterra"](train=4, test=2)
HIDDEN = replace(SERIES, train_mask=torch.ones_like(SERIES.train, dtype=torch.bool))
UNEVEN = replace(SERIES, times=SERIES.times.square())
REFUSED = {
    "labels": (lambda: build_cde(SERIES, 0, 4, 4, "hermite"), "data: 'lotka-volterra' has no labels"),
    "seen in part": (lambda: following(nn.Identity(), None, HIDDEN, ()), "is observed in part; a path"),
    "residuals in part": (lambda: correction_task(None, None, HIDDEN), "is observed in part; residuals"),
    "long windows": (lambda: following(nn.Identity(), None, SERIES, (), 10_000), r"window: must be between 0 .*got 10000"),
    "uneven windows": (lambda: following(nn.Identity(), None, UNEVEN, (), 2), "not evenly spaced; write window=0"),
    "penalties": (
        lambda: RECIPES["sonode"].task("pendulum", regulariser="rnode"), "regulariser: 'rnode' is for classifiers of points"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_recipes_refuse_in_a_sentence(case):
    call, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(("scaled", "log_time"), [(True, True), (False, True)])
def test_the_ablations_of_the_stiff_recipe_change_its_scales_only(scaled, log_time):
    recipe = RECIPES["stiff"]
    task = recipe.task(None, scaled=scaled, log_time=log_time, width=4)
    units = task.model.y_scale
    assert bool((units == 1.0).all()) == (not scaled)
    assert task.model.log_time == log_time
    assert bool((task.model.field.rates == 1.0).all()) == (log_time or not scaled)


def test_a_clipped_loss_without_gradients_is_the_loss():
    net = nn.Linear(1, 1)
    with torch.no_grad():
        assert float(clipped(lambda: 3.0 * net.weight.sum(), net)) == pytest.approx(3.0 * float(net.weight))


def test_muon_leaves_what_has_no_gradient():
    used, spare = nn.Parameter(torch.eye(3)), nn.Parameter(torch.eye(3))
    used.grad = torch.ones(3, 3)
    Muon([used, spare], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(spare, torch.eye(3))
    assert not torch.equal(used, torch.eye(3))


def test_a_device_is_chosen_or_named():
    assert _device("cpu").type == "cpu"
    assert _device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_what_a_policy_refuses_is_told_apart_from_a_failed_solve():
    class Refusing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, error):
            ctx.error = error
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise ctx.error

    x = torch.ones(1, requires_grad=True)
    with pytest.raises(NoGradient, match="drifted"):
        differentiate(Refusing.apply(x, RuntimeError("drifted")).sum())
    with pytest.raises(RuntimeError, match="allocate memory"):
        differentiate(
            Refusing.apply(x, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")).sum()
        )
    sol = ob.integrate(lambda t, x: x * x, torch.ones(1, 1), (0.0, 2.0), throw=False)
    with pytest.raises(ob.SolveError):
        differentiate(Refusing.apply(x, ob.SolveError(sol)).sum())


# Calibration


def test_nothing_measured_is_no_number():
    assert all(np.isnan(v) for v in interval(np.array([np.nan, np.inf])))
    assert interval(np.array([2.0, np.nan, 2.0])) == (2.0, 2.0, 2.0)


@pytest.fixture
def eager(monkeypatch):
    """No kernel for a few instances."""
    monkeypatch.setattr(loads, "integrate", lambda *given, **how: ob.integrate(*given, **{**how, "compile": False}))


@pytest.mark.usefixtures("eager")
def test_a_pooled_gate_is_drawn_by_its_seed():
    load = workload(ob.problems.problem("lotka_volterra").sample(8, 0), (1e-3, 1e-4), None)
    one, same, other = (pooled_of(load, seed) for seed in (3, 3, 4))
    assert torch.equal(one.mix, same.mix)
    assert not torch.equal(one.mix, other.mix)
    split = calibration.split_of("lotka_volterra", 8, (1e-3, 1e-4), 1e-3, 3, "pooled")
    assert split.train.atol_per_rtol == 1e-3
    assert torch.equal(split.train.place.mix, one.mix)


@pytest.mark.usefixtures("eager")
def test_instances_that_cannot_be_solved_are_left_out_and_too_many_refused():
    """x' = a x^2 from 1 is infinite at 1 / a."""

    def family(a):
        a = torch.tensor(a, dtype=KIND)[:, None]
        return ob.Problem(lambda t, x, a: a * x * x, torch.ones(len(a), 1, dtype=KIND), (0.0, 1.0), args=a)

    load = workload(family([0.1, 0.2, 0.3, 0.4, 0.5, 0.1, 0.2, 1.5]), (1e-3, 1e-4), None)
    assert len(load) == 7
    assert load.task.args[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.1, 0.2])
    with pytest.raises(ValueError, match=r"family: 2 of 4 instances cannot be solved at rtol .*shorter span or a narrower"):
        workload(family([0.1, 0.2, 1.5, 1.6]), (1e-3, 1e-4), None)


@pytest.mark.parametrize(("terminal", "expected"), [(True, "\rone\rtwo\n"), (False, "\rtwo\n")])
def test_progress_is_one_line_and_only_its_end_where_it_goes_to_a_file(terminal, expected, capsys, monkeypatch):
    monkeypatch.setattr(calibration.sys.stderr, "isatty", lambda: terminal, raising=False)
    for on in (True, False):
        tell = calibration._Teller(on)
        tell("one")
        tell("two", last=True)
        assert capsys.readouterr().err == (expected if on else "")


# Data


def test_a_picture_that_says_it_is_huge_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path)
    assert folders.decoded(str(path), 8).shape == (8, 8, 3)
    monkeypatch.setattr(folders, "LARGEST", 64 * 64 - 1)
    with pytest.raises(ValueError, match=r"a\.png: is damaged, or no image \(it says it has 64 x 64 pixels\)"):
        folders.decoded(str(path), 8)


def test_memory_that_runs_out_is_not_a_damaged_picture(tmp_path, monkeypatch):
    def full(path):
        raise MemoryError

    monkeypatch.setattr(folders.Image, "open", full)
    with pytest.raises(MemoryError):
        folders.decoded("a.png", 8)


def test_a_hamiltonian_recipe_counts_forces_of_a_separable_energy_and_gradients_of_a_whole_one():
    for energy, method in (("separable", "verlet"), ("any", "rk4")):
        task = RECIPES["hnn"].task("pendulum", energy=energy, method=method, width=4)
        assert task.evaluations()["forward"] > 0


def test_importing_the_command_does_not_run_it(capsys):
    assert callable(importlib.import_module("odebridge.__main__").main)
    assert capsys.readouterr().out == ""

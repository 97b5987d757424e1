"""ODE-RNN and latent ODE: what they see and do not see, and their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import odebridge as ob
from odebridge.nets.node import ODERNN, LatentODE, MLPField, Solver
from odebridge.nets.node.series import Belief

KIND = torch.float64
TIMES = torch.tensor([0.0, 0.2, 0.7, 1.0, 1.6], dtype=KIND)
SOLVERS = [Solver("dopri8", rtol=1e-8, atol=1e-8), Solver("rk4", steps=2), Solver("tsit5", 1e-8, 1e-8, ob.Adjoint())]


class Decay(nn.Module):
    def forward(self, t, h):
        return -h


def values(b=3):
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(b, 5, 2, generator=chance, dtype=KIND)
    mask = torch.rand(b, 5, 2, generator=chance) < 0.5
    mask[0, 2:] = False
    return x, mask


def latent(solver, seed=0):
    torch.manual_seed(seed)
    encoder = ODERNN(2, 4, solver=solver, dtype=KIND)
    return LatentODE(encoder, MLPField(3, (4,), dtype=KIND), nn.Linear(3, 2, dtype=KIND), 3, solver)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.method)
def test_between_observations_the_state_follows_the_ode(solver):
    x, mask = values()
    rnn = ODERNN(2, 4, Decay(), solver, dtype=KIND)
    walked = rnn(TIMES, x, mask)
    faded = walked.after[:, :-1] * torch.exp(-TIMES.diff())[None, :, None]
    assert torch.allclose(walked.before[:, 1:], faded, atol=1e-3 if solver.steps else 1e-7)
    unseen = ~mask.any(-1)
    assert torch.equal(walked.after[unseen], walked.before[unseen])
    assert (walked.after[~unseen] != walked.before[~unseen]).any(-1).all()


def test_what_was_not_observed_does_not_matter():
    x, mask = values()
    other = torch.where(mask, x, 99.0)
    rnn, net = ODERNN(2, 4, solver=SOLVERS[1], dtype=KIND), latent(SOLVERS[1])
    assert torch.equal(rnn(TIMES, x, mask).after, rnn(TIMES, other, mask).after)
    assert torch.equal(net(TIMES, x, mask), net(TIMES, other, mask))
    torch.manual_seed(1)
    one = net.bound(TIMES, x, mask)
    torch.manual_seed(1)
    assert torch.equal(one, net.bound(TIMES, other, mask))


def test_a_state_does_not_look_ahead_but_the_encoder_does():
    x, _ = values()
    later = x.clone()
    later[:, 3:] += 1.0
    rnn, net = ODERNN(2, 4, solver=SOLVERS[1], dtype=KIND), latent(SOLVERS[1])
    one, two = rnn(TIMES, x), rnn(TIMES, later)
    assert torch.equal(one.after[:, :3], two.after[:, :3])
    assert torch.equal(one.before[:, 3], two.before[:, 3])
    assert (net.encode(TIMES, x).mean != net.encode(TIMES, later).mean).all()


def test_a_path_may_be_asked_for_at_other_times():
    x, mask = values()
    net = latent(SOLVERS[0])
    finer = torch.cat([TIMES, TIMES[-1:] + 1.0])
    got = net(TIMES, x, mask, asked=finer)
    assert got.shape == (3, 6, 2)
    assert torch.allclose(got[:, :5], net(TIMES, x, mask), atol=1e-6)


def test_the_divergence_is_that_of_the_distributions():
    belief = Belief(torch.randn(4, 3), 0.3 * torch.randn(4, 3))
    q = torch.distributions.Normal(belief.mean, belief.log_std.exp())
    p = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    assert torch.allclose(belief.divergence(), torch.distributions.kl_divergence(q, p).sum(-1), atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS[:2], ids=lambda s: s.method)
def test_gradients_are_those_of_differences(solver):
    x, mask = values(2)
    net = latent(Solver(solver.method, 1e-10, 1e-10, steps=solver.steps))

    def value():
        torch.manual_seed(3)
        return net.bound(TIMES, x, mask).sum()

    value().backward()
    for p in list(net.parameters())[::2]:
        flat, sides = p.data.view(-1), []
        for move in (1e-4, -2e-4):
            flat[0] += move
            sides.append(float(value().detach()))
        flat[0] += 1e-4
        expected = (sides[0] - sides[1]) / 2e-4
        assert float(p.grad.view(-1)[0]) == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_missing_values_may_be_nan():
    x, mask = values()
    net = latent(SOLVERS[1])
    found = []
    for hidden in (0.0, float("nan")):
        net.zero_grad()
        torch.manual_seed(1)
        net.bound(TIMES, torch.where(mask, x, hidden), mask).sum().backward()
        found.append([p.grad.clone() for p in net.parameters()])
    assert all(map(torch.equal, *found))
    assert all(bool(torch.isfinite(g).all()) for g in found[1])


def test_nothing_observed_leaves_the_belief_of_an_empty_series():
    x, mask = values()
    rnn = ODERNN(2, 4, Decay(), SOLVERS[1], dtype=KIND)
    assert not rnn(TIMES, x, torch.zeros_like(mask)).after.any()  # h = 0 rests
    net = latent(SOLVERS[1])
    one = net.bound(TIMES, x, torch.zeros_like(mask))
    assert torch.allclose(one, net.encode(TIMES, x, torch.zeros_like(mask)).divergence())


def test_one_observation_is_a_series():
    x, _ = values()
    net = latent(SOLVERS[1])
    assert net.encoder(TIMES[:1], x[:, :1]).after.shape == (3, 1, 4)
    assert net(TIMES[:1], x[:, :1], asked=TIMES).shape == (3, 5, 2)


BAD_TIMES = [
    (TIMES[[0, 1, 1, 3, 4]], "merge"),
    (TIMES[[0, 2, 1, 3, 4]], "rise"),
    (TIMES[:4], r"shape \(5,\)"),
    (TIMES.expand(3, 5), "shared by the batch"),
]


@pytest.mark.parametrize(("times", "says"), BAD_TIMES, ids=["twice", "unsorted", "too few", "one clock each"])
@pytest.mark.parametrize("solver", [Solver(), SOLVERS[1]], ids=["adaptive", "steps"])
def test_times_that_a_series_cannot_be_read_at_are_refused(times, says, solver):
    x, mask = values()
    with pytest.raises(ValueError, match=says):
        latent(solver)(times, x, mask)


def test_masks_and_noise_are_checked():
    x, mask = values()
    net = latent(SOLVERS[1])
    with pytest.raises(TypeError, match=r"mask\.bool"):
        net(TIMES, x, mask.double())
    with pytest.raises(ValueError, match="shape of the values"):
        net(TIMES, x, mask[..., :1])
    with pytest.raises(ValueError, match="noise"):
        net.bound(TIMES, x, mask, noise=0.0)

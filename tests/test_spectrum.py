"""Stiffness of a Jacobian against matrices whose answer is known, small ones exactly and large ones by Krylov spaces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import odebridge as ob
from odebridge.metrics import log_norm, spectral_radius, spectrum, stiffness_ratio


def linear(matrix: Tensor):
    return lambda t, x: torch.einsum("ij,bj->bi", matrix, x)


def states(n: int, b: int = 3) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(b, n, dtype=torch.float64)


def turned(values: Tensor) -> Tensor:
    torch.manual_seed(1)
    q, _ = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))
    return q @ torch.diag(values) @ q.T


def test_a_linear_field_has_the_eigenvalues_of_its_matrix() -> None:
    f = linear(turned(torch.tensor([-1000.0, -3.0, -0.5, 2.0], dtype=torch.float64)))
    x = states(4)
    torch.testing.assert_close(spectral_radius(f, 0.0, x), torch.full((3,), 1000.0, dtype=torch.float64))
    torch.testing.assert_close(log_norm(f, 0.0, x), torch.full((3,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(stiffness_ratio(f, 0.0, x), torch.full((3,), 2000.0, dtype=torch.float64))


def test_every_trajectory_has_its_own_jacobian_at_its_own_time() -> None:
    def f(t, x):
        return -x * x * t[:, None]

    x, t = torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.tensor([1.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(spectral_radius(f, t, x), torch.tensor([2.0, 20.0], dtype=torch.float64))
    torch.testing.assert_close(log_norm(f, t, x), torch.tensor([-2.0, -20.0], dtype=torch.float64))


def test_invariants_are_no_slow_rates_and_rotations_do_not_decay() -> None:
    robertson = ob.problems.problem("robertson").batched()
    x = torch.tensor([[0.5, 1e-5, 0.5]], dtype=torch.float64)
    rates = stiffness_ratio(lambda t, y: robertson.field(t, y, robertson.args), 0.0, x)
    assert 1e3 < float(rates) < 1e8  # and not infinite, for the mass that is kept
    spin = linear(torch.tensor([[0.0, 2.0], [-2.0, 0.0]], dtype=torch.float64))
    assert torch.isnan(stiffness_ratio(spin, 0.0, states(2))).all()
    torch.testing.assert_close(spectral_radius(spin, 0.0, states(2)), torch.full((3,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(log_norm(spin, 0.0, states(2)), torch.zeros(3, dtype=torch.float64))


def test_a_bad_jacobian_belongs_to_its_trajectory() -> None:
    def f(t, x):
        return -torch.sqrt(x)

    x = torch.tensor([[4.0], [0.0]], dtype=torch.float64)  # infinite slope at 0
    for index in (spectral_radius, log_norm, stiffness_ratio):
        value = index(f, 0.0, x)
        assert torch.isfinite(value[0])
        assert torch.isnan(value[1])


@pytest.mark.parametrize("largest", [-50.0, 40.0])
def test_krylov_spaces_find_what_the_whole_matrix_has(monkeypatch: pytest.MonkeyPatch, largest: float) -> None:
    values = torch.cat([torch.linspace(-10.0, 5.0, 99, dtype=torch.float64), torch.tensor([largest], dtype=torch.float64)])
    f, x = linear(turned(values)), states(100)
    whole = spectral_radius(f, 0.0, x), log_norm(f, 0.0, x)
    monkeypatch.setattr(spectrum, "EXACT", 10)
    torch.testing.assert_close(spectral_radius(f, 0.0, x), whole[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(log_norm(f, 0.0, x), whole[1], rtol=1e-2, atol=0)
    with pytest.raises(ValueError, match="all eigenvalues"):
        stiffness_ratio(f, 0.0, x)


def test_a_block_of_a_network_is_a_field_too() -> None:
    torch.manual_seed(0)
    block = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3, padding=1), torch.nn.Tanh())
    x = torch.randn(2, 2, 4, 4)
    radius = spectral_radius(lambda t, y: block(y), 0.0, x)
    jac = torch.stack([torch.func.jacrev(lambda y: block(y[None])[0])(v).reshape(32, 32) for v in x])
    torch.testing.assert_close(radius, torch.linalg.eigvals(jac).abs().amax(1), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="batch"):
        spectral_radius(lambda t, y: -y, 0.0, torch.zeros(3))

"""Stiff kinetics as series: Robertson and POLLU, made by our own solver at tolerances far below what a network can reach."""

from __future__ import annotations

import math
from functools import cache

import torch

from odebridge.data.base import Series
from odebridge.integrate import At, integrate
from odebridge.problems import problem

TIMES = 50  # to train on; as many less one lie between them to test on


def robertson(seed: int = 0) -> Series:  # noqa: ARG001 - every set has a seed
    """Robertson's three species from (1, 0, 0): 50 times from 1e-5 to 1e5, evenly spaced in log t, and the 49 between them.

    One trajectory, n = m = 1, (1, 99, 3): the training mask is True at every other time, the test mask at the others. The seed
    changes nothing. Source: Kim, Ji, Deng, Ma & Rackauckas, Stiff neural ODEs, Chaos 31 (2021) 093122.
    Caveat: b is of the order 1e-5, so an error must be judged in units of each species' range. Use: `data = robertson()`.
    """
    return _series("robertson", ("a", "b", "c"), 1e-5, 1e5, 1e-14)


def pollu(seed: int = 0) -> Series:  # noqa: ARG001
    """POLLU's twenty species: 50 times from 1e-6 to 60 minutes, evenly spaced in log t, and the 49 between them.

    Masks as in `robertson`, (1, 99, 20). The seed changes nothing. Source: Verwer, SIAM J. Sci. Comput. 15 (1994) 1243; as a
    set to learn, Kim et al. 2021. Caveat: the ranges of the species span 17 decades. Use: `data = pollu()`.
    """
    return _series("pollu", tuple(f"y{i}" for i in range(1, 21)), 1e-6, 60.0, 1e-22)


def _series(name: str, components: tuple[str, ...], first: float, last: float, atol: float) -> Series:
    times, xs = (v.clone() for v in _solved(name, first, last, atol))
    seen = (torch.arange(len(times)) % 2 == 0)[None, :, None].expand_as(xs)
    return Series(times, xs, xs.clone(), name, components, train_mask=seen, test_mask=~seen)


@cache
def _solved(name: str, first: float, last: float, atol: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Times and states, made once in a process."""
    one = problem(name).batched()
    times = torch.logspace(math.log10(first), math.log10(last), 2 * TIMES - 1, dtype=torch.float64)
    times[0], times[-1] = first, last  # logspace rounds
    span = (0.0, last)
    sol = integrate(
        one.field, one.x0, span, args=one.args, jacobian=one.jacobian, method="radau9", rtol=1e-9, atol=atol, save=At(times)
    )
    assert isinstance(sol.xs, torch.Tensor)
    return times, sol.xs

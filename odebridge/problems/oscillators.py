"""Oscillators: van der Pol (stiff), Lotka-Volterra, Duffing (forced), and the chaotic ones of Lorenz and Rossler."""

# ruff: noqa: ARG001 - every field and Jacobian has the same arguments, used or not

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from odebridge.problems.base import Problem
from odebridge.problems.build import computed, from_terms
from odebridge.problems.componentwise import Field, Jacobian, cos
from odebridge.problems.spread import Spread

_VDPOL_SOURCE = "IVP test set 2.4 (Mazzia & Magherini 2008), VDPOL; van der Pol, Philos. Mag. 2 (1926) 978"


def _vdpol(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    x, v = y
    (mu,) = p
    return v, mu * ((1 - x * x) * v) - x


def _vdpol_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    x, v = y
    (mu,) = p
    return (0.0, 1.0), (-2 * mu * x * v - 1, mu * (1 - x * x))


def _vdpol_scaled(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    x, z = y
    (mu,) = p
    return z, mu * mu * ((1 - x * x) * z - x)


def _vdpol_scaled_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    x, z = y
    (mu,) = p
    return (0.0, 1.0), (-mu * mu * (2 * x * z + 1), mu * mu * (1 - x * x))


def _vdpol_period(mu: float) -> float:
    """Period of the limit cycle within a tenth: two terms of the expansion for small or for large mu."""
    return 2 * math.pi * (1 + mu * mu / 16) if mu < 3 else (3 - 2 * math.log(2)) * mu + 7.014 / mu ** (1 / 3)


def van_der_pol(mu: float = 1000.0, *, scaled: bool = False, mu_range: tuple[float, float] | None = None) -> Problem:
    """Van der Pol's oscillator, x'' = mu (1 - x^2) x' - x, as x' = v, v' = mu (1 - x^2) v - x; args = (mu).

    With scaled=True time is t / mu and z = mu v, the form the test set prints: x' = z, z' = mu^2 ((1 - x^2) z - x).
    mu = 1000 is the test set's problem with its reference at t = 2 mu, where the solution creeps along the cycle; for any
    other mu the span is about two periods and there is no reference. `sample` draws mu log-uniformly from mu_range
    (default: half to twice mu) and x0 from a box that falls onto the cycle at once.
    Caveat: the span is that of the nominal mu, so a family with a wide range of mu sees different numbers of periods.
    """
    if not (math.isfinite(mu) and mu > 0):
        raise ValueError(f"van_der_pol: mu is {mu}; write a positive number.")
    low, high = mu_range or (mu / 2, mu * 2)
    if not 0 < low <= high < math.inf:
        raise ValueError(f"van_der_pol: mu_range is {mu_range}; write (low, high) with 0 < low <= high.")
    published = mu == 1000.0
    t1 = 2 * mu if published else 2 * _vdpol_period(mu)
    end = (1.706167732170483, -0.8928097010247975) if scaled else (1.706167732170469, -0.8928097010248125e-3)
    return Problem(
        Field(_vdpol_scaled if scaled else _vdpol),
        torch.tensor([2.0, 0.0], dtype=torch.float64),
        (0.0, t1 / mu if scaled else t1),
        torch.tensor([mu], dtype=torch.float64),
        Jacobian(_vdpol_scaled_rows if scaled else _vdpol_rows),
        name="van_der_pol",
        reference=torch.tensor(end, dtype=torch.float64) if published else None,
        source=_VDPOL_SOURCE,
        digits=13.0 if published else None,
        stiff=mu > 20,
        spread=Spread(x0_add=(0.5, 0.5), args_range=(low, high)),
    )


def _lotka_volterra(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    prey, hunters = y
    a, b, c, d = p
    met = prey * hunters
    return a * prey - b * met, d * met - c * hunters


def _lotka_volterra_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    prey, hunters = y
    a, b, c, d = p
    return (a - b * hunters, -b * prey), (d * hunters, d * prey - c)


def lotka_volterra() -> Problem:
    """Prey and hunters, u' = a u - b u v, v' = d u v - c v; args = (a, b, c, d) = (1.5, 1, 3, 1), from (1, 1) over [0, 10].

    Lotka, Proc. Natl. Acad. Sci. 6 (1920) 410; Volterra, Nature 118 (1926) 558. V = d u - c log u + b v - a log v is conserved.
    Caveat: neutrally stable, so errors never die out and grow with time in phase.
    """
    return Problem(
        Field(_lotka_volterra),
        torch.tensor([1.0, 1.0], dtype=torch.float64),
        (0.0, 10.0),
        torch.tensor([1.5, 1.0, 3.0, 1.0], dtype=torch.float64),
        Jacobian(_lotka_volterra_rows),
        name="lotka_volterra",
        spread=Spread(x0_log=0.3, args_log=0.2),
        **computed("lotka_volterra"),
    )


def _lorenz(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    x, y, z = y
    sigma, rho, beta = p
    return sigma * (y - x), x * (rho - z) - y, x * y - beta * z


def _lorenz_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    x, y, z = y
    sigma, rho, beta = p
    return (-sigma, sigma, 0.0), (rho - z, -1.0, -x), (y, x, -beta)


def lorenz() -> Problem:
    """Lorenz's convection model, x' = sigma (y - x), y' = x (rho - z) - y, z' = x y - beta z; args = (10, 28, 8/3).

    Lorenz, J. Atmos. Sci. 20 (1963) 130. Caveat: errors grow as exp(0.9 t), so the span is [0, 5] only; over [0, 40] two
    correct solvers agree in no digit.
    """
    return Problem(
        Field(_lorenz),
        torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64),
        (0.0, 5.0),
        torch.tensor([10.0, 28.0, 8 / 3], dtype=torch.float64),
        Jacobian(_lorenz_rows),
        name="lorenz",
        spread=Spread(x0_add=5.0, args_log=0.05),
        **computed("lorenz"),
    )


def _rossler(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    x, v, z = y
    a, b, c = p
    return -v - z, x + a * v, b + z * (x - c)


def _rossler_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    x, _, z = y
    a, _, c = p
    return (0.0, -1.0, -1.0), (1.0, a, 0.0), (z, 0.0, x - c)


def rossler() -> Problem:
    """Rossler's folded band, x' = -y - z, y' = x + a y, z' = b + z (x - c); args = (0.2, 0.2, 5.7), from (1, 1, 0).

    Rossler, Phys. Lett. A 57 (1976) 397. Chaotic, though less so than Lorenz: errors grow as exp(0.07 t).
    Caveat: z sleeps near 0.01 and shoots up once a turn, so a loose controller steps over the peak; the span is [0, 20].
    """
    return from_terms(
        "rossler", _rossler, _rossler_rows, (1.0, 1.0, 0.0), 20.0, (0.2, 0.2, 5.7), spread=Spread(x0_add=0.5, args_log=0.05)
    )


def _duffing(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Any]:
    x, v = y
    delta, alpha, beta, force, omega = p
    return v, force * cos(omega * t) - delta * v - alpha * x - beta * (x * x * x)


def _duffing_rows(t: Any, y: Sequence[Any], p: Sequence[Any]) -> Sequence[Sequence[Any]]:
    x, _ = y
    delta, alpha, beta, _, _ = p
    return (0.0, 1.0), (-alpha - 3 * beta * (x * x), -delta)


def duffing() -> Problem:
    """A driven spring with two wells, x'' + delta x' + alpha x + beta x^3 = F cos(omega t), as x' = v; not autonomous.

    args = (delta, alpha, beta, F, omega) = (0.3, -1, 1, 0.5, 1.2), from (1, 0) over [0, 20]. Duffing (1918) Erzwungene
    Schwingungen; these values are in Guckenheimer & Holmes (1983), section 2.2, and chaotic.
    Caveat: which well a trajectory ends in depends on the last digits after some ten periods of the force, so the span is four.
    """
    return from_terms(
        "duffing",
        _duffing,
        _duffing_rows,
        (1.0, 0.0),
        20.0,
        (0.3, -1.0, 1.0, 0.5, 1.2),
        spread=Spread(x0_add=0.5, args_log=0.1),
    )

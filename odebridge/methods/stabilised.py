"""Stabilised explicit Runge-Kutta methods: many cheap stages for diffusion, as many as the spectral radius asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from odebridge.core.protocols import Counts, Step, System
from odebridge.core.result import Result
from odebridge.core.shapes import merge, per_sample, take
from odebridge.methods.implicit import one_clock
from odebridge.methods.spectrum import AGE, Spectrum, power_iteration
from odebridge.methods.weighted import hermite

Radius = Callable[[Tensor, Tensor], Tensor]
DAMPING = 2.0 / 13.0


class _Lanes(NamedTuple):
    """Trajectories that still have stages to come."""

    ids: Int[Tensor, " b"]
    s: Int[Tensor, " b"]
    t: Float[Tensor, " b"]
    dt: Float[Tensor, " b"]
    x: Float[Tensor, "b *s"]
    h: Tensor
    push: Float[Tensor, "b *s"]  # h f(t, x)
    rise: Float[Tensor, "b *s"]  # Y_j - x of the last stage
    rise_before: Float[Tensor, "b *s"]  # and of the one before


@dataclass(frozen=True)
class _Stabilised(ABC):
    """D_j = mu_j D_(j-1) + nu_j D_(j-2) + h (mu~_j f(t + c_(j-1) h, x + D_(j-1)) + gamma~_j f(t, x)),  x1 = x + D_s."""

    radius: Radius | None = None
    most: int = 300
    law: str = "predictive"

    label: ClassVar[str]
    constant: ClassVar[float]  # of the local error h^3 x''' for many stages
    traceable: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return self.label

    @property
    def order(self) -> int:
        """Order of the method."""
        return 2

    @property
    def error_order(self) -> int | None:
        """Order of the error estimate."""
        return 2

    @property
    def dense_order(self) -> int:
        """Order of the interpolant, that of the method."""
        return 2

    def __post_init__(self) -> None:
        if isinstance(self.most, bool) or not isinstance(self.most, int) or not 3 <= self.most <= 2000:
            raise ValueError(f"most: the largest stage number must be a whole number from 3 to 2000, got {self.most!r}.")
        if self.radius is not None and not callable(self.radius):
            raise TypeError(f"radius: must be a function of (t, x) that returns (b,), got {self.radius!r}.")

    @abstractmethod
    def stages(self, reach: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        """The least stage number that is stable for h times the spectral radius, (b,) float64 -> (b,) int64."""

    @abstractmethod
    def bound(self, stages: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The largest h times spectral radius that stage numbers (b,) are used for."""

    @staticmethod
    @abstractmethod
    def coefficients(most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """mu, nu, mu~ and gamma~, (most + 1, most + 1) float64 each, [j, s] = stage j of the method with s stages."""

    def start(self, field: System, t: Any, x: Tensor) -> Spectrum | None:
        """Nothing known yet: the first step estimates."""
        if self.radius is not None:
            return None
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return Spectrum(zero, torch.zeros_like(x), torch.full_like(zero, AGE, dtype=torch.int64), zero > 0.0)

    def restart(self, memory: Spectrum, mask: Bool[Tensor, " b"]) -> Spectrum:
        """After a jump of the field the estimate is stale."""
        return memory._replace(age=torch.where(mask, AGE, memory.age), here=memory.here & ~mask)

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Spectrum | None) -> Step:
        """One step from (t, x) with slope = f(t, x), of as many stages as each trajectory needs."""
        with torch.no_grad():
            radius, memory, spent = self._spectrum(field, one_clock(t, x).detach(), x.detach(), slope.detach(), memory)
            size = torch.as_tensor(h, dtype=x.dtype, device=x.device).detach().abs().expand(x.shape).flatten(1).amax(1)
            reach = size.double() * radius
            limit = self._limit(field, x)
            stages = self.stages(torch.where(torch.isfinite(reach), reach, 0.0).clamp_max(1e12))
            trouble = torch.where(stages > limit, int(Result.STEP_TOO_SMALL), int(Result.OK))
            trouble = torch.where(torch.isfinite(reach), trouble, int(Result.NOT_FINITE))
            stages = torch.where(trouble == int(Result.OK), stages, 0)
        made = self._made(field, t, x, dt, h, slope, stages)
        ahead = None
        if field.tol is not None and made.error is not None:
            share = reach / self.bound(limit)
            if bool((share > 0.1).any()):
                # Where the stages run out the next step is bounded as if by an error that is at tolerance there.
                held = share * share * share
                measured = field.tol.ratio(made.error, x, made.x)
                ahead = merge(measured >= held, made.error, field.tol.weights(x, made.x) * per_sample(held, x))
        kept, retry = memory, memory
        if memory is not None:
            kept = memory._replace(age=memory.age + 1, here=torch.zeros_like(memory.here))
            retry = memory._replace(age=torch.where(memory.here, memory.age, AGE))
        x1 = made.x
        if isinstance(dt, float):  # nobody can try again on a grid: what was not computed must not look as if it was
            x1 = merge(trouble == int(Result.OK), x1, torch.full_like(x1, torch.nan))
        return made._replace(
            x=x1, memory=kept, retry=retry, trouble=trouble, cost=Counts(f_evals=stages + spent), found=stages, ahead=ahead
        )

    def replay(
        self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Any, found: Int[Tensor, " b"]
    ) -> Step:
        """The step with the stage numbers that were found; they are constants for the gradient."""
        return self._made(field, t, x, dt, h, slope, found)._replace(memory=memory)

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """Cubic Hermite."""
        return hermite(x0, step.x, slope0, slope1, h)

    def _limit(self, field: System, x: Tensor) -> Int[Tensor, " b"]:
        """The largest stage number (b,): rounding errors grow with its square and must stay within a tenth of rtol."""
        most = torch.full((len(x),), self.most, dtype=torch.int64, device=x.device)
        if field.tol is None:
            return most
        rtol = field.tol.rtol.double()
        sound = (rtol / (10.0 * torch.finfo(x.dtype).eps)).sqrt().to(torch.int64).clamp_min(3)
        return torch.where(rtol > 0.0, torch.minimum(sound, most), most)

    def _made(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, stages: Int[Tensor, " b"]) -> Step:
        """The step for given stage numbers (b,); 0 leaves a trajectory where it is."""
        push = h * slope
        rise = self._rise(field, one_clock(t, x), x, dt, h, push, stages)
        x1 = x + rise
        slope1 = field(t + dt, x1)
        error = None
        if isinstance(dt, Tensor):  # on a grid nobody reads it
            error = self.constant * (6.0 * (push + h * slope1) - 12.0 * rise)
        return Step(x1, error, slope1)

    def _rise(self, field: System, t: Tensor, x: Tensor, dt: Any, h: Any, push: Tensor, stages: Int[Tensor, " b"]) -> Tensor:
        b, table = len(x), _table(type(self), self.most, x.device)
        dt = dt if isinstance(dt, Tensor) else torch.full_like(t, dt)
        sizes = h if isinstance(h, Tensor) else torch.full((b,) + (1,) * (x.dim() - 1), h, dtype=x.dtype, device=x.device)
        zero = torch.zeros_like(x)
        lanes = _Lanes(torch.arange(b, device=x.device), stages, t, dt, x, sizes.expand(b, *sizes.shape[1:]), push, zero, zero)
        ends, parked = set(stages.tolist()), []
        for j in range(max(ends) + 1):
            if j > 0:
                mu, nu, mu_f, gamma, c = table[j].index_select(1, lanes.s)
                rise = per_sample(mu_f + gamma, x) * lanes.push  # stage 1, where the last slope is the first
                if j > 1:
                    last = field(lanes.t + c * lanes.dt, lanes.x + lanes.rise)
                    old = per_sample(mu, x) * lanes.rise + per_sample(nu, x) * lanes.rise_before
                    rise = old + per_sample(mu_f, x) * (lanes.h * last) + per_sample(gamma, x) * lanes.push
                lanes = lanes._replace(rise=rise, rise_before=lanes.rise)
            if j in ends:  # whoever has had its last stage leaves, so that nobody computes for others
                off, on = (lanes.s == j).nonzero()[:, 0], (lanes.s > j).nonzero()[:, 0]
                parked.append((lanes.ids[off], lanes.rise[off]))
                lanes, field = take(lanes, on), field.take(on)
        order = torch.cat([ids for ids, _ in parked]).argsort()
        return torch.cat([rise for _, rise in parked])[order]

    def _spectrum(
        self, field: System, t: Tensor, x: Tensor, slope: Tensor, memory: Spectrum | None
    ) -> tuple[Float[Tensor, " b"], Spectrum | None, Int[Tensor, " b"]]:
        """The spectral radius (b,), the new memory and the evaluations (b,) that it cost."""
        spent = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        if self.radius is not None:
            given = self.radius(t.to(x.dtype), x)
            if not isinstance(given, Tensor) or given.shape != (len(x),):
                got = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
                raise ValueError(f"radius: must return one number per trajectory, shape ({len(x)},), got {got}.")
            if bool((given < 0).any()):
                raise ValueError(f"radius: is {float(given.min())}; a spectral radius is at least 0.")
            return given.double(), None, spent
        assert memory is not None  # it comes from `start`
        index = (memory.age >= AGE).nonzero()[:, 0]
        if len(index) == 0:
            return memory.radius, memory, spent
        radius, vector, calls = power_iteration(field.take(index), t[index], x[index], slope[index], memory.vector[index])
        known = memory._replace(
            radius=memory.radius.index_copy(0, index, radius),
            vector=memory.vector.index_copy(0, index, vector),
            age=memory.age.index_fill(0, index, 0),
            here=memory.here.index_fill(0, index, True),
        )
        return known.radius, known, spent.index_copy(0, index, calls)


@dataclass(frozen=True)
class RKC2(_Stabilised):
    """Runge-Kutta-Chebyshev: D_j = mu_j D_(j-1) + nu_j D_(j-2) + h (mu~_j F_(j-1) + gamma~_j F_0),  x1 = x + D_s,  order 2.

    The stability polynomial is a shifted Chebyshev polynomial, damped by eps = 2/13: s stages are stable for h rho up to
    0.65 (s^2 - 1) along the negative real axis, rho the spectral radius of df/dx. Each trajectory has its own s, found from
    rho, which a non-linear power iteration estimates at the start, after a rejection and every 25 kept steps, or
    radius(t, x) -> (b,) gives as an upper bound. error = 0.8 (x - x1) + 0.4 h (f0 + f1). `most` bounds s, and so do
    rounding errors, s^2 <= rtol / (10 eps): a try that would need more is rejected before it costs anything, with
    STEP_TOO_SMALL if that goes on, and is NaN on a grid. Shapes: x (b, *s); h a float or whatever multiplies x.
    Source: Sommeijer, Shampine & Verwer, J. Comput. Appl. Math. 88, 1998. ValueError for a `radius` of another shape.
    Caveat: for real negative spectra only, not for oscillation or chemistry; it runs eagerly, as s depends on data.
    Use: `ob.integrate(heat, x0, (0.0, 1.0), method="rkc2")`.
    """

    label: ClassVar[str] = "rkc2"
    constant: ClassVar[float] = 1.0 / 15.0

    def stages(self, reach: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        """1 + floor(sqrt(1 + 1.54 h rho))."""
        return (1.54 * reach + 1.0).sqrt().to(torch.int64) + 1

    def bound(self, stages: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """(s^2 - 1) / 1.54."""
        s = stages.double()
        return (s * s - 1.0) / 1.54

    @staticmethod
    def coefficients(most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """b_j = T_j''(w0) / T_j'(w0)^2, w0 = 1 + eps / s^2, w1 = T_s'(w0) / T_s''(w0); b_0 = b_1 = b_2."""
        s = torch.arange(most + 1).clamp_min(2)
        w0 = 1.0 + DAMPING / (s * s).double()
        one, zero = torch.ones_like(w0), torch.zeros_like(w0)
        value, first, second = [one, w0], [zero, one], [zero, zero]
        for _ in range(2, most + 1):
            value.append(2.0 * w0 * value[-1] - value[-2])
            first.append(2.0 * w0 * first[-1] - first[-2] + 2.0 * value[-2])
            second.append(2.0 * w0 * second[-1] - second[-2] + 4.0 * first[-2])
        T, T1, T2 = torch.stack(value), torch.stack(first), torch.stack(second)
        w1 = (T1.gather(0, s[None]) / T2.gather(0, s[None]))[0]
        b = T2[2:] / (T1[2:] * T1[2:])
        b = torch.cat([b[:1], b[:1], b])
        mu, nu = torch.zeros_like(b), torch.zeros_like(b)
        mu[2:], nu[2:] = 2.0 * w0 * b[2:] / b[1:-1], -b[2:] / b[:-2]
        mu_f = mu * w1 / w0
        mu_f[1] = b[1] * w1
        gamma = torch.zeros_like(b)
        gamma[2:] = -(1.0 - b[1:-1] * T[1:-1]) * mu_f[2:]
        return mu, nu, mu_f, gamma


@dataclass(frozen=True)
class RKL2(_Stabilised):
    """Runge-Kutta-Legendre: D_j = mu_j D_(j-1) + nu_j D_(j-2) + h (mu~_j F_(j-1) + gamma~_j F_0),  x1 = x + D_s,  order 2.

    As `RKC2` but with Legendre polynomials, which damp by themselves and keep convex sums of neighbours convex (fewer
    wiggles): s stages, odd, are stable for h rho up to (s^2 + s - 2) / 2. error = 2/3 (x - x1) + 1/3 h (f0 + f1), the
    estimate of RKC with this method's error constant 1/18. All else as there: `radius`, `most`, shapes, errors, caveats.
    Source: Meyer, Balsara & Aslam, J. Comput. Phys. 257, 2014. Use: `ob.integrate(heat, x0, (0.0, 1.0), method="rkl2")`.
    """

    label: ClassVar[str] = "rkl2"
    constant: ClassVar[float] = 1.0 / 18.0

    def stages(self, reach: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        """The least odd s >= (sqrt(9 + 8 h rho) - 1) / 2."""
        return ((((9.0 + 8.0 * reach).sqrt() - 1.0) / 2.0).ceil().to(torch.int64) | 1).clamp_min(3)

    def bound(self, stages: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """(s^2 + s - 2) / 2 for the largest odd number up to s."""
        s = (stages - 1 + stages % 2).double()
        return (s * s + s - 2.0) / 2.0

    @staticmethod
    def coefficients(most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """b_j = (j^2 + j - 2) / (2 j (j + 1)), w1 = 4 / (s^2 + s - 2); b_0 = b_1 = 1/3 = b_2."""
        j = torch.arange(2, most + 1).double()[:, None]
        s = torch.arange(most + 1).clamp_min(2).double()
        w1 = 4.0 / (s * s + s - 2.0)
        b = (j * j + j - 2.0) / (2.0 * j * (j + 1.0))
        b = torch.cat([b[:1], b[:1], b])
        mu, nu = torch.zeros(most + 1, most + 1).double(), torch.zeros(most + 1, most + 1).double()
        mu[2:], nu[2:] = (2.0 * j - 1.0) / j * b[2:] / b[1:-1], -(j - 1.0) / j * b[2:] / b[:-2]
        mu_f = mu * w1
        mu_f[1] = b[1] * w1
        gamma = torch.zeros_like(mu)
        gamma[2:] = -(1.0 - b[1:-1]) * mu_f[2:]
        return mu, nu, mu_f, gamma


@lru_cache(maxsize=16)
def _table(kind: type[_Stabilised], most: int, device: torch.device) -> Float[Tensor, "j 5 s"]:
    """mu, nu, mu~, gamma~ of stage j and the abscissa of stage j - 1, for every s; made once in float64, then looked up."""
    mu, nu, mu_f, gamma = kind.coefficients(most)
    c = torch.zeros_like(mu)
    for j in range(1, most + 1):
        c[j] = mu[j] * c[j - 1] + nu[j] * c[j - 2] + mu_f[j] + gamma[j] if j > 1 else mu_f[j]
    before = torch.cat([torch.zeros_like(c[:1]), c[:-1]])
    return torch.stack([mu, nu, mu_f, gamma, before], 1).to(device)

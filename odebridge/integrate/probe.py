"""The first calls of a field: mistakes that would be a silent wrong answer later are told in a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor

from odebridge.core.shapes import real_dtype
from odebridge.core.told import outside
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.system import BoundField, check_output, version

LOOK = 16  # trajectories that the field is tried on
MISFITS = (RuntimeError, ValueError, TypeError, IndexError)  # what a tensor of another batch raises, not the user's own kinds


def clock(f: BoundField, t0: Tensor, t1: Tensor, x0: Tensor, slope: Tensor, tol: Tolerance) -> None:
    """The field gets its time in the dtype of x0: warn where that is too coarse for the tolerance, refuse where it is hopeless.

    A field that does not look at the time has nothing to lose; it is asked once more, at another time.
    """
    kind, span = real_dtype(x0), (t1 - t0).detach().abs()
    unit = torch.finfo(kind).eps * torch.maximum(t0.detach().abs(), t1.detach().abs())
    coarse = (span > 0.0) & (unit > tol.rtol.double().clamp_min(100 * torch.finfo(kind).eps) * span)
    if kind == torch.float64 or not bool(coarse.any()):
        return
    with torch.no_grad():
        moved = f(t0.detach() + torch.maximum(0.5 * span, 64.0 * unit), x0.detach())
    if torch.equal(moved, slope.detach()):
        return
    i = int(coarse.nonzero()[0, 0])
    words = (
        f"over: the field gets the time as {str(kind).removeprefix('torch.')}, which near t={float(t1[i]):.6g} tells times no "
        f"closer than {float(unit[i]):.2g} apart, in a span of {float(span[i]):.3g}; write x0.double(), or count time from t0."
    )
    if bool((coarse & (unit > 0.01 * span)).any()):
        raise ValueError(words)
    warnings.warn(words, RuntimeWarning, stacklevel=outside())


def first_slope(f: BoundField, t0: Tensor, t1: Tensor, x0: Tensor) -> Tensor:
    """f(t0, x0), with the mistakes that the first calls show told in a sentence."""
    try:
        slope = f(t0.clone(), x0)
    except RuntimeError as error:
        if "must match" not in str(error):
            raise
        raise ValueError(
            f"field: shapes do not match ({error}). x has shape {tuple(x0.shape)} and t {tuple(t0.shape)}: to multiply a "
            "state (b, n) by time write t[:, None] * x, by a parameter (b,) p[:, None] * x; nothing is broadcast."
        ) from error
    with unwritten(slope), torch.no_grad():
        if len(x0) > 1:
            _same_alone(f, t0.detach(), t1.detach(), x0.detach(), slope.detach())
        elif _apart(f(t0.clone(), x0), slope, x0):
            raise ValueError(RANDOM)
    return slope


RANDOM = (
    "field: gives another slope at the same time and state when it is called again. It is random (dropout, noise; write "
    "model.eval(), or draw the noise once and pass it as args=...) or remembers its calls; a step needs a function of (t, x)."
)
COUPLED = (
    "field: the slope of trajectory {} depends on the others in the batch. Either trajectories are coupled (batch norm in "
    "training mode, a sum over dim 0), or t of shape (b,) is broadcast along the wrong axis or read for one of them (write "
    "t[:, None]), or the field is random (dropout), or it captured a (b, ...) tensor (pass it as args=...)."
)


@contextmanager
def unwritten(slope: Tensor) -> Generator[None]:
    """Calls of the field in here must not write into what an earlier one has returned."""
    written = version(slope)
    yield
    if version(slope) != written:
        raise ValueError("field: writes every result into the same tensor, and a step needs several of them; return a new one.")


def _apart(one: Tensor, other: Tensor, x: Tensor) -> bool:
    """Do two slopes that should be equal differ by more than another order of summation explains?"""
    scale = other.abs().amax() + x.abs().amax()
    allowed = 1e3 * torch.finfo(x.dtype).eps ** 0.75 * scale
    return bool(torch.isfinite(scale)) and bool((one - other).abs().amax() > allowed)


def _same_alone(f: BoundField, t: Tensor, t1: Tensor, x: Tensor, slope: Tensor) -> None:
    """A slope must not change when the other trajectories leave, nor when they are elsewhere at another time.

    Trajectory 0 is asked at its start, alone and in company; the last one at its end, where the others are on their way.
    """
    one = torch.zeros(1, dtype=torch.int64, device=x.device)
    try:
        alone = f.take(one)(t[:1], x[:1])
    except Exception as error:
        if type(error) not in MISFITS:
            raise
        raise ValueError(
            f"field: fails for trajectory 0 alone ({type(error).__name__}: {error}). Finished trajectories leave the batch, "
            "so a tensor of shape (b, ...) must not be captured by the field: pass it as args=..., and write f(t, x, args)."
        ) from error
    check_output(alone, x[:1])
    # Equal rows and equal times hide coupling and a wrong broadcast of t, so the others are moved for one more look.
    # A few of them are enough; all of them where the batch may be as long as a state, so that times could be spread over it.
    some = f if len(x) <= 2 * LOOK else f.take(torch.arange(LOOK, device=x.device))
    x, t = (x, t) if some is f else (x[:LOOK], t[:LOOK])
    away = torch.arange(len(x), device=x.device) / (len(x) - 1)
    later = t + away * (t1[: len(x)] - t)
    moved_x = x * (1.0 + 0.01 * (away > 0).to(x.dtype).reshape(-1, *(1,) * (x.dim() - 1)))
    try:
        moved = some(later, moved_x)
    except Exception as error:
        if some is f or type(error) not in MISFITS:
            raise
        raise ValueError(
            f"field: fails for the first {LOOK} trajectories alone ({type(error).__name__}: {error}). Finished trajectories "
            "leave the batch: pass a tensor of shape (b, ...) as args=..., and multiply by t of shape (b,) as t[:, None]."
        ) from error
    if _apart(alone, slope[:1], x[:1]) or _apart(moved[:1], slope[:1], x[:1]):
        raise ValueError(COUPLED.format(0))
    last = some.take(one + (len(x) - 1))(later[-1:], moved_x[-1:])
    if _apart(last, moved[-1:], moved_x[-1:]):
        raise ValueError(COUPLED.format(len(x) - 1))

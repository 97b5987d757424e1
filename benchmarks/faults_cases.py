"""The 42 bad inputs and hard problems of benchmarks/faults.py, with the words by which an answer names the cause."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch


class Case(NamedTuple):
    """y' = f(t, y, xp) of one system, xp numpy or torch. right: the end value; None: no answer is right but a failure told."""

    name: str
    f: Callable[..., Any]
    y0: Any = (1.0,)
    t: Any = (0.0, 1.0)
    words: str = ""
    right: Any = None
    rtol: Any = 1e-6
    atol: Any = 1e-9
    tolerance: float = 1e-3
    dtype: str = "float64"


def decay(t: Any, y: Any, xp: Any) -> Any:
    """Y' = -y."""
    return -y


def noise(t: Any, y: Any, xp: Any) -> Any:
    """Another value every time."""
    return -y + 1e-3 * (np.random.randn(*y.shape) if xp is np else torch.randn(y.shape, dtype=y.dtype))


def edits(t: Any, y: Any, xp: Any) -> Any:
    """Changes what it is given."""
    y *= 1.5
    return -y


def raises(t: Any, y: Any, xp: Any) -> Any:
    """An error of the user's own, late."""
    if t > 0.5:
        raise ZeroDivisionError("mine")
    return -y


def late(value: Any) -> Callable[..., Any]:
    """-y up to t = 0.5, then -y times the value."""
    return lambda t, y, xp: -y * (value if t > 0.5 else 1.0)


E, N = math.exp(-1.0), float("nan")
THREE = (1.0, 2.0, 3.0)
CASES = [
    Case("an honest decay", decay, right=[E]),
    Case("backward in time", decay, t=(1.0, 0.0), right=[math.e]),
    Case("times not sorted", decay, t=(0.0, 2.0, 1.0), words="sort increas monoton order"),
    Case("the same time twice", decay, t=(0.0, 0.5, 0.5, 1.0), words="increas monoton dupl sort", right=[E]),
    Case("nan in the times", decay, t=(0.0, N), words="nan finite"),
    Case("an infinite end", decay, t=(0.0, math.inf), words="inf finite"),
    Case("a span of no length", decay, t=(0.0, 0.0), words="increas monoton length", right=[1.0]),
    Case("nan in the start", decay, y0=(N,), words="nan finite"),
    Case("inf in the start", decay, y0=(math.inf,), words="inf finite"),
    Case("an empty start", decay, y0=(), words="empty size shape component", right=[]),
    Case("a start of whole numbers", decay, y0=(1,), words="int float dtype", right=[E], dtype="int64"),
    Case("a start in float16", decay, words="float16 dtype digits Half", right=[E], rtol=1e-3, atol=1e-3,
         dtype="float16", tolerance=2e-2),
    Case("float32 with rtol 1e-12", decay, words="float32 rtol toler", right=[E], rtol=1e-12, atol=0.0, dtype="float32"),
    Case("rtol = atol = 0", decay, words="toler rtol atol", rtol=0.0, atol=0.0),
    Case("rtol below 0", decay, words="rtol toler", rtol=-1e-3),
    Case("atol below 0", decay, words="atol toler", atol=-1e-3),
    Case("rtol nan", decay, words="rtol toler", rtol=N),
    Case("atol nan", decay, words="atol toler", atol=N),
    Case("rtol inf", decay, words="rtol toler", rtol=math.inf),
    Case("rtol as text", decay, words="rtol toler", rtol="1e-3"),
    Case("rtol 1e-20", decay, words="rtol toler", right=[E], rtol=1e-20, atol=1e-30),
    Case("one slope for three", lambda t, y, xp: -y[:1], THREE, words="shape size broadcast"),
    Case("a number for three slopes", lambda t, y, xp: -y.sum(), THREE, words="shape size broadcast dimension"),
    Case("two slopes for three", lambda t, y, xp: -y[:2], THREE, words="shape size broadcast"),
    Case("no slope", lambda t, y, xp: None, words="None"),
    Case("text as slope", lambda t, y, xp: "a", words="str text"),
    Case("a field that raises", raises, words="mine"),
    Case("a field that edits its input", edits, words="in place input read-only", right=None),
    Case("a random field", noise, words="random determin", rtol=1e-8),
    Case("nan from the start", lambda t, y, xp: y * N, words="nan finite"),
    Case("inf from the start", lambda t, y, xp: y * math.inf, words="inf finite"),
    Case("nan from t = 0.5", late(N), words="nan finite"),
    Case("inf from t = 0.5", late(math.inf), words="inf finite"),
    Case("the root below 0", lambda t, y, xp: -xp.sqrt(y), t=(0.0, 5.0), words="nan finite"),
    Case("a pole on the way", lambda t, y, xp: y * y, t=(0.0, 2.0), words="step blow"),
    Case("a pole of third order", lambda t, y, xp: y**3, t=(0.0, 2.0), words="step blow"),
    Case("chatter", lambda t, y, xp: -xp.sign(y), t=(0.0, 2.0), words="step max", right=[0.0]),
    Case("chatter, tight", lambda t, y, xp: -xp.sign(y - 0.3), t=(0.0, 2.0), words="step max", right=[0.3], rtol=1e-10,
         atol=1e-12),
    Case("stiff, by an explicit method", lambda t, y, xp: -1e7 * (y - math.cos(float(t))), words="stiff",
         right=[math.cos(1.0)]),
    Case("a clock of 1e17", decay, t=(1e17, 1e17 + 32.0), words="step clock spacing resol underflow"),
    Case("float32 at t = 1e8", lambda t, y, xp: 0 * y + xp.cos(t), (0.0,), (1e8, 1e8 + 8.0),
         "float32 clock resol step spacing underflow", right=[math.sin(1e8 + 8.0) - math.sin(1e8)], dtype="float32"),
    Case("times of text", decay, t=("a", "b"), words="t must number time float"),
]  # fmt: skip

"""How the report calls things, and numbers as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

DASH = "\N{EN DASH}"
METHODS = {
    "rodas5p": "Rodas5P",
    "dopri5": "Dopri5",
    "tsit5": "Tsit5",
    "radau5": "Radau5",
    "euler": "Euler",
    "heun": "Heun",
    "rosenbrock23": "Rosenbrock23",
    "rk4": "RK4",
    "dopri8": "Dopri8",
    "rodas4": "Rodas4",
    "tr_bdf2": "TR-BDF2",
    "kvaerno3": "Kvaerno3",
    "kvaerno5": "Kvaerno5",
    "kencarp4": "KenCarp4",
    "bdf": "BDF",
    "auto": "auto",
}
LIBRARIES = {"scipy": "SciPy", "sundials": "SUNDIALS CVODE"}
CONTROLLERS = {
    "fixed": "constant step",
    "constant": "learned constant",
    "se": "SE",
    "stepnet": "StepNet (reconstruction)",
}
GATES = {  # the same where more of them are compared
    "untrained": "untrained, step 1",
    "fixed": "step 1",
    "half": "step 1/2",
    "constant": "learned constant",
    "se": "SE",
    "eca": "ECA",
    "srm": "SRM",
    "stepnet": "StepNet (reconstruction)",
}
PROBLEMS = {
    "robertson": "Robertson", "van_der_pol": "van der Pol, µ = 1000", "hires": "HIRES", "orego": "Oregonator", "pollu": "POLLU",
    "chemical_akzo_nobel": "chemical Akzo Nobel", "medical_akzo_nobel": "medical Akzo Nobel", "stiff_d6": "STIFF D6",
    "brusselator_1d": "Brusselator in 1D", "burgers": "Burgers", "lotka_volterra": "Lotka-Volterra", "lorenz": "Lorenz",
    "henon_heiles": "Hénon-Heiles", "arenstorf": "Arenstorf", "fitzhugh_nagumo": "FitzHugh-Nagumo",
}  # fmt: skip


def problem(name: str) -> str:
    """How a problem of the catalogue is called where people read."""
    return PROBLEMS.get(name, name)


def method(name: str) -> str:
    """Rodas5P, SciPy Radau, diffrax Kvaerno5 (corrected) ..."""
    library, _, inner = name.partition(":")
    inner = f"{inner.removesuffix('+fix')} (corrected)" if inner.endswith("+fix") else inner
    return f"{LIBRARIES.get(library, library)} {inner}" if inner else METHODS.get(name, name)


def number(value: Any, figures: int = 3) -> str:
    """A number in a table or a sentence; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e6):
        return f"{int(value):,}".replace(",", "\u202f")  # a narrow space between thousands
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, figures - 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}"
    mantissa, exponent = f"{value:.{figures - 1}e}".split("e")
    return f"{mantissa}·10{_raised(int(exponent))}"


def seconds(value: float | None) -> str:
    """12 ms, 3.4 s."""
    if value is None:
        return DASH
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{number(value / size, 2 if value / size < 100 else 3)} {unit}"
    return f"{number(value * 1e6, 2)} µs"


def power(rtol: float) -> str:
    """1e-6 as 10⁻⁶ where it is a power of ten."""
    exponent = round(math.log10(rtol))
    return f"10{_raised(exponent)}" if math.isclose(rtol, 10.0**exponent) else number(rtol)


def listed(items: Iterable[str]) -> str:
    """a, b and c."""
    words = list(items)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def signed(value: float | None, digits: int = 2) -> str:
    """+0.43, as a difference is read; a dash where there is none."""
    return DASH if value is None or not math.isfinite(value) else f"{value:+.{digits}f}"


def between(mean: float, low: float, high: float, digits: int = 2) -> str:
    """A difference with its interval: +0.43 [+0.20, +0.66]."""
    if not math.isfinite(low):
        return signed(mean, digits)
    return f"{signed(mean, digits)} [{signed(low, digits)}, {signed(high, digits)}]"

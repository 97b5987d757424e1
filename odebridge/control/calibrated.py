"""A law that was calibrated on a family of problems: where it holds, how it was found, and how it is kept."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from odebridge.control.base import Controller
from odebridge.control.catalogue import CONTROLLERS
from odebridge.control.classical import Filter
from odebridge.control.features import FEATURES
from odebridge.control.learned import LearnedStep, Place
from odebridge.core.files import digest_of, parsed, write_atomic
from odebridge.core.protocols import Observation, StepController
from odebridge.core.tolerance import Tolerance

FORMAT = 1
SIZES = ("safety", "lowest", "highest", "floor", "threshold", "retry_safety", "scale")  # numbers of a filter that are positive
SLACK = 1.5  # how far outside the calibrated tolerances the gate still speaks, as a factor


@dataclass(frozen=True, eq=False)
class Calibrated(Controller):
    """The law that `ob.calibrate` found best on a family, learned or classical.

    law: the controller itself. method: whose error estimate it was calibrated with. rtols: loosest and tightest tolerance
    of the calibration; outside, a learned law is silent, trajectory by trajectory: its classical part answers alone, with a
    warning. report: how it was found and what it gives, plain values. ValueError for a state of another size than the
    family's, or another order of the error estimate. States x (b, *s), errors (b,).
    Caveat: it knows one family; on other problems it may be worse than a classical law.
    Use: `law = ob.calibrate("orego"); law.save("orego.json"); ob.solve("orego", method="rodas5p", controller=law)`.
    """

    law: StepController
    method: str
    order: int  # of the error estimate
    rtols: tuple[float, float]
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def traces_as(self) -> Any:
        """In a kernel it is its law."""
        return self.law

    @property
    def learned(self) -> bool:
        """Whether a gate is in it, or the classical law was better."""
        return isinstance(self.law, LearnedStep)

    def start(self, x: Tensor, tol: Tolerance | None) -> Any:
        """The memory of the law."""
        law = self.law
        if not isinstance(law, LearnedStep) or tol is None:
            return law.start(x, tol)
        if law.place is not None and x[0].numel() != len(law.place.size):
            raise ValueError(
                f"controller: was calibrated for states of {len(law.place.size)} numbers, and x0 has {x[0].numel()}; "
                "calibrate for this problem, or with state=False."
            )
        loose, tight = max(self.rtols), min(self.rtols)
        outside = (tol.rtol.double() > loose * SLACK) | (tol.rtol.double() < tight / SLACK)
        if not torch.compiler.is_compiling() and bool(outside.any()):
            which = float(tol.rtol[outside][0])
            warnings.warn(
                f"controller: was calibrated for rtol {tight:g} to {loose:g}, and rtol is {which:g}; there its classical part "
                f"answers alone. Calibrate with rtols=({loose:g}, {min(which, tight):g}) to have the gate.",
                RuntimeWarning,
                stacklevel=2,
            )
        return law.begun(x, tol, outside)

    def __call__(self, seen: Observation, memory: Any) -> tuple[Any, Any]:
        """As the law."""
        if isinstance(seen.order, int) and isinstance(seen.h, Tensor) and seen.order != self.order:
            raise ValueError(
                f"controller: was calibrated with {self.method!r}, whose error estimate has order {self.order}, and this "
                f"method's has {seen.order}; use method={self.method!r} or calibrate for this one."
            )
        return self.law(seen, memory)

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """As the law."""
        return self.law.accepts(error, memory)

    def save(self, path: str | Path) -> Path:
        """Write it as JSON with a checksum, whole or not at all; returns the path. Floats keep every bit."""
        path = Path(path)
        page = {
            "format": FORMAT, "kind": "controller", "law": _written(self.law), "method": self.method, "order": self.order,
            "rtols": list(self.rtols), "report": dict(self.report),
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({**page, "sha256": digest_of(page)}, indent=1, allow_nan=False).encode())
        return path

    def __str__(self) -> str:
        return str(self.report.get("text", f"Calibrated({self.law!r})"))


def load(path: str | Path) -> Calibrated:
    """A controller that was saved by `Calibrated.save`, to the bit.

    FileNotFoundError if there is none; ValueError, in a sentence, for a file that is damaged or something else.
    Use: `law = ob.control.load("orego.json")`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; a calibrated controller is written by its save(path).")
    damaged = f"{path}: is damaged, or not a controller saved by odebridge."
    try:
        page = parsed(path.read_bytes())
    except ValueError as error:  # JSON and UTF-8 errors alike
        raise ValueError(damaged) from error
    if not isinstance(page, dict) or page.pop("sha256", None) != digest_of(page) or page.get("kind") != "controller":
        raise ValueError(damaged)
    if page.get("format") != FORMAT:
        raise ValueError(f"{path}: has format {page.get('format')!r}; this version reads format {FORMAT}.")
    if isinstance(page.get("law"), dict) and page["law"].get("features", list(FEATURES)) != list(FEATURES):
        raise ValueError(f"{path}: was calibrated with other features than this version has; calibrate again.")
    try:  # the checksum is no signature: a page may be forged, or of a version that never was
        loose, tight = map(_number, page["rtols"])
        sound = isinstance(page["method"], str) and isinstance(page["order"], int) and isinstance(page["report"], dict)
        if not sound:
            raise ValueError("method, order or report")
        return Calibrated(_read(page["law"]), page["method"], page["order"], (loose, tight), page["report"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(damaged) from error


def _written(law: StepController) -> dict[str, Any]:
    for name, known in CONTROLLERS.items():
        if law is known:
            return {"name": name}
    if isinstance(law, Filter):
        return {"filter": asdict(law)}
    if isinstance(law, LearnedStep):
        place = None if law.place is None else {k: v.tolist() for k, v in vars(law.place).items()}
        return {
            "filter": asdict(law.linear), "features": list(FEATURES), "weights": law.weights.tolist(), "place": place,
            "alone": law.alone,
        }  # fmt: skip
    raise TypeError(f"save: a controller of type {type(law).__name__} cannot be written; pickle it, or keep its settings.")


def _read(page: Mapping[str, Any]) -> StepController:
    if "name" in page:
        return CONTROLLERS[page["name"]]
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in page["filter"].items()}
    linear = Filter(**plain)
    for name, value in linear.coefficients._asdict().items():
        _number(value, above=0.0 if name in SIZES else -math.inf)
    if "weights" not in page:
        return linear
    place = None if page["place"] is None else Place(**{k: _tensor(v) for k, v in page["place"].items()})
    weights, seen = _tensor(page["weights"]), len(FEATURES) + (0 if place is None else len(place.size))
    if weights.shape != (2, seen) or not bool(torch.isfinite(weights).all()):
        raise ValueError(f"weights of shape {tuple(weights.shape)}")
    return LearnedStep(linear, weights, place, _number(page["alone"], above=0.0))


def _number(value: Any, above: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value < math.inf:
        raise ValueError(f"{value!r} is no number")
    return value


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)

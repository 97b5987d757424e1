"""Stiff solvers with adaptive steps and residual networks as Euler integrators, in one loop with one question: how far?

The names in the order a reader meets them: a problem is solved, or a field is integrated over a span or a grid; what to keep;
what comes back; and the rooms with everything else.
"""

from odebridge import control, data, metrics, nets, problems, train
from odebridge.citing import cite
from odebridge.control import list_controllers
from odebridge.core.fields import Separable, Split
from odebridge.core.forcing import Forcing
from odebridge.core.over import Grid, Span, Steps
from odebridge.core.protocols import DepthField, Method, Observation, Step, StepController
from odebridge.core.result import Result, Solution, SolveError
from odebridge.core.tolerance import Tolerance
from odebridge.data import list_data
from odebridge.integrate import (
    Adjoint,
    At,
    Dense,
    Direct,
    DriftWarning,
    Event,
    Every,
    Forward,
    Last,
    Replay,
    integrate,
    steady_state,
)
from odebridge.methods import list_methods
from odebridge.nets import list_models
from odebridge.problems import Problem, list_problems, solve
from odebridge.train.calibration.calibrate import calibrate
from odebridge.train.fit_problem import fit
from odebridge.train.fitted import Fit
from odebridge.train.measured import Measured

__version__ = "0.1.0"

__all__ = [
    "Adjoint", "At", "Dense", "DepthField", "Direct", "DriftWarning", "Event", "Every", "Fit", "Forcing", "Forward", "Grid",
    "Last", "Measured", "Method", "Observation", "Problem", "Replay", "Result", "Separable", "Solution", "SolveError",
    "Span", "Split", "Step", "StepController", "Steps", "Tolerance", "calibrate", "cite", "control", "data", "fit",
    "integrate", "list_controllers", "list_data", "list_methods", "list_models", "list_problems", "metrics", "nets",
    "problems", "solve", "steady_state", "train",
]  # fmt: skip

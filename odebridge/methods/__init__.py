"""Methods: how one step is made. One family per file; a method is a family applied to a tableau."""

from odebridge.methods.catalogue import METHODS, list_methods
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Rosenbrock

__all__ = ["METHODS", "ExplicitRK", "Rosenbrock", "list_methods"]

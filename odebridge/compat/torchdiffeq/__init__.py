"""A drop-in for torchdiffeq 0.2.5: change the import, keep the script.

The whole state is one trajectory, as there: one step for all of it, any shape, no batch dimension. Every method of
`ob.list_methods()` works beside torchdiffeq's names. What differs, and why, is in docs/torchdiffeq.md.
"""

from odebridge.compat.torchdiffeq.adjoint import odeint_adjoint
from odebridge.compat.torchdiffeq.event import odeint_event
from odebridge.compat.torchdiffeq.solve import odeint, odeint_dense

__all__ = ["odeint", "odeint_adjoint", "odeint_dense", "odeint_event"]

"""bootstrap"""

from __future__ import annotations

from odebridge.problems.reference_states import Known

GRIDS: dict[str, Known] = {}

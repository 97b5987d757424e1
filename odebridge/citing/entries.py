"""ENTRIES: every publication that stands behind something here, by key.

What could be read in another place than memory is here; pages or a DOI that could not are left out.
"""

from __future__ import annotations

from odebridge.citing.entry import Entry
from odebridge.citing.networks import NETWORKS
from odebridge.citing.solvers import SOLVERS

ENTRIES: dict[str, Entry] = {**SOLVERS, **NETWORKS}

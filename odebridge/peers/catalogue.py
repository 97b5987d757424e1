"""PEERS: a new peer is one adapter and one line here. A peer that is not installed stays in the list and says so when asked."""

from __future__ import annotations

from odebridge.core.names import matching
from odebridge.peers.base import Peer
from odebridge.peers.scipy import ScipyPeer

PEERS: dict[str, Peer] = {f"scipy:{name}": ScipyPeer(name) for name in ("RK45", "Radau", "BDF", "LSODA")}


def list_peers(pattern: str = "*") -> list[str]:
    """Names of the peers that match a wildcard pattern: `list_peers("scipy:*")`."""
    return matching(PEERS, pattern)
